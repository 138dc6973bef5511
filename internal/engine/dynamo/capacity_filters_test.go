package dynamo

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"eureka"
	"eureka/internal/rule"
)

// TestCapacityOfFilters measures what filters add. A subscriber with a long filter stays within the bar of one unit for 50 of them once the texts are read.
func TestCapacityOfFilters(t *testing.T) {
	t.Parallel()
	m, table, clock := proxied(t, 1), newTestTable(t), newRunningClock(1)
	ways, queue := &wires{}, &shelf{}
	change := func(o *Options) {
		o.Now, o.Poster, o.Queue, o.Rules = clock.now, ways, queue, rule.New(rule.Options{})
	}
	e := testEngine(t, m.Endpoint, table, change)
	e.oneOf = func(int) bool { return false } // the look at the size of a shard, half a unit of one subscription in 64
	short := func(i int) string {
		return fmt.Sprintf(`data.userId == "user-%06d" && event in ["created", "paid"]`, i)
	} // 58 bytes
	long := func(i int) string { return short(i) + ` && data.city in ["` + strings.Repeat("x", 920) + `"]` } // 1,000 bytes
	socket := item{KeyTTL: number(clock.now().Add(2 * time.Hour).Unix())}
	kept := func(text string) filter {
		f, err := e.keepFilter(t.Context(), text, socket)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	same := kept(long(0))
	filteredCrowd(t, e, ways, "short", 1000, func(i int) filter { return kept(short(i)) })
	filteredCrowd(t, e, ways, "same", 1000, func(int) filter { return same })
	filteredCrowd(t, e, ways, "each", 1000, func(i int) filter { return kept(long(i)) })
	next := 0
	subscribe := func(filter string) func() error {
		return func() error {
			next++
			w, now := ways.open(fmt.Sprintf("L0SM9cOFvH%05d=", next)), clock.now()
			s := eureka.Socket{ID: w.id, ConnectedAt: now.UnixMilli(), ExpiresAt: now.Add(2 * time.Hour).UnixMilli()}
			if err := e.Sockets().Add(t.Context(), s); err != nil {
				return err
			}
			m.Reset()
			_, err := e.Sockets().Subscribe(t.Context(), eureka.Subscription{SocketID: w.id, ChannelID: "fresh", Name: "fresh", Filter: filter})
			return err
		}
	}
	broadcast := func(e *Engine, channel string, matched int) func() error {
		return func() error {
			n := direct(channel, "m")
			n.Data, n.Event = []byte(`{"userId":"user-000000","city":"`+strings.Repeat("x", 920)+`"}`), "paid"
			d, err := e.Fanout().Deliver(t.Context(), n)
			if err == nil && d.Matched != matched {
				err = fmt.Errorf("%d of %d match", d.Matched, matched)
			}
			return err
		}
	}
	cold := func() *Engine { return testEngine(t, m.Endpoint, table, change) }
	filteredCrowd(t, e, ways, "kept", 1000, func(i int) filter { return kept(short(i + 1)) })
	publish := func(user int) func() error {
		return func() error {
			n := message("kept", "m")
			n.Data, n.Event, n.Counted = fmt.Appendf(nil, `{"userId":"user-%06d"}`, user), "paid", true
			d, err := e.Fanout().Deliver(t.Context(), n)
			if want := min(user, 1); err == nil && (d.Matched != want || d.Sent != want) {
				err = fmt.Errorf("%+v, want %d", d, want)
			}
			return err
		}
	}
	if err := publish(1)(); err != nil {
		t.Fatal(err)
	}
	cases := []capacityCase{
		{"subscribe with a filter of 58 bytes", subscribe(short(0)), 8, 2},
		{"subscribe with one of 1,000 bytes, the first of the day", subscribe(long(5000)), 9, 4},
		{"the same again", subscribe(long(5000)), 8, 2},
		{"broadcast to 1,000 of whom one passes, filters of 58 bytes", broadcast(e, "short", 1), 1 + 1000.0/30, 0},
		{"the same, all with one filter of 1,000 bytes", broadcast(e, "same", 1000), 1 + 1000.0/50, 0},
		{"the same by a function that has just started", broadcast(cold(), "same", 1000), 2 + 1000.0/50, 0},
		{"the same, each with its own of 1,000 bytes", broadcast(e, "each", 1), 1 + 1000.0/50, 0},
		{"the same by a function that has just started, once", broadcast(cold(), "each", 1), 1 + 1000.0/50 + 1000, 0},
		{"publish with history to 1,000 of whom one passes, filters of 58 bytes", publish(1), 4 + 1000.0/30, 4},
		{"the same, nobody's passes", publish(0), 4 + 1000.0/30, 4},
	}
	measureCapacity(t, "filters", m, cases)
}
