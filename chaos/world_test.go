package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// patience is how long something that should happen soon may take, on a loaded machine too.
const patience = 60 * time.Second

// world is one service with its faults, and what was seen there.
type world struct {
	t        *testing.T
	name     string
	seed     uint64
	part     uint64 // tells the worlds of one seed apart
	dir      string
	began    time.Time
	channels []Channel
	nodes    []*node
	natsPort int
	nats     *server.Server // of a cluster

	mu        sync.Mutex
	publishes []*Publish
	faults    map[string]int
	trouble   []string // what went wrong beside the promises
	actors    uint64

	operations atomic.Int64
	drops      atomic.Int64
	settling   chan struct{} // closed when clients do nothing but listen
}

// The channels of every world. The live one has no history.
const (
	shortChannel = "short"
	liveChannel  = "live:chaos"
)

func theChannels() []Channel {
	return []Channel{
		{Name: "first", Size: 100_000, TTL: 24 * time.Hour},
		{Name: "second", Size: 100_000, TTL: 24 * time.Hour},
		{Name: "third", Size: 100_000, TTL: 24 * time.Hour},
		{Name: "middle", Size: 500, TTL: 30 * time.Second},
		{Name: "small", Size: 50, TTL: 10 * time.Minute},
		{Name: shortChannel, Size: 1000, TTL: 3 * time.Second},
		{Name: liveChannel},
	}
}

func newWorld(t *testing.T, name string, seed uint64, nodes int) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "eureka-chaos-"+name+"-")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, name: name, seed: seed, part: sum([]byte(name)), dir: dir, began: time.Now(), channels: theChannels(), faults: map[string]int{}, settling: make(chan struct{}),
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the state and logs are in %s", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Log(err)
		}
	})
	rng := w.rng()
	var url string
	if nodes > 1 {
		w.natsPort = freePort(t, rng)
		url = fmt.Sprintf("nats://127.0.0.1:%d", w.natsPort)
		w.startNATS()
		t.Cleanup(w.stopNATS)
	}
	for i := range nodes {
		n := &node{
			world: w, name: fmt.Sprintf("node%d", i+1), address: fmt.Sprintf("127.0.0.1:%d", freePort(t, rng)),
			data: filepath.Join(dir, fmt.Sprintf("data%d", i+1)), nats: url,
		}
		w.nodes = append(w.nodes, n)
		n.start()
		t.Cleanup(n.kill)
	}
	for _, n := range w.nodes {
		if err := n.ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// rng makes the random numbers of one more actor.
func (w *world) rng() *rand.Rand {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.actors++
	return rand.New(rand.NewPCG(w.seed, w.part+w.actors))
}

func (w *world) now() time.Duration { return time.Since(w.began) }

func (w *world) count(fault string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults[fault]++
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

func (w *world) anyNode(rng *rand.Rand) *node { return w.nodes[rng.IntN(len(w.nodes))] }

func (w *world) hasHistory(channel string) bool {
	for _, ch := range w.channels {
		if ch.Name == channel {
			return ch.Size > 0
		}
	}
	return false
}

func (w *world) startNATS() {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: w.natsPort, JetStream: true, StoreDir: filepath.Join(w.dir, "nats"), NoLog: true, NoSigs: true,
	})
	if err != nil {
		w.wrong("NATS does not start: %v", err)
		return
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		w.wrong("NATS does not get ready")
	}
	w.nats = s
}

func (w *world) stopNATS() {
	if w.nats != nil {
		w.nats.Shutdown()
		w.nats.WaitForShutdown()
		w.nats = nil
	}
}

// disturb makes faults until the context ends.
func (w *world) disturb(ctx context.Context, rng *rand.Rand) {
	for pause(ctx, rng, 500*time.Millisecond, 5*time.Second) {
		began := w.now()
		what := w.fault(ctx, rng)
		w.t.Logf("%s at %s: %s, repaired after %s", w.name, began.Round(time.Millisecond), what, (w.now() - began).Round(time.Millisecond))
	}
}

// fault makes one fault, waits until it is repaired, and tells what it was.
func (w *world) fault(ctx context.Context, rng *rand.Rand) (what string) {
	n := w.anyNode(rng)
	repaired := context.WithoutCancel(ctx)
	choice := rng.IntN(100)
	switch {
	case w.nats != nil && choice < 25:
		what = "NATS restarted"
		w.count("nats restarts")
		w.stopNATS()
		if rng.IntN(4) == 0 { // together with a node
			what += ", " + n.name + " killed"
			w.count("kills")
			n.kill()
		}
		pause(ctx, rng, 0, 3*time.Second)
		w.startNATS()
		if !n.running() {
			n.start()
		}
	case choice < 70:
		what = n.name + " killed"
		w.count("kills")
		n.kill()
		pause(ctx, rng, 0, 1500*time.Millisecond)
		n.start()
		if rng.IntN(5) == 0 { // once more while it starts
			what += " twice"
			pause(ctx, rng, 0, 500*time.Millisecond)
			w.count("kills")
			n.kill()
			n.start()
		}
	default:
		what = n.name + " stopped"
		w.count("stops")
		n.stop()
		pause(ctx, rng, 0, time.Second)
		n.start()
	}
	for _, n := range w.nodes {
		if err := n.ready(repaired); err != nil {
			w.wrong("%v", err)
		}
	}
	return what
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
