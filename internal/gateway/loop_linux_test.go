package gateway

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"eureka"
)

var soak = flag.Duration("gateway.soak", 2*time.Second, "how long sockets come, go and listen in TestChurn")

// driven returns a socket's stream, once its loop has it.
func (w *world) driven(id string) *stream {
	w.t.Helper()
	s, ok := w.hub.entry(id).conn.(*stream)
	if !ok {
		w.t.Fatalf("%s is no stream", id)
	}
	eventually(w.t, "the loop has the socket", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.poll.open && !s.holding
	})
	return s
}

// spoil makes the next write of a stream panic: there is no such thing as an empty chunk.
func spoil(s *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits = &backlog{out: []chunk{{}}, at: time.Now()}
}

// TestAPanicBehindTheHandshake ends the socket, though nobody reads it yet.
func TestAPanicBehindTheHandshake(t *testing.T) {
	w := newWorld(t, SocketsAuto, Limits{})
	w.handler.inConnect = func(id string) {
		if s, ok := w.hub.entry(id).conn.(*stream); ok {
			spoil(s)
		}
	}
	_, _ = w.raw(nil)
	eventually(t, "the socket is gone", func() bool { _, ok := w.handler.ended.Load("s1"); return ok && w.gateway.registry.count() == 0 })
	if code, _ := w.handler.ended.Load("s1"); code != eureka.CloseInternal {
		t.Errorf("it ended with %v", code)
	}
}

// TestALoopOutlivesAPanic: the socket at which it panics ends with CloseInternal, others of the same loop go on.
func TestALoopOutlivesAPanic(t *testing.T) {
	w := newWorld(t, SocketsAuto, Limits{})
	victim, _ := w.raw(nil)
	spoil(w.driven("s1"))
	if _, err := victim.Write(frame(0x89, "x")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the socket is gone", func() bool { _, ok := w.handler.ended.Load("s1"); return ok })
	if code, _ := w.handler.ended.Load("s1"); code != eureka.CloseInternal {
		t.Errorf("it ended with %v", code)
	}
	for range len(w.gateway.loops.all) {
		c := w.dial("")
		w.write(c, "x")
		if got := w.read(c); got != "echo x" {
			t.Errorf("got %q", got)
		}
	}
}

// TestTheSweepOutlivesAPanic: as TestALoopOutlivesAPanic.
func TestTheSweepOutlivesAPanic(t *testing.T) {
	w := newWorld(t, SocketsAuto, Limits{PingInterval: 20 * time.Millisecond, IdleTimeout: time.Minute})
	_, _ = w.raw(nil)
	spoil(w.driven("s1"))
	eventually(t, "the socket is gone", func() bool { _, ok := w.handler.ended.Load("s1"); return ok })
	if code, _ := w.handler.ended.Load("s1"); code != eureka.CloseInternal {
		t.Errorf("it ended with %v", code)
	}
	_, r := w.raw(nil)
	if opcode, _, err := next(r); err != nil || opcode != 9 {
		t.Errorf("another one got opcode %d, %v, and not its ping", opcode, err)
	}
}

// TestTheSweepLeavesWhoHandlesFramesAlone: the rates of a socket are looked at while its frames are handled, and forgotten only in between. The race
// detector tells.
func TestTheSweepLeavesWhoHandlesFramesAlone(t *testing.T) {
	w := newWorld(t, SocketsAuto, Limits{FramesPerSecond: 1 << 20})
	c := w.dial("")
	s := w.driven("s1")
	done, swept := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(swept)
		for {
			select {
			case <-done:
				return
			default:
				s.check(time.Now().Add(time.Second)) // its allowance is full then
			}
		}
	}()
	for n := range 200 {
		w.write(c, fmt.Sprint(n))
		if got := w.read(c); got != fmt.Sprint("echo ", n) {
			t.Fatalf("got %q", got)
		}
	}
	close(done)
	<-swept
}

