package apigateway

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"eureka/internal/edge/simulator/fault"
	"eureka/internal/edge/simulator/lambda"
	"eureka/internal/edge/simulator/meter"
	"eureka/internal/edge/simulator/sigv4"
)

// Invoker runs a function; *lambda.Function is one.
type Invoker interface {
	Invoke(ctx context.Context, event []byte) (lambda.Result, error)
}

// Options configure a Gateway.
type Options struct {
	Stage   string // of the WebSocket API; the HTTP API has the stage $default
	Region  string
	Account string
	WS      Invoker // takes $connect, $default and $disconnect
	HTTP    Invoker // takes HTTP requests
	IAM     bool    // handshakes and HTTP requests must be signed
	Keys    func(accessKeyID string) (sigv4.Key, bool)
	Limits  Limits
	Meter   *meter.Meter
	Faults  *fault.Set
	Log     *slog.Logger
	Now     func() time.Time // nil means time.Now
}

// apiID is the id of both APIs.
const apiID = "eurekasim0"

// Gateway is the two APIs. It is an http.Handler, safe for concurrent use.
type Gateway struct {
	options  Options
	verifier sigv4.Verifier
	//nolint:containedctx // what outlives the request that began it, such as a socket, ends with the gateway
	base     context.Context
	cancel   context.CancelFunc
	connects *bucket
	requests *bucket
	crowd    *crowd

	mu          sync.Mutex
	connections map[string]*connection
	newest      *connection // that is open, for DuplicateID
	closed      bool
	work        sync.WaitGroup // readers and invocations
}

// New returns a Gateway.
func New(o Options) *Gateway {
	if o.Now == nil {
		o.Now = time.Now
	}
	g := &Gateway{
		options:     o,
		verifier:    sigv4.Verifier{Region: o.Region, Service: "execute-api", Find: o.Keys, Now: o.Now},
		connects:    newBucket(o.Limits.ConnectRate, o.Limits.ConnectBurst),
		requests:    newBucket(o.Limits.RequestRate, o.Limits.RequestBurst),
		connections: map[string]*connection{},
		crowd:       newCrowd(),
	}
	g.base, g.cancel = context.WithCancel(context.Background())
	o.Meter.Live(func(add func(meter.Counter, float64)) {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, c := range g.connections {
			add(meter.ConnectionMn, o.Now().Sub(c.connectedAt).Minutes())
		}
	})
	return g
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	management := "/" + g.options.Stage + "/@connections/"
	switch path := r.URL.EscapedPath(); {
	case strings.HasPrefix(path, management):
		g.serveManagement(w, r, strings.TrimPrefix(path, management))
	case isUpgrade(r):
		g.serveConnect(w, r)
	default:
		g.serveHTTPAPI(w, r)
	}
}

// Close closes all sockets, gives up the invocations under way and waits until nothing is left. Nobody is told that the sockets ended.
func (g *Gateway) Close() {
	g.mu.Lock()
	g.closed = true
	all := make([]*connection, 0, len(g.connections))
	for _, c := range g.connections {
		all = append(all, c)
	}
	g.mu.Unlock()
	for _, c := range all {
		g.end(c, ending{code: closeGoingAway, reason: "Going away", say: true, silent: true})
		c.cut()
	}
	g.cancel()
	g.work.Wait()
}

// begin counts something that Close waits for; false after Close.
func (g *Gateway) begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.work.Add(1)
	return true
}

// newID returns an id as API Gateway makes them for connections, messages and requests: eleven bytes in base64, so that each ends with "=".
func newID() string {
	var b [11]byte
	_, _ = rand.Read(b[:]) // it never fails
	return base64.URLEncoding.EncodeToString(b[:])
}

// validID reports whether an id could be a connection's.
func validID(id string) bool {
	b, err := base64.URLEncoding.DecodeString(id)
	return err == nil && len(b) == 11
}

// requestTime writes a time as the events have it.
func requestTime(t time.Time) string { return t.UTC().Format("02/Jan/2006:15:04:05 -0700") }

// message is what API Gateway says when it answers itself.
type message struct {
	Message      string `json:"message"`
	ConnectionID string `json:"connectionId,omitempty"`
	RequestID    string `json:"requestId,omitempty"`
}

func (m message) text() []byte {
	text, err := json.Marshal(m)
	if err != nil {
		return []byte(`{"message":"Internal server error"}`) // strings can be encoded
	}
	return text
}

// refuse answers an HTTP request with an error. kind is the X-Amzn-ErrorType, by which the SDKs know it.
func refuse(w http.ResponseWriter, status int, kind string, m message) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if kind != "" {
		h.Set("X-Amzn-Errortype", kind)
	}
	if m.RequestID != "" {
		h.Set("X-Amzn-Requestid", m.RequestID)
	}
	w.WriteHeader(status)
	_, _ = w.Write(m.text()) // a client that is gone needs no answer
}

// refusalType is the X-Amzn-ErrorType of a request whose signature is none.
func refusalType(err error) string {
	var refused *sigv4.Error
	if errors.As(err, &refused) {
		return refused.Type
	}
	return "ForbiddenException"
}

// refusalText is what such a request is told.
func refusalText(err error) string {
	var refused *sigv4.Error
	if errors.As(err, &refused) {
		return refused.Message
	}
	return "Forbidden"
}
