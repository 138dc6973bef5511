package dynamo

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"eureka"
	"eureka/internal/porttest"
)

// wires is a fake of API Gateway's @connections: sockets in memory that keep what they are sent. The real protocol is the simulator's, in e2e.
type wires struct {
	mu      sync.Mutex
	sockets map[string]*wire
	refused map[string]eureka.Code // what posts to a socket are answered instead of being taken
	// before, when set, may refuse a post.
	before func(socketID string) error
	hang   chan struct{} // posts wait for it, or for the end of their context
}

// refuse has posts to a socket answered with a code; "" ends that.
func (w *wires) refuse(id string, code eureka.Code) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refused == nil {
		w.refused = map[string]eureka.Code{}
	}
	w.refused[id] = code
}

// end closes the connection without a word.
func (w *wire) end() {
	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	w.closed = true
}

type wire struct {
	id     string
	all    *wires
	frames []string
	code   eureka.CloseCode
	closed bool
}

// ID implements porttest.LiveSocket.
func (w *wire) ID() string { return w.id }

// Frames implements porttest.LiveSocket.
func (w *wire) Frames() []string {
	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	return append([]string(nil), w.frames...)
}

// Closed implements porttest.LiveSocket. The code is that of the bye frame: API Gateway has none of its own.
func (w *wire) Closed() (eureka.CloseCode, bool) {
	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	return w.code, w.closed
}

func (w *wires) open(id string) *wire {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &wire{id: id, all: w}
	if w.sockets == nil {
		w.sockets = map[string]*wire{}
	}
	w.sockets[id] = s
	return s
}

// Post implements Poster.
func (w *wires) Post(ctx context.Context, id string, frame []byte) error {
	if err := ctx.Err(); err != nil {
		return eureka.WrapError(eureka.CodeUnavailable, err, "cut off")
	}
	w.mu.Lock()
	before, hang := w.before, w.hang
	w.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return eureka.WrapError(eureka.CodeUnavailable, ctx.Err(), "cut off")
		}
	}
	if before != nil {
		if err := before(id); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if code := w.refused[id]; code != "" {
		return eureka.Errorf(code, "refused")
	}
	s := w.sockets[id]
	if s == nil || s.closed {
		return eureka.Errorf(eureka.CodeGone, "gone")
	}
	if len(frame) > eureka.MaxFrameBytes {
		return eureka.Errorf(eureka.CodeTooLarge, "too large")
	}
	s.frames = append(s.frames, string(frame))
	var bye struct {
		Action string
		Data   struct{ Code eureka.CloseCode }
	}
	if err := json.Unmarshal(frame, &bye); err == nil && bye.Action == "bye" {
		s.code = bye.Data.Code
	}
	return nil
}

// Close implements Poster.
func (w *wires) Close(_ context.Context, id string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if code := w.refused[id]; code != "" {
		return eureka.Errorf(code, "refused")
	}
	s := w.sockets[id]
	if s == nil || s.closed {
		return eureka.Errorf(eureka.CodeGone, "gone")
	}
	s.closed = true
	return nil
}

// errand is a queue in this process: workers do each task, sometimes twice, after a delay that is shorter than it should be.
type errand struct {
	mu      sync.Mutex
	rng     *rand.Rand
	engines []*Engine
	running sync.WaitGroup
	ended   bool
	failed  map[TaskKind]int
	done    map[TaskKind]int
	twice   bool
	shorten time.Duration // by what delays are divided
	cut     float64       // share of tasks whose worker's time is over soon
	t       testing.TB
}

func newErrand(t testing.TB, seed uint64) *errand {
	return &errand{t: t, rng: rand.New(rand.NewPCG(seed, 1)), failed: map[TaskKind]int{}, done: map[TaskKind]int{}, twice: true, shorten: 50}
}

// Enqueue implements Queue. What waits is carried as JSON, as it is in SQS.
func (q *errand) Enqueue(ctx context.Context, delay time.Duration, tasks ...Task) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, task := range tasks {
		text, err := json.Marshal(task)
		if err != nil {
			return err
		}
		times := 1
		if q.twice && q.rng.IntN(4) == 0 {
			times = 2
		}
		for range times {
			wait := delay/q.shorten + time.Duration(q.rng.IntN(5))*time.Millisecond
			engine := q.engines[q.rng.IntN(len(q.engines))]
			if q.ended {
				return nil
			}
			q.running.Go(func() { q.do(engine, wait, text) })
		}
	}
	return nil
}