// TestAUseCaseThatBlocksHoldsUpNobody: while one socket's frame is handled the loop answers its pings, serves others, and reads no more of it.
func TestAUseCaseThatBlocksHoldsUpNobody(t *testing.T) {
	w := newWorld(t, SocketsAuto, Limits{})
	block, blocked := make(chan struct{}), make(chan struct{})
	w.handler.inFrame = func(string) {
		close(blocked)
		<-block
	}
	slow, r := w.raw(nil)
	if _, err := slow.Write(bytes.Join([][]byte{frame(0x81, "sub B"), frame(0x89, "p"), frame(0x81, "two"), frame(0x81, "three")}, nil)); err != nil {
		t.Fatal(err)
	}
	<-blocked
	for range len(w.gateway.loops.all) {
		c := w.dial("?channels=A")
		w.hub.Deliver("A", Broadcast{Body: body(t, "1")})
		if got := w.read(c); !strings.Contains(got, `"data":1`) {
			t.Errorf("got %q", got)
		}
	}
	if opcode, payload, err := next(r); err != nil || opcode != 10 || string(payload) != "p" {
		t.Errorf("the ping was answered with %d %q, %v", opcode, payload, err)
	}
	close(block)
	want := []string{"subscribed B", "echo two", "echo three"}
	for len(want) > 0 {
		opcode, payload, err := next(r)
		if err != nil {
			t.Fatal(err)
		}
		if opcode != 1 || strings.Contains(string(payload), `"channel":"A"`) {
			continue // messages of A
		}
		if string(payload) != want[0] {
			t.Fatalf("got %q, want %q", payload, want[0])
		}
		want = want[1:]
	}
}

// TestWorkersAreBounded: what comes when all workers are busy waits for its turn.
func TestWorkersAreBounded(t *testing.T) {
	var most, now, done atomic.Int64
	block := make(chan struct{})
	w := workers{limit: 3}
	w.work = func(*stream) {
		most.Store(max(most.Load(), now.Add(1)))
		<-block
		now.Add(-1)
		done.Add(1)
	}
	for range 20 {
		w.run(&stream{})
	}
	eventually(t, "as many work as may", func() bool { return now.Load() == 3 })
	close(block)
	eventually(t, "all had their turn", func() bool { return done.Load() == 20 })
	if most.Load() > 3 {
		t.Errorf("%d worked at once", most.Load())
	}
	eventually(t, "the workers ended", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.running == 0 })
}

// TestASilentSocketHoldsNothing: after all that can happen to it, an idle socket has no buffer, no parser and no goroutine.
func TestASilentSocketHoldsNothing(t *testing.T) {
	w := newWorld(t, SocketsAuto, Limits{FramesPerSecond: 1000, PublishesPerSecond: 1000})
	c, r := w.raw(frame(0x81, "early"))
	stream := bytes.Join([][]byte{frame(0x01, "he"), frame(0x89, "p"), frame(0x80, "llo")}, nil)
	for _, b := range stream {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	for seen := 0; seen < 3; seen++ {
		if _, _, err := next(r); err != nil {
			t.Fatal(err)
		}
	}
	s := w.driven("s1")
	eventually(t, "nothing is left", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.waits == nil && s.poll.unhandled() && s.poll.extra == nil
	})
	s.check(time.Now().Add(time.Minute))
	if s.pace != nil {
		t.Error("its rates are kept")
	}
}

