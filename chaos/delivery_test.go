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
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	seedFlag   = flag.Uint64("chaos.seed", 0, "seed of the run; 0 for the one in "+seedVariable+", or else a new one")
	binaryFlag = flag.String("chaos.binary", "", "the eureka binary to check; built from this tree by default")
	timeFlag   = flag.Duration("chaos.for", time.Minute, "how long faults are made at least")
)

// seedVariable may hold the seed. It also keeps go test from taking an earlier result for this run's.
const seedVariable = "CHAOS_SEED"

const (
	listeners  = 20
	publishers = 8
	// roundTime is how long one service runs; a longer check takes several, each with a seed of its own, since the whole of a run is kept in memory.
	roundTime = 10 * time.Minute
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
	seed := theSeed(t)
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	if *binaryFlag == "" {
		t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(path)) })
	}
	for left := *timeFlag; left > 0 && !t.Failed(); left -= roundTime {
		length := min(left, roundTime)
		t.Attr("seed", fmt.Sprintf("%d (make chaos SEED=%d FOR=%s)", seed, seed, length))
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			for name, nodes := range map[string]int{"alone": 1, "cluster": 2} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					newWorld(t, name, seed, nodes).run(length)
				})
			}
		})
		seed++
	}
}

func theSeed(t *testing.T) uint64 {
	t.Helper()
	if text := os.Getenv(seedVariable); *seedFlag == 0 && text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
		return seed
	}
	if *seedFlag == 0 {
		return rand.Uint64()>>1 + 1
	}
	return *seedFlag
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
	for _, n := range w.nodes {
		listening.Go(func() { n.countSlow(live) })
	}
	reader := &historyReader{world: w, rng: w.rng(), client: Client{Name: "history"}}
	listening.Go(func() { reader.run(live, maps.Clone(begins)) })
	disturbed, endDisturbance := context.WithCancel(live)
	defer endDisturbance()
	for i := range publishers {
		p := newPublisher(w, fmt.Sprintf("p%d", i+1))
		publishing.Go(func() { p.run(disturbed) })
	}
	marker := newPublisher(w, markerName)
	w.disturb(disturbed, w.rng(), length)
	endDisturbance()
	publishing.Wait()
	close(w.settling)
	w.settle(live, clients, marker)
	histories, err := w.histories(live, begins)
	if err != nil {
		w.wrong("%v", err)
	}
	endLive()
	listening.Wait()
	transcript := Transcript{
		Channels: w.channels, Publishes: w.publishes, Histories: histories, Clients: []Client{reader.client}, Outages: w.allOutages(), External: w.nats != nil,
	}
	for _, c := range clients {
		transcript.Clients = append(transcript.Clients, Client{c.name, c.events})
		transcript.Reads = append(transcript.Reads, c.reads...)
	}
	for _, n := range w.nodes {
		n.checkLog(w.t, w.counts[kills])
	}
	w.report(&transcript, Judge(transcript))
}

// lacking tells what a run has not done often enough to prove anything. Most runs of a minute do many times as much; a slow machine takes longer.
func (w *world) lacking(counts map[string]int) []string {
	least := map[string]int{
		kills: 4, stops: 1, freezes: 1, drops: 20, acks: 1300, resumes: 100, refusals: 3, slowCloses: 1, drainCloses: 1, repeats: 20, pages: 10, liveMessages: 200,
	}
	if w.nats == nil {
		least[takeovers] = 2 // in a cluster the other node does not lose them as often
	} else {
		least[natsKills], least[natsStops], least[cuts], least[losses] = 1, 1, 1, 30
	}
	return below(least, counts)
}

// unproven tells likewise what the judge had too little of.
func (w *world) unproven(r *Report) []string {
	least := map[string]int{"compared": 5000, "live": 200, "repeated": 10, "reads": 10, "retained": 500, "live gaps": 0}
	if w.nats != nil {
		least["live gaps"] = 3
	}
	return below(least, map[string]int{
		"compared": r.Compared, "live": r.Live, "repeated": r.Repeated, "reads": r.Reads, "retained": r.Retained, "live gaps": r.LiveGaps,
	})
}

func below(least, counts map[string]int) []string {
	var lacking []string
	for _, what := range slices.Sorted(maps.Keys(least)) {
		if counts[what] < least[what] {
			lacking = append(lacking, fmt.Sprintf("%s %d of %d", what, counts[what], least[what]))
		}
	}
	return lacking
}

// report prints the summary and the violations.
func (w *world) report(transcript *Transcript, r Report) {
	w.t.Helper()
	if lacking := w.unproven(&r); len(lacking) > 0 {
		w.wrong("too little was compared: %v", lacking)
	}
	var counts []string
	for _, what := range slices.Sorted(maps.Keys(w.counts)) {
		counts = append(counts, fmt.Sprintf("%s %d", what, w.counts[what]))
	}
	w.t.Attr("summary", fmt.Sprintf("%d violations, %d troubles in %s; %s; judged: accepted %d, open %d, received %d, of %d promised with history and %d without, gaps %d and %d, repeated %d, reads %d, retained %d",
		len(r.Violations), len(w.trouble), w.now().Round(time.Second), strings.Join(counts, ", "),
		r.Acked, r.Unknown, r.Received, r.Compared, r.Live, r.Gaps, r.LiveGaps, r.Repeated, r.Reads, r.Retained))
	for _, text := range w.trouble[:min(len(w.trouble), shown)] {
		w.t.Errorf("trouble: %s", text)
	}
	for _, v := range r.Violations[:min(len(r.Violations), shown)] {
		w.t.Errorf("violation: %s\n%s", v, excerpt(transcript, v))
	}
	if len(r.Violations) > 0 {
		// Once more, since of long outputs the end alone is kept.
		var texts []string
		for _, v := range r.Violations[:min(len(r.Violations), shown)] {
			texts = append(texts, v.String())
		}
		w.t.Errorf("seed %d: %d violations\n%s", w.seed, len(r.Violations), strings.Join(texts, "\n"))
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
