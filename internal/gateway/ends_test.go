package gateway

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"eureka"
	"eureka/internal/wire"
)

// TestAnEndBehindDataIsSeen: the end of a connection is told once, and there may be data before it that is read later.
func TestAnEndBehindDataIsSeen(t *testing.T) { both(t, testAnEndBehindDataIsSeen) }

func testAnEndBehindDataIsSeen(t *testing.T, how Sockets) {
	w := newWorld(t, how, Limits{})
	block, blocked := make(chan struct{}), make(chan struct{})
	w.handler.inFrame = func(string) {
		close(blocked)
		<-block
	}
	c, _ := w.handshake(frame(0x81, "sub B"))
	<-blocked
	if _, err := c.Write(frame(0x81, "more")); err != nil { // the end comes while the first frame is handled
		t.Fatal(err)
	}
	hangUp(t, c)
	close(block)
	eventually(t, "the end is seen", func() bool { return w.hub.Sockets() == 0 })
}

// hangUp says that no more is sent, and goes on listening, so that nothing else tells the server.
func hangUp(t *testing.T, c net.Conn) {
	t.Helper()
	t.Cleanup(func() { _ = c.Close() })
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		t.Fatal("it is no TCP connection")
	}
	if err := tcp.CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// TestPingsOfASocketThatDoesNotRead: pings cost one waiting pong, however many come.
func TestPingsOfASocketThatDoesNotRead(t *testing.T) { both(t, testPingsOfASocketThatDoesNotRead) }

func testPingsOfASocketThatDoesNotRead(t *testing.T, how Sockets) {
	w := newWorld(t, how, Limits{QueueBytes: 64 << 20, QueueFrames: 1 << 20})
	_, _ = w.raw(nil)
	s, _ := w.hub.entry("s1").conn.(*stream)
	fill(t, w, s)
	before := waiting(s)
	for range 1000 {
		s.answerPing([]byte("x"))
	}
	if after := waiting(s); after > before+1 {
		t.Errorf("%d pieces waited, and %d do after 1,000 pings", before, after)
	}
}

// TestASocketThatReadsLate gets all that waited, in order and whole, with the answer to its last ping between two frames.
func TestASocketThatReadsLate(t *testing.T) { both(t, testASocketThatReadsLate) }

func testASocketThatReadsLate(t *testing.T, how Sockets) {
	w := newWorld(t, how, Limits{QueueBytes: 64 << 20, QueueFrames: 1 << 20})
	c, r := w.raw(nil)
	s, _ := w.hub.entry("s1").conn.(*stream)
	sent := fill(t, w, s)
	before := s.received.Load()
	if _, err := c.Write(append(frame(0x89, "first"), frame(0x89, "last")...)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pings are read", func() bool { return s.received.Load() != before })
	for range 10 {
		w.hub.Deliver("A", Broadcast{Body: body(t, fmt.Sprintf("%d", sent))})
		sent++
	}
	for read, pongs := 0, 0; read < sent || pongs == 0; {
		opcode, text, err := next(r)
		switch {
		case err != nil:
			t.Fatalf("after %d of %d messages: %v", read, sent, err)
		case opcode == 10 && (string(text) == "last" || string(text) == "first"):
			pongs++
		case opcode != 1 || !strings.Contains(string(text), fmt.Sprintf(`"data":%d}`, read)):
			t.Fatalf("message %d of %d is %d %.80s", read, sent, opcode, text)
		default:
			read++
		}
	}
	eventually(t, "nothing is left", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.waits == nil })
}

// fill delivers long, numbered messages until some wait to be written to a socket that does not read, and returns how many they are.
func fill(t *testing.T, w *world, s *stream) (sent int) {
	t.Helper()
	padding := strings.Repeat(" ", 60_000)
	for deadline := time.Now().Add(patience); waiting(s) < 64; sent++ {
		if time.Now().After(deadline) {
			t.Fatal("nothing waits")
		}
		w.hub.Deliver("A", Broadcast{Body: []byte(strings.Replace(string(body(t, "0")), `"data":0`, padding+`"data":`+fmt.Sprint(sent), 1))})
	}
	return sent
}

// waiting is how many pieces wait to be written to a socket.
func waiting(s *stream) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waits == nil {
		return 0
	}
	return len(s.waits.out)
}

// TestRepliesThatNobodyReads count like messages: a client that asks and does not read is too slow.
func TestRepliesThatNobodyReads(t *testing.T) { both(t, testRepliesThatNobodyReads) }

