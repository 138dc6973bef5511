package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"eureka/internal/lambdaapp"
)

// Budgets of the binary.
const (
	maxBinary   = 25 << 20              // bytes, for arm64
	maxStartCPU = 60 * time.Millisecond // of a cold start, until the function asks for its first event
)

// patience is how long a process may take for what should take milliseconds, on a loaded machine too.
const patience = 30 * time.Second

// flags are those of the release.
var flags = []string{"-trimpath", "-ldflags=-s -w", "-tags=lambda.norpc"}

func build(t testing.TB, environment ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bootstrap")
	command := exec.CommandContext(t.Context(), "go", append(append([]string{"build"}, flags...), "-o", path, ".")...)
	command.Env = append(append(os.Environ(), "CGO_ENABLED=0"), environment...)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

func TestSize(t *testing.T) {
	info, err := os.Stat(build(t, "GOOS=linux", "GOARCH=arm64"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f MB", float64(info.Size())/(1<<20))
	if info.Size() > maxBinary {
		t.Errorf("the binary has %d bytes, the limit is %d", info.Size(), maxBinary)
	}
}

// TestLinks: the release links no server, no second engine, no command line and none of what starts slowly. What it links by way of a tag is
// internal/repotest's rule.
func TestLinks(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags=lambda.norpc", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	linked := strings.Fields(string(out))
	if len(linked) < 100 {
		t.Fatalf("it links %d packages alone", len(linked))
	}
	for _, path := range linked {
		for _, heavy := range []string{"net/rpc", "github.com/nats-io/", "modernc.org/", "github.com/alecthomas/", "eureka/internal/gateway", "eureka/internal/engine/natsengine"} {
			if strings.HasPrefix(path, heavy) {
				t.Errorf("it links %s", path)
			}
		}
	}
}

// environment is a function's, for a role. Nothing listens where it points.
func environment(role string) map[string]string {
	return map[string]string{
		"EUREKA_ROLE": role, "EUREKA_STAGE": "dev", "EUREKA_TABLE": "eureka-dev", "EUREKA_TASKS_QUEUE_URL": "http://127.0.0.1:1/tasks",
		"EUREKA_MANAGEMENT_URL": "https://a1.execute-api.eu-west-1.amazonaws.com/dev", "EUREKA_AUTH": "service",
		"EUREKA_ADMIN_KEY": strings.Repeat("k", 32), "EUREKA_JWT_SECRET": strings.Repeat("s", 32),
		"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:1",
	}
}

// runtimeAPI is Lambda's runtime API for one process: it gives the events it has, one by one, and keeps the answers. It is a fake of the part that
// a function uses; the simulator's is a fuller one.
type runtimeAPI struct {
	server  *httptest.Server
	asked   chan struct{} // the function asks for an event
	events  chan string
	answers chan string
	stop    chan struct{}
}

func newRuntimeAPI(t testing.TB) *runtimeAPI {
	api := &runtimeAPI{asked: make(chan struct{}, 100), events: make(chan string, 1), answers: make(chan string, 1), stop: make(chan struct{})}
	const invocation = "/2018-06-01/runtime/invocation/"
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+invocation+"next", func(w http.ResponseWriter, r *http.Request) {
		api.asked <- struct{}{}
		select {
		case event := <-api.events:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "1")
			w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(patience).UnixMilli()))
			_, _ = io.WriteString(w, event)
		case <-api.stop:
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("POST "+invocation+"1/{kind}", func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		api.answers <- r.PathValue("kind") + " " + string(text)
		w.WriteHeader(http.StatusAccepted)
	})
	api.server = httptest.NewServer(mux)
	t.Cleanup(func() {
		close(api.stop)
		api.server.Close()
	})
	return api
}

// process is the binary as a function.
type process struct {
	*exec.Cmd

	mu  sync.Mutex
	log bytes.Buffer
}

// Write keeps what the process logs.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (api *runtimeAPI) run(t testing.TB, binary string, env map[string]string) *process {
	t.Helper()
	p := &process{Cmd: exec.CommandContext(t.Context(), binary)}
	p.Env = []string{"AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(api.server.URL, "http://")}
	for name, value := range env {
		p.Env = append(p.Env, name+"="+value)
	}
	p.Stdout, p.Stderr = p, p
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
	})
	return p
}

