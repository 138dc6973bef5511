package natsengine

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	connected  prometheus.Gauge
	reconnects prometheus.Counter
	published  prometheus.Counter
	received   prometheus.Counter
	dropped    prometheus.Counter
	malformed  prometheus.Counter
	nodes      prometheus.Gauge
	unchained  prometheus.Counter
	missed     prometheus.Counter
	gaps       prometheus.Counter
	reads      prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "eureka_nats_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "eureka_nats_" + name, Help: help})
	}
	history := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "eureka_history_" + name, Help: help})
	}
	m := &metrics{
		connected:  gauge("connected", "1 while the connection to NATS is up."),
		reconnects: counter("reconnects_total", "Times the connection to NATS came back."),
		published:  counter("published_total", "Messages published to channels by this node."),
		received:   counter("received_total", "Messages received for channels that sockets of this node listen to."),
		dropped:    counter("overflows_total", "Times messages were lost because this node could not keep up; subscribers were told."),
		malformed:  counter("malformed_total", "Messages from other nodes that could not be read."),
		nodes:      gauge("nodes", "Live nodes, this one included."),
		unchained:  history("unchained_total", "Messages stored without their place in the chain, because several nodes stored on one channel at once."),
		missed:     history("missed_total", "Times this node missed messages and read them from the stream."),
		reads:      history("reads_total", "Questions to the stream for stored messages: by clients that read or resume, and by live delivery."),
		gaps:       history("gaps_total", "Times missed messages could not be had and subscribers were told of a gap."),
	}
	if r != nil {
		r.MustRegister(m.unchained, m.missed, m.gaps, m.reads, m.connected, m.reconnects, m.published, m.received, m.dropped, m.malformed, m.nodes)
	}
	return m
}
