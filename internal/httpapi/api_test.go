package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"

	"eureka"
	"eureka/internal/auth"
	"eureka/internal/core"
	"eureka/internal/engine/natsengine"
	"eureka/internal/gateway"
	"eureka/internal/httpapi"
	"eureka/internal/rule"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const node = "aaaaaaaa"

// world is the API on the real core and engine.
type world struct {
	handler http.Handler
	engine  *natsengine.Engine
	hub     *gateway.Hub
	ready   error
	hello   func() httpapi.Hello
}

func newWorld(t *testing.T) *world {
	t.Helper()
	rules := rule.New(rule.Options{})
	w := &world{hub: gateway.NewHub(gateway.HubOptions{NewSelector: func() gateway.Selector { return rules.NewSet() }})}
	log := slog.New(slog.DiscardHandler)
	var err error
	w.engine, err = natsengine.Open(t.Context(), natsengine.Options{DataDir: t.TempDir(), Node: node, Registry: w.hub, Delivery: w.hub, Replays: w.hub, Rules: rules, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.engine.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	c, err := core.New(core.Options{
		Rules: rules,
		Ports: core.Ports{Channels: w.engine.Channels(), Sockets: w.engine.Sockets(), Fanout: w.engine.Fanout(), Sender: w.engine.Sender(), History: w.engine.History(), Requests: w.engine.Requests(), Credentials: w.engine.Credentials()},
		Node:  node, AllowUndeclared: true, Log: log, Now: func() time.Time { return time.UnixMilli(1700000000000) },
	})
	if err != nil {
		t.Fatal(err)
	}
	origins, err := auth.NewOrigins([]string{"https://app.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	w.hello = func() httpapi.Hello {
		return httpapi.Hello{Name: "eureka-sockets", Version: "1", Mode: "test", Node: node}
	}
	w.handler, err = httpapi.New(httpapi.Options{
		Core: c, OriginAllowed: origins.Allowed, Identify: auth.OpenIdentity, Hello: func() httpapi.Hello { return w.hello() },
		Ready: func(context.Context) error { return w.ready }, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) call(t *testing.T, method, target, body string, header map[string]string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	for key, value := range header {
		r.Header.Set(key, value)
	}
	recorder := httptest.NewRecorder()
	w.handler.ServeHTTP(recorder, r)
	return recorder.Result()
}

var revisions = regexp.MustCompile(`"revision":\d+`)

// TestScript runs testdata/api.script: each line is a method, a target and a body; what the API answers stands below it.
func TestGoldenScript(t *testing.T) {
	path := filepath.Join("testdata", "api.script")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	for _, s := range []eureka.Socket{{ID: node + "s1", User: "ann", Node: node, ConnectedAt: 1}, {ID: node + "s2", Node: node, ConnectedAt: 2}} {
		if err := w.engine.Sockets().Add(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	var got strings.Builder
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "  ") {
			continue
		}
		got.WriteString(line + "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		method, rest, _ := strings.Cut(line, " ")
		target, body, _ := strings.Cut(rest, " ")
		body = strings.ReplaceAll(body, "DEEP", strings.Repeat("[", 5000)+strings.Repeat("]", 5000))
		response := w.call(t, method, target, body, map[string]string{"Content-Type": "application/json"})
		answer, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		got.WriteString("  " + response.Status + " " + revisions.ReplaceAllString(strings.TrimSpace(string(answer)), `"revision":1`) + "\n")
		if kind := response.Header.Get("Content-Type"); response.StatusCode >= 400 && kind != "application/problem+json" && !strings.Contains(target, "@connections") {
			t.Errorf("%s: content type %q", line, kind)
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

func TestBodiesAndHeaders(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name, method, target, body string
		header                     map[string]string
		status                     int
		want                       string // in the answer
		answer                     map[string]string
	}{
		{"3 MB", "POST", "/events", strings.Repeat("x", 3<<20), nil, 413, "limit of 1048576 bytes", nil},
		{"no content type", "POST", "/channels/a/broadcast", `{"data":1}`, nil, 200, `"delivered":0`, nil},
		{"curl's content type", "POST", "/channels/a/broadcast", `{"data":1}`, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, 200, `"delivered":0`, nil},
		{"another content type", "POST", "/channels/a/broadcast", `<a/>`, map[string]string{"Content-Type": "text/xml"}, 400, "Content-Type", nil},
		{"nonsense content type", "POST", "/channels/a/broadcast", `{}`, map[string]string{"Content-Type": "///"}, 400, "Content-Type", nil},
		{"not UTF-8", "POST", "/channels/a/broadcast", "{\"data\":\"\xff\"}", nil, 400, "is not valid UTF-8", nil},
		{"events not UTF-8", "POST", "/events", "{\"channelId\":\"a\",\"data\":\"\xff\"}", nil, 400, "is not valid UTF-8", nil},
		{"a key in another case", "POST", "/channels/a/broadcast", `{"DATA":1,"data":1}`, nil, 400, "DATA: is no field", nil},
		{"malformed query", "GET", "/channels?q=%zz", "", nil, 400, "malformed escape", nil},
		{"foreign page", "GET", "/channels", "", map[string]string{"Origin": "https://evil.example"}, 403, `"code":"forbidden"`, nil},
		{"foreign page, health too", "GET", "/hello", "", map[string]string{"Origin": "https://evil.example"}, 403, `"code":"forbidden"`, nil},
		{"our page", "GET", "/channels", "", map[string]string{"Origin": "https://app.example.com"}, 200, `"total"`, map[string]string{"Access-Control-Allow-Origin": "https://app.example.com"}},
		{"preflight", "OPTIONS", "/channels/0", "", map[string]string{"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}, 204, "", map[string]string{"Access-Control-Allow-Methods": "GET, POST, PUT, DELETE"}},
		{"wrong method", "PATCH", "/channels/a", "", nil, 405, `"code":"invalid"`, map[string]string{"Allow": "GET, POST, PUT, DELETE"}},
		{"request id", "GET", "/hello", "", map[string]string{"X-Request-Id": "abc-1"}, 200, "", map[string]string{"X-Request-Id": "abc-1"}},
		{"welcome shows no foreign text", "GET", "/", "", map[string]string{"Host": "x'; rm -rf /"}, 200, "wscat -c", nil},
		{"frame too large", "POST", "/@connections/aaaaaaaas1", strings.Repeat("x", eureka.MaxFrameBytes+1), nil, 413, "limit", map[string]string{"X-Amzn-Errortype": "PayloadTooLargeException"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			response := w.call(t, tt.method, tt.target, tt.body, tt.header)
			text, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil || response.StatusCode != tt.status || !strings.Contains(string(text), tt.want) {
				t.Errorf("answered %s %s, %v", response.Status, text, err)
			}
			for key, value := range tt.answer {
				if got := response.Header.Get(key); got != value {
					t.Errorf("%s is %q, want %q", key, got, value)
				}
			}
		})
	}
}

func TestAChunkedBodyOverTheLimit(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.handler)
	defer server.Close()
	reader := io.MultiReader(strings.NewReader(`{"data":"`), bytes.NewReader(bytes.Repeat([]byte{'x'}, 2<<20)))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/channels/a/broadcast", reader)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("answered %s", response.Status)
	}
}

func TestAPanicIsAnAnswer(t *testing.T) {
	w := newWorld(t)
	w.hello = func() httpapi.Hello { panic("secret") }
	response := w.call(t, http.MethodGet, "/hello", "", nil)
	text, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil || response.StatusCode != http.StatusInternalServerError || strings.Contains(string(text), "secret") {
		t.Errorf("answered %s %s, %v", response.Status, text, err)
	}
}

func TestReadiness(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		err    error
		status int
	}{{nil, 200}, {eureka.Errorf(eureka.CodeUnavailable, "NATS is away"), 503}} {
		w.ready = tt.err
		response := w.call(t, http.MethodGet, "/readyz", "", nil)
		_ = response.Body.Close()
		if response.StatusCode != tt.status {
			t.Errorf("%v: %s", tt.err, response.Status)
		}
	}
}

// TestOpenAPIGolden: docs/openapi.json is what the service serves, and every operation says what it does.
func TestOpenAPIGolden(t *testing.T) {
	text, err := httpapi.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("..", "..", "docs", "openapi.json")
	if *update {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(text)); diff != "" {
		t.Errorf("%s (-file +code); run `make gen`:\n%s", path, diff)
	}
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID, Summary string
			Responses            map[string]any
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Fatalf("version %q, %v", doc.OpenAPI, err)
	}
	seen := map[string]bool{}
	for path, operations := range doc.Paths {
		for method, o := range operations {
			if o.OperationID == "" || o.Summary == "" || len(o.Responses) < 2 || seen[o.OperationID] {
				t.Errorf("%s %s: %+v", method, path, o)
			}
			seen[o.OperationID] = true
		}
	}
	for _, id := range []string{"create-channel", "broadcast-original", "report-events", "post-to-connection", "readyz", "search"} {
		if !seen[id] {
			t.Errorf("%s is not in the document", id)
		}
	}
}

// TestDocsInABrowser opens /docs in a real browser, which must show the operations without any other host.
func TestDocsInABrowser(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("chromium is not installed; `make tools` installs it")
		}
		t.Skip("chromium is not installed; `make tools` installs it")
	}
	server := httptest.NewServer(newWorld(t).handler)
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--virtual-time-budget=10000",
		"--user-data-dir="+t.TempDir(), "--dump-dom", server.URL+"/docs").Output()
	if err != nil || !strings.Contains(string(out), `id="create-channel"`) || !strings.Contains(string(out), "/channels/{id}/broadcast") {
		t.Errorf("the page is %.2000s, %v", out, err)
	}
}

func TestAWSClient(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.handler)
	defer server.Close()
	if err := w.engine.Sockets().Add(t.Context(), eureka.Socket{ID: node + "s1", Node: node, Remote: "127.0.0.1:9", ConnectedAt: 1700000000000}); err != nil {
		t.Fatal(err)
	}
	for _, endpoint := range []string{server.URL, server.URL + "/dev"} {
		client := awsClient(endpoint)
		got, err := client.GetConnection(t.Context(), &getConnection{ConnectionId: aws.String(node + "s1")})
		if err != nil || !got.ConnectedAt.Equal(time.UnixMilli(1700000000000)) || aws.ToString(got.Identity.SourceIp) != "127.0.0.1:9" {
			t.Errorf("%s: %+v, %v", endpoint, got, err)
		}
		for _, id := range []string{node + "gone", "WklOAfLioE0CJPw=", node + "s1"} { // the last has no connection on a listener
			_, err := client.PostToConnection(t.Context(), &postToConnection{ConnectionId: aws.String(id), Data: []byte("x")})
			if !isGone(err) {
				t.Errorf("%s, %s: %v", endpoint, id, err)
			}
		}
	}
}
