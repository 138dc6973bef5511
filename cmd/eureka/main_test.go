package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"eureka"
)

var update = flag.Bool("update", false, "rewrite the golden file")

const patience = 30 * time.Second

// output is a writer that can be read while a command runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// result is what one command line did.
type result struct {
	code           int
	stdout, stderr string
}

func run(t *testing.T, environ []string, args ...string) result {
	t.Helper()
	var stdout, stderr output
	p := program{stdin: strings.NewReader(`{"from":"stdin"}`), stdout: &stdout, stderr: &stderr, environ: environ}
	code := p.run(t.Context(), args)
	return result{code, stdout.String(), stderr.String()}
}

// service runs `serve` in this process and returns its address and what ends it.
func service(t *testing.T, args ...string) (address string, stop func() result) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr output
	signals := make(chan os.Signal, 2)
	p := program{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, signals: signals}
	done := make(chan int, 1)
	go func() {
		done <- p.run(context.Background(), append([]string{"serve", "--listen", address, "--data-dir", t.TempDir(), "--log-level", "error"}, args...))
	}()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(stderr.String()+stdout.String(), "listening") {
		select {
		case code := <-done:
			t.Fatalf("serve ended with %d: %s", code, stderr.String())
		case <-tick.C:
		}
		if time.Now().After(deadline) {
			t.Fatalf("serve does not start: %s", stderr.String())
		}
	}
	var once sync.Once
	var last result
	stop = func() result {
		once.Do(func() {
			signals <- syscall.SIGTERM
			last = result{<-done, stdout.String(), stderr.String()}
		})
		return last
	}
	t.Cleanup(func() { stop() })
	return address, stop
}

