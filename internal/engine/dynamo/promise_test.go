package dynamo

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"eureka"
	"eureka/internal/awslocal"
)

var (
	promiseTime = flag.Duration("promise", 10*time.Second, "how long TestPromise publishes")
	promiseSeed = flag.Uint64("promise.seed", 0, "seed of TestPromise; 0 for another one each time")
)

// clockSpeed is how much faster than real time the engines' clocks run, so that leases of those that were killed end in time.
const clockSpeed = 10

// promise is a service on a bad day: functions are killed, requests throttled, cut and answered in vain, tasks come twice and late, clocks differ, posts
// are refused, and sockets end without a word.
type promise struct {
	t       *testing.T
	seed    uint64
	clock   *runningClock
	wires   *wires
	queue   *errand
	engines []*Engine
	proxies []*awslocal.Proxy
	sockets atomic.Int64
	calm    atomic.Bool

	mu     sync.Mutex
	acked  map[string]eureka.Cursor // by name of the message
	doubts int                      // publishes whose outcome their publisher does not know
}

func newPromise(t *testing.T) *promise {
	t.Helper()
	seed := *promiseSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("repeat the faults with -promise.seed=%d", seed)
	p := &promise{t: t, seed: seed, clock: newRunningClock(clockSpeed), wires: &wires{}, acked: map[string]eureka.Cursor{}}
	p.queue = newErrand(t, seed)
	p.queue.shorten, p.queue.cut = clockSpeed, 0.1
	table := newTestTable(t)
	for i := range 3 {
		proxy := proxied(t, seed+uint64(i))
		p.proxies = append(p.proxies, proxy)
		e := testEngine(t, proxy.Endpoint, table, func(o *Options) {
			o.Now, o.Poster, o.Queue = p.clock.behind(time.Duration(i)*2*time.Second), p.wires, p.queue
			o.Log = slog.New(slog.DiscardHandler)
			o.Gone = func(ctx context.Context, id string) {
				_, _ = p.engines[i].Sockets().Remove(ctx, id) // the sweep's task where it fails
			}
		})
		p.engines = append(p.engines, e)
	}
	p.queue.engines = p.engines
	t.Cleanup(p.queue.stop)
	return p
}

// rng is a source of decisions of its own for each part of the test.
func (p *promise) rng(part uint64) *rand.Rand {
	return rand.New(rand.NewPCG(p.seed, part))
}

// spoil begins the bad day.
func (p *promise) spoil() {
	for _, proxy := range p.proxies {
		proxy.Set(awslocal.Faults{Throttle: 0.02, Unprocessed: 0.1, Cut: 0.01, Lose: 0.01})
	}
	var mu sync.Mutex
	rng := p.rng(1)
	p.wires.mu.Lock()
	defer p.wires.mu.Unlock()
	p.wires.before = func(string) error {
		mu.Lock()
		defer mu.Unlock()
		if p.calm.Load() {
			return nil
		}
		switch n := rng.IntN(1000); {
		case n < 100:
			return eureka.Errorf(eureka.CodeRateLimited, "later")
		case n < 110:
			return eureka.Errorf(eureka.CodeUnavailable, "no answer")
		}
		return nil
	}
}

// heal ends it.
func (p *promise) heal() {
	p.calm.Store(true)
	for _, proxy := range p.proxies {
		proxy.CrashAfter(-1)
		proxy.Set(awslocal.Faults{})
	}
	p.queue.mu.Lock()
	p.queue.cut = 0
	p.queue.mu.Unlock()
}

// killer kills one function after the other in the middle of what it does.
func (p *promise) killer(until <-chan struct{}) {
	rng := p.rng(2)
	for {
		proxy := p.proxies[rng.IntN(len(p.proxies))]
		proxy.CrashAfter(rng.IntN(12))
		if !wait(until, time.Duration(50+rng.IntN(200))*time.Millisecond) {
			return
		}
		proxy.CrashAfter(-1)
		if !wait(until, time.Duration(200+rng.IntN(600))*time.Millisecond) {
			return
		}
	}
}

// wait returns false when until comes first.
func wait(until <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-until:
		return false
	}
}

var promiseRetention = eureka.Retention{Size: eureka.MaxHistorySize, TTL: eureka.Duration(eureka.MaxHistoryTTL)}

