package chaos

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	seedFlag   = flag.Uint64("chaos.seed", 0, "seed of the run; 0 for a new one")
	binaryFlag = flag.String("chaos.binary", "", "the eureka binary to check; built from this tree by default")
	timeFlag   = flag.Duration("chaos.for", time.Minute, "how long faults are made")
)

const (
	listeners  = 20
	publishers = 8
	// shown is how many violations are printed, and around how many events of their client before and behind each.
	shown  = 12
	around = 25
)

// TestDelivery runs the service, alone and as a cluster, with listeners, publishers and faults, and lets Judge compare what everybody saw with
// what is promised.
func TestDelivery(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()>>1 + 1
	}
	t.Logf("seed %d; repeat with -chaos.seed %d -chaos.for %s", seed, seed, *timeFlag)
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	if *binaryFlag == "" {
		t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(path)) })
	}
	for name, nodes := range map[string]int{"alone": 1, "cluster": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newWorld(t, name, seed, nodes).run(*timeFlag)
		})
	}
}

// run makes a run and judges it.
func (w *world) run(length time.Duration) {
	w.t.Helper()
	begins, err := w.declare(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	live, endLive := context.WithCancel(w.t.Context())
	defer endLive()
	var listening, publishing sync.WaitGroup
	var clients []*client
	for i := range listeners {
		c := newClient(w, fmt.Sprintf("c%d", i+1))
		clients = append(clients, c)
		listening.Go(func() { c.run(live) })
	}
	reader := &historyReader{world: w, rng: w.rng(), client: Client{Name: "history"}}
	listening.Go(func() { reader.run(live, maps.Clone(begins)) })
	disturbed, endDisturbance := context.WithTimeout(live, length)
	defer endDisturbance()
	for i := range publishers {
		p := newPublisher(w, fmt.Sprintf("p%d", i+1))
		publishing.Go(func() { p.run(disturbed) })
	}
	w.disturb(disturbed, w.rng())
	publishing.Wait()
	for _, n := range w.nodes {
		if err := n.ready(live); err != nil {
			w.wrong("%v", err)
		}
	}
	close(w.settling)
	w.settle(live, clients)
	histories, err := w.histories(live, begins)
	if err != nil {
		w.wrong("%v", err)
	}
	endLive()
	listening.Wait()
	transcript := Transcript{Channels: w.channels, Publishes: w.publishes, Histories: histories, Clients: []Client{reader.client}}
	for _, c := range clients {
		transcript.Clients = append(transcript.Clients, Client{c.name, c.events})
	}
	for _, n := range w.nodes {
		n.checkLog(w.t)
	}
	w.report(&transcript, Judge(transcript))
}

// settle waits until everybody listens, publishes a last message on each channel, and waits until everybody has it.
func (w *world) settle(ctx context.Context, clients []*client) {
	if late := w.await(ctx, clients, (*client).steady); late != "" {
		w.wrong("not everybody listens at the end: %s", late)
	}
	marks, p := map[string]Position{}, newPublisher(w, "marker")
	marking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, ch := range w.channels {
		at, err := p.marker(marking, ch.Name)
		if err != nil {
			w.wrong("%v", err)
		}
		marks[ch.Name] = at
	}
	if late := w.await(ctx, clients, func(c *client) string { return c.has(marks) }); late != "" {
		w.wrong("not everybody has the last messages: %s", late)
	}
	for _, c := range clients {
		c.record(Event{Kind: Settled})
	}
}

// maxCatchUp bounds how long clients may take to receive what they missed; one that receives nothing has only patience.
const maxCatchUp = 5 * time.Minute

// await polls until all clients are as they should be. When one is not, and hears nothing more, or it takes too long, it returns what is wrong.
func (w *world) await(ctx context.Context, clients []*client, why func(*client) string) (late string) {
	ctx, cancel := context.WithTimeout(ctx, maxCatchUp)
	defer cancel()
	heard, since := make([]int, len(clients)), make([]time.Duration, len(clients))
	for i := range since {
		since[i] = w.now()
	}
	for {
		var all []string
		silent := false
		for i, c := range clients {
			text := why(c)
			if text == "" {
				since[i] = w.now()
				continue
			}
			all = append(all, c.name+": "+text)
			if n := c.heard(); n != heard[i] {
				heard[i], since[i] = n, w.now()
			}
			silent = silent || w.now()-since[i] > patience
		}
		late = strings.Join(all, "; ")
		if late == "" || silent || !rest(ctx, 50*time.Millisecond) {
			return late
		}
	}
}

func (c *client) heard() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.events)
}

// steady tells what a client still waits for before it listens to all of its channels; "" for nothing.
func (c *client) steady() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.connected {
		return "not connected"
	}
	for _, name := range c.home {
		if !c.channels[name].subscribed {
			return "not subscribed to " + name
		}
	}
	for ref, a := range c.pending {
		if c.world.now()-a.at < requestTimeout {
			return fmt.Sprintf("no answer to %s of %s (%s)", a.action, a.channel, ref)
		}
	}
	return ""
}

// has tells what a client still has to receive.
func (c *client) has(marks map[string]Position) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range c.home {
		mark := marks[name]
		if last := c.channels[name].last; mark != (Position{}) && (last.Epoch != mark.Epoch || last.Offset < mark.Offset) {
			return fmt.Sprintf("on %s it has %s, the last is %s", name, last, mark)
		}
	}
	return ""
}

// report prints the summary and the violations.
func (w *world) report(transcript *Transcript, r Report) {
	w.t.Helper()
	var faults []string
	for _, name := range slices.Sorted(maps.Keys(w.faults)) {
		faults = append(faults, fmt.Sprintf("%s %d", name, w.faults[name]))
	}
	w.t.Logf("%s: seed %d, %s, operations %d, publishes acked %d unknown %d, received %d, drops %d, resumes recovered %d not %d (avoidable %d), gaps %d, %s, violations %d, other trouble %d",
		w.name, w.seed, w.now().Round(time.Second), w.operations.Load(), r.Acked, r.Unknown, r.Received, w.drops.Load(),
		r.Recovered, r.NotRecovered, len(r.Avoidable), r.Gaps, strings.Join(faults, ", "), len(r.Violations), len(w.trouble))
	for _, text := range r.Avoidable[:min(len(r.Avoidable), shown)] {
		w.t.Logf("avoidable: %s", text)
	}
	for _, text := range w.trouble[:min(len(w.trouble), shown)] {
		w.t.Errorf("trouble: %s", text)
	}
	for _, v := range r.Violations[:min(len(r.Violations), shown)] {
		w.t.Errorf("violation: %s\n%s", v, excerpt(transcript, v))
	}
	if len(r.Violations) > 0 {
		w.t.Errorf("seed %d: %d violations", w.seed, len(r.Violations))
	}
}

// excerpt is what the violation's client saw around it on the channel.
func excerpt(transcript *Transcript, v Violation) string {
	var lines []string
	for _, c := range transcript.Clients {
		if c.Name != v.Client || v.Client == "" {
			continue
		}
		before := 0
		for i := v.Event; i >= 0 && before < around; i-- {
			if e := &c.Events[i]; e.Channel == v.Channel || e.Channel == "" {
				lines = append(lines, fmt.Sprintf("  %d %s", i, e))
				before++
			}
		}
		slices.Reverse(lines)
		after := 0
		for i := v.Event + 1; i < len(c.Events) && after < around; i++ {
			if e := &c.Events[i]; e.Channel == v.Channel || e.Channel == "" {
				lines = append(lines, fmt.Sprintf("  %d %s", i, e))
				after++
			}
		}
	}
	return strings.Join(lines, "\n")
}