var volatile = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ|"(createdAt|updatedAt|deletedAt|uptime|connectedAt)":[1-9]\d*|"revision":\d+|revision +\d+|127\.0\.0\.1:\d+`)

// TestGoldenCommands runs each line of testdata/commands.golden against a service and compares what it prints.
func TestGoldenCommands(t *testing.T) {
	path := filepath.Join("testdata", "commands.golden")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	address, _ := service(t)
	var got strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "$ eureka ") {
			continue
		}
		got.WriteString(line)
		r := run(t, []string{"EUREKA_URL=http://" + address}, words(strings.TrimSpace(strings.TrimPrefix(line, "$ eureka ")))...)
		for _, part := range []struct{ prefix, text string }{{"", r.stdout}, {"! ", r.stderr}} {
			for out := range strings.Lines(volatile.ReplaceAllString(part.text, "~")) {
				got.WriteString("  " + part.prefix + strings.TrimRight(out, " \n") + "\n")
			}
		}
		if r.code != 0 {
			got.WriteString("  exit " + string(rune('0'+r.code/10)) + string(rune('0'+r.code%10)) + "\n")
		}
	}
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(text), got.String()); diff != "" {
		t.Errorf("%s (-want +got); run with -update when the change is meant:\n%s", path, diff)
	}
}

// words splits a line at spaces outside single quotes.
func words(line string) []string {
	var out []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}

func TestPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(file, []byte("max_age: 2h\nreplicas: 1\nlog_level: warn\nping_interval: 20s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"EUREKA_LOG_LEVEL=debug", "EUREKA_PING_INTERVAL=21s", "EUREKA_LISTEN="}
	for _, args := range [][]string{
		{"--json", "config", "--config", file, "--ping-interval", "22s"},
		{"config", "show", "--json", "--config=" + file, "--ping-interval=22s"},
	} {
		r := run(t, environ, args...)
		var list []effective
		if err := json.Unmarshal([]byte(r.stdout), &list); err != nil || r.code != 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		got := map[string]string{}
		for _, e := range list {
			got[e.Key] = e.Value + " from " + e.Source
		}
		for key, want := range map[string]string{
			"idle_timeout": "1m15s from default", "listen": "127.0.0.1:8832 from default", "max_age": "2h0m0s from file " + file,
			"log_level": "debug from environment EUREKA_LOG_LEVEL", "ping_interval": "22s from flag --ping-interval",
		} {
			if got[key] != want {
				t.Errorf("%v: %s is %q, want %q", args, key, got[key], want)
			}
		}
	}
	if r := run(t, append(environ, "EUREKA_CONFIG="+file), "config", "check"); r.code != 0 || !strings.Contains(r.stdout, "ok") {
		t.Errorf("%+v", r)
	}
	if r := run(t, nil, "config", "check", file); r.code != 0 || !strings.Contains(r.stdout, file+": ok") {
		t.Errorf("%+v", r)
	}
}

func TestBadSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(file, []byte("replicas: 9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		environ []string
		args    []string
		code    int
		want    string
	}{
		{nil, []string{"config", "check", file}, 3, "replicas: must be between 1 and 5"},
		{nil, []string{"serve", "--config", file}, 3, "replicas: must be between 1 and 5"},
		{nil, []string{"serve", "--config", "missing.yaml"}, 6, "there is no settings file"},
		{[]string{"EUREKA_LISTN=x"}, []string{"--json", "serve"}, 3, `EUREKA_LISTEN`},
		{nil, []string{"serve", "--listn", "x"}, 2, "--listen"},
		{nil, []string{"serve", "--replicas", "many"}, 2, "many"},
		{nil, []string{"serve", "--log-level", "loud"}, 2, "debug"},
		{nil, []string{"serve", "--listen", "0.0.0.0:0"}, 5, "no authentication"},
		{nil, []string{"nonsense"}, 2, "unexpected argument"},
		{nil, nil, 2, "expected one of"},
		{nil, []string{"--url", "nonsense", "channels", "list"}, 3, "no address of a service"},
		{nil, []string{"--url", "http://127.0.0.1:1", "channels", "list"}, 12, "eureka serve"},
		{nil, []string{"publish", "a", "no json"}, 3, "not valid JSON"},
	} {
		r := run(t, tt.environ, tt.args...)
		if r.code != tt.code || !strings.Contains(r.stderr, tt.want) || r.stdout != "" {
			t.Errorf("%v: %+v, want code %d and …%s…", tt.args, r, tt.code, tt.want)
		}
		if len(tt.args) > 0 && tt.args[0] == "--json" && !json.Valid([]byte(r.stderr)) {
			t.Errorf("%v: not JSON: %s", tt.args, r.stderr)
		}
	}
}

func TestServeFaults(t *testing.T) {
	dir := t.TempDir()
	address, stop := service(t, "--data-dir", dir)
	if r := run(t, nil, "serve", "--listen", address, "--data-dir", t.TempDir()); r.code != eureka.CodeConflict.Outcome().Exit || !strings.Contains(r.stderr, "choose another with --listen") {
		t.Errorf("a port in use: %+v", r)
	}
	if r := run(t, nil, "serve", "--listen", "127.0.0.1:0", "--data-dir", dir); r.code != eureka.CodeConflict.Outcome().Exit || !strings.Contains(r.stderr, "in use by another process") {
		t.Errorf("a directory in use: %+v", r)
	}
	if r := stop(); r.code != 0 || !strings.Contains(r.stderr, "stopped after") || !strings.Contains(r.stderr, "loopback only") {
		t.Errorf("stopped with %+v", r)
	}
}

func TestListen(t *testing.T) {
	address, _ := service(t)
	environ := []string{"EUREKA_URL=ws://" + address}
	done := make(chan result, 1)
	go func() {
		var stdout, stderr output
		p := program{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, environ: environ}
		code := p.run(context.Background(), []string{"listen", "room", "--count", "2"})
		done <- result{code, stdout.String(), stderr.String()}
	}()
	deadline := time.Now().Add(patience)
	for len(done) == 0 && time.Now().Before(deadline) { // the first ones may come before it listens
		run(t, environ, "publish", "room", "-")
	}
	if r := <-done; r.code != 0 || strings.Count(r.stdout, `{"from":"stdin"}`) != 2 {
		t.Errorf("%+v", r)
	}
	if r := run(t, environ, "listen", "a b"); r.code != 3 || !strings.Contains(r.stderr, "channel: must be 1 to 128 characters") {
		t.Errorf("a malformed name: %+v", r)
	}
	if r := run(t, environ, "listen", "0"); r.code != 3 || !strings.Contains(r.stderr, "no channel left") {
		t.Errorf("a refused channel: %+v", r)
	}
}

func TestCompletionInBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash")
	}
	script := filepath.Join(t.TempDir(), "completion")
	if err := os.WriteFile(script, []byte(run(t, nil, "completion", "bash").stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"eureka ch": "channels", "eureka channels cr": "create", "eureka channels create --ser": "--service", "eureka serve --lis": "--listen",
	} {
		fields := strings.Fields(line)
		quoted := "'" + strings.Join(fields, "' '") + "'"
		command := exec.CommandContext(t.Context(), bash, "-c", "source "+script+"; COMP_WORDS=("+quoted+"); COMP_CWORD="+
			string(rune('0'+len(fields)-1))+"; _eureka; echo ${COMPREPLY[@]}")
		out, err := command.CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%s: %s, %v", line, out, err)
		}
	}
	for _, shell := range []string{"zsh", "fish"} {
		if r := run(t, nil, "completion", shell); r.code != 0 || !strings.Contains(r.stdout, "channels") {
			t.Errorf("%s: %+v", shell, r)
		}
	}
}

func TestSlowHeadersAreCutOff(t *testing.T) {
	address, _ := service(t, "--handshake-timeout", "1s") // a loaded machine needs some of it for the request below
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("GET /hello HTTP/1.1\r\nHost: local")); err != nil { // and never the rest
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil || strings.Contains(string(answer), "200") {
		t.Errorf("answered %q, %v", answer, err)
	}
	if r := run(t, []string{"EUREKA_URL=http://" + address}, "channels", "list"); r.code != 0 {
		t.Errorf("the others: %+v", r)
	}
}
