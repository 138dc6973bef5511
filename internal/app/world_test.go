package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/coder/websocket"
	"github.com/nats-io/nats-server/v2/server"

	"eureka"
	"eureka/internal/app"
	"eureka/internal/config"
)

// patience is how long a test waits for something that should happen soon, on a loaded machine too.
const patience = 60 * time.Second

// The credentials of the settings of these tests.
const (
	adminKey  = "the-admin-key-of-these-tests-0123456789"
	jwtSecret = "the-jwt-secret-of-these-tests-0123456789"
)

// output is a log that can be read while it is written.
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

// node is one running service.
type node struct {
	app  *app.App
	url  string
	log  *output
	stop func()
}

// settings are those of `serve` with these flags.
func settings(t testing.TB, flags ...string) config.Settings {
	t.Helper()
	var grammar struct{ config.Settings }
	parser, err := kong.New(&grammar)
	if err != nil {
		t.Fatal(err)
	}
	flags = append([]string{"--listen=127.0.0.1:0", "--data-dir=" + t.TempDir(), "--drain-spread=1ms"}, flags...)
	if _, err := parser.Parse(flags); err != nil {
		t.Fatal(err)
	}
	return grammar.Settings
}

// serve runs the service as `serve` with these flags does, with its log at level debug.
func serve(t testing.TB, flags ...string) *node {
	t.Helper()
	n := &node{log: &output{}}
	log := slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if _, measures := t.(*testing.B); measures {
		log = slog.New(slog.DiscardHandler)
	}
	var err error
	n.app, err = app.New(app.Options{Settings: settings(t, flags...), Version: "test", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	if err := n.app.Start(ctx); err != nil {
		t.Fatal(err)
	}
	n.url = "http://" + n.app.Addr()
	n.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		_ = n.app.Stop(ctx) // sockets that a test left open are cut
	})
	t.Cleanup(n.stop)
	return n
}

// guarded is serve with an admin key and a secret of tokens.
func guarded(t testing.TB, flags ...string) *node {
	t.Helper()
	return serve(t, append([]string{"--admin-key=" + adminKey, "--jwt-secret=" + jwtSecret}, flags...)...)
}

// natsServer runs an external NATS for several nodes and returns the flag that names it.
func natsServer(t *testing.T) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(patience) {
		t.Fatal("NATS does not start")
	}
	return "--nats=" + s.ClientURL()
}

// answer is the answer to a request.
type answer struct {
	status int
	header http.Header
	text   string
}

// code is the code of an error's answer.
func (a answer) code() eureka.Code {
	var d struct {
		Code eureka.Code `json:"code"`
	}
	_ = json.Unmarshal([]byte(a.text), &d) // "" for what is no error
	return d.Code
}

// client follows no redirect and keeps no connection, so that the service can stop.
var client = &http.Client{
	Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// call makes a request; headers are lines "Name: value".
func (n *node) call(t testing.TB, method, path, body string, headers ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, n.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Add(name, value)
		if name == "Host" {
			request.Host = value
		}
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(text)}
}

// admin is call with the admin key; an error fails the test.
func (n *node) admin(t testing.TB, method, path, body string) string {
	t.Helper()
	a := n.call(t, method, path, body, bearer(adminKey))
	if a.status >= http.StatusMultipleChoices {
		t.Fatalf("%s %s: %d %s", method, path, a.status, a.text)
	}
	return a.text
}

func bearer(credential string) string { return "Authorization: Bearer " + credential }

// key creates an API key and returns its id and the credential.
func (n *node) key(t testing.TB, body string) (id, credential string) {
	t.Helper()
	var k struct{ ID, Key string }
	if err := json.Unmarshal([]byte(n.admin(t, "POST", "/keys", body)), &k); err != nil || k.Key == "" {
		t.Fatalf("no key: %v", err)
	}
	return k.ID, k.Key
}

// socket is a client's end of a WebSocket.
type socket struct {
	t    testing.TB
	conn *websocket.Conn
}

