package loadgen

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"eureka"
)

// state is where a socket stands.
type state uint8

const (
	idle    state = iota // no connection
	dialing              // until the connection stands
	shaking              // until the handshake is answered
	joining              // until what it asked for is confirmed
	open
)

// conn is one socket. It is small: a million of them are held.
type conn struct {
	fd       int32
	state    state
	awaited  uint16 // confirmations to come
	began    int64  // when the dial began, of the generator's clock
	rest     []byte // the start of what has not come whole
	cursor   []byte // of the last message, where it is kept
	resuming bool
}

// counters are what a swarm has seen; the loop writes, anybody may read.
type counters struct {
	open, frames, messages, bytes atomic.Int64
	refused, ended, failed        atomic.Int64 // handshakes refused; sockets that ended; connections that never stood
	recovered, unrecovered        atomic.Int64
	duplicates, late, foreign     atomic.Int64
}

// swarm is many sockets in one loop. All methods are called from one goroutine.
type swarm struct {
	o      Options
	d      dialect
	dialer dialer
	poller *poller
	now    func() int64
	conns  []conn
	tracks []track // of socket i, from i×PerSocket×streams

	buffer  []byte
	scratch []byte
	pending int // sockets whose connecting is under way
	lanes   []*lane
	arrived []int64 // copies, by the lane that sent them

	count     counters
	latency   histogram // of messages
	handshake histogram // from dial to open
	failures  failures
	cursors   bool // keep the cursor of the last message
}

func newSwarm(o Options, d dialect, to dialer, p *publishing) (*swarm, error) {
	poller, err := newPoller()
	if err != nil {
		return nil, eureka.WrapError(eureka.CodeUnavailable, err, "epoll cannot be had")
	}
	s := &swarm{
		o: o, d: d, dialer: to, poller: poller, now: p.now, lanes: p.lanes, arrived: make([]int64, len(p.lanes)),
		conns: make([]conn, o.Sockets), tracks: make([]track, o.Sockets*o.PerSocket*o.streams()), buffer: make([]byte, 256<<10),
		failures: failures{},
	}
	for i := range s.conns {
		s.conns[i].fd = -1
	}
	return s, nil
}

// first is the number of the first channel of a socket; it has the PerSocket channels from there.
func (s *swarm) first(i int) int { return i * s.o.PerSocket % s.o.Channels }

func (s *swarm) names(i int) []string {
	names := make([]string, s.o.PerSocket)
	for k := range names {
		names[k] = s.o.name((s.first(i) + k) % s.o.Channels)
	}
	return names
}

// connect opens all sockets, Connecting at a time, and returns when each is open or has failed.
func (s *swarm) connect(ctx context.Context, resuming bool) error {
	next, progress, before := 0, s.now(), int64(-1)
	settled := func() int64 { return s.count.open.Load() + s.count.refused.Load() + s.count.failed.Load() }
	return s.run(ctx, func() (bool, error) {
		for next < len(s.conns) && s.pending < s.o.Connecting {
			if err := s.begin(next, resuming); err != nil {
				return false, err
			}
			next++
		}
		if n := settled(); n != before {
			before, progress = n, s.now()
		}
		if time.Duration(s.now()-progress) > s.o.Wait {
			return false, eureka.Errorf(eureka.CodeTimeout, "%d of %d sockets are open, and no other handshake was answered for %s",
				s.count.open.Load(), len(s.conns), s.o.Wait)
		}
		return next == len(s.conns) && s.pending == 0, nil
	})
}

func (s *swarm) begin(i int, resuming bool) error {
	fd, err := s.dialer.dial(i)
	if err != nil {
		return eureka.WrapError(eureka.CodeUnavailable, err, "socket %d of %d cannot be opened", i+1, len(s.conns))
	}
	c := &s.conns[i]
	c.fd, c.state, c.began, c.resuming, c.rest = int32(fd), dialing, s.now(), resuming, nil //nolint:gosec // descriptors fit
	s.pending++
	if err := s.poller.add(fd, int32(i)); err != nil { //nolint:gosec // bounded
		return eureka.WrapError(eureka.CodeUnavailable, err, "socket %d of %d cannot be watched", i+1, len(s.conns))
	}
	return nil
}

// idleWait is how long the loop waits for an event before it looks at the world again.
const idleWait = 20 * time.Millisecond

// run handles events until done says so.
func (s *swarm) run(ctx context.Context, done func() (bool, error)) error {
	for {
		if over, err := done(); over || err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		events, err := s.poller.wait(idleWait)
		if err != nil {
			return eureka.WrapError(eureka.CodeInternal, err, "epoll failed")
		}
		for i := range events {
			e := &events[i]
			c := &s.conns[e.Fd]
			if c.fd != e.Pad {
				continue // it was closed by an event before this one
			}
			s.handle(int(e.Fd), c, e.Events)
		}
		s.tell()
	}
}

