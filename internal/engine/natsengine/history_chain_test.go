package natsengine_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"eureka"
	"eureka/internal/engine/natsengine"
	"eureka/internal/gateway"
)

// shifted is an engine whose clock runs ahead by what a test says.
type shifted struct {
	*natsengine.Engine

	ahead atomic.Int64
}

func (s *shifted) pass(d time.Duration) { s.ahead.Add(int64(d)) }

func openShifted(t *testing.T, o natsengine.Options, ahead time.Duration) *shifted {
	t.Helper()
	hub := gateway.NewHub(gateway.HubOptions{})
	o.Node, o.Registry, o.Delivery, o.Replays, o.Log = natsengine.NewNodeID(), hub, hub, hub, discard()
	s := &shifted{}
	s.pass(ahead)
	var err error
	s.Engine, err = natsengine.Open(t.Context(), natsengine.WithClock(o, func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *shifted) entries(t *testing.T, channel string) []natsengine.Entry {
	t.Helper()
	entries, err := s.Entries(t.Context(), channel)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func (s *shifted) drop(t *testing.T, offset uint64) {
	t.Helper()
	if err := s.Drop(t.Context(), offset); err != nil {
		t.Fatal(err)
	}
}

func (s *shifted) storeKeyed(t *testing.T, event string, r *eureka.Retention) eureka.Cursor {
	t.Helper()
	d, err := s.Fanout().Deliver(t.Context(), eureka.Message{ChannelID: "A", Action: eureka.ActionMessage, Event: event, Retention: r, Key: "key " + event})
	if err != nil {
		t.Fatal(err)
	}
	return d.Cursor
}

func (s *shifted) wantAfter(t *testing.T, what string, since eureka.Cursor, want ...string) {
	t.Helper()
	page, err := s.History().After(t.Context(), "A", since, 100)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	var got []string
	for _, m := range page.Messages {
		got = append(got, m.Event)
	}
	if !slices.Equal(got, want) || page.More {
		t.Errorf("%s: %v, want %v; more: %v", what, got, want, page.More)
	}
}

func (s *shifted) wantGap(t *testing.T, what string, since eureka.Cursor) {
	t.Helper()
	if page, err := s.History().After(t.Context(), "A", since, 100); eureka.CodeOf(err) != eureka.CodeGap {
		t.Errorf("%s: %+v, %v; want a gap", what, page, err)
	}
}

// TestResumeAcrossASilence: what is behind a silence follows for those who had all before it, also when the entries that mark the silence are gone.
func TestResumeAcrossASilence(t *testing.T) {
	t.Parallel()
	s := openShifted(t, natsengine.Options{DataDir: t.TempDir()}, 0)
	retain(t, "A", retention, s.Engine)
	empty, err := s.History().Newest(t.Context(), "A", 1)
	if err != nil {
		t.Fatal(err)
	}
	last := []eureka.Cursor{empty.Cursor, mustStore(t, s.Engine, "A", "1", retention)}
	for silence, event := range []string{"2", "3"} {
		s.pass(time.Duration(retention.TTL) * 6 / 10)
		eventually(t, "the silent channel is anchored", func() bool {
			entries := s.entries(t, "A")
			return entries[len(entries)-1].Lasting
		})
		s.pass(-time.Duration(retention.TTL) * 6 / 10)
		page, err := s.History().Newest(t.Context(), "A", 1)
		if err != nil {
			t.Fatal(err)
		}
		next := mustStore(t, s.Engine, "A", event, retention)
		for _, e := range s.entries(t, "A") {
			if e.Lasting {
				t.Errorf("silence %d: a message stands behind a lasting anchor", silence)
			}
			if !e.Message {
				s.drop(t, e.Offset) // a bridge lives for less than a minute
			}
		}
		for _, c := range append(last[len(last)-1:], page.Cursor) {
			s.wantAfter(t, "from before the silence", c, event)
		}
		last = append(last, next)
	}
	s.wantAfter(t, "from the first on", last[0], "1", "2", "3")
	s.pass(time.Duration(retention.TTL) + time.Second)
	s.wantGap(t, "the first has expired", last[0])
}

// TestAMessageThatLivedShorterThanTheOneBefore: when nobody could anchor it, and it is gone, it is missed.
func TestAMessageThatLivedShorterThanTheOneBefore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := &eureka.Retention{Size: 100, TTL: eureka.Duration(time.Minute)}
	s := openShifted(t, natsengine.Options{DataDir: dir}, 0)
	retain(t, "A", r, s.Engine)
	first := s.storeKeyed(t, "1", r) // lives for six minutes, since its key does
	second := mustStore(t, s.Engine, "A", "2", r)
	s.wantAfter(t, "both are there", first, "2")
	s.drop(t, second.Offset)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = openShifted(t, natsengine.Options{DataDir: dir}, 3*time.Minute) // the second lived for two
	s.wantGap(t, "nothing new", first)
	third := mustStore(t, s.Engine, "A", "3", r)
	fourth := mustStore(t, s.Engine, "A", "4", r)
	s.pass(-3 * time.Minute) // these two are as young as they are
	s.wantGap(t, "something new", first)
	s.wantGap(t, "something new", second)
	s.wantAfter(t, "the chain goes on", third, "4")
	s.wantAfter(t, "the chain goes on", fourth)
}

// TestANodeThatLostTrackAnchorsNothingNew: another node's message may be so new that the next one is on its way.
func TestANodeThatLostTrackAnchorsNothingNew(t *testing.T) {
	t.Parallel()
	nats := natsengine.StartServer(t, t.TempDir())
	one, other := openShiftedOn(t, nats), openShiftedOn(t, nats)
	retain(t, "A", retention, one.Engine, other.Engine)
	mustStore(t, other.Engine, "A", "1", retention)
	for _, knows := range []bool{false, true} {
		for _, s := range []*shifted{one, other} { // both: a node counts on the others' clocks to go as its own
			s.pass(time.Duration(retention.TTL) * 6 / 10)
		}
		last := mustStore(t, one.Engine, "A", "2", retention)
		if !knows {
			last.Offset = 0
		}
		other.LoseTrack("A", last.Offset)
		other.Anchor(t.Context(), "A")
		mustStore(t, one.Engine, "A", "3", retention)
		entries := one.entries(t, "A")
		for i, e := range entries[:len(entries)-1] {
			if e.Lasting && entries[i+1].Message {
				t.Fatalf("a message stands behind a lasting anchor: %+v", entries)
			}
		}
		mustStore(t, other.Engine, "A", "4", retention)
	}
}

func openShiftedOn(t *testing.T, s *server.Server) *shifted {
	t.Helper()
	return openShifted(t, natsengine.Options{URL: s.ClientURL()}, 0)
}