// try connects a real WebSocket client; without a socket the answer says why.
func (n *node) try(t testing.TB, query string, headers ...string) (*socket, answer) {
	t.Helper()
	header := http.Header{}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		header.Add(name, value)
	}
	options := &websocket.DialOptions{HTTPHeader: header, HTTPClient: client}
	if offered := header.Values("Sec-Websocket-Protocol"); offered != nil {
		options.Subprotocols = strings.Split(strings.Join(offered, ", "), ", ")
		header.Del("Sec-Websocket-Protocol")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, response, err := websocket.Dial(ctx, n.url+"/"+query, options)
	if err != nil {
		if response == nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		return nil, answer{response.StatusCode, response.Header, string(text)}
	}
	conn.SetReadLimit(-1)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &socket{t, conn}, answer{response.StatusCode, response.Header, ""}
}

// dial is try that must succeed.
func (n *node) dial(t testing.TB, query string, headers ...string) *socket {
	t.Helper()
	s, a := n.try(t, query, headers...)
	if s == nil {
		t.Fatalf("refused with %d %s", a.status, a.text)
	}
	return s
}

// refused checks that a handshake is refused with this code, and returns the answer.
func (n *node) refused(t testing.TB, code eureka.Code, query string, headers ...string) answer {
	t.Helper()
	s, a := n.try(t, query, headers...)
	if s != nil {
		t.Errorf("%s %v: let in, want %s", query, headers, code)
		return a
	}
	if a.code() != code || a.status != code.Outcome().HTTPStatus {
		t.Errorf("%s %v: %d %s, want %s", query, headers, a.status, a.text, code)
	}
	return a
}

func (s *socket) send(frame string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if err := s.conn.Write(ctx, websocket.MessageText, []byte(frame)); err != nil {
		s.t.Fatalf("%s: %v", frame, err)
	}
}

// next is the next frame.
func (s *socket) next() string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	_, text, err := s.conn.Read(ctx)
	if err != nil {
		s.t.Fatalf("no frame: %v", err)
	}
	return string(text)
}

// ask sends a frame and returns the next one, which must have this text in it.
func (s *socket) ask(frame, want string) string {
	s.t.Helper()
	s.send(frame)
	return s.await(want)
}

// await is next, which must have this text in it.
func (s *socket) await(want string) string {
	s.t.Helper()
	got := s.next()
	if !strings.Contains(got, want) {
		s.t.Fatalf("got %s, want …%s…", got, want)
	}
	return got
}

// end reads up to the close frame and returns its code, its reason, and the frames before it.
func (s *socket) end() (code eureka.CloseCode, reason string, frames []string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for {
		_, text, err := s.conn.Read(ctx)
		if err == nil {
			frames = append(frames, string(text))
			continue
		}
		var closed websocket.CloseError
		if !errors.As(err, &closed) {
			s.t.Fatalf("no close frame: %v, after %v", err, frames)
		}
		return eureka.CloseCode(closed.Code), closed.Reason, frames
	}
}

// ended checks that the service closes the socket with a bye and this code.
func (s *socket) ended(code eureka.CloseCode, reason string) []string {
	s.t.Helper()
	got, why, frames := s.end()
	bye := ""
	if len(frames) > 0 {
		bye = frames[len(frames)-1]
	}
	if got != code || !strings.Contains(why, reason) || !strings.Contains(bye, fmt.Sprintf(`{"action":"bye","data":{"code":%d,`, code)) {
		s.t.Errorf("closed with %d %q after %s, want %d …%s…", got, why, bye, code, reason)
	}
	return frames
}

// eventually polls until something holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to pass: %s", what)
		}
		<-tick.C
	}
}

// metric is the value of one line of /metrics, such as eureka_limited_total{setting="max_sockets"}; -1 when it is not there.
func (n *node) metric(t testing.TB, name string, headers ...string) float64 {
	t.Helper()
	for line := range strings.Lines(n.call(t, "GET", "/metrics", "", headers...).text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			var v float64
			if _, err := fmt.Sscan(value, &v); err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	return -1
}
