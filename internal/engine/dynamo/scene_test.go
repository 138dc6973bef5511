package dynamo

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"eureka"
	"eureka/internal/awslocal"
	"eureka/internal/rule"
)

// shelf is a queue whose tasks wait until the test has them done. It takes nothing from a caller that has been killed.
type shelf struct {
	mu    sync.Mutex
	tasks []Task
	dead  func() bool
}

// Enqueue implements Queue.
func (q *shelf) Enqueue(_ context.Context, _ time.Duration, tasks ...Task) error {
	if q.dead != nil && q.dead() {
		return eureka.Errorf(eureka.CodeUnavailable, "the caller has been killed")
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, task := range tasks {
		text, err := json.Marshal(task)
		if err != nil {
			return err
		}
		var carried Task
		if err := json.Unmarshal(text, &carried); err != nil {
			return err
		}
		q.tasks = append(q.tasks, carried)
	}
	return nil
}

func (q *shelf) take() []Task {
	q.mu.Lock()
	defer q.mu.Unlock()
	tasks := q.tasks
	q.tasks = nil
	return tasks
}

// scene is one engine behind a proxy that can kill it, and one without, on one table, with sockets and a queue of the test's own.
type scene struct {
	t      *testing.T
	clock  *runningClock
	proxy  *awslocal.Proxy
	wires  *wires
	queue  *shelf
	mortal *Engine // whose writes the proxy counts
	other  *Engine
	next   int
	gone   []string
	mu     sync.Mutex
	rules  *rule.Rules
	failed atomic.Int64 // evaluations
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, clock: newRunningClock(1), proxy: proxied(t, 1), wires: &wires{}, queue: &shelf{}}
	s.rules = rule.New(rule.Options{Failed: func(eureka.RuleKind) { s.failed.Add(1) }, Now: s.clock.now})
	s.queue.dead = func() bool { return s.proxy.Usage().Crashed > 0 }
	table := newTestTable(t)
	change := func(o *Options) {
		o.Now, o.Poster, o.Queue, o.Rules = s.clock.now, s.wires, s.queue, s.rules
		o.Gone = func(_ context.Context, id string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.gone = append(s.gone, id)
		}
	}
	s.mortal = testEngine(t, s.proxy.Endpoint, table, change)
	s.other = testEngine(t, endpoint(t), table, change)
	return s
}