func testRepliesThatNobodyReads(t *testing.T, how Sockets) {
	w := newWorld(t, how, Limits{QueueFrames: 64})
	c, _ := w.raw(nil)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		ask := frame(0x81, strings.Repeat("x", 60_000))
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := c.Write(ask); err != nil {
					return
				}
			}
		}
	}()
	most := atomic.Int64{}
	s, _ := w.hub.entry("s1").conn.(*stream)
	eventually(t, "the socket is gone", func() bool {
		s.mu.Lock()
		if s.waits != nil {
			most.Store(max(most.Load(), int64(s.waits.size)))
		}
		s.mu.Unlock()
		return w.hub.Sockets() == 0
	})
	if code, _ := w.handler.ended.Load("s1"); code != eureka.CloseSlowConsumer {
		t.Errorf("it ended with %v", code)
	}
	if limit := int64(w.gateway.limits.QueueBytes) + eureka.MaxFrameBytes; most.Load() > limit {
		t.Errorf("%d bytes waited", most.Load())
	}
}

// TestWhatIsDroppedBetweenFrames leaves nothing half: what is on the wire may end where a frame does.
func TestWhatIsDroppedBetweenFrames(t *testing.T) {
	one := wire.TextFrame([]byte("one"))
	joined := append(bytes.Clone(one), wire.TextFrame([]byte("two"))...)
	for done := 1; done < len(joined); done++ {
		s := &stream{waits: &backlog{out: []chunk{{bytes: joined, frames: 2, done: done}}, size: len(joined) - done, frames: 2}}
		s.drop()
		rest := 0
		for _, c := range s.waits.out {
			if len(c.bytes) == c.done {
				t.Errorf("after %d bytes an empty piece is left", done)
			}
			rest += len(c.bytes) - c.done
		}
		if want := (len(one) - done%len(one)) % len(one); rest != want {
			t.Errorf("after %d bytes %d are left, want %d", done, rest, want)
		}
	}
}

// TestSeatsOfACrowdThatLeft do not hold up the sweep of those that stay.
func TestSeatsOfACrowdThatLeft(t *testing.T) {
	w := newWorld(t, SocketsAuto, Limits{PingInterval: time.Minute, IdleTimeout: 20 * time.Millisecond})
	crowd := make([]*stream, 20_000)
	for i := range crowd {
		crowd[i] = newStream(w.gateway, &reader{})
		w.gateway.registry.sit(crowd[i], 0)
	}
	_, r := w.raw(nil)
	for _, s := range crowd {
		w.gateway.registry.leave(s)
	}
	if got := closeCode(t, r); got != eureka.CloseIdle {
		t.Errorf("closed with %d", got)
	}
}

// TestUseCasesThatPanic end their socket, and nothing of it is left.
func TestUseCasesThatPanic(t *testing.T) { both(t, testUseCasesThatPanic) }

func testUseCasesThatPanic(t *testing.T, how Sockets) {
	for _, before := range []bool{true, false} {
		t.Run(fmt.Sprintf("in the handshake, before the socket is recorded %v", before), func(t *testing.T) {
			w := newWorld(t, how, Limits{})
			w.handler.inConnect = func(string) { panic("on purpose") }
			if before {
				w.handler.inConnect, w.handler.early = nil, func() { panic("on purpose") }
			}
			c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", w.server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			if _, err := c.Write([]byte(rawHandshake + "\r\n")); err != nil {
				t.Fatal(err)
			}
			answer := make([]byte, 1024)
			n, _ := c.Read(answer) // an answer or the end of the connection
			if !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 500 ")) || bytes.Contains(answer[:n], []byte("on purpose")) {
				t.Errorf("answered %q", answer[:n])
			}
			pending := 0
			w.hub.pending.Range(func(any, any) bool { pending++; return true })
			if pending != 0 || w.gateway.registry.count() != 0 || w.hub.Sockets() != 0 {
				t.Errorf("%d connections, %d streams, %d sockets are left", pending, w.gateway.registry.count(), w.hub.Sockets())
			}
			w.handler.inConnect, w.handler.early = nil, nil
			if err := w.gateway.Drain(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("at the end", func(t *testing.T) {
		w := newWorld(t, how, Limits{})
		w.handler.inEnd = func() { panic("on purpose") }
		c, _ := w.handshake(nil)
		_ = c.Close()
		eventually(t, "the stream is gone", func() bool { return w.gateway.registry.count() == 0 })
		w.handler.inEnd = nil
		bystander := w.dial("")
		w.write(bystander, "x")
		if got := w.read(bystander); got != "echo x" {
			t.Errorf("got %q", got)
		}
	})
}
