package gateway

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"eureka"
	"eureka/internal/auth"
	"eureka/internal/core"
)

// Handler is what happens to sockets: the core's use cases.
type Handler interface {
	Connect(ctx context.Context, r core.ConnectRequest) (core.ConnectResult, error)
	Frame(ctx context.Context, r core.FrameRequest) core.FrameResult
	Disconnect(ctx context.Context, socketID string, code eureka.CloseCode, reason string) error
}

// Sockets is how connections are driven.
type Sockets string

// The values of Sockets. Whatever it is, TLS connections and systems without epoll get goroutines.
const (
	SocketsAuto       Sockets = ""           // by one event loop per core
	SocketsGoroutines Sockets = "goroutines" // by a goroutine for each
)

// Options configure a Gateway. All but Revoked, Sockets, Limits, Limited and Metrics are required.
type Options struct {
	Hub      *Hub
	Handler  Handler
	NewID    func() string                                // makes socket ids, unique for ever
	Identify func(*http.Request) (eureka.Identity, error) // who is behind a handshake
	// Revoked says whether a credential was revoked since Identify took it; nil when credentials cannot be.
	Revoked func(eureka.Identity) bool
	Origins *auth.Origins
	Sockets Sockets
	Limits  Limits
	Limited func(setting string) // told the setting whose limit refused something; nil for nobody
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Gateway turns handshakes into sockets and drives them. It is an http.Handler for WebSocket handshakes alone.
type Gateway struct {
	options   Options
	limits    Limits
	metrics   metrics
	admission *admission
	stop      chan struct{} // closed to end the sweeper

	registry  registry
	connected atomic.Int64 // handshakes that became sockets
	loops     loops        // none where each socket has a goroutine

	mu       sync.Mutex
	draining bool
	drained  sync.WaitGroup // one per socket between its handshake and the end of its Disconnect
	swept    chan struct{}  // closed when the sweeper has ended
	stopOnce sync.Once
}

// New returns a Gateway whose sweeper runs until Drain.
func New(o Options) (*Gateway, error) {
	if o.Hub == nil || o.Handler == nil || o.NewID == nil || o.Identify == nil || o.Origins == nil || o.Log == nil {
		return nil, errors.New("gateway: an option is missing")
	}
	if o.Limited == nil {
		o.Limited = func(string) {}
	}
	g := &Gateway{
		options: o, limits: o.Limits.withDefaults(), metrics: newMetrics(o.Metrics),
		stop: make(chan struct{}), swept: make(chan struct{}),
	}
	g.admission = newAdmission(&g.limits)
	if o.Sockets == SocketsAuto {
		if err := g.openLoops(); err != nil {
			return nil, err
		}
	}
	go g.sweep()
	return g, nil
}

// CloseRevoked ends every socket of this node whose credential is revoked.
func (g *Gateway) CloseRevoked(revoked func(eureka.Identity) bool) {
	g.registry.each(func(s *stream) {
		if id := s.identity.Load(); id != nil && revoked(*id) {
			s.end(eureka.CloseUnauthenticated, "the credential was revoked", 0)
		}
	})
}

// Drain refuses new handshakes, tells every socket to reconnect elsewhere (bye and close code 4500, spread over
// Limits.DrainSpread), and returns when all have ended. When ctx ends first it cuts those that are left and returns
// ctx's error. Disconnect is called for each socket either way.
func (g *Gateway) Drain(ctx context.Context) error {
	g.mu.Lock()
	g.draining = true // under the lock: whoever registered before is in the registry
	g.mu.Unlock()
	g.registry.each(func(s *stream) {
		after := time.Duration(rand.Int64N(int64(g.limits.DrainSpread))) //nolint:gosec // spreads load, guards nothing
		s.end(eureka.CloseRestart, "the node is shutting down", after)
	})
	gone := make(chan struct{})
	go func() {
		g.drained.Wait()
		close(gone)
	}()
	var err error
	select {
	case <-gone:
	case <-ctx.Done():
		err = ctx.Err()
		g.registry.each((*stream).cut)
		// What is left is a use case that hangs; it is not waited for longer than a cut connection needs.
		select {
		case <-gone:
		case <-time.After(closeWait):
		}
	}
	g.stopOnce.Do(func() {
		close(g.stop)
		<-g.swept
		g.closeLoops()
	})
	return err
}

// register counts a socket in before its handshake is answered; unregister counts it out. The error is that of a limit or of a draining
// node.
func (g *Gateway) register(s *stream) error {
	user := s.identity.Load().User
	if limit := g.admission.enter(user); limit != "" {
		return g.refuse(limit)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.draining:
		g.admission.leave(user)
		return eureka.Errorf(eureka.CodeUnavailable, "the node is shutting down; connect again")
	case !g.registry.sit(s, g.limits.MaxSockets): // others were quicker since the handshake began
		g.admission.leave(user)
		return g.refuse(limitSockets)
	}
	g.drained.Add(1)
	return nil
}

func (g *Gateway) unregister(s *stream) {
	g.registry.leave(s)
	g.admission.leave(s.identity.Load().User)
	g.drained.Done()
}

type metrics struct {
	connects *prometheus.CounterVec
	frames   prometheus.Counter
	closes   *prometheus.CounterVec
	slow     prometheus.Counter
}

func newMetrics(r prometheus.Registerer) metrics {
	m := metrics{
		connects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "eureka_connects_total", Help: "WebSocket handshakes by result: ok, or the code of the refusal.",
		}, []string{"result"}),
		frames: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "eureka_frames_received_total", Help: "Text frames received from clients.",
		}),
		closes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "eureka_closes_total", Help: "Sockets that ended, by close code.",
		}, []string{"code"}),
		slow: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "eureka_slow_consumers_total", Help: "Sockets closed because their queue overflowed.",
		}),
	}
	if r != nil {
		r.MustRegister(m.connects, m.frames, m.closes, m.slow)
	}
	return m
}

// closed counts the end of a socket. Codes outside the table come from clients and are counted together.
func (m metrics) closed(code eureka.CloseCode) {
	label := strconv.Itoa(int(code))
	if code >= 3000 && code < 4400 || code >= 4600 {
		label = "other"
	}
	m.closes.WithLabelValues(label).Inc()
}
