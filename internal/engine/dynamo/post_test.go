package dynamo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"eureka"
)

// TestPostOutcomes: what @connections answers to one socket's posts concerns the others in nothing.
func TestPostOutcomes(t *testing.T) {
	t.Parallel()
	for _, history := range []bool{false, true} {
		s := newScene(t)
		gone, busy, poisoned, well := s.connect(), s.connect(), s.connect(), s.connect()
		for _, w := range []*wire{gone, busy, poisoned, well} {
			s.mustSubscribe(w, "A", eureka.Cursor{})
		}
		gone.end()
		s.wires.refuse(busy.id, eureka.CodeRateLimited)
		s.wires.refuse(poisoned.id, eureka.CodeTooLarge)
		m := direct("A", "0")
		if history {
			m = message("A", "0")
		}
		m.Counted = true
		d, err := s.other.Fanout().Deliver(t.Context(), m)
		if d.Cursor = (eureka.Cursor{}); err != nil || d != (eureka.Delivery{Matched: 4, Sent: 1, Gone: 1, Deferred: 1}) {
			t.Errorf("history %v: %+v, %v", history, d, err)
		}
		s.wires.refuse(busy.id, "")
		s.wires.refuse(poisoned.id, "")
		m.Data = []byte(`"1"`)
		if _, err := s.other.Fanout().Deliver(t.Context(), m); err != nil {
			t.Error(err)
		}
		s.work()
		s.want("one that is well", well, "0", "1")
		s.want("one that takes no such frame", poisoned, "1")
		if got := s.names(busy); !slices.Contains(got, "0") || len(got) != 2 || (history && got[0] != "0") {
			t.Errorf("history %v: the busy one has %q", history, got)
		}
		if !slices.Equal(s.gone, []string{gone.id}) {
			t.Errorf("history %v: reported as ended: %v", history, s.gone)
		}
	}
}

// TestYoungSocket: API Gateway answers posts to a socket whose handshake is under way as if it had ended. It gets them later.
func TestYoungSocket(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	now := s.clock.now()
	young := s.wires.open("young")
	err := s.other.Sockets().Add(t.Context(), eureka.Socket{ID: "young", ConnectedAt: now.UnixMilli(), ExpiresAt: now.Add(time.Hour).UnixMilli()})
	if err != nil {
		t.Fatal(err)
	}
	s.wires.refuse("young", eureka.CodeGone)
	s.mustSubscribe(young, "direct", eureka.Cursor{})
	s.mustSubscribe(young, "history", eureka.Cursor{})
	s.broadcast("direct", "0")
	s.publish(s.other, "history", "1")
	s.publish(s.other, "history", "2")
	if err := s.other.Sender().Send(t.Context(), "young", []byte(`{"action":"message","data":"sent"}`)); err != nil {
		t.Error(err)
	}
	if err := s.other.Sender().Close(t.Context(), "young", eureka.CloseKicked, "out"); eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("closing a socket that is being opened: %v", err)
	}
	s.wires.refuse("young", "")
	s.work()
	got := s.names(young)
	for _, name := range []string{"0", "1", "2", "sent"} {
		if !slices.Contains(got, name) {
			t.Errorf("it has %q", got)
		}
	}
	if len(got) != 4 || slices.Index(got, "1") > slices.Index(got, "2") || len(s.gone) != 0 {
		t.Errorf("it has %q; ended: %v", got, s.gone)
	}
}

// TestStormOf429: sockets that take nothing get their frames when they do; one task carries many of them, and is given up when it is too late.
func TestStormOf429(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	var all []*wire
	for range 30 {
		w := s.connect()
		s.mustSubscribe(w, "A", eureka.Cursor{})
		s.wires.refuse(w.id, eureka.CodeRateLimited)
		all = append(all, w)
	}
	s.broadcast("A", "0")
	tasks := s.queue.take()
	if len(tasks) != 1 || len(tasks[0].Sockets) != len(all) {
		t.Fatalf("queued: %+v", tasks)
	}
	for _, w := range all[:10] {
		s.wires.refuse(w.id, "")
	}
	if err := s.other.Work(t.Context(), tasks[0]); err != nil {
		t.Error(err)
	}
	rest := s.queue.take()
	if len(rest) != 1 || len(rest[0].Sockets) != 20 || rest[0].Attempt != 2 {
		t.Fatalf("put back: %+v", rest)
	}
	s.clock.advance(retryTime + time.Minute)
	if err := s.other.Work(t.Context(), rest[0]); eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("too late: %v", err)
	}
	for _, w := range all[10:] {
		s.wires.refuse(w.id, "")
	}
	if err := s.other.Work(t.Context(), rest[0]); err != nil {
		t.Errorf("taken out of the dead letters: %v", err)
	}
	for _, w := range all {
		s.want("in the end", w, "0")
	}
}

