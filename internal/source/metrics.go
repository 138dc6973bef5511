package source

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics count the events of all sources, by the source's name.
type Metrics struct {
	received, accepted, refused, failed *prometheus.CounterVec
	inFlight, connected                 *prometheus.GaugeVec

	mu      sync.Mutex
	sources map[string]*counts
}

type counts struct {
	received, accepted, refused, failed prometheus.Counter
	inFlight                            prometheus.Gauge
}

func newMetrics(into prometheus.Registerer) *Metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "eureka_events_" + name + "_total", Help: help}, []string{"source"})
	}
	m := &Metrics{
		received: counter("received", "Events that a source brought, again ones included; one for a message that cannot be read."),
		accepted: counter("accepted", "Events that were accepted; one that comes again within five minutes counts here and is not delivered again."),
		refused:  counter("refused", "Events that are refused however often they come."),
		failed:   counter("failed", "Events that could not be accepted for now."),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "eureka_events_in_flight", Help: "Events of a source that wait or are being routed."}, []string{"source"}),
		connected: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "eureka_source_connected", Help: "1 while the queue or NATS of a source answers.",
		}, []string{"source"}),
		sources: map[string]*counts{},
	}
	if into != nil {
		into.MustRegister(m.received, m.accepted, m.refused, m.failed, m.inFlight, m.connected)
	}
	return m
}

func (m *Metrics) of(source string) *counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.sources[source]
	if c == nil {
		c = &counts{
			m.received.WithLabelValues(source), m.accepted.WithLabelValues(source), m.refused.WithLabelValues(source), m.failed.WithLabelValues(source),
			m.inFlight.WithLabelValues(source),
		}
		m.sources[source] = c
	}
	return c
}

// Connected notes whether the queue or NATS of a source answers.
func (m *Metrics) Connected(source string, up bool) {
	value := 0.0
	if up {
		value = 1
	}
	m.connected.WithLabelValues(source).Set(value)
}

// Count adds events that did not come through an Intake.
func (m *Metrics) Count(source string, accepted, refused, failed int) {
	c := m.of(source)
	c.received.Add(float64(accepted + refused + failed))
	c.accepted.Add(float64(accepted))
	c.refused.Add(float64(refused))
	c.failed.Add(float64(failed))
}

func (c *counts) add(err error) {
	switch {
	case err == nil:
		c.accepted.Inc()
	case Refused(err):
		c.refused.Inc()
	default:
		c.failed.Inc()
	}
}
