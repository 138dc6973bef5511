package dynamo

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"eureka"
)

// TestHolderDies: what was left to the holder of a lease, who is never heard of again, is delivered by the look that was queued.
func TestHolderDies(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	w := s.connect()
	s.mustSubscribe(w, "A", eureka.Cursor{})
	s.publish(s.other, "A", "0")
	if l, err := s.mortal.acquire(t.Context(), "A", 0); err != nil || l == nil {
		t.Fatal(l, err)
	}
	s.publish(s.other, "A", "1")
	tasks := s.queue.take()
	if len(tasks) != 1 || tasks[0].Kind != TaskDeliver {
		t.Fatalf("queued: %+v", tasks)
	}
	// Others within a third of a lease need no look of their own; one that comes too early leaves another behind.
	s.publish(s.other, "A", "2")
	if more := s.queue.take(); len(more) != 0 {
		t.Errorf("queued as well: %+v", more)
	}
	s.clock.advance(leaseTime / 2)
	if err := s.other.Work(t.Context(), tasks[0]); err != nil {
		t.Fatal(err)
	}
	s.want("while the lease holds", w, "0")
	s.clock.advance(leaseTime)
	s.work()
	s.want("behind it", w, "0", "1", "2")
}

// TestLookIsNotQueued: a publisher whose look the queue does not take is not told that its message was accepted, and the next one's look is not spared.
func TestLookIsNotQueued(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	w := s.connect()
	s.mustSubscribe(w, "A", eureka.Cursor{})
	s.publish(s.other, "A", "0")
	if l, err := s.mortal.acquire(t.Context(), "A", 0); err != nil || l == nil {
		t.Fatal(l, err)
	}
	s.queue.dead = func() bool { return true }
	if _, err := s.other.Fanout().Deliver(t.Context(), message("A", "1")); eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("without a queue: %v", err)
	}
	s.queue.dead = nil
	s.publish(s.other, "A", "2")
	s.clock.advance(leaseTime + time.Second)
	s.work()
	s.want("in the end", w, "0", "1", "2")
}

// TestHoles: offsets whose writers were killed hold up nobody for long, whether they stand at the beginning, in between or at the end; a writer that comes
// late stores its message behind the others.
func TestHoles(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx := t.Context()
	w := s.connect()
	take := func() (runtime, item) {
		t.Helper()
		r, it, err := s.other.take(ctx, message("A", "late"), []byte(`"action":"message","data":"late"`))
		if err != nil {
			t.Fatal(err)
		}
		return r, it
	}
	_, late := take() // the very first
	take()
	began := s.mustSubscribe(w, "A", eureka.Cursor{})
	s.publish(s.other, "A", "1")
	take()
	take()
	s.publish(s.other, "A", "2")
	take() // at the end
	page, err := s.other.History().After(ctx, "A", eureka.Cursor{Epoch: began.Cursor.Epoch, Offset: firstHead}, 10)
	if err != nil || len(page.Messages) != 2 || page.More {
		t.Errorf("%+v, %v", page, err)
	}
	if stored, err := s.other.store(ctx, late); err != nil || stored {
		t.Errorf("a late writer stored in a sealed offset: %v, %v", stored, err)
	}
	s.publish(s.other, "A", "3")
	s.want("live", w, "1", "2", "3")
	// Who resumes from the hole at the end, as it was then, misses nothing.
	again := s.connect()
	s.mustSubscribe(again, "A", page.Cursor)
	s.work()
	s.publish(s.other, "A", "4")
	s.want("resumed", again, "3", "4")
}

// TestForgottenHistory: what a forgotten history had not delivered is no gap, and the next message waits for nothing.
func TestForgottenHistory(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx := t.Context()
	w := s.connect()
	s.mustSubscribe(w, "A", eureka.Cursor{})
	before := s.publish(s.other, "A", "0")
	if l, err := s.mortal.acquire(ctx, "A", 0); err != nil || l == nil {
		t.Fatal(l, err)
	}
	s.publish(s.other, "A", "forgotten")
	s.queue.take()
	if err := s.other.History().Forget(ctx, "A"); err != nil {
		t.Fatal(err)
	}
	s.clock.advance(leaseTime + time.Second)
	after := s.publish(s.other, "A", "1")
	if after.Epoch == before.Epoch {
		t.Errorf("%s and %s", before, after)
	}
	s.want("live", w, "0", "1")
	page, err := s.other.History().Newest(ctx, "A", 10)
	if err != nil || len(page.Messages) != 1 {
		t.Errorf("%+v, %v", page, err)
	}
}

// TestReplayWithoutTask: a replay whose task ended among the dead letters gets another one from whoever delivers next.
func TestReplayWithoutTask(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	since := s.publish(s.other, "A", "0")
	s.publish(s.other, "A", "1")
	w := s.connect()
	s.mustSubscribe(w, "A", since)
	s.queue.take()
	s.publish(s.other, "A", "2")
	if tasks := s.queue.take(); len(tasks) != 0 {
		t.Errorf("a replay that may be under way got another task: %+v", tasks)
	}
	s.clock.advance(replayQuiet + time.Second)
	s.publish(s.other, "A", "3")
	s.publish(s.other, "A", "4")
	if tasks := s.queue.take(); len(tasks) != 1 {
		t.Errorf("tasks: %+v", tasks)
	} else if err := s.other.Work(t.Context(), tasks[0]); err != nil {
		t.Error(err)
	}
	s.publish(s.other, "A", "5")
	s.want("in the end", w, "1", "2", "3", "4", "5")
}

