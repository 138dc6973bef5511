//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"eureka/internal/loadgen"
	"eureka/internal/pause"
)

// pinged is how long pings took while something went on; durations in milliseconds, medians of the rounds.
type pinged struct {
	Subscribers int     `json:"subscribers"`
	While       string  `json:"while"`
	Pings       int     `json:"pings"` // of all rounds
	P50         float64 `json:"p50Ms"`
	P99         float64 `json:"p99Ms"`
	Max         float64 `json:"maxMs"`                 // of all rounds
	Broadcast   float64 `json:"broadcastMs,omitempty"` // from one publish to the next, which waits until all have the message
	Starved     float64 `json:"starved"`               // share of the time in which the server had work, but no processor
}

// What goes on while pings are measured.
const (
	quiet  = "nothing goes on"
	beside = "another server broadcasts" // to as many receivers, on the same cores: what this adds is the scheduler's
	during = "the same loop broadcasts"
)

// Of the bar on pings.
const (
	maxPingDelay = 10              // milliseconds that broadcasts may add to the 99th percentile
	fewer, more  = 10_000, 19_000  // subscribers
	pingMargin   = 3 * time.Second // broadcasts go on for so much longer than pings
)

// barPing is what a ping waits for while its loop sends one broadcast after the other. The server has a single loop, since it has one core; the
// receivers and the pinger are processes on the other core.
func (b *bench) barPing(ctx context.Context, f *figures) error {
	pinger, err := build(ctx, b.dir, "./bench/pinger")
	if err != nil {
		return err
	}
	for _, wanted := range []int{fewer, more} {
		subscribers, note := affordable(wanted)
		rounds := map[string][]pinged{}
		for round := range b.rounds {
			b.say("ping: %d subscribers, round %d of %d", subscribers, round+1, b.rounds)
			one, err := b.pingRound(ctx, pinger, subscribers)
			if err != nil {
				return err
			}
			for _, p := range one {
				rounds[p.While] = append(rounds[p.While], p)
			}
		}
		still, other, busy := middle(rounds[quiet]), middle(rounds[beside]), middle(rounds[during])
		f.Pings = append(f.Pings, still, other, busy)
		r := bounded("ping", fmt.Sprintf("%d subscribers, one broadcast after the other: added to the p99 of pings on the same loop", subscribers), "ms", busy.P99-still.P99, maxPingDelay)
		r.Note = fmt.Sprintf("%d subscribers: another server's broadcasts add %.2f ms; while it broadcast the server had no processor for %.0f %% of the time in which it had work",
			subscribers, other.P99-still.P99, 100*busy.Starved)
		if note != "" {
			r.Note += "; " + note
		}
		f.Bars = append(f.Bars, r, figure("ping", "one whole broadcast takes", "ms", busy.Broadcast))
	}
	return nil
}

// pingRound measures each of the three once.
func (b *bench) pingRound(ctx context.Context, pinger string, subscribers int) (list []pinged, err error) {
	server, err := b.contend(ctx, eurekaName)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	still, err := b.pings(ctx, pinger, server)
	if err != nil {
		return nil, err
	}
	still.While = quiet
	other, err := b.contend(ctx, eurekaName)
	if err != nil {
		return nil, err
	}
	control, err := b.pingsDuring(ctx, pinger, server, other, subscribers)
	if err := errors.Join(err, other.stop()); err != nil {
		return nil, err
	}
	control.While = beside
	busy, err := b.pingsDuring(ctx, pinger, server, server, subscribers)
	busy.While = during
	still.Subscribers = subscribers
	return []pinged{still, control, busy}, err
}

