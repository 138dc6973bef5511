package gateway

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"eureka"
	"eureka/internal/core"
	"eureka/internal/protocol"
)

func body(t testing.TB, data string) []byte {
	t.Helper()
	b, err := protocol.MessageBody(eureka.Message{Action: eureka.ActionMessage, Event: "e", Data: []byte(data)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestASocketThatNeverReadsIsClosedAndTheOthersGetEverything(t *testing.T) {
	both(t, testASocketThatNeverReadsIsClosedAndTheOthersGetEverything)
}

func testASocketThatNeverReadsIsClosedAndTheOthersGetEverything(t *testing.T, how Sockets) {
	w := newWorld(t, how, Limits{QueueBytes: 8 << 20, QueueFrames: 64}) // more bytes than 64 of these frames
	_, _ = w.raw(nil)
	reader := w.dial("?channels=A")
	const messages = 400
	got := make(chan error, 1)
	go func() {
		for i := range messages {
			_, text, err := reader.Read(t.Context())
			if err != nil || !strings.Contains(string(text), fmt.Sprintf(`"n":%d,`, i)) {
				got <- fmt.Errorf("message %d: %.60s, %w", i, text, err)
				return
			}
		}
		got <- nil
	}()
	padding := strings.Repeat("x", 60_000)
	for i := range messages {
		w.hub.Deliver("A", Broadcast{Body: body(t, fmt.Sprintf(`{"n":%d,"p":%q}`, i, padding))})
		// The reader is given the time that a queue of 64 frames is for; the other one never reads anyway.
		eventually(t, "the reading socket keeps up", func() bool { return queued(w, "s2") < 8 })
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
	eventually(t, "the slow socket is gone", func() bool { return w.hub.Sockets() == 1 })
	if code, _ := w.handler.ended.Load("s1"); code != eureka.CloseSlowConsumer {
		t.Errorf("it ended with %v", code)
	}
}

// TestASocketThatReadsAByteAtATime is closed as too slow in the end, and holds up nobody.
func TestASocketThatReadsAByteAtATime(t *testing.T) { both(t, testASocketThatReadsAByteAtATime) }

func testASocketThatReadsAByteAtATime(t *testing.T, how Sockets) {
	w := newWorld(t, how, Limits{QueueFrames: 16})
	slow, _ := w.raw(nil)
	reader := w.dial("?channels=A")
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		one := make([]byte, 1)
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				if _, err := slow.Read(one); err != nil {
					return
				}
			}
		}
	}()
	text := Broadcast{Body: body(t, fmt.Sprintf("%q", strings.Repeat("x", 60_000)))}
	gone := func() bool { _, ok := w.handler.ended.Load("s1"); return ok }
	for deadline := time.Now().Add(patience); !gone(); {
		if time.Now().After(deadline) {
			t.Fatal("it is not closed")
		}
		w.hub.Deliver("A", text)
		w.read(reader)
	}
	if code, _ := w.handler.ended.Load("s1"); code != eureka.CloseSlowConsumer {
		t.Errorf("it ended with %v", code)
	}
}

func queued(w *world, id string) int {
	e := w.hub.entry(id)
	if e == nil {
		return 0
	}
	s, ok := e.conn.(*stream)
	if !ok {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	if s.waits != nil {
		n = s.waits.frames
	}
	if l := s.lane(); l != nil && l.waits() {
		n++
	}
	return n
}

func TestIdleAndOldSocketsAreClosed(t *testing.T) { both(t, testIdleAndOldSocketsAreClosed) }

func testIdleAndOldSocketsAreClosed(t *testing.T, how Sockets) {
	t.Run("idle", func(t *testing.T) {
		w := newWorld(t, how, Limits{PingInterval: 20 * time.Millisecond, IdleTimeout: 60 * time.Millisecond})
		_, r := w.raw(nil) // answers no ping
		if got := closeCode(t, r); got != eureka.CloseIdle {
			t.Errorf("closed with %d", got)
		}
	})
	t.Run("pongs keep it", func(t *testing.T) {
		w := newWorld(t, how, Limits{PingInterval: 20 * time.Millisecond, IdleTimeout: time.Minute})
		c, r := w.raw(nil)
		for range 3 {
			opcode, _, err := next(r)
			if err != nil || opcode != 9 {
				t.Fatalf("opcode %d, %v", opcode, err)
			}
			if _, err := c.Write(frame(0x8a, "")); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("age", func(t *testing.T) {
		w := newWorld(t, how, Limits{PingInterval: 20 * time.Millisecond, IdleTimeout: time.Minute})
		w.handler.result = core.ConnectResult{ExpiresAt: time.Now().Add(50 * time.Millisecond).UnixMilli()}
		code, last := w.closed(w.dial(""))
		if code != eureka.CloseMaxAge || !strings.Contains(last, `"action":"bye"`) || !strings.Contains(last, `"reconnect":true`) {
			t.Errorf("closed with %d after %s", code, last)
		}
	})
}

func TestDrain(t *testing.T) { both(t, testDrain) }

func testDrain(t *testing.T, how Sockets) {
	w := newWorld(t, how, Limits{DrainSpread: time.Second})
	const sockets = 20
	var clients []*websocket.Conn
	for range sockets {
		clients = append(clients, w.dial("?channels=A"))
	}
	silent, _ := w.raw(nil) // does not answer the close frame
	defer func() { _ = silent.Close() }()
	var waiting sync.WaitGroup
	for _, c := range clients {
		waiting.Go(func() {
			if code, last := w.closed(c); code != eureka.CloseRestart || !strings.Contains(last, `"reconnect":true,"after":`) {
				t.Errorf("closed with %d after %s", code, last)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.gateway.Drain(ctx); err != nil {
		t.Errorf("drain: %v", err)
	}
	waiting.Wait()
	if n := w.handler.endings.Load(); n != sockets+1 || w.hub.Sockets() != 0 {
		t.Errorf("%d ends reported, %d sockets left", n, w.hub.Sockets())
	}
	_, response, err := websocket.Dial(t.Context(), w.server.URL, nil)
	if err == nil || response == nil || response.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("a draining node answered %v, %v", response, err)
	}
	_ = response.Body.Close()
}

func TestDrainCutsWhoDoesNotLeave(t *testing.T) { both(t, testDrainCutsWhoDoesNotLeave) }

func testDrainCutsWhoDoesNotLeave(t *testing.T, how Sockets) {
	w := newWorld(t, how, Limits{})
	_, _ = w.raw(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.gateway.Drain(ctx); err == nil {
		t.Error("a drain without time returned no error")
	}
	if w.hub.Sockets() != 0 || w.handler.endings.Load() != 1 {
		t.Error("the socket was not cut")
	}
}

func TestReplyComesBeforeWhatItLeadsTo(t *testing.T) { both(t, testReplyComesBeforeWhatItLeadsTo) }

func testReplyComesBeforeWhatItLeadsTo(t *testing.T, how Sockets) {
	w := newWorld(t, how, Limits{})
	w.handler.inFrame = func(string) { // published after the subscription, before the reply
		for i := range 50 {
			w.hub.Deliver("A", Broadcast{Body: body(t, fmt.Sprint(i))})
		}
	}
	c := w.dial("")
	w.write(c, "sub A")
	if got := w.read(c); got != "subscribed A" {
		t.Fatalf("the first frame is %q", got)
	}
	for i := range 50 {
		if got := w.read(c); !strings.Contains(got, fmt.Sprintf(`"data":%d}`, i)) {
			t.Fatalf("message %d is %q", i, got)
		}
	}
}

func TestFramesOfTheHandshakeComeFirst(t *testing.T) { both(t, testFramesOfTheHandshakeComeFirst) }

func testFramesOfTheHandshakeComeFirst(t *testing.T, how Sockets) {
	w := newWorld(t, how, Limits{QueueBytes: 1 << 30, QueueFrames: 1 << 20})
	w.handler.result = core.ConnectResult{Frames: [][]byte{[]byte("one"), []byte("two")}}
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				w.hub.Deliver("A", Broadcast{Body: body(t, "1")})
			}
		}
	})
	for range 20 {
		c := w.dial("?channels=A")
		if first, second := w.read(c), w.read(c); first != "one" || second != "two" {
			t.Errorf("the first frames are %q, %q", first, second)
		}
		_ = c.CloseNow()
	}
	close(stop)
	publishing.Wait()
}

// TestAnEndKeepsHeldMessagesBack: when a socket is ended before the reply, what is behind the reply does not come either.
func TestAnEndKeepsHeldMessagesBack(t *testing.T) { both(t, testAnEndKeepsHeldMessagesBack) }

func testAnEndKeepsHeldMessagesBack(t *testing.T, how Sockets) {
	w := newWorld(t, how, Limits{})
	end := func(id string) {
		w.hub.Deliver("A", Broadcast{Body: body(t, "1")})
		if err := w.hub.Close(id, eureka.CloseRestart, "stopping"); err != nil {
			t.Error(err)
		}
	}
	w.handler.inFrame = end
	c := w.dial("")
	w.write(c, "sub A")
	if got := w.read(c); !strings.Contains(got, `"bye"`) {
		t.Errorf("in a frame: the first frame is %q", got)
	}
	w.handler.inConnect = end
	c = w.dial("?channels=A")
	if got := w.read(c); !strings.Contains(got, `"bye"`) {
		t.Errorf("in the handshake: the first frame is %q", got)
	}
}

func TestAPanicClosesOneSocket(t *testing.T) { both(t, testAPanicClosesOneSocket) }

func testAPanicClosesOneSocket(t *testing.T, how Sockets) {
	w := newWorld(t, how, Limits{})
	victim, bystander := w.dial(""), w.dial("")
	w.write(victim, "panic")
	if code, _ := w.closed(victim); code != eureka.CloseInternal {
		t.Errorf("closed with %d", code)
	}
	w.write(bystander, "x")
	if got := w.read(bystander); got != "echo x" {
		t.Errorf("got %q", got)
	}
}

func TestKickAndSend(t *testing.T) { both(t, testKickAndSend) }

func testKickAndSend(t *testing.T, how Sockets) {
	w := newWorld(t, how, Limits{})
	c := w.dial("")
	if err := w.hub.Send("s1", []byte("direct")); err != nil {
		t.Fatal(err)
	}
	if got := w.read(c); got != "direct" {
		t.Errorf("got %q", got)
	}
	if err := w.hub.Close("s1", eureka.CloseKicked, "out"); err != nil {
		t.Fatal(err)
	}
	if code, last := w.closed(c); code != eureka.CloseKicked || !strings.Contains(last, `"reconnect":false`) {
		t.Errorf("closed with %d after %s", code, last)
	}
	eventually(t, "the socket is gone", func() bool { return w.hub.Sockets() == 0 })
	for _, err := range []error{w.hub.Send("s1", nil), w.hub.Close("s1", eureka.CloseKicked, "")} {
		if eureka.CodeOf(err) != eureka.CodeGone {
			t.Errorf("a gone socket: %v", err)
		}
	}
}

func TestNothingIsLeftOfManySockets(t *testing.T) { both(t, testNothingIsLeftOfManySockets) }

func testNothingIsLeftOfManySockets(t *testing.T, how Sockets) {
	w := newWorld(t, how, Limits{})
	before, opened := runtime.NumGoroutine(), descriptors()
	for range 3 {
		var clients []*websocket.Conn
		for range 100 {
			clients = append(clients, w.dial("?channels=A"))
		}
		eventually(t, "all listen", func() bool { return w.hub.Count("A", nil) == len(clients) })
		w.hub.Deliver("A", Broadcast{Body: body(t, "1")})
		for _, c := range clients {
			w.read(c)
			_ = c.CloseNow()
		}
		eventually(t, "all are gone", func() bool { return w.hub.Sockets() == 0 && w.hub.Count("A", nil) == 0 })
	}
	w.server.CloseClientConnections()
	eventually(t, "their descriptors are closed", func() bool { return descriptors() <= opened+5 })
	eventually(t, "their goroutines ended", func() bool { return runtime.NumGoroutine() <= before+5 })
	for i := range w.hub.channels {
		if n := len(w.hub.channels[i].topics); n != 0 {
			t.Errorf("%d channels are left", n)
		}
	}
}

// descriptors is how many files and sockets this process has open, where /proc tells.
func descriptors() int {
	files, _ := os.ReadDir("/proc/self/fd") // none on other systems
	return len(files)
}

// TestASocketThatIsStuckIsTooSlow: what does not move for long ends like what overflows.
func TestASocketThatIsStuckIsTooSlow(t *testing.T) {
	w := newWorld(t, SocketsAuto, Limits{QueueBytes: 64 << 20})
	_, _ = w.raw(nil)
	text := Broadcast{Body: body(t, fmt.Sprintf("%q", strings.Repeat("x", 60_000)))}
	s, _ := w.hub.entry("s1").conn.(*stream)
	waits := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.waits != nil && len(s.waits.out) > 0
	}
	for deadline := time.Now().Add(patience); !waits(); {
		if time.Now().After(deadline) {
			t.Fatal("nothing waits")
		}
		w.hub.Deliver("A", text)
	}
	s.check(time.Now().Add(writeTimeout + time.Second))
	if code, _, _ := s.ended(); code != eureka.CloseSlowConsumer {
		t.Errorf("it ended with %v", code)
	}
}
