package gateway

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"eureka"
	"eureka/internal/wire"
)

// pollState is what a loop knows of a stream. Fields without a remark belong to the stream's mu.
type pollState struct {
	fd    int32 // -1 once it is closed
	slot  int32 // only set and read while fd is opened and closed
	open  bool  // the loop may read and close it
	full  bool  // the kernel takes no more until the next event
	busy  bool  // a worker handles what it sent: until then it is not read
	again bool  // something happened meanwhile
	over  bool  // the connection has ended, and that is to be reported
	cut   bool  // the loop is to close it
	deaf  bool  // what the peer still sends is not heard; the loop's, or a worker's while it is busy
	last  bool  // the peer sends no more than what is to be read; the loop's, who hears of it once
	extra *extra
}

// extra is what only sockets that are in the middle of something have. It is the loop's, or a worker's while the stream is busy.
type extra struct {
	early  []byte       // what came with the handshake
	parser *wire.Parser // of a message that has not arrived whole
	inbox  inbox
}

// inbox is what one read brought for a worker, in this order.
type inbox struct {
	text   []byte // text frames, one behind the other
	ends   []int  // where each of them ends
	closes bool   // then the peer's close frame
	code   eureka.CloseCode
	reason string
	fault  *wire.Fault // or a breach of the protocol
}

// scratch is where one read is taken apart.
type scratch struct {
	inbox

	ping   []byte
	pinged bool
}

// unhandled reports whether nobody handles frames of the stream; mu keeps it so.
func (p *pollState) unhandled() bool { return p.fd > 0 && !p.busy }

func (l *loop) fanout() *lane { return &l.fan }

// take implements path: the descriptor is doubled, and net/http's connection let go.
func (l *loop) take(s *stream, c net.Conn, answer []byte) error {
	fd, err := doubled(c)
	if err != nil {
		_ = c.SetWriteDeadline(time.Now().Add(closeWait))
		_, _ = c.Write([]byte("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")) // the client sees its end otherwise
		_ = c.Close()
		return eureka.WrapError(eureka.CodeUnavailable, err, "there is no descriptor for the socket")
	}
	if err := writeAnswer(c, answer); err != nil {
		_ = unix.Close(fd)
		return err
	}
	_ = c.Close()
	s.mu.Lock()
	s.poll.fd = int32(fd) //nolint:gosec // a descriptor
	s.mu.Unlock()
	return nil
}

