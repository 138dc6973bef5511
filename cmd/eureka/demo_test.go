package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestDemo(t *testing.T) {
	address, stop := service(t)
	environ := []string{"EUREKA_URL=http://" + address}
	r := run(t, environ, "demo", "--rate", "1000", "--count", "40", "--seed", "1")
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	if r.code != 0 || len(lines) != 40 || !regexp.MustCompile(`^\d\d:\d\d:\d\d  order 1001  created    [A-Z].*, .*  \d × .*  \d+\.\d\d EUR$`).MatchString(lines[0]) {
		t.Errorf("%+v", r)
	}
	for _, want := range []string{
		"eureka listen orders --url http://" + address + "\n", "wscat -c 'ws://" + address + "?channels=orders'\n", "eureka: reported 40 events of ",
	} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("no %q in %s", want, r.stderr)
		}
	}
	again := run(t, environ, "--json", "demo", "--rate", "1000", "-n", "40", "--seed", "1") // its channel is there
	lines = strings.Split(strings.TrimSpace(again.stdout), "\n")
	var ev struct {
		ModelID, Event string
		Data           struct{ ID, Status string }
		Channels       []string
	}
	var last struct {
		Summary struct{ Events, Orders, Retries int }
	}
	if again.code != 0 || again.stderr != "" || len(lines) != 41 || json.Unmarshal([]byte(lines[0]), &ev) != nil || json.Unmarshal([]byte(lines[40]), &last) != nil ||
		ev.ModelID != "1001" || ev.Data.ID != "1001" || ev.Event != "created" || strings.Join(ev.Channels, " ") != "orders" || last.Summary.Events != 40 || last.Summary.Orders < 5 {
		t.Errorf("%+v", again)
	}
	if kept := run(t, environ, "--json", "channels", "show", "orders"); !strings.Contains(kept.stdout, `"messages":80`) {
		t.Errorf("the channel is %+v", kept)
	}
	if r := run(t, environ, "demo", "--for", "300ms", "--rate", "20"); r.code != 0 || !strings.Contains(r.stderr, "eureka: reported ") {
		t.Errorf("for a time: %+v", r)
	}
	run(t, environ, "channels", "create", "taken", "--service", "other")
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--channel", "taken"}, 7, "does not carry the orders of orders-api; give the demo another one with --channel"},
		{[]string{"--channel", "a b"}, 3, "channel: must be"},
		{[]string{"--rate", "0"}, 3, "rate: must be"},
		{[]string{"--count=-1"}, 3, "count: must not be negative"},
		{[]string{"--for=-1s"}, 3, "for: must not be negative"},
		{[]string{"--url", "http://127.0.0.1:1", "--no-serve"}, 12, "no service answers"},
		{[]string{"--url", "http://example.invalid:1"}, 12, "no service answers"},
		{[]string{"--url", "https://localhost:1", "--serve"}, 3, "serve: needs an address of this machine"},
	} {
		if r := run(t, environ, append([]string{"demo", "-n", "1"}, tt.args...)...); r.code != tt.code || !strings.Contains(r.stderr, tt.want) {
			t.Errorf("%v: %+v", tt.args, r)
		}
	}
	stop()
}

// TestDemoOutlivesItsService: each event is reported once, over a restart that loses the channel too, and an interrupt ends with the summary.
func TestDemoOutlivesItsService(t *testing.T) {
	address, stop := service(t)
	b := start([]string{"EUREKA_URL=http://" + address}, "demo", "--rate", "50")
	b.await(t, &b.stdout, "order 1002")
	stop()
	b.await(t, &b.stderr, "; trying again\n")
	again := start(nil, "serve", "--listen", address, "--data-dir", t.TempDir(), "--log-level", "error")
	again.await(t, &again.stderr, "listening")
	b.await(t, &b.stderr, "the service answers again\n")
	listener := start([]string{"EUREKA_URL=http://" + address}, "listen", "orders", "-n", "3")
	if code := listener.end(t); code != 0 {
		t.Errorf("listening ended with %d: %s", code, listener.stderr.String())
	}
	b.signals <- os.Interrupt
	if code := b.end(t); code != exitInterrupted {
		t.Errorf("ended with %d", code)
	}
	if text := b.stderr.String(); !regexp.MustCompile(`eureka: reported \d+ events of \d+ orders in [0-9.ms]+; the service was away for \d+ tries\n$`).MatchString(text) {
		t.Errorf("it says %s", text)
	}
	again.signals <- os.Interrupt
	again.end(t)
}

// TestDemoRunsAService where there is none, with a state that goes with it.
func TestDemoRunsAService(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("EUREKA_ADMIN_KEY", "the environment of the process is not the demo's to read")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	environ := []string{"EUREKA_URL=http://" + address}
	b := start(environ, "demo", "--rate", "50")
	b.await(t, &b.stderr, "so the demo runs one there until it ends\n")
	b.await(t, &b.stdout, "order 1001")
	listener := start(environ, "listen", "orders", "-n", "2")
	if code := listener.end(t); code != 0 || !strings.Contains(listener.stdout.String(), `"customer":{"id":"c-`) {
		t.Errorf("listening ended with %d: %s", code, listener.stderr.String())
	}
	b.signals <- os.Interrupt
	if code := b.end(t); code != exitInterrupted || !strings.Contains(b.stderr.String(), "eureka: reported ") {
		t.Errorf("ended with %d: %s", code, b.stderr.String())
	}
	if left, err := filepath.Glob(filepath.Join(temp, "eureka-demo-*")); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v, %v", left, err)
	}
	if r := run(t, environ, "channels", "list"); r.code != 12 {
		t.Errorf("its service is still there: %+v", r)
	}
}
