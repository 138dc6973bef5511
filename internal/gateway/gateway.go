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

// Options configure a Gateway. All but Revoked, Limits, Limited and Metrics are required.
type Options struct {
	Hub      *Hub
	Handler  Handler
	NewID    func() string                                // makes socket ids, unique for ever
	Identify func(*http.Request) (eureka.Identity, error) // who is behind a handshake
	// Revoked says whether a credential was revoked since Identify took it; nil when credentials cannot be.
	Revoked func(eureka.Identity) bool
	Origins *auth.Origins
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

	draining atomic.Bool
	mu       sync.Mutex
	streams  map[*stream]struct{}
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
		streams: map[*stream]struct{}{}, stop: make(chan struct{}), swept: make(chan struct{}),
	}
	g.admission = newAdmission(&g.limits)
	go g.sweep()
	return g, nil
}

// CloseRevoked ends every socket of this node whose credential is revoked.
func (g *Gateway) CloseRevoked(revoked func(eureka.Identity) bool) {
	for _, s := range g.all() {
		if id := s.identity.Load(); id != nil && revoked(*id) {
			s.end(eureka.CloseUnauthenticated, "the credential was revoked", 0)
		}
	}
}

func (g *Gateway) open() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.streams)
}

// Drain refuses new handshakes, tells every socket to reconnect elsewhere (bye and close code 4500, spread over
// Limits.DrainSpread), and returns when all have ended. When ctx ends first it cuts those that are left and returns
// ctx's error. Disconnect is called for each socket either way.
func (g *Gateway) Drain(ctx context.Context) error {
	g.draining.Store(true)
	for _, s := range g.all() {
		after := time.Duration(rand.Int64N(int64(g.limits.DrainSpread))) //nolint:gosec // spreads load, guards nothing
		s.end(eureka.CloseRestart, "the node is shutting down", after)
	}
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
		for _, s := range g.all() {
			s.cut()
		}
		// What is left is a use case that hangs; it is not waited for longer than a cut connection needs.
		select {
		case <-gone:
		case <-time.After(closeWait):
		}
	}
	g.stopOnce.Do(func() { close(g.stop) })
	<-g.swept
	return err
}

func (g *Gateway) all() []*stream {
	g.mu.Lock()
	defer g.mu.Unlock()
	streams := make([]*stream, 0, len(g.streams))
	for s := range g.streams {
		streams = append(streams, s)
	}
	return streams
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
	case g.draining.Load():
		g.admission.leave(user)
		return eureka.Errorf(eureka.CodeUnavailable, "the node is shutting down; connect again")
	case g.limits.MaxSockets > 0 && len(g.streams) >= g.limits.MaxSockets: // others were quicker since the handshake began
		g.admission.leave(user)
		return g.refuse(limitSockets)
	}
	g.drained.Add(1)
	g.streams[s] = struct{}{}
	return nil
}

func (g *Gateway) unregister(s *stream) {
	g.mu.Lock()
	delete(g.streams, s)
	g.mu.Unlock()
	g.admission.leave(s.identity.Load().User)
	g.drained.Done()
}

// sweep pings silent sockets and closes idle and old ones: one goroutine for all, instead of timers for each.
func (g *Gateway) sweep() {
	defer close(g.swept)
	interval := min(g.limits.PingInterval, g.limits.IdleTimeout) / 4
	ticker := time.NewTicker(min(max(interval, 5*time.Millisecond), time.Second))
	defer ticker.Stop()
	for {
		select {
		case <-g.stop:
			return
		case now := <-ticker.C:
			for _, s := range g.all() {
				g.sweepOne(s, now)
			}
		}
	}
}

func (g *Gateway) sweepOne(s *stream, now time.Time) {
	received := s.received.Load()
	if received == 0 {
		return // not bound yet
	}
	silent := time.Duration(now.UnixNano() - received)
	id := s.identity.Load()
	switch {
	case id != nil && id.ExpiresAt != 0 && now.UnixMilli() >= id.ExpiresAt:
		s.end(eureka.CloseUnauthenticated, "the credential has expired", 0)
	case s.expiresAt != 0 && now.UnixMilli() >= s.expiresAt:
		s.end(eureka.CloseMaxAge, "the socket reached its maximum age", 0)
	case silent >= g.limits.IdleTimeout:
		s.end(eureka.CloseIdle, "nothing was heard for "+g.limits.IdleTimeout.String(), 0)
	case silent >= g.limits.PingInterval && now.UnixNano()-s.pinged.Load() >= int64(g.limits.PingInterval):
		s.ping(now)
	}
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