func (q *errand) do(engine *Engine, wait time.Duration, text []byte) {
	for try := range 20 {
		timer := time.NewTimer(wait)
		<-timer.C
		q.mu.Lock()
		ended := q.ended
		q.mu.Unlock()
		if ended {
			return
		}
		var task Task
		if err := json.Unmarshal(text, &task); err != nil {
			q.t.Error(err)
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), q.limit())
		err := engine.Work(ctx, task)
		cancel()
		q.mu.Lock()
		if err == nil {
			q.done[task.Kind]++
		} else {
			q.failed[task.Kind]++
		}
		q.mu.Unlock()
		if err == nil {
			return
		}
		wait = time.Duration(try+1) * 50 * time.Millisecond
	}
}

// limit is the time of one worker.
func (q *errand) limit() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.rng.Float64() < q.cut {
		return time.Duration(5+q.rng.IntN(200)) * time.Millisecond
	}
	return time.Minute
}

func (q *errand) stop() {
	q.mu.Lock()
	q.ended = true
	q.mu.Unlock()
	q.running.Wait()
}

// service is engines over one table, with one queue and the same sockets.
type service struct {
	wires   *wires
	queue   *errand
	engines []*Engine
	next    int
	mu      sync.Mutex
	gone    map[string]int
}

func newService(t testing.TB, engines int, change func(*Options)) *service {
	t.Helper()
	s := &service{wires: &wires{}, queue: newErrand(t, uint64(time.Now().UnixNano())), gone: map[string]int{}}
	at, name := endpoint(t), newTestTable(t)
	for range engines {
		e := testEngine(t, at, name, func(o *Options) {
			o.Poster, o.Queue = s.wires, s.queue
			o.Gone = func(_ context.Context, id string) {
				s.mu.Lock()
				s.gone[id]++
				s.mu.Unlock()
			}
			if change != nil {
				change(o)
			}
		})
		s.engines = append(s.engines, e)
	}
	s.queue.engines = s.engines
	t.Cleanup(s.queue.stop)
	return s
}

// newID makes ids as API Gateway's are.
func (s *service) newID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	return fmt.Sprintf("L0SM9cOFvH%05d=", s.next)
}

// connectedLong is a time long enough ago that the socket is not young.
func connectedLong() int64 { return time.Now().Add(-time.Minute).UnixMilli() }

func (s *service) connect(t testing.TB, e *Engine) *wire {
	t.Helper()
	w := s.wires.open(s.newID())
	if err := e.Sockets().Add(t.Context(), eureka.Socket{ID: w.id, ConnectedAt: connectedLong(), ExpiresAt: time.Now().Add(2 * time.Hour).UnixMilli()}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (s *service) harness() porttest.LiveHarness {
	h := porttest.LiveHarness{AtOnce: true, Long: 1200, Remote: true}
	for _, e := range s.engines {
		h.Nodes = append(h.Nodes, porttest.LiveNode{
			Sockets: e.Sockets(), Fanout: e.Fanout(), Sender: e.Sender(), History: e.History(), Channels: e.Channels(),
			Connect: func(t *testing.T) porttest.LiveSocket { return s.connect(t, e) },
		})
	}
	return h
}

func liveHarness(t *testing.T) porttest.LiveHarness {
	t.Helper()
	t.Parallel()
	return newService(t, 2, nil).harness()
}

func TestFanout(t *testing.T)  { porttest.Fanout(t, liveHarness) }
func TestSender(t *testing.T)  { porttest.Sender(t, liveHarness) }
func TestHistory(t *testing.T) { porttest.History(t, liveHarness) }
func TestFilters(t *testing.T) { porttest.Filters(t, liveHarness) }

func (s *service) socketsHarness() porttest.SocketsHarness {
	var h porttest.SocketsHarness
	for _, e := range s.engines {
		h.Nodes = append(h.Nodes, porttest.SocketsNode{Sockets: e.Sockets(), NewID: s.newID})
	}
	return h
}

func TestSockets(t *testing.T) {
	porttest.Sockets(t, func(t *testing.T) porttest.SocketsHarness {
		t.Helper()
		t.Parallel()
		return newService(t, 2, nil).socketsHarness()
	})
}