// publisher publishes one message after the other. Those with a key are repeated until they are accepted.
func (p *promise) publisher(n int, channels []string, until <-chan struct{}) {
	rng := p.rng(100 + uint64(n))
	for i := 0; wait(until, time.Duration(rng.IntN(20))*time.Millisecond); i++ {
		channel := channels[rng.IntN(len(channels))]
		name := fmt.Sprintf("%s/%d/%d", channel, n, i)
		m := eureka.Message{ChannelID: channel, Action: eureka.ActionMessage, Data: json.RawMessage(`"` + name + `"`), Retention: &promiseRetention}
		if rng.IntN(2) == 0 {
			m.Key = name
		}
		for try := 0; ; try++ {
			// Some callers are cut off themselves. Repeating must come within the key's five minutes, which the clocks make 30 seconds.
			limit := 20 * time.Second
			if rng.IntN(10) == 0 {
				limit = time.Duration(5+rng.IntN(100)) * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(p.t.Context(), limit)
			d, err := p.engines[rng.IntN(len(p.engines))].Fanout().Deliver(ctx, m)
			cancel()
			p.mu.Lock()
			if err == nil {
				p.acked[name] = d.Cursor
			} else {
				p.doubts++
			}
			p.mu.Unlock()
			if err == nil || m.Key == "" || try > 50 {
				break
			}
			wait(p.t.Context().Done(), 50*time.Millisecond)
		}
	}
}

// client is somebody who listens to one channel, on one socket after the other.
type client struct {
	channel string
	last    eureka.Cursor // of the newest frame; messages up to it are dropped
	began   eureka.Cursor
	got     []string
	gaps    int
	rounds  int
}

// connect connects and resumes, until it works.
func (p *promise) connect(c *client, rng *rand.Rand) *wire {
	for range 500 {
		id := fmt.Sprintf("L0SM9cOFvH%05d=", p.sockets.Add(1))
		w := p.wires.open(id)
		e := p.engines[rng.IntN(len(p.engines))]
		ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Second)
		now := p.clock.now()
		err := e.Sockets().Add(ctx, eureka.Socket{ID: id, ConnectedAt: now.UnixMilli(), ExpiresAt: now.Add(2 * 24 * time.Hour).UnixMilli()})
		var began eureka.Subscribed
		if err == nil {
			began, err = e.Sockets().Subscribe(ctx, eureka.Subscription{SocketID: id, ChannelID: c.channel, Name: c.channel, Since: c.last})
		}
		cancel()
		if err != nil {
			w.end()
			continue
		}
		c.rounds++
		switch {
		case c.last == eureka.Cursor{}:
			c.last, c.began = began.Cursor, began.Cursor
		case !began.Recovered:
			p.t.Errorf("from %s on %s nothing is recovered: %+v", c.last, c.channel, began)
		}
		return w
	}
	p.t.Error("no socket can be connected")
	return nil
}

// hear takes the frames that a socket has had, from one on, and returns how many.
func (c *client) hear(t *testing.T, w *wire, from int) int {
	frames := w.Frames()
	for _, text := range frames[from:] {
		var f struct {
			Action, ID string
			Data       string
		}
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			t.Errorf("%v: %s", err, text)
			continue
		}
		if f.Action != eureka.ActionMessage {
			c.gaps++
			t.Errorf("on %s it is told %s", c.channel, text)
			continue
		}
		cursor, err := eureka.ParseCursor("id", f.ID)
		if err != nil || cursor.Epoch != c.last.Epoch {
			t.Errorf("%s behind %s: %v", text, c.last, err)
			continue
		}
		if cursor.Offset > c.last.Offset {
			c.last, c.got = cursor, append(c.got, f.Data)
		}
	}
	return len(frames)
}

func (p *promise) listener(c *client, n int, until <-chan struct{}) {
	rng := p.rng(200 + uint64(n))
	for {
		w := p.connect(c, rng)
		if w == nil {
			return
		}
		goes := wait(until, time.Duration(rng.IntN(2000))*time.Millisecond)
		if rng.IntN(3) > 0 {
			w.end() // without a word; or it leaves first
		}
		ctx, cancel := context.WithTimeout(p.t.Context(), 5*time.Second)
		switch rng.IntN(3) {
		case 0:
			_ = p.engines[0].Sockets().Unsubscribe(ctx, w.id, c.channel) // whether it works or not, nothing more is heard
		case 1:
			_, _ = p.engines[1].Sockets().Remove(ctx, w.id) // likewise
		}
		cancel()
		w.end()
		c.hear(p.t, w, 0)
		if !goes {
			return
		}
	}
}

