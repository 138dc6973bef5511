//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"eureka/internal/loadgen"
)

// Of the bars on memory.
const (
	maxPerSocket = 1536 // bytes of resident memory
	maxGrowth    = 1.05 // of what is left after a cycle of connecting and dropping, over the cycles
	barCycles    = 10
	idleSettle   = 15 // seconds
)

// authenticated starts the service with tokens, and mints one that may subscribe.
func (b *bench) authenticated(ctx context.Context, args ...string) (*server, error) {
	return b.guarded(ctx, nil, args...)
}

// guarded is authenticated of a service that may speak TLS.
func (b *bench) guarded(ctx context.Context, trusted *tls.Config, args ...string) (*server, error) {
	secret, admin := rand.Text()+rand.Text(), rand.Text()+rand.Text()
	s, err := b.serve(ctx, slices.Concat(unlimited, args, []string{"--jwt-secret", secret, "--admin-key", admin, "--undeclared-channels", "allow"})...)
	if err != nil {
		return nil, err
	}
	s.trusted = trusted
	if err := ready(ctx, s); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	mint := exec.CommandContext(ctx, b.eureka, "token", "--user", "bench", "--scope", "subscribe", "--channels", "*", "--for", "1h") //nolint:gosec // a binary that was just built
	mint.Env = []string{"EUREKA_JWT_SECRET=" + secret}
	out, err := mint.Output()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("minting a token: %w", err), s.stop())
	}
	s.token, s.adminKey = strings.TrimSpace(string(out)), admin
	return s, nil
}

// barMemory is the resident memory of idle, authenticated sockets with one subscription.
func (b *bench) barMemory(ctx context.Context, f *figures) error {
	sockets, note := affordable(b.large)
	s, err := b.authenticated(ctx)
	if err != nil {
		return err
	}
	b.say("idle: %d authenticated sockets", sockets)
	report, err := b.load(ctx, s, "idle", "--sockets", strconv.Itoa(sockets), "--settle", seconds(idleSettle), "--wait", "30s")
	if err := errors.Join(err, s.stop()); err != nil {
		return err
	}
	m := report.Memory
	r := bounded("memory", fmt.Sprintf("%d idle, authenticated sockets with one subscription, after %d s", sockets, idleSettle), "bytes per socket", m.PerSocket, maxPerSocket)
	r.Note = note
	f.Bars = append(f.Bars, r,
		figure("memory", "as soon as all are connected", "bytes per socket", float64(m.ConnectedBytes-m.BeforeBytes)/float64(sockets)),
		figure("memory", "kernel slab, both ends of each connection", "bytes per socket", m.KernelPerSocket),
		figure("memory", "processor time while idle", "share of a core", m.IdleCPUPerSecond),
		figure("memory", "handshake, token and subscription", "CPU µs per socket", report.Connects.CPUMicros))
	if b.centrifugo == "" {
		return nil
	}
	other, err := b.once(ctx, centrifugoName, "idle", "--sockets", strconv.Itoa(sockets), "--settle", seconds(idleSettle), "--wait", "30s")
	if err != nil {
		return err
	}
	r = compared("memory", "the same, without credentials there", "bytes per socket", m.PerSocket, other.Memory.PerSocket, centrifugoName, 0)
	r.Verdict = stated
	f.Bars = append(f.Bars, r)
	return nil
}

// barCycles connects and drops all sockets ten times.
func (b *bench) barCycles(ctx context.Context, f *figures) error {
	sockets, note := affordable(b.large)
	s, err := b.authenticated(ctx)
	if err != nil {
		return err
	}
	b.say("connect: %d cycles of %d sockets", barCycles, sockets)
	report, err := b.load(ctx, s, "connect", "--sockets", strconv.Itoa(sockets), "--cycles", strconv.Itoa(barCycles), "--settle", "2s", "--wait", "30s")
	if err := errors.Join(err, s.stop()); err != nil {
		return err
	}
	left := func(cycles []loadgen.Cycle) float64 {
		values := make([]float64, 0, len(cycles))
		for _, c := range cycles {
			values = append(values, float64(c.DroppedBytes)/(1<<20))
		}
		return median(values)
	}
	r := compared("cycles", fmt.Sprintf("left after dropping %d sockets: last three of ten cycles over the second to fourth", sockets), "MiB",
		left(report.Cycles[barCycles-3:]), left(report.Cycles[1:4]), "earlier cycles", maxGrowth)
	r.Note = note
	f.Bars = append(f.Bars, r)
	return nil
}