// tell wakes lanes whose messages have arrived.
func (s *swarm) tell() {
	for i, l := range s.lanes {
		if t := l.target.Load(); t > 0 && s.arrived[i] >= t && l.target.CompareAndSwap(t, 0) {
			l.hit <- struct{}{} // there is room: a lane waits for one at a time
		}
	}
}

func (s *swarm) handle(i int, c *conn, events uint32) {
	if c.state == dialing {
		if events&unix.EPOLLOUT == 0 && events&(unix.EPOLLERR|unix.EPOLLHUP) == 0 {
			return
		}
		if errno, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR); err != nil || errno != 0 {
			s.failures.add(eureka.CodeUnavailable, "connecting: "+unix.Errno(errno).Error())
			s.end(c)
			return
		}
		c.state = shaking
		s.scratch = s.d.upgrade(s.scratch[:0], s.names(i), c.cursor, c.resuming)
		s.send(c, s.scratch)
	}
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		s.receive(i, c, events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0)
	}
}

// send writes a few bytes. A socket that takes none of them is given up: a client that only listens has an empty buffer.
func (s *swarm) send(c *conn, b []byte) {
	if n, err := unix.Write(int(c.fd), b); err != nil || n < len(b) {
		s.failures.add(eureka.CodeUnavailable, "a request could not be sent")
		s.end(c)
	}
}

// receive reads until nothing is left, as edges demand. Behind the last data there is the end, of which no other event tells.
func (s *swarm) receive(i int, c *conn, last bool) {
	for c.fd >= 0 {
		n, err := rawRead(int(c.fd), s.buffer)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return
		case n <= 0:
			s.end(c)
			return
		}
		s.count.bytes.Add(int64(n))
		s.take(i, c, s.buffer[:n])
		if n < len(s.buffer) && !last {
			return
		}
	}
}

// take handles what was read, behind what was left of the last read.
func (s *swarm) take(i int, c *conn, b []byte) {
	if len(c.rest) > 0 {
		c.rest = append(c.rest, b...)
		b = c.rest
	}
	if c.state == shaking {
		head := bytes.Index(b, []byte("\r\n\r\n"))
		if head < 0 {
			s.keep(c, b)
			return
		}
		if !s.answered(i, c, b[:head], b[head+4:]) {
			return
		}
		b = b[head+4:]
	}
	for len(b) > 0 && c.fd >= 0 {
		f, size := nextFrame(b)
		if size < 0 {
			s.failures.add(eureka.CodeInternal, "the service sent what is no frame")
			s.end(c)
			return
		}
		if size == 0 {
			break
		}
		s.frame(i, c, f)
		b = b[size:]
	}
	s.keep(c, b)
}

// keep holds on to bytes of a frame that is not whole. A socket with nothing to keep holds no buffer.
func (s *swarm) keep(c *conn, b []byte) {
	if len(b) == 0 || c.fd < 0 {
		c.rest = nil
		return
	}
	if len(b) > maxFrame+16 {
		s.failures.add(eureka.CodeInternal, "the service sent a frame without end")
		s.end(c)
		return
	}
	c.rest = append(c.rest[:0:cap(c.rest)], b...)
}

// answered takes the answer to a handshake; false when the socket has ended with it.
func (s *swarm) answered(i int, c *conn, head, body []byte) bool {
	if status := statusOf(head); status != 101 {
		s.count.refused.Add(1)
		s.failures.refused(status, body)
		s.drop(c)
		return false
	}
	c.state = joining
	frames, confirmations := s.d.greet(s.scratch[:0], s.names(i))
	if c.resuming {
		confirmations = s.o.PerSocket
	}
	if len(frames) > 0 {
		s.send(c, frames)
	}
	c.awaited = uint16(confirmations) //nolint:gosec // bounded by the options
	s.confirm(c, 0)
	return c.fd >= 0
}

func (s *swarm) confirm(c *conn, n int) {
	if c.state != joining || c.fd < 0 {
		return
	}
	c.awaited -= uint16(min(n, int(c.awaited))) //nolint:gosec // at most awaited
	if c.awaited > 0 {
		return
	}
	c.state = open
	s.pending--
	s.count.open.Add(1)
	s.handshake.add(time.Duration(s.now() - c.began))
}

// end is a socket that the service or the network has ended.
func (s *swarm) end(c *conn) {
	if c.state == open {
		s.count.ended.Add(1)
	} else {
		s.count.failed.Add(1)
	}
	s.drop(c)
}

// drop closes a socket.
func (s *swarm) drop(c *conn) {
	if c.fd < 0 {
		return
	}
	_ = unix.Close(int(c.fd)) // a reset
	switch c.state {
	case open:
		s.count.open.Add(-1)
	case dialing, shaking, joining:
		s.pending--
	case idle:
	}
	c.fd, c.state, c.rest = -1, idle, nil
}

// dropAll closes all sockets.
func (s *swarm) dropAll() {
	for i := range s.conns {
		s.drop(&s.conns[i])
	}
}

func (s *swarm) close() error {
	s.dropAll()
	return s.poller.close()
}
