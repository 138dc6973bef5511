//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"eureka/internal/awslocal"
	"eureka/internal/edge/simulator"
	"eureka/internal/edge/simulator/meter"
)

// simulation is `simulate` in this process.
type simulation struct {
	stdout, stderr output
	signals        chan os.Signal
	code           chan int
}

func simulate(t *testing.T, environ []string, args ...string) *simulation {
	t.Helper()
	s := &simulation{signals: make(chan os.Signal, 2), code: make(chan int, 1)}
	p := program{stdin: strings.NewReader(""), stdout: &s.stdout, stderr: &s.stderr, environ: environ, signals: s.signals}
	go func() {
		s.code <- p.run(context.Background(), append([]string{"simulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"}, args...))
	}()
	t.Cleanup(func() {
		select {
		case s.signals <- syscall.SIGTERM:
		default:
		}
	})
	return s
}

// until waits for a text in an output.
func (s *simulation) until(t *testing.T, out *output, text string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(3 * time.Minute); !strings.Contains(out.String(), text); <-tick.C {
		if len(s.code) > 0 || time.Now().After(deadline) {
			t.Fatalf("no %q:\n%s%s", text, s.stdout.String(), s.stderr.String())
		}
	}
}

// TestSimulate: it starts with nothing given, says what it does and where it is, and ends on a signal with what was counted.
func TestSimulate(t *testing.T) {
	p, err := awslocal.StartQueues(t.Context())
	if errors.Is(err, awslocal.ErrNotInstalled) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	logs := filepath.Join(t.TempDir(), "logs")
	s := simulate(t, nil, "--json", "--queues", p.Endpoint, "--logs", logs, "--fault", "slow-post=1,delay=1ms", "--env", "EUREKA_LOG_LEVEL=debug")
	s.until(t, &s.stdout, "\n")
	var at simulator.Endpoints
	if err := json.Unmarshal([]byte(s.stdout.String()), &at); err != nil {
		t.Fatal(err)
	}
	get := func(url string) string {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s %s", url, response.Status, text)
		}
		return string(text)
	}
	get(at.HTTP + "/healthz")
	if faults := get(at.Control + "/faults"); !strings.Contains(faults, "slow-post=1,delay=1ms") {
		t.Errorf("%s", faults)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	s.until(t, &s.stdout, "costMonth")
	s.signals <- syscall.SIGTERM
	if code := <-s.code; code != 0 {
		t.Errorf("exit %d: %s", code, s.stderr.String())
	}
	decoder := json.NewDecoder(strings.NewReader(s.stdout.String()))
	var report meter.Report
	for range 3 {
		if err := decoder.Decode(&report); err != nil {
			t.Fatal(err)
		}
	}
	if report.Counts[meter.HTTPRequests] != 1 || report.Counts[meter.Invocations.Of("http")] != 1 || report.Month <= 0 {
		t.Errorf("%+v", report)
	}
	if text, err := os.ReadFile(logs); err != nil || !strings.Contains(string(text), "http\tREPORT RequestId") {
		t.Errorf("%s, %v", text, err)
	}
}

// TestSimulateForPeople: words instead of JSON, authentication as soon as there is a credential, and an end in mid-start.
func TestSimulateForPeople(t *testing.T) {
	s := simulate(t, []string{"EUREKA_ADMIN_KEY=" + strings.Repeat("k", 32)})
	s.until(t, &s.stderr, "starting")
	s.signals <- os.Interrupt
	if code := <-s.code; code == exitInterrupted {
		s = simulate(t, []string{"EUREKA_ADMIN_KEY=" + strings.Repeat("k", 32)})
	} else if !strings.Contains(s.stderr.String(), "make tools") {
		t.Fatalf("exit %d: %s", code, s.stderr.String())
	} else if os.Getenv("CI") == "" {
		t.Skip("the stand-ins are not installed")
	}
	s.until(t, &s.stderr, "broadcast\n\n")
	for _, want := range []string{"building the functions", "listening", "ws://127.0.0.1:", "/@connections", simulator.UserKeyID, "wscat -c 'ws://"} {
		if !strings.Contains(s.stderr.String(), want) {
			t.Errorf("no %q in\n%s", want, s.stderr.String())
		}
	}
	_, rest, _ := strings.Cut(s.stderr.String(), "listening    ")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.Fields(rest)[0]+"/channels", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a credential: %s", response.Status)
	}
	s.signals <- os.Interrupt
	if code := <-s.code; code != 0 || !strings.Contains(s.stdout.String(), "a month like that") || !strings.Contains(s.stderr.String(), "stopping") {
		t.Errorf("exit %d\n%s%s", code, s.stdout.String(), s.stderr.String())
	}
}

// TestSimulateRefused: each mistake has its sentence and its exit code.
func TestSimulateRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		code int
		says string
	}{
		"fault":   {[]string{"--fault", "nothing=1"}, 3, "lost-disconnect"},
		"stage":   {[]string{"--stage", "DEV"}, 3, "stage"},
		"auth":    {[]string{"--auth", "some"}, 3, "none, service or iam"},
		"address": {[]string{"--listen", "0.0.0.0:8832"}, 3, "loopback"},
		"logs":    {[]string{"--logs", filepath.Join(t.TempDir(), "no", "file")}, 3, "logs"},
		"flag":    {[]string{"--speed", "x"}, exitUsage, "--speed"},
	} {
		s := simulate(t, nil, tt.args...)
		if code := <-s.code; code != tt.code || !strings.Contains(s.stderr.String(), tt.says) {
			t.Errorf("%s: exit %d: %s", name, code, s.stderr.String())
		}
	}
	t.Setenv("EUREKA_TOOLS", t.TempDir())
	s := simulate(t, nil)
	if code := <-s.code; code == 0 || !strings.Contains(s.stderr.String(), "make tools") || !strings.Contains(s.stderr.String(), "--dynamodb URL") {
		t.Errorf("without tools: exit %d: %s", code, s.stderr.String())
	}
}
