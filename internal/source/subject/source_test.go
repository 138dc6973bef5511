package subject

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"eureka"
	"eureka/internal/core"
	"eureka/internal/source"
	"eureka/internal/source/sourcetest"
)

const patience = sourcetest.Patience

// world is a real NATS server that services publish on, beside the node that takes its events.
type world struct {
	*sourcetest.World

	server *server.Server
	dir    string
	port   int
	nc     *nats.Conn
	js     jetstream.JetStream
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: sourcetest.New(t), dir: t.TempDir(), port: server.RANDOM_PORT}
	w.run()
	t.Cleanup(func() { w.halt() })
	var err error
	if w.nc, err = nats.Connect(w.server.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.nc.Close)
	if w.js, err = jetstream.New(w.nc); err != nil {
		t.Fatal(err)
	}
	return w
}

// run starts the server, at the same address when it was there before.
func (w *world) run() {
	w.T.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: w.port, JetStream: true, MaxPayload: 4 << 20, StoreDir: w.dir, NoLog: true, NoSigs: true})
	if err != nil {
		w.T.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		w.T.Fatal("NATS does not start")
	}
	at, ok := s.Addr().(*net.TCPAddr)
	if !ok {
		w.T.Fatal("NATS has no address")
	}
	w.server, w.port = s, at.Port
}

func (w *world) halt() {
	w.server.Shutdown()
	w.server.WaitForShutdown()
}

func (w *world) stream() jetstream.Stream {
	w.T.Helper()
	s, err := w.js.CreateStream(w.T.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"eureka.events.>"}})
	if err != nil {
		w.T.Fatal(err)
	}
	return s
}

// start starts a source; stop is called at the end of the test if it was not.
func (w *world) start(stream string, change func(*Options)) (e *Events, stop func()) {
	w.T.Helper()
	o := Options{URL: w.server.ClientURL(), Subject: "eureka.events.>", Stream: stream, Name: "eureka-events", Intake: w.Intake, Log: w.Log}
	if change != nil {
		change(&o)
	}
	e, err := Start(w.T.Context(), o)
	if err != nil {
		w.T.Fatal(err)
	}
	if stream == "" {
		w.Await("the connection", e.nc.IsConnected)
		if err := e.nc.FlushTimeout(patience); err != nil { // the subscription has reached the server
			w.T.Fatal(err)
		}
	}
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.T.Context()), patience)
		defer cancel()
		if err := e.Stop(ctx); err != nil {
			w.T.Error(err)
		}
	})
	w.T.Cleanup(stop)
	return e, stop
}

func (w *world) publish(m *nats.Msg) {
	w.T.Helper()
	ctx, cancel := context.WithTimeout(w.T.Context(), time.Minute) // a loaded machine takes longer than the client would wait
	defer cancel()
	if _, err := w.js.PublishMsg(ctx, m); err != nil {
		w.T.Fatal(err)
	}
}

func native(data any) *nats.Msg {
	return &nats.Msg{Subject: "eureka.events.shop", Data: fmt.Appendf(nil, `{"service":"shop","modelType":"order","modelId":"7","event":"paid","data":%v}`, data)}
}

func header(m *nats.Msg, lines ...string) *nats.Msg {
	m.Header = nats.Header{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		m.Header.Set(name, value)
	}
	return m
}

