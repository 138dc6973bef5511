package gateway

import (
	"errors"
	"net"
	"os"
	"time"

	"eureka"
	"eureka/internal/wire"
)

// A reader's buffer is small while its client says little, and grows for the length of a larger message.
const (
	smallBuffer = 512
	largeBuffer = 16 << 10
)

// reader drives one stream with a reading goroutine; a writing one exists only while there is something to write. It is the driver of systems
// without an event loop, and of TLS.
type reader struct{ net net.Conn }

func (r *reader) fanout() *lane { return nil }

func (r *reader) direct(*stream, []byte) int { return 0 }

func (r *reader) write(s *stream) {
	if !s.waits.writing {
		s.waits.writing = true
		go r.writeAll(s)
	}
}

// take implements path.
func (r *reader) take(_ *stream, c net.Conn, answer []byte) error {
	r.net = c
	return writeAnswer(c, answer)
}

// start implements path.
func (r *reader) start(s *stream, early []byte) { go r.serve(s, early) }

// limit sets the deadline. Failing to set it means that the connection has ended already.
func (r *reader) limit(*stream) { _ = r.net.SetDeadline(time.Now().Add(closeWait)) }

func (r *reader) cut(*stream) { _ = r.net.Close() }

// writeAll writes what waits, joined into few calls, and ends when nothing is left. Each call has its own time, so it writes no more than a slow
// client can take in that.
func (r *reader) writeAll(s *stream) {
	for {
		s.mu.Lock()
		batch := s.waits.batch(joinBytes)
		if len(batch) == 0 {
			s.waits.writing = false
			s.settle()
			s.mu.Unlock()
			return
		}
		if !s.ending { // whose time is running already
			_ = r.net.SetWriteDeadline(time.Now().Add(writeTimeout))
		}
		s.mu.Unlock()
		if _, err := batch.WriteTo(r.net); err != nil {
			s.stuck(err)
			// The reading goroutine sees the end and reports it.
			_ = r.net.Close()
			return
		}
	}
}

// batch takes what is to be written next: about limit bytes, but always one chunk.
func (w *backlog) batch(limit int) net.Buffers {
	var batch net.Buffers
	if w.pong != nil {
		batch, w.pong = append(batch, w.pong), nil
	}
	n := 0
	for size := 0; n < len(w.out) && (n == 0 || size+len(w.out[n].bytes) <= limit); n++ {
		c := &w.out[n]
		batch = append(batch, c.bytes)
		size += len(c.bytes)
		w.size -= len(c.bytes)
		w.frames -= c.frames
		*c = chunk{} // the rest may wait for long
	}
	if w.out = w.out[n:]; len(w.out) == 0 {
		w.out = nil
	}
	w.at = time.Now()
	return batch
}

// stuck notes that it was the peer who did not read, if that is what a write says.
func (s *stream) stuck(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.tooSlow()
	}
}

// serve reads one connection until it ends and reports its end.
func (r *reader) serve(s *stream, early []byte) {
	defer func() {
		if fault := recover(); fault != nil {
			s.gateway.failed(s, fault)
		}
		s.cut()
		s.gateway.disconnected(s)
	}()
	r.read(s, early)
}

func (r *reader) read(s *stream, early []byte) {
	parser := wire.Parser{MaxMessage: eureka.MaxFrameBytes}
	emit := func(e wire.Event) bool { return s.gateway.event(s, e) }
	if len(early) > 0 && !r.feed(s, &parser, early, emit) {
		return
	}
	buffer := make([]byte, smallBuffer)
	for {
		n, err := r.net.Read(buffer)
		if n > 0 {
			s.received.Store(time.Now().UnixNano())
			if !r.feed(s, &parser, buffer[:n], emit) {
				return
			}
		}
		if err != nil {
			return
		}
		switch {
		case n == len(buffer) && n < largeBuffer:
			buffer = make([]byte, largeBuffer)
		case n < smallBuffer && len(buffer) > smallBuffer && parser.Idle():
			buffer = make([]byte, smallBuffer)
		}
	}
}

// feed parses what was read. It reports false when reading is over: after the peer's close frame, or after a fault.
func (r *reader) feed(s *stream, parser *wire.Parser, b []byte, emit func(wire.Event) bool) bool {
	closed := false
	fault := parser.Feed(b, func(e wire.Event) bool {
		closed = e.Kind == wire.Close
		return emit(e)
	})
	if fault != nil {
		s.end(fault.Code, fault.Reason, 0)
	}
	if closed || fault != nil {
		r.awaitEnd()
		return false
	}
	return true
}

// awaitEnd reads on, unheard, until the peer hangs up or the deadline that the close has set: closing with unread bytes would
// reset the connection and could take the close frame with it.
func (r *reader) awaitEnd() {
	scratch := make([]byte, smallBuffer)
	for {
		if _, err := r.net.Read(scratch); err != nil {
			return
		}
	}
}
