package core

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// Bounds of progress.
const (
	progressLife = 5 * time.Minute // for as long as a key counts
	maxProgress  = 100_000         // channels, of all events together
)

// progress remembers of events that some of their channels did not take which ones did, until the events are accepted. It is in the memory of this
// process alone: sources bring an event again within a moment, mostly to the same one. It is safe for concurrent use.
type progress struct {
	mu    sync.Mutex
	of    map[attempt]taken
	order []attempt // the oldest first
	size  int       // channels in of
}

// attempt is an event that is tried: by its key, and by what it is, since a key that was given up may come with another event.
type attempt struct{ key, request string }

// taken is which channels took an event. Those that count are in the answer.
type taken struct {
	counts map[string]bool // by id
	at     time.Time       // when the event was begun
}

func newProgress() *progress { return &progress{of: map[attempt]taken{}} }

// begun returns what is known of an event; nothing for one without a key. It is not to be changed.
func (p *progress) begun(a attempt, now time.Time) taken {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t, ok := p.of[a]; ok && now.Sub(t.at) < progressLife {
		return t
	}
	return taken{at: now}
}

// accepted forgets an event.
func (p *progress) accepted(a attempt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget(a)
}

// failed remembers what an event has got to: the channels before, and those that took it now, of which some count.
func (p *progress) failed(a attempt, before taken, took, count []string) {
	if a.key == "" || len(before.counts)+len(took) == 0 {
		return
	}
	t := taken{make(map[string]bool, len(before.counts)+len(took)), before.at}
	maps.Copy(t.counts, before.counts)
	for _, id := range took {
		t.counts[id] = false
	}
	for _, id := range count {
		t.counts[id] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget(a)
	p.of[a], p.order, p.size = t, append(p.order, a), p.size+len(t.counts)
	for p.size > maxProgress {
		p.forget(p.order[0])
	}
}

// forget removes an event, if it is there. The caller holds mu.
func (p *progress) forget(a attempt) {
	t, known := p.of[a]
	if !known {
		return
	}
	delete(p.of, a)
	p.order = slices.DeleteFunc(p.order, func(o attempt) bool { return o == a })
	p.size -= len(t.counts)
}
