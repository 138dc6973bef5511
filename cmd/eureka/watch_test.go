package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestWatchInLines(t *testing.T) {
	dir := t.TempDir()
	address, stop := service(t, "--data-dir", dir)
	environ := []string{"EUREKA_URL=http://" + address}
	run(t, environ, "channels", "create", "room", "--history", "--name", "The room")
	people := start(environ, "channels", "list", "--watch", "--interval", "100ms")
	programs := start(environ, "--json", "channels", "list", "-w", "--interval", "100ms")
	people.await(t, &people.stdout, "  added  room  The room  subscribed 0  messages 0\n")
	programs.await(t, &programs.stdout, `"change":"added"`)
	run(t, environ, "publish", "room", "1")
	people.await(t, &people.stdout, "  changed  room  The room  subscribed 0  messages 1\n")
	stop()
	people.await(t, &people.stderr, "; trying again\n")
	again := start(nil, "serve", "--listen", address, "--data-dir", dir, "--log-level", "error")
	again.await(t, &again.stderr, "listening")
	people.await(t, &people.stderr, "the service answers again\n")
	run(t, environ, "channels", "create", "hall")
	run(t, environ, "channels", "delete", "room")
	people.await(t, &people.stdout, "  left  room")
	programs.await(t, &programs.stdout, `"change":"left"`)
	for _, b := range []*background{people, programs} {
		b.signals <- os.Interrupt
		if code := b.end(t); code != exitInterrupted {
			t.Errorf("ended with %d: %s", code, b.stderr.String())
		}
	}
	if got := programs.stderr.String(); got != "" {
		t.Errorf("beside the JSON it says %q", got)
	}
	changes := map[string]int{}
	for line := range strings.Lines(programs.stdout.String()) {
		var c struct {
			Change  string
			At      int64
			Channel struct{ ID string }
		}
		if err := json.Unmarshal([]byte(line), &c); err != nil || c.At == 0 {
			t.Fatalf("%s: %v", line, err)
		}
		changes[c.Change+" "+c.Channel.ID]++
	}
	if changes["added room"] != 1 || changes["left room"] != 1 || changes["added hall"] != 1 || changes["left hall"] != 0 {
		t.Errorf("it told of %v", changes)
	}
	again.signals <- os.Interrupt
	again.end(t)
}

func TestWatchOnATerminal(t *testing.T) {
	address, stop := service(t)
	environ := []string{"EUREKA_URL=http://" + address}
	b := &background{signals: make(chan os.Signal, 2), done: make(chan int, 1)}
	p := program{stdin: strings.NewReader(""), stdout: &b.stdout, stderr: &b.stderr, environ: environ, signals: b.signals, terminal: true}
	go func() { b.done <- p.run(t.Context(), []string{"channels", "list", "--watch", "--interval", "100ms"}) }()
	b.await(t, &b.stdout, "0 of 0 channels, every 100ms")
	run(t, environ, "channels", "create", "room")
	b.await(t, &b.stdout, "\x1b[H")
	b.await(t, &b.stdout, "1 of 1 channels")
	stop()
	b.await(t, &b.stdout, "not up to date: no service answers at")
	b.signals <- os.Interrupt
	if code := b.end(t); code != exitInterrupted {
		t.Errorf("ended with %d: %s", code, b.stderr.String())
	}
	screens := strings.Split(b.stdout.String(), screenHome)
	last := screens[len(screens)-1]
	if want := `^\d\d:\d\d:\d\d  1 of 1 channels.*\x1b\[K\nnot up to date: .*\x1b\[K\n\x1b\[K\nID .*\x1b\[K\nroom .*\x1b\[K\n\x1b\[J\x1b\[\?7h$`; !regexp.MustCompile(want).MatchString(last) {
		t.Errorf("the last screen is %q", last)
	}
	if screens[0] != screenBegin {
		t.Errorf("it begins with %q", screens[0])
	}
}

func TestWatchIsRefused(t *testing.T) {
	address, _ := service(t)
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--interval", "1ms"}, 3, "interval: must be between 100ms and 1h"},
		{[]string{"--interval", (2 * time.Hour).String()}, 3, "interval: must be between"},
		{[]string{"--where", "colour=red"}, 3, "colour: is no parameter"},
		{[]string{"--url", "http://127.0.0.1:1"}, 12, "eureka serve"},
	} {
		args := append([]string{"channels", "list", "--watch", "--url", "http://" + address}, tt.args...)
		if r := run(t, nil, args...); r.code != tt.code || !strings.Contains(r.stderr, tt.want) {
			t.Errorf("%v: %+v", tt.args, r)
		}
	}
}