// TestPostsEndInTime: posts that take for ever do not keep a call from noting what it did not get done.
func TestPostsEndInTime(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	direct, stored := s.connect(), s.connect()
	s.mustSubscribe(direct, "A", eureka.Cursor{})
	s.mustSubscribe(stored, "B", eureka.Cursor{})
	hang := make(chan struct{})
	s.wires.mu.Lock()
	s.wires.hang = hang
	s.wires.mu.Unlock()
	for _, m := range []eureka.Message{{ChannelID: "A"}, {ChannelID: "B", Retention: &testRetention}} {
		m.Action, m.Data = eureka.ActionMessage, []byte(`"0"`)
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		if _, err := s.other.Fanout().Deliver(ctx, m); err != nil {
			t.Errorf("on %s: %v", m.ChannelID, err)
		}
		cancel()
	}
	close(hang)
	s.clock.advance(leaseTime)
	s.work()
	s.want("without a history", direct, "0")
	s.want("with a history", stored, "0")
}

func TestSweep(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx := t.Context()
	var ids []string
	for range 30 {
		w := s.connect()
		s.mustSubscribe(w, "A", eureka.Cursor{})
		ids = append(ids, w.id)
	}
	sweep := func(ctx context.Context, fault error) (ended, living []string) {
		t.Helper()
		err := s.other.Sweep(ctx, 4, func(ctx context.Context, id string) error {
			ended = append(ended, id)
			if fault != nil {
				return fault
			}
			_, err := s.other.Sockets().Remove(ctx, id)
			return err
		}, func(_ context.Context, ids []string) error {
			if len(ids) > 4 {
				t.Errorf("%d at once", len(ids))
			}
			living = append(living, ids...)
			return nil
		})
		if !errors.Is(err, fault) {
			t.Errorf("sweep: %v, want %v", err, fault)
		}
		slices.Sort(ended)
		slices.Sort(living)
		return ended, living
	}
	if ended, living := sweep(ctx, nil); len(ended) != 0 || !slices.Equal(living, ids) {
		t.Errorf("ended %v, living %v", ended, living)
	}
	// A time that is over before it begins: nothing is done, and the next one goes on.
	short, cancel := context.WithTimeout(ctx, spareTime/2)
	if ended, living := sweep(short, nil); len(ended)+len(living) != 0 {
		t.Errorf("without time: ended %v, living %v", ended, living)
	}
	cancel()
	it, err := s.other.table.get(ctx, positionKey, true)
	if err != nil || it == nil {
		t.Errorf("no position: %v, %v", it, err)
	}
	s.clock.advance(3 * time.Hour)
	w := s.connect() // lives
	broken := fmt.Errorf("broken")
	if ended, _ := sweep(ctx, broken); !slices.Equal(ended, ids) {
		t.Errorf("one that fails stopped the others: %v", ended)
	}
	if ended, living := sweep(ctx, nil); !slices.Equal(ended, ids) || !slices.Equal(living, []string{w.id}) {
		t.Errorf("ended %v, living %v", ended, living)
	}
	if ended, living := sweep(ctx, nil); len(ended) != 0 || len(living) != 1 {
		t.Errorf("again: ended %v, living %v", ended, living)
	}
	for _, id := range ids {
		s.wantNothing("swept", id, "A")
	}
	// An entry that stands for nothing goes.
	if err := s.other.table.put(ctx, describe(entryKey("", "nobody", 1).item(), eureka.Socket{ID: "nobody", ConnectedAt: 1, ExpiresAt: 2}), condition{}); err != nil {
		t.Fatal(err)
	}
	err = s.other.Sweep(ctx, 100, func(context.Context, string) error { return nil }, func(context.Context, []string) error { return nil })
	if err != nil {
		t.Error(err)
	}
	s.wantNothing("without a socket", "nobody")
}
