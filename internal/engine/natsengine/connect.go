package natsengine

import (
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"eureka"
)

// How the connection to NATS behaves.
const (
	connectTimeout = 5 * time.Second
	reconnectWait  = 250 * time.Millisecond
	pingInterval   = 5 * time.Second // a dead external server is noticed after two
	flushTimeout   = 5 * time.Second
)

func (e *Engine) connect() error {
	log := e.options.Log
	options := []nats.Option{
		nats.Name("eureka " + e.options.Node),
		nats.Timeout(connectTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, reconnectWait),
		// What cannot be sent now is refused, not kept for later in silence.
		nats.ReconnectBufSize(-1),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			e.metrics.connected.Set(0)
			if err != nil {
				log.Warn("the connection to NATS is lost", slog.Any("error", err))
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) {
			e.metrics.connected.Set(1)
			e.metrics.reconnects.Inc()
			log.Info("connected to NATS again")
			go e.bus.audit()
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			if sub != nil && errors.Is(err, nats.ErrSlowConsumer) {
				e.bus.overflowed(sub)
				return
			}
			log.Warn("NATS reports an error", slog.Any("error", err))
		}),
	}
	if e.embedded != nil {
		options = append(options, nats.InProcessServer(e.embedded.server))
	}
	nc, err := nats.Connect(e.options.URL, options...)
	if err != nil {
		return eureka.WrapError(eureka.CodeUnavailable, err, "NATS does not answer")
	}
	e.nc = nc
	e.metrics.connected.Set(1)
	return nil
}
