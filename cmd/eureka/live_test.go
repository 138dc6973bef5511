package main

import (
	"context"
	"encoding/json"
	"os"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"eureka/internal/config"
)

// connect opens a socket on a service and returns it with its id.
func connect(t *testing.T, address, query string) (*websocket.Conn, string) {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), "ws://"+address+"/?"+query, nil) //nolint:bodyclose // the library has closed it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	r := run(t, []string{"EUREKA_URL=http://" + address}, "sockets", "list", "--json")
	var list struct{ List []struct{ ID string } }
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil || len(list.List) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	return c, list.List[0].ID
}

// TestSocketCommands runs what needs a live socket.
func TestSocketCommands(t *testing.T) {
	address, _ := service(t, "--node", "aaaaaaaa", "--max-age", "1h")
	environ := []string{"EUREKA_URL=http://" + address}
	c, id := connect(t, address, "channels=room&channels=hall&user=ada")
	for _, tt := range []struct {
		args []string
		want string // a pattern of the whole output
	}{
		{[]string{"sockets", "list"}, `ID +USER +NODE +REMOTE +CHANNELS +CONNECTED\nID_ +ada +aaaaaaaa +127\.0\.0\.1(:\d+)? +hall,room +TIME\n1 of 1\n`},
		{[]string{"sockets", "list", "--user", "bob"}, `ID .*\n0 of 0\n`},
		{[]string{"sockets", "list", "--channel", "room", "--json"}, `\{"total":1,.*"user":"ada","node":"aaaaaaaa",.*"channels":\["hall","room"\]\}\]\}\n`},
		{[]string{"sockets", "show", id}, `id +ID_\nuser +ada\nnode +aaaaaaaa\nremote +127.*\norigin +-\nagent .*\nchannels +hall,room\nconnected +TIME\nreconnect by +TIME\n`},
		{[]string{"sockets", "show", id, "--json"}, `\{"id":"ID_","user":"ada".*\}\n`},
		{[]string{"sockets", "send", id, `{"n":1}`, "--event", "greet"}, `sent to ID_\n`},
		{[]string{"sockets", "send", id, "-", "--json"}, `\{"delivered":1\}\n`},
		{[]string{"publish", "room", "2"}, `published to room, delivered to 1\n`},
		{[]string{"channels", "list", "--limit", "5", "--after", ""}, `ID .*\n0 of 0\n`},
		{[]string{"sockets", "kick", id}, `disconnected ID_\n`},
	} {
		r := run(t, environ, tt.args...)
		got := regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ`).ReplaceAllString(strings.ReplaceAll(r.stdout, id, "ID_"), "TIME")
		if r.code != 0 || r.stderr != "" || !regexp.MustCompile(`^`+tt.want+`$`).MatchString(got) {
			t.Errorf("%v: code %d, %s\n%s", tt.args, r.code, r.stderr, got)
		}
	}
	for _, want := range []string{`"event":"greet","data":{"n":1}`, `"data":{"from":"stdin"}`, `"channel":"room"`, `"bye"`} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, text, err := c.Read(ctx)
		cancel()
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("the socket got %s, %v; want …%s…", text, err, want)
		}
	}
}

// background is a command that runs until a signal.
type background struct {
	stdout, stderr output
	signals        chan os.Signal
	done           chan int
}

func start(environ []string, args ...string) *background {
	b := &background{signals: make(chan os.Signal, 2), done: make(chan int, 1)}
	p := program{stdin: strings.NewReader(""), stdout: &b.stdout, stderr: &b.stderr, environ: environ, signals: b.signals}
	go func() { b.done <- p.run(context.Background(), args) }()
	return b
}

// await waits until what the command has printed holds the text.
func (b *background) await(t *testing.T, out *output, holds string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !strings.Contains(out.String(), holds); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("no %s in %s", holds, out.String())
		}
	}
}

func (b *background) end(t *testing.T) int {
	t.Helper()
	select {
	case code := <-b.done:
		return code
	case <-time.After(patience):
		t.Fatalf("it does not end: %s", b.stderr.String())
		return -1
	}
}

func TestListenIsInterrupted(t *testing.T) {
	address, _ := service(t)
	environ := []string{"EUREKA_URL=http://" + address}
	b := start(environ, "listen", "room")
	b.await(t, &b.stderr, "eureka: listening\n")
	if r := run(t, environ, "publish", "room", `"a\u001b[2Jb"`, "--event", "tick"); !strings.Contains(r.stdout, "delivered to 1") {
		t.Errorf("%+v", r)
	}
	b.await(t, &b.stdout, "tick")
	b.signals <- os.Interrupt
	if code := b.end(t); code != exitInterrupted {
		t.Errorf("ended with %d", code)
	}
	if got := b.stdout.String(); !regexp.MustCompile(`^\d\d:\d\d:\d\d  room  tick  "a\\u001b\[2Jb"\n$`).MatchString(got) {
		t.Errorf("printed %q", got)
	}
}

func TestListenInJSON(t *testing.T) {
	address, _ := service(t)
	environ := []string{"EUREKA_URL=http://" + address}
	b := start(environ, "--json", "listen", "room", "-n", "1")
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	// The count of a publish that meets the handshake may leave the new socket out, so what was printed decides.
	for deadline := time.Now().Add(patience); b.stdout.String() == ""; <-tick.C {
		last := run(t, environ, "publish", "room", `{"n":1}`)
		if last.code != 0 || time.Now().After(deadline) {
			t.Fatalf("nobody listens: %+v", last)
		}
	}
	if code := b.end(t); code != 0 {
		t.Errorf("ended with %d: %s", code, b.stderr.String())
	}
	if got := b.stdout.String(); !regexp.MustCompile(`^\{"channel":"room",.*"data":\{"n":1\},"ts":\d+\}\n$`).MatchString(got) || b.stderr.String() != "" {
		t.Errorf("printed %q and %q", got, b.stderr.String())
	}
}

// TestASecondSignalCutsSockets: a client that does not answer the close holds the service until then.
func TestASecondSignalCutsSockets(t *testing.T) {
	b := start(nil, "--json", "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), "--log-level", "error", "--drain-timeout", "1h", "--drain-spread", "1h")
	b.await(t, &b.stdout, "\n")
	var up struct{ Listening, Node, Version, HTTP, WS string }
	if err := json.Unmarshal([]byte(b.stdout.String()), &up); err != nil || up.HTTP != "http://"+up.Listening || up.WS != "ws://"+up.Listening || len(up.Node) != 8 || up.Version == "" {
		t.Fatalf("announced %s, %v", b.stdout.String(), err)
	}
	connect(t, up.Listening, "channels=room") // reads nothing, so it never answers
	b.signals <- syscall.SIGTERM
	b.await(t, &b.stderr, "stopping; sockets have 1h0m0s to leave")
	b.signals <- syscall.SIGTERM
	if code := b.end(t); code != 0 || !strings.Contains(b.stderr.String(), "stopped after") {
		t.Errorf("ended with %d: %s", code, b.stderr.String())
	}
}

func TestWordsAlone(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"version"}, "eureka " + version() + " (" + runtime.Version()},
		{[]string{"version", "--json"}, `{"go":"` + runtime.Version() + `","version":"` + version() + `"}`},
		{[]string{"config", "docs"}, config.Markdown()},
		{[]string{"--help"}, "Usage: eureka <command>"},
		{[]string{"serve", "--help"}, "--listen=HOST:PORT"},
		{[]string{"config"}, "SETTING"},
		{[]string{"config", "check", "--json"}, `{"ok":true}`},
	} {
		if r := run(t, nil, tt.args...); r.code != 0 || !strings.Contains(r.stdout, tt.want) || r.stderr != "" {
			t.Errorf("%v: code %d, %s%s", tt.args, r.code, r.stdout, r.stderr)
		}
	}
}

func TestStandardInputHasALimit(t *testing.T) {
	var stdout, stderr output
	p := program{stdin: strings.NewReader(strings.Repeat("1", maxStdin+1)), stdout: &stdout, stderr: &stderr}
	if code := p.run(t.Context(), []string{"publish", "room", "-"}); code != 10 || !strings.Contains(stderr.String(), "limit of 1048576 bytes") {
		t.Errorf("code %d: %s", code, stderr.String())
	}
}

// TestSecretsStayHidden: neither the settings in force nor a failed start show the password of NATS.
func TestSecretsStayHidden(t *testing.T) {
	environ := []string{"EUREKA_NATS=nats://bob:s3cret@127.0.0.1:1"}
	for _, args := range [][]string{{"config"}, {"config", "--json"}, {"serve", "--listen", "127.0.0.1:0"}, {"--json", "serve", "--listen", "127.0.0.1:0"}} {
		r := run(t, environ, args...)
		if all := r.stdout + r.stderr; strings.Contains(all, "s3cret") || !strings.Contains(all, "127.0.0.1:1") {
			t.Errorf("%v: %s", args, all)
		}
	}
}
