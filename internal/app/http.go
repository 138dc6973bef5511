package app

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"eureka"
	"eureka/internal/auth"
	"eureka/internal/config"
	"eureka/internal/core"
	"eureka/internal/engine/natsengine"
	"eureka/internal/gateway"
	"eureka/internal/httpapi"
)

// parts are what the edges are made of.
type parts struct {
	core     *core.Core
	hub      *gateway.Hub
	origins  *auth.Origins
	access   *access
	registry *prometheus.Registry
	limited  func(setting string)
}

// newFailed counts evaluations of rules that failed, by their kind.
func newFailed(registry *prometheus.Registry) func(kind eureka.RuleKind) {
	failed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "eureka_rule_errors_total", Help: "Evaluations of rules that failed, by the kind of rule.",
	}, []string{"kind"})
	registry.MustRegister(failed)
	for _, kind := range eureka.RuleKinds() {
		failed.WithLabelValues(string(kind))
	}
	return func(kind eureka.RuleKind) { failed.WithLabelValues(string(kind)).Inc() }
}

// newLimited counts refusals by the setting whose limit was reached. All that can be counted is there from the start, with 0.
func newLimited(registry *prometheus.Registry) func(setting string) {
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "eureka_limited_total", Help: "What was refused because of a limit, by the setting that has it.",
	}, []string{"setting"})
	registry.MustRegister(counter)
	for _, setting := range append(gateway.LimitSettings(), "max_subscriptions", "max_body_bytes") {
		counter.WithLabelValues(setting)
	}
	return func(setting string) { counter.WithLabelValues(setting).Inc() }
}

func (a *App) newGateway(p parts) (*gateway.Gateway, error) {
	s := a.options.Settings
	return gateway.New(gateway.Options{
		Hub: p.hub, Handler: p.core, Origins: p.origins, Sockets: sockets(s.Sockets), Identify: p.access.handshake, Revoked: p.access.revoked,
		NewID: func() string { return natsengine.NewSocketID(a.node) },
		Limits: gateway.Limits{
			QueueBytes: int(s.QueueBytes), QueueFrames: s.QueueFrames, PingInterval: s.PingInterval, IdleTimeout: s.IdleTimeout,
			HandshakeTimeout: s.HandshakeTimeout, DrainSpread: s.DrainSpread,
			MaxSockets: s.MaxSockets, MaxSocketsPerUser: s.MaxSocketsPerUser, ConnectsPerSecond: s.ConnectsPerSecond,
			UserConnectsPerSecond: s.ConnectsPerSecondPerUser, FramesPerSecond: s.FramesPerSecond, PublishesPerSecond: s.PublishesPerSecond,
		},
		Limited: p.limited, Log: a.options.Log, Metrics: p.registry,
	})
}

// sockets is the gateway's word for the setting.
func sockets(setting string) gateway.Sockets {
	if setting == config.SocketsGoroutines {
		return gateway.SocketsGoroutines
	}
	return gateway.SocketsAuto
}

func (a *App) newAPI(p parts) (http.Handler, error) {
	return httpapi.New(httpapi.Options{
		Core: p.core, OriginAllowed: p.origins.Allowed, Identify: p.access.request, Ready: a.ready,
		Hello: func() httpapi.Hello {
			return httpapi.Hello{
				Name: "eureka-sockets", Version: a.options.Version, Mode: "self-hosted", Node: a.node,
				Uptime: time.Since(a.started).Milliseconds(), Sockets: p.hub.Sockets(),
			}
		},
		SNS: a.sources.topics, Reported: a.sources.reported,
		Gatherer: p.registry, Registerer: p.registry, MaxBody: int64(a.options.Settings.MaxBodyBytes), Limited: p.limited, Log: a.options.Log,
		Mocks: a.mocks, NoMocks: "mocks are for development and off here; the setting mocks turns them on (--mocks allow)",
	})
}

// route sends handshakes to the gateway and everything else to the API. A client may put one path segment in front, as
// API Gateway's clients do with its stage.
func route(sockets, api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if upgrades(r) && strings.Count(strings.Trim(r.URL.Path, "/"), "/") == 0 {
			sockets.ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r)
	})
}

// upgrades reports whether the request asks for a WebSocket. Malformed handshakes count: the gateway answers them.
func upgrades(r *http.Request) bool {
	for _, value := range r.Header.Values("Upgrade") {
		for token := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "websocket") {
				return true
			}
		}
	}
	return false
}