// pingsDuring measures pings to one server while one, the same or another, broadcasts.
func (b *bench) pingsDuring(ctx context.Context, pinger string, to, busy *server, subscribers int) (p pinged, err error) {
	type outcome struct {
		report loadgen.Report
		err    error
	}
	loaded := make(chan outcome, 1)
	loading, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		report, err := b.load(loading, busy, "fanout", "--subscribers", strconv.Itoa(subscribers), "--for", (b.span + pingMargin).String(), "--wait", "30s")
		loaded <- outcome{report, err}
	}()
	err = waitUntil(time.Minute, func() bool { return busy.sockets(ctx) >= subscribers || len(loaded) > 0 }, func() error {
		return fmt.Errorf("%d of %d subscribers are connected", busy.sockets(ctx), subscribers)
	})
	if err == nil {
		err = pause.For(ctx, time.Second) // the first broadcasts find what the handshakes have left
	}
	if err == nil {
		p, err = b.pings(ctx, pinger, to)
	}
	if err == nil && len(loaded) > 0 {
		err = errors.New("the broadcasts ended before the pings")
	}
	if err != nil {
		cancel()
	}
	o := <-loaded
	if err := errors.Join(err, o.err); err != nil {
		return p, err
	}
	if lost := o.report.Delivery.Lost; lost > 0 {
		return p, fmt.Errorf("%d messages were lost", lost)
	}
	p.Subscribers, p.Broadcast = subscribers, 1000/o.report.Publishes.PerSecond
	return p, nil
}

// pings runs the pinger on the receivers' core.
func (b *bench) pings(ctx context.Context, pinger string, to *server) (p pinged, err error) {
	var out, log bytes.Buffer
	before, err := to.schedule()
	if err != nil {
		return p, err
	}
	command := exec.CommandContext(ctx, pinger, to.address, b.span.String()) //nolint:gosec // a binary that was just built
	command.Stdout, command.Stderr = &out, &log
	if err := startOn(loadCore, command); err != nil {
		return p, err
	}
	if err := command.Wait(); err != nil {
		return p, fmt.Errorf("pinger: %w\n%s", err, log.Bytes())
	}
	var said struct {
		Count               int
		P50Ms, P99Ms, MaxMs float64
	}
	if err := json.Unmarshal(out.Bytes(), &said); err != nil {
		return p, err
	}
	after, err := to.schedule()
	p = pinged{Pings: said.Count, P50: said.P50Ms, P99: said.P99Ms, Max: said.MaxMs}
	if ran, waited := after.ran-before.ran, after.waited-before.waited; ran+waited > 0 {
		p.Starved = float64(waited) / float64(ran+waited)
	}
	return p, err
}

// schedule is the time, in nanoseconds, that a contender's threads have run, and that they were ready to run and did not.
type schedule struct{ ran, waited int64 }

func (s *server) schedule() (all schedule, err error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.command.Process.Pid))
	if err != nil {
		return all, err
	}
	for _, thread := range threads {
		text, err := os.ReadFile(thread) //nolint:gosec // a file of /proc
		if err != nil {
			return all, err
		}
		var one schedule
		if _, err := fmt.Sscan(string(text), &one.ran, &one.waited); err != nil {
			return all, fmt.Errorf("%s: %w", thread, err)
		}
		all.ran, all.waited = all.ran+one.ran, all.waited+one.waited
	}
	return all, nil
}

// middle sums rounds up.
func middle(rounds []pinged) pinged {
	of := func(figure func(p pinged) float64) float64 {
		values := make([]float64, 0, len(rounds))
		for _, p := range rounds {
			values = append(values, figure(p))
		}
		return median(values)
	}
	all := pinged{
		Subscribers: rounds[0].Subscribers, While: rounds[0].While, P50: of(func(p pinged) float64 { return p.P50 }),
		P99: of(func(p pinged) float64 { return p.P99 }), Starved: of(func(p pinged) float64 { return p.Starved }), Broadcast: of(func(p pinged) float64 { return p.Broadcast }),
	}
	for _, p := range rounds {
		all.Pings += p.Pings
		all.Max = max(all.Max, p.Max)
	}
	return all
}

func showPings(line func(format string, args ...any), list []pinged) {
	if len(list) > 0 {
		line("\nsubscribers\tpings while\tpings\tp50 ms\tp99 ms\tmax ms\tone broadcast ms\tserver without a processor\n")
	}
	for _, p := range list {
		broadcast := "-"
		if p.Broadcast > 0 {
			broadcast = fmt.Sprintf("%.0f", p.Broadcast)
		}
		line("%d\t%s\t%d\t%.2f\t%.2f\t%.2f\t%s\t%.0f %%\n", p.Subscribers, p.While, p.Pings, p.P50, p.P99, p.Max, broadcast, 100*p.Starved)
	}
}
