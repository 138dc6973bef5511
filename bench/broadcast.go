//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"eureka/internal/loadgen"
	"eureka/internal/pause"
)

// broadcastChannel is what all sockets of the largest broadcast listen to.
const broadcastChannel = "all"

// Of the largest broadcast.
const (
	connectPatience = 5 * time.Minute
	arrivalPatience = 20 * time.Second
)

// barBroadcast holds as many idle sockets as it is told and sends them one message. Where a process may not open so many files there are
// several nodes on one NATS, each with a generator of its own.
func (b *bench) barBroadcast(ctx context.Context, f *figures) error {
	c, err := b.cluster(b.huge)
	if err != nil {
		return err
	}
	defer c.end()
	began := time.Now()
	if err := c.fill(ctx, b, b.contendOn); err != nil {
		return err
	}
	connected := time.Since(began)
	resident, err := c.growth()
	if err != nil {
		return err
	}
	b.say("broadcast: publishing")
	body := fmt.Appendf(nil, `{"data":%s}`, loadgen.FirstMessage(128))
	if _, err := c.nodes[0].server.call(ctx, caller, http.MethodPost, "/channels/"+broadcastChannel+"/broadcast", body); err != nil {
		return err
	}
	if err := pause.For(ctx, arrivalPatience); err != nil {
		return err
	}
	var received, doubled, ended int64
	var last float64
	for i := range c.nodes {
		report, err := c.nodes[i].report()
		if err != nil {
			return err
		}
		ended += report.Memory.ClosedMeanwhile
		if d := report.Delivery; d != nil {
			received, doubled, last = received+d.Received, doubled+d.Duplicates, max(last, d.Latency.Max)
		}
	}
	r := bounded("broadcast", fmt.Sprintf("to %d idle sockets: not arrived, doubled", b.huge), "messages", float64(int64(b.huge)-received+doubled), 0)
	r.Note = c.note()
	f.Bars = append(f.Bars, r, bounded("broadcast", "sockets that ended meanwhile", "sockets", float64(ended), 0),
		figure("broadcast", "the last one arrived after", "ms", last),
		figure("broadcast", "resident memory of the nodes, as soon as all are connected", "bytes per socket", float64(resident)/float64(b.huge)),
		figure("broadcast", "connecting them took", "s", connected.Seconds()))
	return nil
}

// sockets is how many the service says it holds, -1 when it does not answer.
func (s *server) sockets(ctx context.Context) int {
	text, err := s.call(ctx, s.client(time.Minute), http.MethodGet, "/hello", nil)
	var hello struct{ Sockets int }
	if err != nil || json.Unmarshal(text, &hello) != nil {
		return -1
	}
	return hello.Sockets
}