// TestAnswers: a request gets an answer when the engine has accepted its events, or the reason why not; a publish gets none.
func TestAnswers(t *testing.T) {
	w := newWorld(t)
	w.start("", nil)
	w.start("", nil) // of another node: each event is taken by one of them
	cloud := []string{"ce-specversion: 1.0", "ce-id: 1", "ce-source: /shop", "ce-type: shop.order.paid", "content-type: text/plain"}
	for _, tt := range []struct {
		name string
		msg  *nats.Msg
		want string
	}{
		{"native", native(1), `{"accepted":1,"channels":["orders"]}`},
		{"several", &nats.Msg{Data: []byte(`[{"channelId":"room","data":1},{"channelId":"room","data":2}]`)}, `{"accepted":2,"channels":["room"]}`},
		{"a CloudEvent by its headers", header(&nats.Msg{Data: []byte("hello")}, cloud...), `{"accepted":1,"channels":["orders"]}`},
		{"the same", header(&nats.Msg{Data: []byte("hello")}, cloud...), `{"accepted":1,"channels":["orders"]}`},
		// The binding of CloudEvents to NATS has values percent-encoded: this is the event of "/größe 1" and "100%" as it would be in structured mode.
		{"a CloudEvent with encoded headers", header(&nats.Msg{Data: []byte(`"encoded"`)}, "ce-specversion: 1.0", "ce-id: 100%25", "ce-source: /gr%C3%B6%C3%9Fe", "ce-type: shop.order.paid", "ce-event: f%C3%BCr%20uns"),
			`{"accepted":1,"channels":["orders"]}`},
		{"the same in structured mode", header(&nats.Msg{Data: []byte(`{"specversion":"1.0","id":"100%","source":"/größe","type":"shop.order.paid","event":"für uns","data":"encoded"}`)}, "content-type: application/cloudevents"),
			`{"accepted":1,"channels":["orders"]}`},
		{"the same in structured mode with headers", header(&nats.Msg{Data: []byte(`{"specversion":"1.0","id":"100%","source":"/größe","type":"shop.order.paid","event":"für uns","data":"encoded"}`)},
			"content-type: application/cloudevents+json", "ce-specversion: 1.0", "ce-id: 100%25", "ce-source: /gr%C3%B6%C3%9Fe", "ce-type: shop.order.paid", "ce-event: f%C3%BCr%20uns"), `{"accepted":1,"channels":["orders"]}`},
		{"known by its header", header(native(3), "Nats-Msg-Id: m1"), `{"accepted":1,"channels":["orders"]}`},
		{"again", header(native(3), "Nats-Msg-Id: m1"), `{"accepted":1,"channels":["orders"]}`},
		{"no event", &nats.Msg{Data: []byte("hello")}, `{"accepted":0,"channels":[],"error":{"code":"invalid","message":"body: is not valid JSON","retry":false}}`},
		{"too large", &nats.Msg{Data: []byte(`[{"channelId":"room","data":1}` + strings.Repeat(" ", 1<<20) + "]")},
			`{"accepted":0,"channels":[],"error":{"code":"too_large","message":"the message has 1048607 bytes, the limit is 1048576","retry":false}}`},
		{"one of two", &nats.Msg{Data: []byte(`[{"channelId":"nobody","data":1},{"channelId":"room","data":3}]`)},
			`{"accepted":1,"channels":["room"],"error":{"code":"not_found","message":"there is no channel \"nobody\"; create it first (POST /channels/nobody)","retry":false}}`},
	} {
		tt.msg.Subject = "eureka.events.shop.order"
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		reply, err := w.nc.RequestMsgWithContext(ctx, tt.msg)
		cancel()
		if err != nil || string(reply.Data) != tt.want {
			t.Errorf("%s: %+v, %v", tt.name, reply, err)
		}
	}
	if err := w.nc.PublishMsg(native(4)); err != nil {
		t.Fatal(err)
	}
	want := []string{`orders für uns "encoded"`, `orders paid "hello"`, "orders paid 1", "orders paid 3", "orders paid 4", "room message 1", "room message 2", "room message 3"}
	w.Await("the last one", func() bool { return len(w.Spy.Taken()) >= len(want) })
	if diff := cmp.Diff(want, w.Spy.Sorted()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestBusyAnswers: while the engine refuses a requester is told to come again.
func TestBusyAnswers(t *testing.T) {
	w := newWorld(t)
	w.start("", nil)
	w.Spy.Fail(func(eureka.Message) error { return eureka.Errorf(eureka.CodeUnavailable, "the engine is away") })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	reply, err := w.nc.RequestMsgWithContext(ctx, native(1))
	if err != nil {
		t.Fatal(err)
	}
	var got answer
	if err := json.Unmarshal(reply.Data, &got); err != nil || got.Accepted != 0 || got.Error == nil || got.Error.Code != eureka.CodeUnavailable || !got.Error.Retry {
		t.Errorf("%s, %v", reply.Data, err)
	}
}

// pending is how many messages of the stream the consumer has yet to acknowledge or to give.
func (w *world) pending() (underWay, waiting int, floor uint64) {
	w.T.Helper()
	consumer, err := w.js.Consumer(w.T.Context(), "EVENTS", "eureka-events")
	if err != nil {
		return 0, -1, 0
	}
	info := consumer.CachedInfo()
	return info.NumAckPending, int(info.NumPending), info.AckFloor.Stream
}

// settled reports whether all n messages of the stream have been acknowledged.
func (w *world) settled(n uint64) func() bool {
	return func() bool {
		underWay, waiting, floor := w.pending()
		return underWay == 0 && waiting == 0 && floor == n
	}
}

// TestStream: a message is acknowledged only once the engine has accepted it; what can never be is ended and stays in the stream.
func TestStream(t *testing.T) {
	w := newWorld(t)
	stream := w.stream()
	var tried atomic.Int32
	w.Spy.Fail(func(eureka.Message) error {
		tried.Add(1)
		return eureka.Errorf(eureka.CodeUnavailable, "the engine is away")
	})
	w.publish(native(1))
	w.start("EVENTS", nil)
	w.Await("its tries", func() bool { return tried.Load() > 4 })
	if underWay, _, floor := w.pending(); underWay != 1 || floor != 0 {
		t.Errorf("%d under way, acknowledged up to %d", underWay, floor)
	}
	w.Spy.Fail(nil)
	w.publish(&nats.Msg{Subject: "eureka.events.x", Data: []byte("poison")})
	w.publish(&nats.Msg{Subject: "eureka.events.x.y", Data: []byte(`{"channelId":"room","data":2}`)})
	w.Await("the end of all", w.settled(3))
	if diff := cmp.Diff([]string{"orders paid 1", "room message 2"}, w.Spy.Sorted()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	info, err := stream.Info(t.Context())
	if err != nil || info.State.Msgs != 3 {
		t.Errorf("%+v, %v", info.State, err)
	}
}

// TestInProgress: an event may take longer than NATS waits for an acknowledgement, and is not begun again.
func TestInProgress(t *testing.T) {
	w := newWorld(t)
	w.stream()
	if begun := w.takesLong(func(o *Options) { o.ackWait = 2 * time.Second }); begun != 1 {
		t.Errorf("it was begun %d times", begun)
	}
}

// takesLong has an event taken until NATS was told six times that it is worked on, and returns how often it was begun.
func (w *world) takesLong(change func(o *Options)) int32 {
	w.T.Helper()
	var told, begun atomic.Int32
	if _, err := w.nc.Subscribe("$JS.ACK.EVENTS.>", func(m *nats.Msg) {
		if string(m.Data) == "+WPI" {
			told.Add(1)
		}
	}); err != nil {
		w.T.Fatal(err)
	}
	free := make(chan struct{})
	release := sync.OnceFunc(func() { close(free) })
	defer release()
	w.Spy.Fail(func(eureka.Message) error {
		begun.Add(1)
		<-free
		return nil
	})
	w.publish(native(1))
	w.start("EVENTS", change)
	w.Await("that NATS was told for longer than it waits", func() bool { return told.Load() >= 6 })
	release()
	w.Await("its end", w.settled(1))
	return begun.Load()
}

// TestOrderOnNodes: two nodes share a consumer; the events of a model stay in order, also when the node that takes them stops and the other goes on.
func TestOrderOnNodes(t *testing.T) {
	w := newWorld(t)
	w.stream()
	_, stopOne := w.start("EVENTS", nil)
	_, stopTwo := w.start("EVENTS", nil)
	const events = 200
	var want []string
	for n := range events {
		w.publish(native(n))
		want = append(want, "orders paid "+strconv.Itoa(n))
		if n == events/2 {
			w.Await("the half", func() bool { return len(w.Spy.Taken()) > n/2 })
			go stopOne()
		}
	}
	w.Await("all", w.settled(events))
	if diff := cmp.Diff(want, w.Spy.Taken()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	stopTwo()
	w.publish(native(events)) // nobody is there
	if taken := w.Spy.Taken(); len(taken) != events {
		t.Errorf("%d were taken", len(taken))
	}
}

// TestNATSAway: the source is there before its NATS has a stream, and goes on when the server, the consumer or the stream is made anew.
func TestNATSAway(t *testing.T) {
	w := newWorld(t)
	w.start("EVENTS", nil)
	w.stream()
	w.publish(native(1))
	w.Await("the first", func() bool { return len(w.Spy.Taken()) == 1 })
	w.halt()
	w.run()
	w.Await("the way back", w.nc.IsConnected)
	w.publish(native(2))
	w.Await("the second", func() bool { return len(w.Spy.Taken()) == 2 })
	if err := w.js.DeleteConsumer(t.Context(), "EVENTS", "eureka-events"); err != nil {
		t.Fatal(err)
	}
	w.publish(native(3))
	// A consumer that is made anew begins at the front; what came in the last five minutes is known.
	w.Await("the third", w.settled(3))
	if err := w.js.DeleteStream(t.Context(), "EVENTS"); err != nil {
		t.Fatal(err)
	}
	w.stream()
	w.publish(native(4))
	w.Await("the fourth", func() bool { return len(w.Spy.Taken()) >= 4 })
	if diff := cmp.Diff([]string{"orders paid 1", "orders paid 2", "orders paid 3", "orders paid 4"}, w.Spy.Taken()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestStop: past its deadline a stop does not wait, and what was under way stays the stream's.
func TestStop(t *testing.T) {
	w := newWorld(t)
	w.stream()
	free, entered := make(chan struct{}), make(chan struct{}, 8)
	w.Spy.Fail(func(eureka.Message) error {
		entered <- struct{}{}
		<-free
		return nil
	})
	w.publish(native(1))
	e, err := Start(t.Context(), Options{URL: w.server.ClientURL(), Subject: "eureka.events.>", Stream: "EVENTS", Name: "eureka-events", Intake: w.Intake, Log: w.Log})
	if err != nil {
		t.Fatal(err)
	}
	<-entered
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := e.Stop(short); eureka.CodeOf(err) != eureka.CodeTimeout {
		t.Errorf("with no time: %v", err)
	}
	if underWay, _, floor := w.pending(); underWay != 1 || floor != 0 {
		t.Errorf("%d under way, acknowledged up to %d", underWay, floor)
	}
	close(free)
	w.Intake.Wait()
}

// TestOwnConsumer: one that the operator made is used as it is, unless it acknowledges by itself.
func TestOwnConsumer(t *testing.T) {
	w := newWorld(t)
	stream := w.stream()
	w.publish(native(1))
	if _, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "eureka-events", DeliverPolicy: jetstream.DeliverNewPolicy, AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	w.start("EVENTS", nil)
	w.publish(native(2))
	w.Await("the second", func() bool { return len(w.Spy.Taken()) == 1 })
	if diff := cmp.Diff([]string{"orders paid 2"}, w.Spy.Taken()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "careless", AckPolicy: jetstream.AckNonePolicy}); err != nil {
		t.Fatal(err)
	}
	e, _ := w.start("EVENTS", func(o *Options) { o.Name = "careless" })
	if _, err := e.stream.bind(); eureka.CodeOf(err) != eureka.CodeInvalid {
		t.Errorf("one that acknowledges by itself: %v", err)
	}
}

// records keeps lines of the log.
type records struct {
	mu    sync.Mutex
	lines []string
}

func (r *records) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, string(line))
	return len(line), nil
}

func (r *records) with(parts ...string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.lines {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
			n++
		}
	}
	return n
}

// TestLastTry: NATS gives a message as often as its consumer says and then no more. That is not silent: it is an error in the log, with the place of the
// message in the stream, where it stays.
func TestLastTry(t *testing.T) {
	w := newWorld(t)
	stream := w.stream()
	if _, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "eureka-events", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 2}); err != nil {
		t.Fatal(err)
	}
	w.Spy.Fail(func(m eureka.Message) error {
		if string(m.Data) == "1" {
			return eureka.Errorf(eureka.CodeUnavailable, "the engine is away")
		}
		return nil
	})
	var log records
	w.start("EVENTS", func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	w.publish(native(1))
	w.publish(&nats.Msg{Subject: "eureka.events.x", Data: []byte(`{"channelId":"room","data":2}`)})
	w.Await("the line of the last try", func() bool { return log.with("level=ERROR", "is not tried again", "sequence=1") > 0 })
	if n := log.with("could not be accepted for now", "sequence=1"); n != 1 {
		t.Errorf("%d lines of tries behind which others come, want that of the first", n)
	}
	if n := log.with("level=ERROR"); n != 1 {
		t.Errorf("%d errors in the log: %v", n, log.lines)
	}
	info, err := stream.Info(t.Context())
	if err != nil || info.State.Msgs != 2 {
		t.Errorf("%+v, %v", info.State, err)
	}
}

// stuck is a core that does not come to an end with anything.
type stuck struct{ begun chan string }

func (s stuck) Route(ctx context.Context, _ eureka.Identity, ev eureka.Event) (core.RouteResult, error) {
	s.begun <- string(ev.Data)
	<-ctx.Done()
	return core.RouteResult{}, ctx.Err()
}

// TestCrash: what was under way on a node that is gone comes to the next one, once. Its order is NATS's then, which turns round what it gives again.
func TestCrash(t *testing.T) {
	w := newWorld(t)
	stream := w.stream()
	if _, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
		Durable: "eureka-events", AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait / 10, PinnedTTL: pinned / 10,
		PriorityPolicy: jetstream.PriorityPolicyPinned, PriorityGroups: []string{group},
	}); err != nil {
		t.Fatal(err)
	}
	s := stuck{make(chan string, 100)}
	in, err := source.New(source.Options{Router: s, Log: w.Log})
	if err != nil {
		t.Fatal(err)
	}
	doomed, err := Start(t.Context(), Options{URL: w.server.ClientURL(), Subject: "eureka.events.>", Stream: "EVENTS", Name: "eureka-events", Intake: in, Log: w.Log})
	if err != nil {
		t.Fatal(err)
	}
	defer doomed.cut()
	var want []string
	publish := func(n int) {
		w.publish(native(n))
		want = append(want, "orders paid "+strconv.Itoa(n))
	}
	for n := range 5 {
		publish(n)
	}
	if first := <-s.begun; first != "0" {
		t.Fatalf("it begins with %s", first)
	}
	w.Await("all of them there", func() bool { underWay, _, _ := w.pending(); return underWay == 5 })
	w.start("EVENTS", nil)
	doomed.nc.Close()
	for n := range 5 {
		publish(5 + n)
	}
	w.Await("all", w.settled(10))
	if diff := cmp.Diff(want, w.Spy.Sorted()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if ackWait >= pinned {
		t.Error("what is behind overtakes what a node had that is gone")
	}
}

// TestOwnAckWait: a consumer of the operator's own may wait for less than the service's; what takes longer is not given again meanwhile.
func TestOwnAckWait(t *testing.T) {
	for name, config := range map[string]jetstream.ConsumerConfig{
		"AckWait": {AckWait: time.Second}, "BackOff": {BackOff: []time.Duration{time.Second, 2 * time.Second}, MaxDeliver: 5},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			config.Durable, config.AckPolicy = "eureka-events", jetstream.AckExplicitPolicy
			if _, err := w.stream().CreateConsumer(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			if begun := w.takesLong(nil); begun != 1 {
				t.Errorf("it was begun %d times", begun)
			}
			if consumer, err := w.js.Consumer(t.Context(), "EVENTS", "eureka-events"); err != nil {
				t.Error(err)
			} else if n := consumer.CachedInfo().NumRedelivered; n != 0 {
				t.Errorf("%d messages were given again", n)
			}
		})
	}
}