func await[T any](t testing.TB, from <-chan T, what string, p *process) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		p.mu.Lock()
		defer p.mu.Unlock()
		t.Fatalf("%s did not come; the function logged:\n%s", what, p.log.String())
		panic("unreachable")
	}
}

// TestColdStart holds each role against its budget, by the processor time that the kernel counted for it: a loaded machine does not add to that
// what its neighbours use. The least of a few starts counts.
func TestColdStart(t *testing.T) {
	binary := build(t)
	for _, role := range []string{"ws", "http", "events", "fanout", "schedule"} {
		least := time.Hour
		for range 5 {
			api := newRuntimeAPI(t)
			p := api.run(t, binary, environment(role))
			await(t, api.asked, "the first request", p)
			_ = p.Process.Kill() // it waits for an event, so its time stands still
			_ = p.Wait()
			least = min(least, p.ProcessState.UserTime()+p.ProcessState.SystemTime())
		}
		t.Logf("%s: %v", role, least.Round(100*time.Microsecond))
		if least > maxStartCPU {
			t.Errorf("%s needs %v of the processor to start, the limit is %v", role, least, maxStartCPU)
		}
	}
}

// TestInvocation: a request through the runtime API, answered by the binary, and the function waits for the next one.
func TestInvocation(t *testing.T) {
	api := newRuntimeAPI(t)
	p := api.run(t, build(t), environment("http"))
	for _, want := range []struct {
		path, key, body string
		status          int
	}{
		{"/hello", "", `"mode":"serverless"`, 200},
		{"/", "", "wscat -c 'wss://a1.execute-api.eu-west-1.amazonaws.com/dev?channels=1000001'", 200},
		{"/metrics", "", "CloudWatch", 404},
		{"/channels", "", `"code":"unauthenticated"`, 401},
		{"/channels", "ek_0123456789", `"code":"unavailable"`, 503}, // there is no store here, so nobody can be told from anybody
	} {
		await(t, api.asked, "a request for an event", p)
		event, err := json.Marshal(events.APIGatewayV2HTTPRequest{
			Version: "2.0", RawPath: want.path, Headers: map[string]string{"host": "b2.execute-api.eu-west-1.amazonaws.com", "x-forwarded-proto": "https", "x-api-key": want.key},
			RequestContext: events.APIGatewayV2HTTPRequestContext{Stage: "$default", HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{Method: "GET"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		api.events <- string(event)
		kind, text, _ := strings.Cut(await(t, api.answers, "an answer", p), " ")
		var answer events.APIGatewayV2HTTPResponse
		if err := json.Unmarshal([]byte(text), &answer); err != nil || kind != "response" {
			t.Fatalf("%s: %s %s", want.path, kind, text)
		}
		if answer.StatusCode != want.status || !strings.Contains(answer.Body, want.body) {
			t.Errorf("%s: %d %s", want.path, answer.StatusCode, answer.Body)
		}
	}
	await(t, api.asked, "a request for an event", p)
}

// TestStartRefused: a function that cannot start says why, in one line of JSON, and not what its secrets are.
func TestStartRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(map[string]string)
		want   string
	}{
		"nothing set": {func(env map[string]string) { clear(env) }, "not set in the environment: EUREKA_ROLE, EUREKA_STAGE, EUREKA_TABLE, EUREKA_TASKS_QUEUE_URL, EUREKA_MANAGEMENT_URL, EUREKA_AUTH, AWS_REGION"},
		"short key":   {func(env map[string]string) { env["EUREKA_ADMIN_KEY"] = "secret-and-short" }, "admin_key: must have at least 32 characters"},
	} {
		t.Run(name, func(t *testing.T) {
			env := environment("ws")
			tt.change(env)
			var out bytes.Buffer
			handler, err := start(func(name string) string { return env[name] }, &out)
			var line struct{ Level, Msg, Error string }
			if decodeErr := json.Unmarshal(out.Bytes(), &line); decodeErr != nil || err == nil || handler != nil {
				t.Fatalf("%v, %v, %s", err, decodeErr, out.String())
			}
			if line.Level != "ERROR" || !strings.Contains(line.Error, tt.want) || strings.Contains(out.String(), "secret-and-short") {
				t.Errorf("it logged %s", out.String())
			}
		})
	}
	if _, err := lambdaapp.FromEnv(func(name string) string { return environment("ws")[name] }); err != nil {
		t.Error(err)
	}
}
