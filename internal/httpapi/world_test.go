package httpapi

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"eureka/internal/auth"
	"eureka/internal/core"
	"eureka/internal/engine/natsengine"
	"eureka/internal/gateway"
	"eureka/internal/rule"
)

// node is fixed so that socket ids, which start with it, are the same in every run.
const node = "aaaaaaaa"

// patience is how long a test waits for something that should happen soon, on a loaded machine too.
const patience = 20 * time.Second

// world is the API on the real core and engine, with a gateway beside it for live sockets.
type world struct {
	t       testing.TB
	server  *httptest.Server
	api     http.Handler // behind the server
	clock   atomic.Int64 // epoch milliseconds
	options Options
	first   string // the first revision an answer showed
	last    string // the latest one
	next    string // the latest next of a list
}

// newWorld starts a world that knows declared channels alone if deny; change may alter the API's options.
func newWorld(t testing.TB, deny bool, change func(*Options)) *world {
	t.Helper()
	w := &world{t: t}
	w.clock.Store(1700000000000)
	now := func() time.Time { return time.UnixMilli(w.clock.Load()) }
	log := slog.New(slog.DiscardHandler)
	rules := rule.New(rule.Options{Now: now})
	hub := gateway.NewHub(gateway.HubOptions{Now: now, NewSelector: func() gateway.Selector { return rules.NewSet() }})
	engine, err := natsengine.Open(t.Context(), natsengine.Options{
		DataDir: t.TempDir(), Node: node, Registry: hub, Delivery: hub, Replays: hub, Rules: rules, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	c, err := core.New(core.Options{
		Ports: core.Ports{Channels: engine.Channels(), Sockets: engine.Sockets(), Fanout: engine.Fanout(), Sender: engine.Sender(), History: engine.History(), Requests: engine.Requests(), Credentials: engine.Credentials()},
		Node:  node, AllowUndeclared: !deny, Rules: rules, Now: now, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	origins, err := auth.NewOrigins([]string{"https://app.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	w.options = Options{
		Core: c, OriginAllowed: origins.Allowed, Identify: auth.OpenIdentity, Ready: func(context.Context) error { return nil },
		Hello: func() Hello {
			return Hello{Name: "eureka-sockets", Version: "1.2.3", Mode: "self-hosted", Node: node, Uptime: 42, Sockets: hub.Sockets()}
		},
		Gatherer: registry, Registerer: registry, Log: log,
	}
	if change != nil {
		change(&w.options)
	}
	api, err := New(w.options)
	if err != nil {
		t.Fatal(err)
	}
	w.api = api
	w.serve(w.newGateway(hub, c, origins))
	return w
}

func (w *world) newGateway(hub *gateway.Hub, c *core.Core, origins *auth.Origins) *gateway.Gateway {
	w.t.Helper()
	var ids atomic.Int64
	g, err := gateway.New(gateway.Options{
		Hub: hub, Handler: c, Origins: origins, Identify: auth.OpenIdentity, Log: slog.New(slog.DiscardHandler),
		NewID: func() string { return fmt.Sprintf("%s%018d", node, ids.Add(1)) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

func (w *world) serve(g *gateway.Gateway) {
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			g.ServeHTTP(rw, r)
			return
		}
		w.api.ServeHTTP(rw, r)
	}))
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), patience)
		defer cancel()
		_ = g.Drain(ctx) // sockets that a test left are cut
		w.server.Close()
	})
}

// socketID is the id of the nth socket of a world.
func socketID(n int) string { return fmt.Sprintf("%s%018d", node, n) }

// dial opens a socket that listens to the channels of the query.
func (w *world) dial(query string) *websocket.Conn {
	w.t.Helper()
	c, _, err := websocket.Dial(w.t.Context(), w.server.URL+"/"+query, &websocket.DialOptions{ //nolint:bodyclose // the library closes it
		HTTPHeader: http.Header{"User-Agent": {"test/1"}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

// read returns the next frame of a socket.
func (w *world) read(c *websocket.Conn) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	_, text, err := c.Read(ctx)
	if err != nil {
		w.t.Fatalf("no frame: %v", err)
	}
	return string(text)
}

// step is one request of a scenario and the status it must get.
type step struct {
	name    string
	method  string
	path    string
	header  string // "Name: value", lines
	body    string
	chunked bool
	status  int
}

var revisionPattern = regexp.MustCompile(`"revision":(\d+)`)

var nextPattern = regexp.MustCompile(`"next":"([^"]+)"`)

// run makes the request, checks the status and writes the exchange for the golden file. {rev}, {stale} and {next} in
// path and body stand for what earlier answers showed.
func (w *world) run(s step) string {
	w.t.Helper()
	w.clock.Add(1000)
	fill := strings.NewReplacer("{rev}", w.last, "{stale}", w.first, "{next}", w.next)
	var body io.Reader = strings.NewReader(fill.Replace(s.body))
	if s.chunked {
		body = io.MultiReader(body)
	}
	request, err := http.NewRequestWithContext(w.t.Context(), s.method, w.server.URL+fill.Replace(s.path), body)
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(s.header) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		request.Header.Set(name, value)
		if name == "Host" {
			request.Host = value
		}
	}
	response, err := w.server.Client().Do(request)
	if err != nil {
		w.t.Fatalf("%s: %v", s.name, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatalf("%s: %v", s.name, err)
	}
	if response.StatusCode != s.status {
		w.t.Errorf("%s: status %d, want %d: %s", s.name, response.StatusCode, s.status, text)
	}
	if got := response.Header.Get("X-Content-Type-Options"); got != "nosniff" {
		w.t.Errorf("%s: X-Content-Type-Options is %q", s.name, got)
	}
	if problem := response.Header.Get("Content-Type") == "application/problem+json"; s.status >= 400 && !problem && !strings.Contains(s.path, "@connections") {
		w.t.Errorf("%s: an error of type %q", s.name, response.Header.Get("Content-Type"))
	}
	w.remember(string(text))
	return w.exchange(s, response, string(text))
}

func (w *world) remember(text string) {
	if found := revisionPattern.FindStringSubmatch(text); found != nil {
		if w.first == "" {
			w.first = found[1]
		}
		w.last = found[1]
	}
	if found := nextPattern.FindStringSubmatch(text); found != nil {
		w.next = found[1]
	}
}

// exchange is the golden text of a request and its answer.
func (w *world) exchange(s step, response *http.Response, text string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n%s %s\n", s.name, s.method, s.path)
	if s.header != "" {
		fmt.Fprintf(&b, "%s\n", strings.TrimSpace(s.header))
	}
	if s.body != "" {
		fmt.Fprintf(&b, "%s\n", shorten(s.body))
	}
	fmt.Fprintf(&b, "-> %d %s\n", response.StatusCode, response.Header.Get("Content-Type"))
	for _, name := range []string{"Allow", "Retry-After", "Location", "Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "X-Amzn-Errortype"} {
		if value := response.Header.Get(name); value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	text = strings.ReplaceAll(text, strings.TrimPrefix(w.server.URL, "http://"), "HOST")
	for _, scrub := range []struct{ pattern, by string }{
		{`revision \d+, not \d+`, `revision N, not N`}, {`"revision":\d+`, `"revision":N`}, {`"next":"[^"]+"`, `"next":"NEXT"`},
		{`"(remote|sourceIp)":"127\.0\.0\.1:?\d*"`, `"$1":"CLIENT"`}, {`"lastActiveAt":"[^"]+"`, `"lastActiveAt":"TIME"`},
	} {
		text = regexp.MustCompile(scrub.pattern).ReplaceAllString(text, scrub.by)
	}
	fmt.Fprintf(&b, "%s\n\n", strings.TrimRight(text, "\n"))
	return b.String()
}

func shorten(s string) string {
	if len(s) > 300 {
		return fmt.Sprintf("%s… (%d bytes)", s[:40], len(s))
	}
	return s
}

// golden compares a text with testdata/<name>.golden, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	// The flag is declared beside the tests of the exported API.
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); run with -update when the change is meant:\n%s", path, diff)
	}
}