// doubled returns a descriptor of one's own for a connection; it is non-blocking as that of the connection.
func doubled(c net.Conn) (fd int, err error) {
	connected, ok := c.(syscall.Conn)
	if !ok {
		return 0, errors.New("the connection has no descriptor")
	}
	raw, err := connected.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := raw.Control(func(original uintptr) { fd, err = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(controlErr, err)
}

// start implements path.
func (l *loop) start(s *stream, early []byte) {
	if len(early) > 0 {
		s.poll.extra = &extra{early: early}
	}
	l.mu.Lock()
	var at int32
	if n := len(l.free); n > 0 {
		at = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		at = int32(len(l.slots)) //nolint:gosec // far fewer than 2^31
		l.slots = append(l.slots, slot{})
	}
	l.slots[at].stream = s
	round := l.slots[at].round
	l.mu.Unlock()
	s.mu.Lock()
	s.poll.slot, s.poll.open = at, true
	err := unix.EpollCtl(l.poll, unix.EPOLL_CTL_ADD, int(s.poll.fd), &unix.EpollEvent{Events: watched, Fd: at, Pad: round})
	s.poll.cut = s.poll.cut || err != nil // the kernel has no memory for it
	ask := s.poll.cut || len(early) > 0
	s.mu.Unlock()
	if ask {
		l.ask(s)
	}
}

func (l *loop) direct(s *stream, b []byte) int {
	if s.poll.fd < 0 {
		return 0
	}
	for {
		n, errno := send(int(s.poll.fd), b)
		switch errno {
		case 0:
			return n
		case unix.EINTR:
		case unix.EAGAIN:
			return 0
		default:
			l.cut(s)
			return len(b) // nothing waits for a peer that is gone
		}
	}
}

// write sends what waits until the kernel takes no more; then its readiness comes as an event.
func (l *loop) write(s *stream) {
	w := s.waits
	if w.pong != nil && !s.poll.full {
		// Not into the middle of a frame.
		at := 0
		if len(w.out) > 0 && w.out[0].done > 0 {
			at = 1
		}
		w.out = slices.Insert(w.out, at, chunk{bytes: w.pong})
		w.size += len(w.pong)
		w.pong = nil
	}
	for len(w.out) > 0 && s.poll.fd >= 0 && !s.poll.full {
		n, errno := sendAll(int(s.poll.fd), w.out)
		if errno == unix.EINTR {
			continue
		}
		if errno == unix.EAGAIN {
			s.poll.full = true
			return
		}
		if errno != 0 {
			l.cut(s)
			w.out = nil
			break
		}
		w.at = time.Now()
		w.sent(n)
	}
	s.settle()
}

// sent takes n bytes off the front of what waits.
func (w *backlog) sent(n int) {
	for n > 0 {
		c := &w.out[0]
		left := len(c.bytes) - c.done
		took := min(n, left)
		n -= took
		c.done += took
		w.size -= took
		if took < left {
			return
		}
		w.frames -= c.frames
		w.out[0] = chunk{}
		w.out = w.out[1:]
	}
}

func (l *loop) limit(s *stream) { s.waits.endBy = time.Now().Add(closeWait) }

func (l *loop) cut(s *stream) {
	if !s.poll.cut {
		s.poll.cut = true
		l.ask(s)
	}
}

// writable goes on with what waits.
func (s *stream) writable() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.poll.full = false
	s.write()
}

// read takes what a socket has sent, up to one buffer. ended tells that the peer sends no more.
func (l *loop) read(s *stream, ended bool) {
	s.poll.last = s.poll.last || ended
	fd, ok := l.readable(s)
	if !ok {
		return
	}
	if x := s.poll.extra; x != nil && x.early != nil {
		early := x.early
		x.early = nil
		if !l.feed(s, early, true) {
			return
		}
	}
	for {
		n, errno := receive(fd, l.buffer)
		switch {
		case errno == unix.EINTR:
		case errno == unix.EAGAIN:
			return
		case errno != 0 || n == 0:
			l.lose(s)
			return
		default:
			s.received.Store(l.now)
			full := n == len(l.buffer)
			if !l.feed(s, l.buffer[:n], full || s.poll.last) {
				return
			}
			if full {
				l.ask(s) // the others have their turn first
				return
			}
			if !s.poll.last {
				return
			}
		}
	}
}

// readable returns the descriptor of a stream that is to be read now. What is to be closed is closed.
func (l *loop) readable(s *stream) (fd int, ok bool) {
	s.mu.Lock()
	fd, cut, busy := int(s.poll.fd), s.poll.cut, s.poll.busy
	ok = s.poll.open && fd >= 0 // before it is open start asks again
	if busy {
		s.poll.again = true
	}
	s.mu.Unlock()
	if ok && cut {
		l.lose(s)
		return 0, false
	}
	return fd, ok && !busy
}

// feed takes apart what was read. It reports false when a worker has something to handle now; more says that there is more to read then.
func (l *loop) feed(s *stream, b []byte, more bool) bool {
	if s.poll.deaf {
		return true
	}
	parser := &l.parser
	if x := s.poll.extra; x != nil && x.parser != nil {
		parser = x.parser
	}
	l.in.text, l.in.ends, l.in.closes, l.in.pinged = l.in.text[:0], l.in.ends[:0], false, false
	l.in.fault = parser.Feed(b, l.emit)
	l.keep(s, parser)
	if l.in.pinged {
		s.answerPing(l.in.ping) // of many pings in one read the last one
	}
	if len(l.in.ends) == 0 {
		s.handleEnd(&l.in.inbox)
		return true
	}
	in := l.in.inbox
	in.text, in.ends = bytes.Clone(in.text), slices.Clone(in.ends)
	if cap(l.in.text) > 2*readBytes {
		l.in.text = nil
	}
	s.mu.Lock()
	if s.poll.extra == nil {
		s.poll.extra = &extra{}
	}
	s.poll.extra.inbox = in
	s.poll.busy, s.poll.again = true, more
	s.mu.Unlock()
	l.gateway.loops.workers.run(s)
	return false
}

// keep leaves the parser with the stream while a message has not arrived whole; else the stream needs none.
func (l *loop) keep(s *stream, parser *wire.Parser) {
	x := s.poll.extra
	switch {
	case parser == &l.parser && (l.in.fault != nil || l.in.closes):
		l.parser = wire.Parser{MaxMessage: eureka.MaxFrameBytes}
	case parser == &l.parser && !parser.Idle():
		if x == nil {
			x = &extra{}
			s.poll.extra = x
		}
		own := *parser
		x.parser = &own
		l.parser = wire.Parser{MaxMessage: eureka.MaxFrameBytes}
	case parser != &l.parser && parser.Idle():
		x.parser = nil
		if x.early == nil {
			s.poll.extra = nil
		}
	}
}

// emit notes one thing that the client sent. It reports false to stop reading.
func (i *scratch) emit(e wire.Event) bool {
	switch e.Kind {
	case wire.Text:
		i.text = append(i.text, e.Payload...)
		i.ends = append(i.ends, len(i.text))
	case wire.Ping:
		i.ping, i.pinged = append(i.ping[:0], e.Payload...), true
	case wire.Close:
		i.closes, i.code, i.reason = true, e.Code, e.Reason
		return false
	case wire.Pong: // that it came is all it says
	}
	return true
}

// handleEnd does what the peer's end asks for, if this is it.
func (s *stream) handleEnd(in *inbox) {
	switch {
	case in.closes:
		s.poll.deaf = true
		s.acknowledge(in.code, in.reason)
	case in.fault != nil:
		s.poll.deaf = true
		s.end(in.fault.Code, in.fault.Reason, 0)
	}
}

// work handles what a read brought, and the end of a connection. It runs in a worker.
func (g *Gateway) work(s *stream) {
	if x := s.poll.extra; x != nil {
		g.workOff(s, &x.inbox)
		x.inbox = inbox{}
		if x.parser == nil && x.early == nil {
			s.poll.extra = nil
		}
	}
	s.mu.Lock()
	over, again := s.poll.over, s.poll.again
	s.poll.busy, s.poll.again = over, false
	s.mu.Unlock()
	switch {
	case over:
		g.disconnected(s)
	case again:
		if l, ok := s.driver.(*loop); ok {
			l.ask(s)
		}
	}
}

func (g *Gateway) workOff(s *stream, in *inbox) {
	defer func() {
		if fault := recover(); fault != nil {
			s.poll.deaf = true
			g.failed(s, fault)
		}
	}()
	begin := 0
	for _, end := range in.ends {
		g.text(s, in.text[begin:end])
		begin = end
	}
	s.handleEnd(in)
}

// lose closes a connection, and has its end reported when its frames are handled.
func (l *loop) lose(s *stream) {
	s.mu.Lock()
	fd, busy := int(s.poll.fd), s.poll.busy
	s.poll.fd, s.poll.over, s.poll.busy = -1, true, true
	if !s.ending {
		s.ending, s.code = true, eureka.CloseAbnormal
		s.backlog().reason = "the connection broke"
	}
	s.waits.out, s.waits.held, s.waits.pong = nil, nil, nil
	s.wake()
	s.mu.Unlock()
	_ = unix.Close(fd)
	l.mu.Lock()
	at := &l.slots[s.poll.slot]
	at.stream = nil
	at.round++
	l.free = append(l.free, s.poll.slot)
	l.mu.Unlock()
	if !busy {
		l.gateway.loops.workers.run(s)
	}
}
