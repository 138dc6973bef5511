package dynamo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"eureka"
)

// TestRemovedByTTL: messages that DynamoDB has removed are a gap, to who resumes, to who reads and to a replay that is under way, which goes on behind them;
// with nothing stored behind them, too.
func TestRemovedByTTL(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	short := eureka.Retention{Size: 1000, TTL: eureka.Duration(time.Minute)}
	publish := func(name string) eureka.Cursor {
		m := message("A", name)
		m.Retention = &short
		d, err := s.other.Fanout().Deliver(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		return d.Cursor
	}
	since := publish("0")
	publish("1")
	publish("2")
	w := s.connect()
	if began := s.mustSubscribe(w, "A", since); !began.Recovered {
		t.Fatal("it is not complete although nothing has expired")
	}
	s.clock.advance(time.Minute + keptOver + time.Second)
	var keys []key
	for it, err := range s.other.table.items(t.Context(), query{partition: messagesKey("A", since.Epoch), consistent: true}) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, it.key())
	}
	if err := s.other.table.batchWrite(t.Context(), nil, keys); err != nil || len(keys) != 3 {
		t.Fatal(len(keys), err)
	}
	late := s.connect()
	if began := s.mustSubscribe(late, "A", since); began.Recovered {
		t.Error("a resume over what is gone says that it is complete")
	}
	if _, err := s.other.History().After(t.Context(), "A", since, 10); eureka.CodeOf(err) != eureka.CodeGap {
		t.Errorf("a reading over what is gone: %v", err)
	}
	if page, err := s.other.History().Newest(t.Context(), "A", 10); err != nil || len(page.Messages) != 0 {
		t.Errorf("the newest: %+v, %v", page, err)
	}
	s.work()
	publish("3")
	s.work()
	if got := s.names(w); len(got) != 2 || !strings.Contains(got[0], `"code":"gap"`) || got[1] != "3" {
		t.Errorf("the replay brought %q", got)
	}
	s.want("who came late", late, "3")
}

// TestSlowSocketHoldsUpNobody: a replay that has the shard's lease gives it back when its socket does not take its frames, long before the lease ends.
func TestSlowSocketHoldsUpNobody(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	since := s.publish(s.other, "A", "0")
	w := s.connect()
	s.publish(s.other, "A", "1")
	s.mustSubscribe(w, "A", since)
	tasks := s.queue.take()
	if len(tasks) != 1 {
		t.Fatalf("%+v", tasks)
	}
	p := s.other.newReplay("A", 0, key{shardKey("A", 0), tasks[0].Entry}, tasks[0].Replay)
	if state, err := p.load(t.Context()); err != nil || state != under {
		t.Fatal(state, err)
	}
	if held, err := p.hold(t.Context()); err != nil || !held {
		t.Fatal(held, err)
	}
	s.wires.hang = make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), leaseTime*2/3)
	defer cancel()
	live, err := p.catchUp(ctx)
	if err != nil || live || ctx.Err() != nil {
		t.Errorf("live: %t, %v, %v", live, err, ctx.Err())
	}
	close(s.wires.hang)
	if l, err := s.other.acquire(t.Context(), "A", 0); err != nil || l == nil {
		t.Errorf("the lease is still held: %v", err)
	} else if err := s.other.save(t.Context(), l, false); err != nil {
		t.Error(err)
	}
	if err := p.letGo(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.other.Work(t.Context(), tasks[0]); err != nil {
		t.Error(err)
	}
	s.want("in the end", w, "1")
}

// TestReplacedInItsPage: when a subscription is replaced while the replay of before posts, that one posts nothing more once the new one has begun, and the
// new one has no hole.
func TestReplacedInItsPage(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	since := s.publish(s.other, "A", "0")
	var third eureka.Cursor
	for i := 1; i <= 5; i++ {
		if c := s.publish(s.other, "A", fmt.Sprint(i)); i == 3 {
			third = c
		}
	}
	w := s.connect()
	s.mustSubscribe(w, "A", since)
	first := s.queue.take()
	inside, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.wires.before = func(string) error {
		if len(w.Frames()) == 1 {
			once.Do(func() { close(inside); <-release })
		}
		return nil
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.other.Work(t.Context(), first[0]); err != nil {
			t.Error(err)
		}
	})
	<-inside
	version := func() int64 {
		it, err := s.other.table.get(t.Context(), mirrorKey(w.id, "A"), true)
		if err != nil {
			t.Error(err)
		}
		return it.number(attrVersion)
	}
	before, began := version(), 0
	running.Go(func() {
		if answer := s.mustSubscribe(w, "A", third); !answer.Recovered || answer.Cursor != third {
			t.Errorf("%+v", answer)
		}
		began = len(w.Frames())
	})
	for version() == before {
		if t.Context().Err() != nil || t.Failed() {
			t.FailNow()
		}
	}
	close(release)
	running.Wait()
	s.work()
	s.publish(s.other, "A", "6")
	var got []string
	for _, frame := range w.Frames()[began:] {
		_, rest, _ := strings.Cut(frame, `"data":"`)
		name, _, _ := strings.Cut(rest, `"`)
		got = append(got, name)
	}
	if !slices.Equal(got, []string{"4", "5", "6"}) {
		t.Errorf("behind its beginning it got %q", got)
	}
}

// TestThrottledOnce: on a channel without history 429 delays frames and doubles none, as long as the queue gives each task once.
func TestThrottledOnce(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if err := s.other.grow(t.Context(), "A", 1); err != nil {
		t.Fatal(err)
	}
	var all []*wire
	for range 60 {
		w := s.connect()
		s.mustSubscribe(w, "A", eureka.Cursor{})
		all = append(all, w)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	refusals := 0
	s.wires.before = func(string) error {
		mu.Lock()
		defer mu.Unlock()
		if refusals < 1500 && rng.IntN(5) > 0 {
			refusals++
			return eureka.Errorf(eureka.CodeRateLimited, "too many requests")
		}
		return nil
	}
	s.broadcast("A", "one")
	s.work()
	for _, w := range all {
		s.want("throttled", w, "one")
	}
	if refusals < len(all) {
		t.Errorf("only %d posts were refused", refusals)
	}
}
