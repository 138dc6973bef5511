//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// stored is publishes to channels with history beside those to channels without, in the same run.
type stored struct {
	Channels  int     `json:"channels"`
	InFlight  int     `json:"inFlight"`
	Kind      string  `json:"kind"` // of history: none, or how it is synced
	PerSecond float64 `json:"perSecond"`
	CPUMicros float64 `json:"cpuMicrosPerPublish"`
	Ratio     float64 `json:"rateRatioToNone"`
}

// resume is sockets that come back at once and get what they missed, beside those that subscribe and missed nothing, in the same run.
type resume struct {
	Missed    int     `json:"missed"`
	Sockets   int     `json:"sockets"`
	PerSecond float64 `json:"socketsPerSecond"`
	CPUMicros float64 `json:"cpuMicrosPerSocket"`
	Ratio     float64 `json:"rateRatioToSubscribing"`
}

// caller is for calls that are not measured.
var caller = &http.Client{Timeout: time.Minute}

// declare creates a channel that retains up to size messages; none for 0.
func declare(ctx context.Context, s *server, id string, size int) error {
	body := "{}"
	if size > 0 {
		body = fmt.Sprintf(`{"history":{"size":%d,"ttl":"24h"}}`, size)
	}
	_, err := s.call(ctx, caller, http.MethodPost, "/channels/"+id, []byte(body))
	return err
}

// named are n channel ids that begin alike.
func named(prefix string, n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("%s%d", prefix, i))
	}
	return ids
}

// storing is one contender: channels of one kind on one service.
type storing struct {
	kind     string
	server   *server
	channels []string
	rates    []float64
	cpus     []float64
}

// measureHistory measures publishes with and without history: to one channel, which takes one message after the other, and to many.
func (b *bench) measureHistory(ctx context.Context, f *figures) error {
	interval, err := b.serve(ctx, "--sync", "1s")
	if err != nil {
		return err
	}
	always, err := b.serve(ctx, "--sync", "always")
	if err != nil {
		return err
	}
	for _, s := range []*server{interval, always} {
		if err := ready(ctx, s); err != nil {
			return err
		}
	}
	for _, load := range []struct{ channels, inFlight int }{{1, 1}, {1, 32}, {32, 32}} {
		prefix := fmt.Sprintf("%d-%d-", load.channels, load.inFlight)
		contenders := []*storing{
			{kind: "none", server: interval, channels: named("none-"+prefix, load.channels)},
			{kind: "sync 1s", server: interval, channels: named("kept-"+prefix, load.channels)},
			{kind: "sync always", server: always, channels: named("kept-"+prefix, load.channels)},
		}
		if err := b.store(ctx, contenders, load.inFlight); err != nil {
			return err
		}
		for _, c := range contenders {
			f.History = append(f.History, stored{
				Channels: load.channels, InFlight: load.inFlight, Kind: c.kind, PerSecond: median(c.rates), CPUMicros: median(c.cpus),
				Ratio: median(c.rates) / median(contenders[0].rates),
			})
		}
	}
	if err := interval.stop(); err != nil {
		return err
	}
	return always.stop()
}

