package app_test

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"eureka"
)

// attack is the page that the browser opens: it tries what it is told and reports what came of it.
//
//go:embed testdata/attack.html
var attack string

// site is a web server whose pages a browser opens under any name.
type site struct {
	port    string
	reports chan string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{reports: make(chan string, 10)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			text, _ := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20)) // what is cut off is no report
			s.reports <- string(text)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, attack)
	}))
	t.Cleanup(server.Close)
	_, s.port, _ = strings.Cut(server.Listener.Addr().String(), ":")
	return s
}

// chromium opens an address in a real browser, for which every name under .example is this machine. It returns what the browser prints.
func chromium(ctx context.Context, t *testing.T, address string, flags ...string) string {
	t.Helper()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("chromium is not installed; `make tools` installs it")
		}
		t.Skip("chromium is not installed; `make tools` installs it")
	}
	flags = append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--host-resolver-rules=MAP *.example 127.0.0.1", "--user-data-dir=" + t.TempDir(),
	}, flags...)
	command := exec.CommandContext(ctx, browser, append(flags, address)...)
	command.WaitDelay = 10 * time.Second
	out, err := command.Output()
	if err != nil && ctx.Err() == nil {
		t.Fatalf("the browser failed: %v", err)
	}
	return string(out)
}

// attempt is one thing that the page tries. Kind is socket, get or post.
type attempt struct {
	Kind      string   `json:"kind"`
	URL       string   `json:"url"`
	Protocols []string `json:"protocols,omitempty"`
	Body      string   `json:"body,omitempty"`
}

// visit opens the site's page under a name and returns what came of each attempt.
func (s *site) visit(t *testing.T, host string, attempts ...attempt) []string {
	t.Helper()
	plan, err := json.Marshal(attempts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		chromium(ctx, t, "http://"+host+":"+s.port+"/#"+url.PathEscape(string(plan)))
	}()
	defer func() {
		cancel()
		<-closed
	}()
	select {
	case text := <-s.reports:
		var results []string
		if err := json.Unmarshal([]byte(text), &results); err != nil || len(results) != len(attempts) {
			t.Fatalf("the page reports %s, %v", text, err)
		}
		return results
	case <-closed:
		t.Fatal("the browser ended without a report")
	case <-ctx.Done():
		t.Fatal("the page does not report")
	}
	return nil
}

// TestPagesOfOtherSites: what a page of another site can do to a service on the same machine, in a real browser: nothing.
func TestPagesOfOtherSites(t *testing.T) {
	page := newSite(t)
	n := serve(t)
	listener := n.dial(t, "?channels=room")
	tries := []attempt{
		{Kind: "socket", URL: strings.Replace(n.url, "http", "ws", 1) + "/?info"},
		{Kind: "socket", URL: strings.Replace(n.url, "http", "ws", 1) + "/?info", Protocols: []string{"eureka.v1"}},
		{Kind: "get", URL: n.url + "/channels"},
		{Kind: "post", URL: n.url + "/channels/room/broadcast", Body: `{"data":"from a page"}`},
	}
	for i, got := range page.visit(t, "evil.example", tries...) {
		// The page cannot read the answer to a post; that nothing was published is seen below.
		if want := map[string]string{"socket": "closed 1006", "get": "failed", "post": "sent"}[tries[i].Kind]; !strings.HasPrefix(got, want) {
			t.Errorf("another site, %+v: %s", tries[i], got)
		}
	}
	if got := n.metric(t, `eureka_connects_total{result="forbidden"}`); got != 2 {
		t.Errorf("%v handshakes were refused", got)
	}
	n.call(t, "POST", "/channels/room/broadcast", `{"data":"last"}`)
	listener.await(`"data":"last"`)
	for i, got := range page.visit(t, "localhost", tries...) {
		if want := map[string]string{"socket": "open", "get": "200", "post": "sent"}[tries[i].Kind]; !strings.HasPrefix(got, want) {
			t.Errorf("a page of this machine, %+v: %s", tries[i], got)
		}
	}
	listener.await(`"data":"from a page"`)
	// A name of another site that points here is no name of the service.
	_, port, _ := strings.Cut(n.app.Addr(), ":")
	for host, want := range map[string]string{"rebound.example": string(eureka.CodeForbidden), "localhost": `"uptime"`} {
		got := chromium(t.Context(), t, fmt.Sprintf("http://%s:%s/hello", host, port), "--virtual-time-budget=10000", "--dump-dom")
		if !strings.Contains(got, want) || (host != "localhost" && strings.Contains(got, "uptime")) {
			t.Errorf("the page %s shows %s", host, got)
		}
	}
}

// TestPagesWithAToken: a page of an allowed origin gets in with its token, a page of another one does not even with a good token.
func TestPagesWithAToken(t *testing.T) {
	page := newSite(t)
	n := guarded(t, "--allowed-origins=http://app.example:"+page.port+",http://*.apps.example:"+page.port)
	ws := strings.Replace(n.url, "http", "ws", 1) + "/?info"
	good, wrong := token(nil), hmacSigner(adminKey).token("", nil)
	tries := []attempt{
		{Kind: "socket", URL: ws, Protocols: []string{"eureka.v1", "bearer." + good}},
		{Kind: "socket", URL: ws + "&access_token=" + good},
		{Kind: "socket", URL: ws, Protocols: []string{"eureka.v1", "bearer." + wrong}},
		{Kind: "socket", URL: ws, Protocols: []string{"eureka.v1"}},
	}
	for host, wants := range map[string][]string{
		"app.example":      {`open eureka.v1 {"action":"info"`, `open {"action":"info"`, "closed 1006", "closed 1006"},
		"one.apps.example": {`open eureka.v1 {"action":"info"`, `open {"action":"info"`, "closed 1006", "closed 1006"},
		"evil.example":     {"closed 1006", "closed 1006", "closed 1006", "closed 1006"},
		"apps.example":     {"closed 1006", "closed 1006", "closed 1006", "closed 1006"},
	} {
		for i, got := range page.visit(t, host, tries...) {
			if !strings.HasPrefix(got, wants[i]) || (strings.HasPrefix(got, "open") && !strings.Contains(got, `"user":"ann"`)) {
				t.Errorf("%s, attempt %d: %s, want %s", host, i, got, wants[i])
			}
		}
	}
	for result, want := range map[string]float64{"ok": 4, "unauthenticated": 4, "forbidden": 8} {
		if got := n.metric(t, fmt.Sprintf(`eureka_connects_total{result=%q}`, result), bearer(adminKey)); got != want {
			t.Errorf("%v handshakes ended with %s, want %v", got, result, want)
		}
	}
}