// connect adds a socket that is old enough for a 410 to be its end.
func (s *scene) connect() *wire {
	s.t.Helper()
	s.next++
	w := s.wires.open(fmt.Sprintf("L0SM9cOFvH%05d=", s.next))
	now := s.clock.now()
	err := s.other.Sockets().Add(s.t.Context(), eureka.Socket{
		ID: w.id, ConnectedAt: now.Add(-time.Minute).UnixMilli(), ExpiresAt: now.Add(2 * time.Hour).UnixMilli(),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return w
}

var testRetention = eureka.Retention{Size: 1000, TTL: eureka.Duration(time.Hour)}

// message is a message of a channel with history; its data is its name.
func message(channel, name string) eureka.Message {
	return eureka.Message{ChannelID: channel, Action: eureka.ActionMessage, Data: json.RawMessage(`"` + name + `"`), Retention: &testRetention}
}

func (s *scene) publish(e *Engine, channel, name string) eureka.Cursor {
	s.t.Helper()
	d, err := e.Fanout().Deliver(s.t.Context(), message(channel, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return d.Cursor
}

// work does what is in the queue, and what comes of it, by the engine that lives.
func (s *scene) work() {
	s.t.Helper()
	for range 200 {
		tasks := s.queue.take()
		if len(tasks) == 0 {
			return
		}
		for _, task := range tasks {
			if err := s.other.Work(s.t.Context(), task); err != nil {
				s.t.Errorf("%s: %v", task.Kind, err)
			}
		}
		s.clock.advance(time.Second)
	}
	s.t.Error("the queue never gets empty")
}

// kill runs do with the mortal engine killed behind k writes. It reports whether that happened before do was through.
func (s *scene) kill(k int, do func(ctx context.Context) error) (killed bool) {
	s.t.Helper()
	s.proxy.Reset()
	s.proxy.CrashAfter(k)
	err := do(s.t.Context())
	killed = s.proxy.Usage().Crashed > 0
	s.proxy.CrashAfter(-1)
	s.proxy.Reset()
	if err != nil && !killed {
		s.t.Fatalf("behind %d writes: %v", k, err)
	}
	return killed
}

// names are the data of a socket's messages as its client has them: what is not behind the last one's cursor is dropped.
func (s *scene) names(w *wire) []string {
	s.t.Helper()
	var names []string
	var last uint64
	for _, text := range w.Frames() {
		var f struct {
			Action, ID string
			Data       string
		}
		if err := json.Unmarshal([]byte(text), &f); err != nil || f.Action != eureka.ActionMessage {
			names = append(names, text)
			continue
		}
		if c, err := eureka.ParseCursor("id", f.ID); err == nil && c.Offset <= last {
			continue
		} else if err == nil {
			last = c.Offset
		}
		names = append(names, f.Data)
	}
	return names
}

func (s *scene) want(what string, w *wire, names ...string) {
	s.t.Helper()
	if got := s.names(w); !slices.Equal(got, names) {
		s.t.Errorf("%s: it has %q, want %q", what, got, names)
	}
}

// wantNothing checks that nothing is left of a socket.
func (s *scene) wantNothing(what, socketID string, channels ...string) {
	s.t.Helper()
	partitions := []string{socketKey(socketID).pk}
	for _, channel := range channels {
		partitions = append(partitions, shardKey(channel, 0))
	}
	for n := range listBuckets {
		partitions = append(partitions, bucketKey(n))
	}
	for _, partition := range partitions {
		for it, err := range s.other.table.items(s.t.Context(), query{partition: partition, consistent: true}) {
			if err != nil {
				s.t.Fatal(err)
			}
			if strings.Contains(it.text(KeyPartition)+it.text(KeySort), socketID) {
				s.t.Errorf("%s: %v is left", what, it.key())
			}
		}
	}
}

func (s *scene) subscribe(e *Engine, w *wire, channel string, since eureka.Cursor) (eureka.Subscribed, error) {
	return e.Sockets().Subscribe(s.t.Context(), eureka.Subscription{SocketID: w.id, ChannelID: channel, Name: channel, Since: since})
}

func (s *scene) mustSubscribe(w *wire, channel string, since eureka.Cursor) eureka.Subscribed {
	s.t.Helper()
	began, err := s.subscribe(s.other, w, channel, since)
	if err != nil {
		s.t.Fatal(err)
	}
	return began
}

// crowd gives the first shard of a channel n subscribers.
func crowd(t *testing.T, e *Engine, ways *wires, channel string, n int) {
	t.Helper()
	filteredCrowd(t, e, ways, channel, n, func(int) filter { return filter{} })
}

// filteredCrowd is crowd with a filter for each.
func filteredCrowd(t *testing.T, e *Engine, ways *wires, channel string, n int, of func(i int) filter) {
	t.Helper()
	var items []item
	now := e.options.Now()
	// DynamoDB stores a number without the zeros at its end: these have none, so that the capacity does not depend on the time of the day.
	version, ttl := (now.UnixMilli()|1)*1000, now.Add(2*time.Hour).Unix()|1
	for i := range n {
		id := fmt.Sprintf("M%s%05d=", hash(channel)[:9], i)
		ways.open(id)
		it := subscriberKey(channel, 0, id, now.Add(-time.Minute).UnixMilli()).item()
		it[attrVersion], it[KeyTTL] = number(version), number(ttl)
		of(i).describe(it)
		items = append(items, it)
	}
	if err := e.table.batchWrite(t.Context(), items, nil); err != nil {
		t.Fatal(err)
	}
}

// direct is a message of a channel without history.
func direct(channel, name string) eureka.Message {
	m := message(channel, name)
	m.Retention = nil
	return m
}

func (s *scene) broadcast(channel, name string) {
	s.t.Helper()
	if _, err := s.other.Fanout().Deliver(s.t.Context(), direct(channel, name)); err != nil {
		s.t.Fatal(err)
	}
}
