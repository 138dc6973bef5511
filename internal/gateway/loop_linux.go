package gateway

import (
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"eureka"
	"eureka/internal/wire"
)

const (
	readBytes  = 64 << 10 // what one read takes at most; a socket that has more waits for its next turn
	pollEvents = 256      // events of one look
)

// watched is what a loop wants to know of a socket: changes alone, so that a silent or a full one costs nothing.
const watched = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET

// ended are the events behind which there is nothing to wait for.
const ended = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR

// loop drives many streams with one goroutine. It reads what they send, sends broadcasts to them in turns, and parks in the runtime's own
// poller when there is nothing to do, so that it holds no thread. Frames of clients are handled by workers, since a use case may block.
//
// All that only the loop's goroutine touches is in its second half.
type loop struct {
	gateway *Gateway
	fan     lane
	poll    int // the epoll descriptor
	event   int // the descriptor that wakes it
	file    *os.File
	raw     syscall.RawConn
	done    chan struct{}
	parked  atomic.Bool
	stopped atomic.Bool

	mu     sync.Mutex
	slots  []slot
	free   []int32
	attend []*stream // to be looked at without an event

	events [pollEvents]unix.EpollEvent
	buffer []byte
	looked []*stream // attend of the last round, kept for its memory
	parser wire.Parser
	in     scratch
	emit   func(wire.Event) bool
	now    int64
}

// slot is what an event names: a stream, and how often the slot was given away, since events may be late.
type slot struct {
	stream *stream
	round  int32
}

// loops are a gateway's loops, one per core.
type loops struct {
	all     []*loop
	turn    atomic.Uint32
	workers workers
}

// next chooses the loop of a new stream; nil when there are none.
func (l *loops) next() path {
	if len(l.all) == 0 {
		return nil
	}
	return l.all[int(l.turn.Add(1))%len(l.all)]
}

func (g *Gateway) openLoops() error {
	g.loops.workers.limit, g.loops.workers.work = maxWorkers, g.work
	for range runtime.GOMAXPROCS(0) {
		l, err := newLoop(g)
		if err != nil {
			g.closeLoops()
			return eureka.WrapError(eureka.CodeInternal, err, "an event loop cannot be opened")
		}
		g.loops.all = append(g.loops.all, l)
		go l.run()
	}
	return nil
}

func (g *Gateway) closeLoops() {
	for _, l := range g.loops.all {
		l.stopped.Store(true)
		l.wake()
		<-l.done
	}
}

func newLoop(g *Gateway) (*loop, error) {
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(poll)
		return nil, err
	}
	l := &loop{gateway: g, poll: poll, event: event, done: make(chan struct{}), buffer: make([]byte, readBytes)}
	l.fan.wake, l.fan.failed = l.wake, l.failed
	l.parser.MaxMessage, l.emit = eureka.MaxFrameBytes, l.in.emit
	// The event descriptor is never read: each write is a change.
	err = unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, event, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: -1})
	if err == nil {
		err = unix.SetNonblock(poll, true) // which tells os that it can be polled
	}
	if err == nil {
		l.file = os.NewFile(uintptr(poll), "epoll")
		l.raw, err = l.file.SyscallConn()
	}
	if err != nil {
		_ = unix.Close(event)
		_ = unix.Close(poll)
		return nil, err
	}
	return l, nil
}

// wake has the loop look for work, if it is parked.
func (l *loop) wake() {
	if l.parked.CompareAndSwap(true, false) {
		one := [8]byte{1}
		_, _ = unix.Write(l.event, one[:]) // fails only when very many have written already
	}
}

// failed ends a connection to which a broadcast could not be handed.
func (l *loop) failed(c conn, fault any) {
	if s, ok := c.(*stream); ok {
		l.gateway.failed(s, fault)
	}
}

// run is the loop. Between two turns of broadcasts it looks at sockets, and lets other goroutines and the garbage collector run.
func (l *loop) run() {
	defer close(l.done)
	defer l.close()
	for !l.stopped.Load() {
		sent := l.fan.turn()
		n := l.look()
		l.handle(n)
		looked := l.lookAfter()
		if sent || looked || n > 0 {
			runtime.Gosched()
			continue
		}
		l.park()
	}
}

func (l *loop) close() {
	l.fan.close()
	_ = l.file.Close()
	_ = unix.Close(l.event)
}

// look returns how many events there are now.
func (l *loop) look() int {
	l.now = time.Now().UnixNano()
	return pollNow(l.poll, l.events[:])
}

// park waits for events, without a thread.
func (l *loop) park() {
	l.parked.Store(true)
	if l.stopped.Load() || l.fan.waits() || l.hasAttend() {
		l.parked.Store(false)
		return
	}
	n := 0
	err := l.raw.Read(func(uintptr) bool {
		n = l.look()
		return n > 0
	})
	l.parked.Store(false)
	if err != nil {
		l.gateway.options.Log.Error("an event loop cannot wait", slog.Any("error", err))
		return
	}
	l.handle(n)
}

// handle looks at the sockets of n events.
func (l *loop) handle(n int) {
	for i := range l.events[:n] {
		e := &l.events[i]
		if e.Fd < 0 {
			continue // woken
		}
		if s := l.at(e); s != nil {
			l.guard(s, e.Events)
		}
	}
}

// at returns the stream that an event is about; nil when that has ended.
func (l *loop) at(e *unix.EpollEvent) *stream {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at := l.slots[e.Fd]; at.round == e.Pad {
		return at.stream
	}
	return nil
}

// lookAfter reads the streams that asked for it. It reports false when there were none.
func (l *loop) lookAfter() bool {
	l.mu.Lock()
	l.looked, l.attend = l.attend, l.looked[:0]
	l.mu.Unlock()
	for _, s := range l.looked {
		l.guard(s, unix.EPOLLIN)
	}
	clear(l.looked)
	return len(l.looked) > 0
}

func (l *loop) hasAttend() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.attend) > 0
}

// ask has a stream read again without an event.
func (l *loop) ask(s *stream) {
	l.mu.Lock()
	l.attend = append(l.attend, s)
	l.mu.Unlock()
	l.wake()
}

// guard handles what happened to one stream. When that panics this stream ends, and the loop goes on.
func (l *loop) guard(s *stream, events uint32) {
	defer func() {
		if fault := recover(); fault != nil {
			l.parser, l.in = wire.Parser{MaxMessage: eureka.MaxFrameBytes}, scratch{}
			s.poll.deaf = true
			l.gateway.failed(s, fault)
		}
	}()
	if events&unix.EPOLLOUT != 0 {
		s.writable()
	}
	if events&^unix.EPOLLOUT != 0 {
		l.read(s, events&ended != 0)
	}
}