// TestChurn is a soak: sockets come, listen, say something, and go in every way there is, while messages flow. Memory and goroutines do not grow.
// go test -run TestChurn -gateway.soak 10m
func TestChurn(t *testing.T) {
	w := newWorld(t, SocketsAuto, Limits{})
	steady := w.dial("?channels=A")
	var published atomic.Int64
	stop, received := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			_, text, err := steady.Read(t.Context())
			switch {
			case err != nil:
				received <- err
				return
			case strings.Contains(string(text), `"data":"end"`):
				received <- nil
				return
			case !strings.Contains(string(text), fmt.Sprintf(`"data":%d}`, i)):
				received <- fmt.Errorf("message %d is %s", i, text)
				return
			}
		}
	}()
	publishing := make(chan struct{})
	go func() {
		defer close(publishing)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				w.hub.Deliver("A", Broadcast{Body: body(t, fmt.Sprint(published.Add(1)-1))})
			}
		}
	}()
	// What a round leaves behind would show as growth from the second one on.
	const round = 100
	var first, last runtime.MemStats
	goroutines := 0
	for deadline, n := time.Now().Add(*soak), 0; n < 3 || time.Now().Before(deadline); n++ {
		for i := range round {
			c, _ := w.handshake(frame(0x81, "hello")) // raw would keep each until the test ends
			switch i % 4 {
			case 0: // goes with its queue full of what it did not read
			case 1:
				_, _ = c.Write(frame(0x88, "\x03\xe8")) // the server may be gone already
				_, _ = io.Copy(io.Discard, c)
			case 2:
				_, _ = c.Write([]byte("garbage that is no frame"))
			case 3:
				_, _ = c.Write(frame(0x01, "half a message")[:7])
			}
			_ = c.Close()
		}
		eventually(t, "all of a round are gone", func() bool { return w.hub.Sockets() == 1 && w.gateway.registry.count() == 1 })
		w.handler.ended.Clear() // the test's own memory of the ends
		runtime.GC()
		runtime.ReadMemStats(&last)
		if n == 1 {
			first, goroutines = last, runtime.NumGoroutine()
		}
	}
	close(stop)
	<-publishing
	w.hub.Deliver("A", Broadcast{Body: body(t, `"end"`)})
	if err := <-received; err != nil {
		t.Error(err)
	}
	eventually(t, "the heap is what it was", func() bool { // what goes is not gone at once on a loaded machine
		runtime.GC()
		runtime.ReadMemStats(&last)
		return last.HeapAlloc <= first.HeapAlloc+1<<20
	})
	eventually(t, "goroutines ended", func() bool { return runtime.NumGoroutine() <= goroutines+5 })
	for i, l := range w.gateway.loops.all {
		l.mu.Lock()
		if used := len(l.slots) - len(l.free); used > 1 {
			t.Errorf("loop %d has %d sockets", i, used)
		}
		l.mu.Unlock()
	}
}

// BenchmarkPingDuringABroadcast measures how long a ping waits on a loop that sends a broadcast to very many sockets; the figure is the time of one ping.
func BenchmarkPingDuringABroadcast(b *testing.B) {
	w := newWorld(b, SocketsAuto, Limits{})
	const sockets = 2000
	descriptors := make([]int, sockets)
	for i := range descriptors {
		c, _ := w.raw(nil)
		fd, err := doubled(c)
		if err != nil {
			b.Fatal(err)
		}
		descriptors[i] = fd
		b.Cleanup(func() { _ = unix.Close(fd) })
	}
	c, r := w.raw(nil)
	if err := w.hub.Unsubscribe(fmt.Sprintf("s%d", sockets+1), "A"); err != nil {
		b.Fatal(err)
	}
	stop := make(chan struct{})
	defer close(stop)
	text := body(b, `"x"`)
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				w.hub.Deliver("A", Broadcast{Body: text}) // waits when it is ahead of the loops
			}
		}
	}()
	go func() { // one reader of all, or the figure would be about its own goroutines
		scratch := make([]byte, readBytes)
		for {
			for _, fd := range descriptors {
				_, _ = receive(fd, scratch) // nothing there is as good
			}
			select {
			case <-stop:
				return
			default:
				runtime.Gosched()
			}
		}
	}()
	for b.Loop() {
		if _, err := c.Write(frame(0x89, "p")); err != nil {
			b.Fatal(err)
		}
		if opcode, _, err := next(r); err != nil || opcode != 10 {
			b.Fatal(opcode, err)
		}
	}
}
