// Package app wires the self-hosted service by hand: the NATS engine, the core, the gateway and the HTTP API behind one listener.
//
// It knows which part needs which and in what order they start and stop, and nothing else: it has no use case, parses
// no flag, handles no signal and never ends the process.
package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"eureka"
	"eureka/internal/auth"
	"eureka/internal/config"
	"eureka/internal/core"
	"eureka/internal/engine/natsengine"
	"eureka/internal/gateway"
	"eureka/internal/mock"
	"eureka/internal/problem"
	"eureka/internal/rule"
)

// Limits of the listener that are no settings: they only keep a hostile peer from holding a connection for nothing.
const (
	readTimeout     = 30 * time.Second // a whole request with its body
	writeTimeout    = 60 * time.Second // a whole answer; sockets have left net/http by then
	keepAlive       = 2 * time.Minute  // an idle HTTP connection
	maxHeaderBytes  = 64 << 10
	engineCloseTime = 5 * time.Second // for the engine after the sockets are gone
)

// Options configure an App.
type Options struct {
	Settings config.Settings
	Version  string
	Log      *slog.Logger
}

// App is one node of the self-hosted service. Start it once, stop it once.
type App struct {
	options  Options
	node     string
	started  time.Time
	listener net.Listener
	engine   *natsengine.Engine
	gateway  *gateway.Gateway
	revoking atomic.Pointer[gateway.Gateway] // the gateway once it takes sockets
	access   *access
	closing  revoker
	sources  *sources
	mocks    *mock.Player // nil when the settings do without
	server   *http.Server
	profiles *profiles // nil when the settings ask for none
	draining atomic.Bool
	failed   chan error
	stopOnce sync.Once
	stopErr  error
}

// New checks the options and returns an App that holds nothing yet.
func New(o Options) (*App, error) {
	if o.Log == nil {
		return nil, errors.New("app: no logger")
	}
	if err := o.Settings.Verify(); err != nil {
		return nil, err
	}
	node := o.Settings.Node
	if node == "" {
		node = natsengine.NewNodeID()
	}
	return &App{options: o, node: node, failed: make(chan error, 1)}, nil
}

// Start opens the listener, the engine and the handlers, and returns when connections are accepted. When it fails
// nothing stays open. The errors are eureka errors: CodeConflict for an address or data directory in use, CodeInvalid or
// CodeForbidden for one that cannot be used, CodeUnavailable for a NATS that does not answer.
func (a *App) Start(ctx context.Context) error {
	a.started = time.Now()
	// The address comes first: it is the cheapest thing to find taken, and the clearest to report.
	listener, err := listen(ctx, a.options.Settings, a.options.Log)
	if err != nil {
		return err
	}
	a.listener = listener
	if a.profiles, err = startProfiles(ctx, a.options.Settings.Pprof, a.options.Log); err != nil {
		_ = listener.Close()
		return err
	}
	if err := a.open(ctx); err != nil {
		_ = listener.Close()
		a.profiles.stop()
		if a.engine != nil {
			// The engine must let go of the data directory even when ctx is what failed.
			closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), engineCloseTime)
			defer cancel()
			err = errors.Join(err, a.engine.Close(closing))
		}
		return err
	}
	go a.serve()
	return nil
}