// TestLateTasks: tasks of replays that are over, or were replaced, do nothing.
func TestLateTasks(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	since := s.publish(s.other, "A", "0")
	next := s.publish(s.other, "A", "1")
	s.publish(s.other, "A", "2")
	w := s.connect()
	s.mustSubscribe(w, "A", since)
	first := s.queue.take()
	s.mustSubscribe(w, "A", next)
	second := s.queue.take()
	for _, task := range slices.Concat(first, second, second, first) {
		if err := s.other.Work(t.Context(), task); err != nil {
			t.Error(err)
		}
	}
	s.work()
	if n := len(w.Frames()); n != 1 {
		t.Errorf("%d frames: %q", n, w.Frames())
	}
	if _, err := s.other.Sockets().Remove(t.Context(), w.id); err != nil {
		t.Fatal(err)
	}
	s.clock.advance(time.Hour)
	for _, task := range second {
		if err := s.other.Work(t.Context(), task); err != nil {
			t.Error(err)
		}
	}
	if tasks := s.queue.take(); len(tasks) != 0 {
		t.Errorf("queued: %+v", tasks)
	}
	s.wantNothing("late tasks", w.id, "A")
}

// TestWorkIsPutBack: a delivery or a replay that fails since the store does not answer is put back rather than failed, for hours.
func TestWorkIsPutBack(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	task := Task{Kind: TaskDeliver, Channel: "A", Since: s.clock.now().UnixMilli()}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.other.Work(ctx, task); err != nil {
		t.Errorf("it failed: %v", err)
	}
	if tasks := s.queue.take(); len(tasks) != 1 || tasks[0].Attempt != 1 || tasks[0].Kind != TaskDeliver {
		t.Errorf("queued: %+v", tasks)
	}
	s.clock.advance(workTime + time.Minute)
	if err := s.other.Work(ctx, task); eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("after all that time: %v", err)
	}
}

// TestSubscribesAtOnce: however the subscribes and unsubscribes of one socket mix, both of a subscription's items are there in the end, or none.
func TestSubscribesAtOnce(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for round := range 6 {
		channel := fmt.Sprintf("channel-%d", round)
		w := s.connect()
		var running sync.WaitGroup
		for _, e := range []*Engine{s.mortal, s.other, s.other} {
			running.Go(func() {
				for i := range 6 {
					_, err := s.subscribe(e, w, channel, eureka.Cursor{})
					if i%2 == round%2 && err == nil {
						err = e.Sockets().Unsubscribe(t.Context(), w.id, channel)
					}
					if err != nil && eureka.CodeOf(err) != eureka.CodeNotFound {
						t.Error(err)
					}
				}
			})
		}
		running.Wait()
		page, err := s.other.Sockets().List(t.Context(), eureka.SocketQuery{ID: w.id})
		if err != nil || len(page.Items) != 1 {
			t.Fatal(page, err)
		}
		s.broadcast(channel, "one")
		if listed := len(page.Items[0].Subscriptions); len(w.Frames()) != listed {
			t.Errorf("round %d: it has %d subscriptions and got %d frames", round, listed, len(w.Frames()))
		}
		if _, err := s.other.Sockets().Remove(t.Context(), w.id); err != nil {
			t.Error(err)
		}
		s.wantNothing("in the end", w.id, channel)
	}
}

// TestGrowth: a full shard gets a second one beside it, which later subscribers fill; all of them get what is published, each once, and Except holds.
func TestGrowth(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	const channel = "grows"
	crowd(t, s.other, s.wires, channel, shardSize+1)
	s.broadcast(channel, "0")
	r, err := s.other.runtime(t.Context(), channel)
	if err != nil || r.shards != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	var all []*wire
	for range 20 {
		w := s.connect()
		s.mustSubscribe(w, channel, eureka.Cursor{})
		all = append(all, w)
	}
	n, err := s.other.countSubscribers(t.Context(), channel)
	if err != nil || n != shardSize+1+len(all) {
		t.Errorf("%d subscribers, %v", n, err)
	}
	m := direct(channel, "1")
	m.Except = []string{all[0].id}
	m.Counted = true
	d, err := s.other.Fanout().Deliver(t.Context(), m)
	if err != nil || d != (eureka.Delivery{Unknown: true}) {
		t.Errorf("%+v, %v", d, err)
	}
	s.work()
	for i, w := range all {
		if want := min(i, 1); len(w.Frames()) != want {
			t.Errorf("socket %d got %d frames, want %d", i, len(w.Frames()), want)
		}
	}
	old := s.wires.sockets[fmt.Sprintf("M%s%05d=", hash(channel)[:9], 7)]
	s.want("one of the first shard", old, "0", "1")
}

// TestTaskSizes: the largest message, with the longest list of sockets that do not get it, fits a message of the queue.
func TestTaskSizes(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if err := s.other.grow(t.Context(), "A", 1); err != nil {
		t.Fatal(err)
	}
	m := direct("A", strings.Repeat("x", eureka.MaxFrameBytes-600))
	for i := range eureka.MaxExcept {
		m.Except = append(m.Except, fmt.Sprintf("%0*d", eureka.MaxSocketIDLength, i))
	}
	if _, err := s.other.Fanout().Deliver(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	for _, task := range s.queue.take() {
		text, err := json.Marshal(task)
		if err != nil || len(text) > 256<<10 {
			t.Errorf("a task of %d bytes, %v", len(text), err)
		}
		if err := s.other.Work(t.Context(), task); err != nil {
			t.Error(err)
		}
	}
}