// stored is what a channel's history has behind a position.
func (p *promise) stored(channel string, since eureka.Cursor) []string {
	p.t.Helper()
	var names []string
	for {
		page, err := p.engines[0].History().After(p.t.Context(), channel, since, 1000)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, m := range page.Messages {
			names = append(names, string(m.Data[1:len(m.Data)-1]))
		}
		if since = page.Cursor; !page.More {
			return names
		}
	}
}

// TestPromise: whatever happens, clients that drop what they had by its cursor have every message that was accepted since they came, in order and
// without a hole; messages with a key are stored once.
func TestPromise(t *testing.T) {
	t.Parallel()
	p := newPromise(t)
	channels := []string{"A", "B"}
	for _, channel := range channels {
		if _, err := p.engines[0].Channels().Create(t.Context(), eureka.Channel{ID: channel, History: &promiseRetention}); err != nil {
			t.Fatal(err)
		}
	}
	p.spoil()
	over := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { p.killer(over) })
	for n := range 4 {
		running.Go(func() { p.publisher(n, channels, over) })
	}
	clients := make([]*client, 6)
	for n := range clients {
		clients[n] = &client{channel: channels[n%len(channels)]}
		running.Go(func() { p.listener(clients[n], n, over) })
	}
	wait(t.Context().Done(), *promiseTime)
	close(over)
	running.Wait()
	p.heal()
	p.finish(channels, clients)
}

// finish connects all clients once more, has one more message published on each channel, and compares.
func (p *promise) finish(channels []string, clients []*client) {
	t, rng := p.t, p.rng(3)
	sockets := make([]*wire, len(clients))
	for n, c := range clients {
		sockets[n] = p.connect(c, rng)
	}
	for _, channel := range channels {
		m := eureka.Message{ChannelID: channel, Action: eureka.ActionMessage, Data: json.RawMessage(`"` + channel + `/last"`), Retention: &promiseRetention}
		d, err := p.engines[0].Fanout().Deliver(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		p.acked[channel+"/last"] = d.Cursor
	}
	for n, c := range clients {
		heard := 0
		for deadline := time.Now().Add(90 * time.Second); ; {
			heard = c.hear(t, sockets[n], heard)
			if len(c.got) > 0 && strings.HasSuffix(c.got[len(c.got)-1], "/last") {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("client %d on %s gets no more behind %s", n, c.channel, c.last)
				break
			}
			wait(t.Context().Done(), 20*time.Millisecond)
		}
		if want := p.stored(c.channel, c.began); !slices.Equal(c.got, want) {
			t.Errorf("client %d on %s has %d messages, want %d: %s", n, c.channel, len(c.got), len(want), firstDifference(c.got, want))
		}
	}
	rounds := 0
	for _, c := range clients {
		rounds += c.rounds
	}
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	t.Logf("%d messages accepted, %d publishes in doubt, %d sockets; tasks done %v, failed %v", len(p.acked), p.doubts, rounds, p.queue.done, p.queue.failed)
	p.checkAcked(channels)
}

// checkAcked: every accepted message is stored, all once.
func (p *promise) checkAcked(channels []string) {
	var all []string
	for _, channel := range channels {
		start := eureka.Cursor{}
		for name, cursor := range p.acked {
			if strings.HasPrefix(name, channel+"/") && (start.Epoch == "" || cursor.Offset < start.Offset) {
				start = cursor
			}
		}
		start.Offset = firstHead
		all = append(all, p.stored(channel, start)...)
	}
	slices.Sort(all)
	if once := slices.Compact(slices.Clone(all)); len(once) != len(all) {
		p.t.Errorf("%d messages are stored, %d of them again", len(all), len(all)-len(once))
	}
	for name := range p.acked {
		if _, found := slices.BinarySearch(all, name); !found {
			p.t.Errorf("%s was accepted and is not stored", name)
		}
	}
}

func firstDifference(got, want []string) string {
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	return fmt.Sprintf("from place %d on %q, want %q", at, got[at:min(at+4, len(got))], want[at:min(at+4, len(want))])
}
