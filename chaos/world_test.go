package chaos

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

const (
	// patience is how long something that should happen soon may take on a machine that is busy with other things.
	patience     = 3 * time.Minute
	pollInterval = 50 * time.Millisecond
)

// world is one service with its faults, and what was seen there.
type world struct {
	t           *testing.T
	name        string
	seed        uint64
	part        uint64 // tells the worlds of one seed apart
	dir         string
	began       time.Time
	channels    []Channel
	nodes       []*node
	nats        *process // of a cluster; nil for the server inside the one node
	natsAddress string
	settling    chan struct{} // closed when clients do nothing but listen
	keyed       chan struct{} // a request with a key is being sent
	bursts      chan string   // channels on which much is to be published at once

	mu        sync.Mutex
	publishes []*Publish
	outages   []Outage
	counts    map[string]int
	trouble   []string // what went wrong beside the promises
	actors    uint64
}

// The channels of every world. The live one has no history.
const liveChannel = "live:chaos"

func theChannels() []Channel {
	return []Channel{
		{Name: "first", Size: 100_000, TTL: 24 * time.Hour},
		{Name: "second", Size: 100_000, TTL: 24 * time.Hour},
		{Name: "third", Size: 100_000, TTL: 24 * time.Hour},
		{Name: "middle", Size: 500, TTL: 30 * time.Second},
		{Name: "small", Size: 50, TTL: 10 * time.Minute},
		{Name: "short", Size: 1000, TTL: 3 * time.Second},
		{Name: liveChannel},
	}
}

// newWorld starts a service: one node with the NATS inside it, or several with an external one.
func newWorld(t *testing.T, name string, seed uint64, nodes int) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "eureka-chaos-"+name+"-")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, name: name, seed: seed, part: sum([]byte(name)), dir: dir, began: time.Now(), channels: theChannels(), counts: map[string]int{}, settling: make(chan struct{}),
		keyed: make(chan struct{}, 1), bursts: make(chan string, burstCount),
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the state and logs are in %s", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Log(err)
		}
	})
	rng := w.rng()
	if nodes > 1 {
		port := freePort(t, rng)
		w.natsAddress = fmt.Sprintf("127.0.0.1:%d", port)
		if w.nats, err = newNATS(w, port); err != nil {
			t.Fatal(err)
		}
		w.startNATS()
		t.Cleanup(w.nats.kill)
	}
	for i := range nodes {
		var p *proxy
		if w.nats != nil {
			if p, err = newProxy(w, freePort(t, rng), w.rng()); err != nil {
				t.Fatal(err)
			}
		}
		n, err := newNode(w, i+1, fmt.Sprintf("127.0.0.1:%d", freePort(t, rng)), p)
		if err != nil {
			t.Fatal(err)
		}
		w.nodes = append(w.nodes, n)
		n.start()
		t.Cleanup(n.kill)
	}
	if err := w.ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) ready(ctx context.Context) error {
	for _, n := range w.nodes {
		if err := n.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// rng makes the random numbers of one more actor.
func (w *world) rng() *rand.Rand {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.actors++
	return rand.New(rand.NewPCG(w.seed, w.part+w.actors))
}

func (w *world) now() time.Duration { return time.Since(w.began) }

// count counts something that was done or seen.
func (w *world) count(what string) { w.add(what, 1) }

func (w *world) add(what string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[what] += n
}

func (w *world) counted() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.counts)
}

// wrong notes what must not happen and is no matter of the judge.
func (w *world) wrong(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trouble = append(w.trouble, fmt.Sprintf("%s: %s", w.now().Round(time.Millisecond), fmt.Sprintf(format, args...)))
}

// published notes a new message; its attempts are its publisher's alone until the run is over.
func (w *world) published(p *Publish) *Publish {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.publishes = append(w.publishes, p)
	return p
}

// cut notes a time in which messages without history may be lost.
func (w *world) cut(node string, from time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outages = append(w.outages, Outage{Node: node, From: from, To: w.now()})
}

// allOutages are those that the world made, and those that the nodes' logs tell of beside them.
func (w *world) allOutages() []Outage {
	all := slices.Clone(w.outages)
	for _, n := range w.nodes {
		losses, err := n.losses()
		if err != nil {
			w.wrong("the log of %s: %v", n.name, err)
		}
		for _, loss := range losses {
			// The log has whole milliseconds.
			made := slices.ContainsFunc(w.outages, func(o Outage) bool {
				return (o.Node == "" || o.Node == n.name) && o.From <= loss.To+time.Millisecond && loss.To <= o.To
			})
			if !made {
				w.count(tornOff)
				all = append(all, loss)
			}
		}
	}
	return all
}

// awaitKeyed waits until a request with a key is sent, but not for long.
func (w *world) awaitKeyed(ctx context.Context) {
	select {
	case <-w.keyed: // an earlier one
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	select {
	case <-w.keyed:
	case <-ctx.Done():
	}
}

// burst asks publishers to publish much on a channel, unless that was asked for just before.
func (w *world) burst(channel string) {
	for range burstCount {
		select {
		case w.bursts <- channel:
		default:
		}
	}
}

func (w *world) anyNode(rng *rand.Rand) *node { return w.nodes[rng.IntN(len(w.nodes))] }

func (w *world) hasHistory(channel string) bool {
	return slices.ContainsFunc(w.channels, func(ch Channel) bool { return ch.Name == channel && ch.Size > 0 })
}

// pause waits for a random time and reports whether the context is still alive.
func pause(ctx context.Context, rng *rand.Rand, least, most time.Duration) bool {
	return rest(ctx, least+time.Duration(rng.Int64N(int64(most-least)+1)))
}

func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// freePort finds a port below those that the system gives to outgoing connections, so that it stays free while its server is away.
func freePort(t *testing.T, rng *rand.Rand) int {
	t.Helper()
	for range 1000 {
		port := 15000 + rng.IntN(15000)
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}