// store lets the contenders take turns, so that a change of the machine's speed hits all. Each channel has a subscriber.
func (b *bench) store(ctx context.Context, contenders []*storing, inFlight int) error {
	for _, c := range contenders {
		for _, id := range c.channels {
			size := 1000
			if c.kind == "none" {
				size = 0
			}
			if err := declare(ctx, c.server, id, size); err != nil {
				return err
			}
		}
	}
	publishes := max(b.publishes/4, 1) // there are more contenders, and a disk
	for range b.rounds {
		for _, c := range contenders {
			b.say("%d publishes to %d channels, %d in flight, history: %s", publishes, len(c.channels), inFlight, c.kind)
			if err := c.round(ctx, publishes, inFlight); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *storing) round(ctx context.Context, publishes, inFlight int) error {
	clients, err := newSockets()
	if err != nil {
		return err
	}
	if err := clients.dialAll(c.server.address, 1); err != nil {
		return err
	}
	if err := clients.shake(joined(c.channels)); err != nil {
		return err
	}
	defer clients.close()
	before, err := c.server.cpu()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := postTo(ctx, c.server, c.channels, publishes, inFlight); err != nil {
		return err
	}
	took := time.Since(began)
	if err := clients.await(int64(publishes)); err != nil {
		return err
	}
	after, err := c.server.cpu()
	c.rates = append(c.rates, float64(publishes)/took.Seconds())
	c.cpus = append(c.cpus, float64((after-before).Microseconds())/float64(publishes))
	return err
}

func joined(channels []string) (list string) {
	for i, id := range channels {
		if i > 0 {
			list += ","
		}
		list += id
	}
	return list
}

// measureResume measures how fast sockets are served that come back at once. Nothing of the channel is in the service's memory then.
func (b *bench) measureResume(ctx context.Context, f *figures) error {
	s, err := b.serve(ctx)
	if err != nil {
		return err
	}
	if err := ready(ctx, s); err != nil {
		return err
	}
	if err := declare(ctx, s, "kept", 2000); err != nil {
		return err
	}
	// An empty cursor asks for the reply that a resume gets as well.
	contenders := []*resume{{Missed: 0}, {Missed: 10}, {Missed: 1000}}
	cursors, published := map[int]string{0: ""}, 0
	for _, missed := range []int{1000, 10, 0} {
		if err := postTo(ctx, s, []string{"kept"}, 1001-missed-published, 1); err != nil {
			return err
		}
		if published = 1001 - missed; missed > 0 {
			if cursors[missed], err = s.position(ctx, "kept"); err != nil {
				return err
			}
		}
	}
	rates, cpus := map[*resume][]float64{}, map[*resume][]float64{}
	for range b.rounds {
		for _, r := range contenders {
			b.say("%d sockets that missed %d messages", b.resumes, r.Missed)
			rate, cpu, err := b.comeBack(ctx, s, "kept@"+cursors[r.Missed], int64(1+r.Missed))
			if err != nil {
				return err
			}
			rates[r], cpus[r] = append(rates[r], rate), append(cpus[r], cpu)
		}
	}
	for _, r := range contenders {
		r.Sockets, r.PerSecond, r.CPUMicros = b.resumes, median(rates[r]), median(cpus[r])
		r.Ratio = r.PerSecond / median(rates[contenders[0]])
		f.Resumes = append(f.Resumes, *r)
	}
	return s.stop()
}

// position is the cursor behind a channel's newest message.
func (s *server) position(ctx context.Context, channel string) (string, error) {
	text, err := s.call(ctx, caller, http.MethodGet, "/channels/"+channel+"/messages?limit=1", nil)
	if err != nil {
		return "", err
	}
	var page struct{ Cursor string }
	return page.Cursor, json.Unmarshal(text, &page)
}

// comeBack opens all sockets at once and waits until each has its frames.
func (b *bench) comeBack(ctx context.Context, s *server, channels string, frames int64) (perSecond, cpuMicros float64, err error) {
	clients, err := newSockets()
	if err != nil {
		return 0, 0, err
	}
	if err := clients.dialAll(s.address, b.resumes); err != nil {
		return 0, 0, err
	}
	before, err := s.cpu()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if err := clients.shake(channels); err != nil {
		return 0, 0, err
	}
	if err := clients.await(frames * int64(b.resumes)); err != nil {
		return 0, 0, err
	}
	took := time.Since(began)
	after, err := s.cpu()
	clients.close()
	if err != nil {
		return 0, 0, err
	}
	return float64(b.resumes) / took.Seconds(), float64((after - before).Microseconds()) / float64(b.resumes), s.awaitSockets(ctx, 0)
}

// awaitSockets waits until the service holds n sockets.
func (s *server) awaitSockets(ctx context.Context, n int) error {
	return waitUntil(time.Minute, func() bool {
		return s.sockets(ctx) == n
	}, func() error { return fmt.Errorf("%s does not come to hold %d sockets", s.name, n) })
}

// showHistory prints what was measured of history.
func showHistory(line func(format string, args ...any), f figures) {
	if len(f.History) > 0 {
		line("\nchannels\tin flight\thistory\tpublishes/s\tCPU µs\tratio to none\n")
	}
	for _, s := range f.History {
		line("%d\t%d\t%s\t%.0f\t%.1f\t%.2f\n", s.Channels, s.InFlight, s.Kind, s.PerSecond, s.CPUMicros, s.Ratio)
	}
	if len(f.Resumes) > 0 {
		line("\nmissed\tsockets at once\tsockets/s\tCPU µs\tratio to subscribing\n")
	}
	for _, r := range f.Resumes {
		line("%d\t%d\t%.0f\t%.1f\t%.2f\n", r.Missed, r.Sockets, r.PerSecond, r.CPUMicros, r.Ratio)
	}
	if len(f.Channels) > 0 {
		line("\nchannels\tmessages each\tresident KB\tafter a restart\tratio to none\tdisk KB\trestart ms\n")
	}
	for _, c := range f.Channels {
		line("%d\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%.0f\n", c.Channels, c.Messages, c.ResidentKB, c.RestartedKB, c.Ratio, c.DiskKB, c.RestartMillis)
	}
}