func (a *App) open(ctx context.Context) error {
	s := a.options.Settings
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	origins, err := auth.NewOrigins(s.AllowedOrigins)
	if err != nil {
		return err
	}
	syncAlways, syncInterval, err := s.SyncInterval()
	if err != nil {
		return err
	}
	rules := rule.New(rule.Options{Failed: newFailed(registry), Log: a.options.Log})
	hub := gateway.NewHub(gateway.HubOptions{Metrics: registry, NewSelector: func() gateway.Selector { return rules.NewSet() }})
	a.engine, err = natsengine.Open(ctx, natsengine.Options{
		URL: s.NATS, DataDir: s.DataDir, Node: a.node, Namespace: s.Namespace, Replicas: s.Replicas,
		SyncAlways: syncAlways, SyncInterval: syncInterval, HistoryBytes: int64(s.MaxHistoryBytes), CacheBytes: int64(s.HistoryCacheBytes),
		CredentialsChanged: a.closeRevoked,
		Registry:           hub, Delivery: hub, Replays: hub, Rules: rules, Log: a.options.Log, Metrics: registry,
	})
	if err != nil {
		return err
	}
	who, err := a.newAccess(ctx)
	if err != nil {
		return err
	}
	limited := newLimited(registry)
	c, err := core.New(core.Options{
		Ports: core.Ports{
			Channels: a.engine.Channels(), Sockets: a.engine.Sockets(), Fanout: a.engine.Fanout(), Sender: a.engine.Sender(),
			History: a.engine.History(), Requests: a.engine.Requests(), Credentials: a.engine.Credentials(),
		},
		Node: a.node, AllowUndeclared: s.AllowUndeclared(), Verify: who.verify(),
		MaxSubscriptions: s.MaxSubscriptions, MaxAge: s.MaxAge, Limited: limited, Rules: rules, Log: a.options.Log,
	})
	if err != nil {
		return err
	}
	if s.AllowMocks() {
		if a.mocks, err = mock.NewPlayer(mock.Options{Store: a.engine.Mocks(), Router: c, Node: a.node, Log: a.options.Log}); err != nil {
			return err
		}
	}
	parts := parts{core: c, hub: hub, origins: origins, access: who, registry: registry, limited: limited}
	sockets, err := a.newGateway(parts)
	if err != nil {
		return err
	}
	a.gateway, a.access = sockets, who
	a.revoking.Store(sockets)
	if a.sources, err = a.newSources(ctx, parts); err != nil {
		return err
	}
	api, err := a.newAPI(parts)
	if err != nil {
		return err
	}
	a.server = &http.Server{
		Handler: who.guard(route(a.gateway, api), problem.Write), ReadHeaderTimeout: s.HandshakeTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: keepAlive, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(a.options.Log.Handler(), slog.LevelDebug),
	}
	return a.sources.start(ctx)
}

// closeRevoked ends the sockets whose credentials were taken back. The engine calls it from its own goroutines.
func (a *App) closeRevoked() {
	if sockets := a.revoking.Load(); sockets != nil {
		a.closing.run(func() { sockets.CloseRevoked(a.access.revoked) })
	}
}

func (a *App) serve() {
	if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
		a.failed <- eureka.WrapError(eureka.CodeInternal, err, "the listener failed")
	}
}

// Addr is the address the service listens on, with the port it got.
func (a *App) Addr() string { return a.listener.Addr().String() }

// ProfileAddr is the address that serves profiles, "" for none.
func (a *App) ProfileAddr() string { return a.profiles.address() }

// Secure reports whether the service speaks TLS.
func (a *App) Secure() bool { return a.options.Settings.TLSCert != "" }

// Node is the id of this node.
func (a *App) Node() string { return a.node }

// Failed delivers an error when the service cannot go on after Start.
func (a *App) Failed() <-chan error { return a.failed }

// Stop drains the sockets and ends everything. Sockets that are still there when ctx ends are cut. A second call waits
// for the first one and returns the same.
func (a *App) Stop(ctx context.Context) error {
	a.stopOnce.Do(func() { a.stopErr = a.stop(ctx) })
	return a.stopErr
}

func (a *App) stop(ctx context.Context) error {
	a.draining.Store(true)
	if a.mocks != nil {
		a.mocks.Close()
	}
	drained := make(chan error, 2)
	go func() { drained <- a.gateway.Drain(ctx) }()
	go func() { drained <- a.sources.stop(ctx) }()
	errs := []error{<-drained, <-drained}
	a.profiles.stop()
	if err := a.server.Shutdown(ctx); err != nil {
		errs = append(errs, a.server.Close())
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), engineCloseTime)
	defer cancel()
	return errors.Join(append(errs, a.engine.Close(closing))...)
}

// ready says why the service should get no traffic; nil when it should.
func (a *App) ready(ctx context.Context) error {
	if a.draining.Load() {
		return eureka.Errorf(eureka.CodeUnavailable, "the node is shutting down")
	}
	return a.engine.Ready(ctx)
}