// barChannels has as many channels as sockets.
func (b *bench) barChannels(ctx context.Context, f *figures) error {
	all, err := b.interleave(ctx, b.withoutBare(), "channels", "--channels", strconv.Itoa(barSubscribers))
	if err != nil {
		return err
	}
	ours := all[eurekaName]
	f.Bars = append(f.Bars,
		figure("channels", "10,000 channels, one subscriber each", "bytes per subscription", ours.of(perSubscription)),
		figure("channels", "publish and delivery, 16 under way", "CPU µs", ours.cpu()),
		figure("channels", "publishes", "per second", ours.of(func(r loadgen.Report) float64 { return r.Publishes.PerSecond })),
		b.nothingLost("channels", ours),
		b.againstCentrifugo("channels", "publish and delivery", "CPU µs", all, results.cpu, 0),
		b.againstCentrifugo("channels", "memory", "bytes per subscription", all, func(r results) float64 { return r.of(perSubscription) }, 0))
	return nil
}

func perSubscription(r loadgen.Report) float64 { return r.Memory.PerSubscription }

func (b *bench) withoutBare() []string {
	if b.centrifugo == "" {
		return []string{eurekaName}
	}
	return []string{eurekaName, centrifugoName}
}

// barSubscriptions has a hundred channels on each of 10,000 sockets, and 10,000 channels.
func (b *bench) barSubscriptions(ctx context.Context, f *figures) error {
	for _, name := range b.withoutBare() {
		report, err := b.once(ctx, name, "channels", "--channels", strconv.Itoa(barSubscribers), "--per-socket", "100", "--in-flight", "1", "--for", b.span.String(), "--wait", "30s")
		if err != nil {
			return err
		}
		f.Bars = append(f.Bars,
			figure("subscriptions", name+": 1,000,000 over 10,000 sockets and channels", "bytes per subscription", perSubscription(report)),
			figure("subscriptions", name+": handshake with 100 subscriptions", "CPU µs per socket", report.Connects.CPUMicros),
			figure("subscriptions", name+": publish to 100 subscribers", cpuUnit, report.Delivery.CPUMicros))
		if name == eurekaName {
			f.Bars = append(f.Bars, b.nothingLost("subscriptions", results{report}))
		}
	}
	return nil
}

// barStorm drops all sockets at once; they resume with their cursors.
func (b *bench) barStorm(ctx context.Context, f *figures) error {
	sockets, note := affordable(stormSockets)
	report, err := b.once(ctx, eurekaName, "storm", "--sockets", strconv.Itoa(sockets), "--missed", "10", "--wait", "30s")
	if err != nil {
		return err
	}
	s := report.Storm
	r := b.nothingLost("storm", results{report})
	r.What, r.Note = fmt.Sprintf("%d sockets resume with cursors: lost, doubled or out of order", sockets), note
	f.Bars = append(f.Bars, r,
		bounded("storm", "sockets that were told that messages are gone", "sockets", float64(s.Unrecovered), 0),
		figure("storm", "all have what they missed after", "s", s.CaughtSeconds),
		figure("storm", "peak memory over that of before", "MiB", float64(s.PeakBytes-s.BeforeBytes)/(1<<20)),
		figure("storm", "handshake, resume and 10 messages", "CPU µs per socket", s.CPUMicros))
	return nil
}

// barPublish is what a publish over HTTP costs.
func (b *bench) barPublish(ctx context.Context, f *figures) error {
	all, err := b.interleave(ctx, b.withoutBare(), "publish")
	if err != nil {
		return err
	}
	cpu := func(r results) float64 {
		return r.of(func(r loadgen.Report) float64 { return r.Publishes.CPUMicros })
	}
	rate := func(r results) float64 {
		return r.of(func(r loadgen.Report) float64 { return r.Publishes.PerSecond })
	}
	f.Bars = append(f.Bars, figure("publish", "over HTTP to one subscriber, 32 under way", "per second", rate(all[eurekaName])),
		b.againstCentrifugo("publish", "the same", "CPU µs per publish", all, cpu, 0), b.nothingLost("publish", all[eurekaName]))
	return nil
}
