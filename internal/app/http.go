package app

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"eureka/internal/auth"
	"eureka/internal/core"
	"eureka/internal/engine/natsengine"
	"eureka/internal/gateway"
	"eureka/internal/httpapi"
)

func (a *App) newGateway(c *core.Core, hub *gateway.Hub, origins *auth.Origins, who *access, registry *prometheus.Registry) (*gateway.Gateway, error) {
	s := a.options.Settings
	return gateway.New(gateway.Options{
		Hub: hub, Handler: c, Origins: origins, Identify: who.identify, Revoked: who.revoked,
		NewID: func() string { return natsengine.NewSocketID(a.node) },
		Limits: gateway.Limits{
			QueueBytes: int(s.QueueBytes), QueueFrames: s.QueueFrames, PingInterval: s.PingInterval, IdleTimeout: s.IdleTimeout,
			HandshakeTimeout: s.HandshakeTimeout, DrainSpread: s.DrainSpread,
			MaxSockets: s.MaxSockets, MaxSocketsPerUser: s.MaxSocketsPerUser, ConnectsPerSecond: s.ConnectsPerSecond,
			UserConnectsPerSecond: s.ConnectsPerSecondPerUser, FramesPerSecond: s.FramesPerSecond, PublishesPerSecond: s.PublishesPerSecond,
		},
		Log: a.options.Log, Metrics: registry,
	})
}

func (a *App) newAPI(c *core.Core, hub *gateway.Hub, origins *auth.Origins, who *access, registry *prometheus.Registry) (http.Handler, error) {
	return httpapi.New(httpapi.Options{
		Core: c, OriginAllowed: origins.Allowed, Identify: who.identify, Ready: a.ready,
		Hello: func() httpapi.Hello {
			return httpapi.Hello{
				Name: "eureka-sockets", Version: a.options.Version, Mode: "self-hosted", Node: a.node,
				Uptime: time.Since(a.started).Milliseconds(), Sockets: hub.Sockets(),
			}
		},
		Gatherer: registry, Registerer: registry, MaxBody: int64(a.options.Settings.MaxBodyBytes), Log: a.options.Log,
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
