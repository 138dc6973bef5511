package apigateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi"
	"github.com/coder/websocket"

	"eureka/internal/edge/simulator/apigateway"
	"eureka/internal/edge/simulator/fault"
	"eureka/internal/edge/simulator/lambda"
	"eureka/internal/edge/simulator/meter"
	"eureka/internal/edge/simulator/sigv4"
	"eureka/internal/edge/simulator/simtest"
)

const patience = 30 * time.Second

func TestMain(m *testing.M) { simtest.Main(m) }

type request = events.APIGatewayWebsocketProxyRequest

// world is a gateway in front of a real process whose answers the test decides.
type world struct {
	*apigateway.Gateway

	t      *testing.T
	url    string // http://host:port
	meter  *meter.Meter
	faults *fault.Set
	user   sigv4.Key

	mu     sync.Mutex
	seen   []request
	calls  []simtest.Call
	owners map[string]sigv4.Key
	clock  time.Time // stands still, unless it is zero
}

// open starts a world. decide answers the events of the WebSocket API; without an answer they are answered {"statusCode":200}.
func open(t *testing.T, change func(*apigateway.Options), decide func(context.Context, request) simtest.Answer) *world {
	t.Helper()
	w := &world{
		t: t, meter: meter.New(nil), faults: fault.NewSet(1), owners: map[string]sigv4.Key{},
		user: sigv4.Key{ID: "AKIAUSER", Secret: "secret", ARN: "arn:aws:iam::123456789012:user/dev"},
	}
	script := simtest.Script(t, func(ctx context.Context, c simtest.Call) simtest.Answer {
		w.mu.Lock()
		w.calls = append(w.calls, c)
		w.mu.Unlock()
		var e request
		if c.Role == "ws" {
			// Strictly, so that nothing is sent that AWS does not.
			decoder := json.NewDecoder(strings.NewReader(c.Event))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&e); err != nil {
				t.Errorf("%v in %s", err, c.Event)
			}
			w.mu.Lock()
			w.seen = append(w.seen, e)
			w.mu.Unlock()
		}
		a := simtest.Answer{}
		if decide != nil {
			a = decide(ctx, e)
		}
		if a.Response == "" {
			a.Response = `{"statusCode":200}`
		}
		return a
	})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.ServeHTTP(rw, r) }))
	w.url = "http://" + server.Listener.Addr().String()
	function := func(role string) *lambda.Function {
		return lambda.New(lambda.Config{
			Name: "eureka-dev-" + role, Role: role, Bootstrap: simtest.Bootstrap(t), Region: "eu-west-1", Account: "123456789012",
			MemoryMB: 128, Timeout: patience, Concurrency: 8, Keep: time.Hour,
			Env: []string{"EUREKA_ROLE=" + role, "SCRIPT_URL=" + script, "EUREKA_MANAGEMENT_URL=" + w.url + "/dev"},
		}, lambda.Host{Meter: w.meter, Faults: w.faults, Log: slog.New(slog.DiscardHandler), Credentials: w.credentials})
	}
	ws, httpFunction := function("ws"), function("http")
	o := apigateway.Options{
		Stage: "dev", Region: "eu-west-1", Account: "123456789012", WS: ws, HTTP: httpFunction, Limits: apigateway.AWSLimits(),
		Meter: w.meter, Faults: w.faults, Log: slog.New(slog.DiscardHandler), Now: w.now,
		Keys: func(id string) (sigv4.Key, bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if id == w.user.ID {
				return w.user, true
			}
			k, ok := w.owners[id]
			return k, ok
		},
	}
	if change != nil {
		change(&o)
	}
	w.Gateway = apigateway.New(o)
	server.Start()
	t.Cleanup(func() {
		closing := make(chan struct{})
		go func() {
			w.Close()
			close(closing)
		}()
		ws.Close() // what hangs in a function ends
		httpFunction.Close()
		<-closing
		server.Close()
	})
	return w
}

func (w *world) credentials(p *lambda.Process) (lambda.Credentials, func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := lambda.Credentials{ID: "ASIA" + rand16(len(w.owners)), Secret: "s", Token: "t"}
	w.owners[c.ID] = sigv4.Key{ID: c.ID, Secret: c.Secret, Token: c.Token, ARN: "arn:aws:sts::123456789012:assumed-role/ws", Owner: p}
	return c, func() {}
}

func rand16(n int) string {
	return strings.Repeat("A", 12) + string(rune('A'+n/26)) + string(rune('A'+n%26))
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.clock.IsZero() {
		return time.Now()
	}
	return w.clock
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
}

// handshake is what a client was answered; the status is 0 without an answer.
type handshake struct {
	status int
	body   string
}

// dial connects a real client.
func (w *world) dial(target string, o *websocket.DialOptions) (*websocket.Conn, handshake, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	c, r, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(w.url, "http")+target, o)
	var h handshake
	if r != nil {
		h.status = r.StatusCode
		if r.Body != nil { // that of a refusal
			body, _ := io.ReadAll(r.Body)
			h.body = string(body)
			_ = r.Body.Close()
		}
	}
	if err == nil {
		c.SetReadLimit(1 << 20)
		w.t.Cleanup(func() { _ = c.CloseNow() })
	}
	return c, h, err
}

func (w *world) connect(target string) *websocket.Conn {
	w.t.Helper()
	c, _, err := w.dial(target, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) events() []request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]request(nil), w.seen...)
}

// await waits for the next event of a route, counted from the n-th.
func (w *world) await(route string, n int) request {
	w.t.Helper()
	var found request
	eventually(w.t, route, func() bool {
		k := 0
		for _, e := range w.events() {
			if e.RequestContext.RouteKey == route {
				if k == n {
					found = e
					return true
				}
				k++
			}
		}
		return false
	})
	return found
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !f(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come", what)
		}
	}
}

func write(t *testing.T, c *websocket.Conn, text string) {
	t.Helper()
	if err := c.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, c *websocket.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, text, err := c.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// closed reads until the end and returns the close code, -1 without one.
func closed(t *testing.T, c *websocket.Conn) websocket.StatusCode {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		if _, _, err := c.Read(ctx); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				t.Fatal("the socket is not closed")
			}
			return websocket.CloseStatus(err)
		}
	}
}

// sdk is the AWS SDK's client of @connections, which does not retry.
func (w *world) sdk(key sigv4.Key) *apigatewaymanagementapi.Client {
	return apigatewaymanagementapi.New(apigatewaymanagementapi.Options{
		Region: "eu-west-1", BaseEndpoint: aws.String(w.url + "/dev"), Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(key.ID, key.Secret, key.Token),
	})
}

func (w *world) post(id, text string) error {
	_, err := w.sdk(w.user).PostToConnection(w.t.Context(), &apigatewaymanagementapi.PostToConnectionInput{ConnectionId: &id, Data: []byte(text)})
	return err
}

func (w *world) fault(text string) {
	w.t.Helper()
	r, err := fault.Parse(text)
	if err == nil {
		err = w.faults.Put(r)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) count(c meter.Counter) float64 { return w.meter.Read().Counts[c] }

func reply(v any) simtest.Answer {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return simtest.Answer{Response: string(bytes.TrimSpace(text))}
}

type answer struct {
	StatusCode        int                 `json:"statusCode"`
	Headers           map[string]any      `json:"headers,omitempty"`
	MultiValueHeaders map[string][]string `json:"multiValueHeaders,omitempty"`
	Cookies           []string            `json:"cookies,omitempty"`
	Body              string              `json:"body,omitempty"`
	IsBase64Encoded   bool                `json:"isBase64Encoded,omitempty"`
}
