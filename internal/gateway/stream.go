package gateway

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"eureka"
	"eureka/internal/protocol"
	"eureka/internal/wire"
)

// Limits of a connection's end that are no settings.
const (
	closeWait    = 2 * time.Second  // how long the peer has to answer a close frame
	writeTimeout = 10 * time.Second // how long one write may make no progress
)

// stream drives one connection with a reading goroutine; a writing one exists only while there is something to write.
// It is the conn of systems without an event loop.
type stream struct {
	limits    *Limits
	net       net.Conn     // set by bind, before anything is written
	received  atomic.Int64 // when the peer sent something last, in nanoseconds
	pinged    atomic.Int64 // when it was pinged last
	expiresAt int64        // epoch milliseconds, 0 for never
	identity  atomic.Pointer[eureka.Identity]

	mu       sync.Mutex
	out      [][]byte // frames to write, in this order
	held     [][]byte // messages that wait until the reply to the frame being handled is in out
	pong     []byte   // the answer to the last ping; later pings replace it, so a flood of them queues one
	size     int      // bytes of out and held
	bound    bool     // net is there and the handshake's answer was sent
	holding  bool
	writing  bool
	ending   bool             // nothing more is taken: the close frame is in out
	code     eureka.CloseCode // what ended it; 0 while open
	reason   string
	hangUp   bool // close the connection as soon as out is written
	overflow func()
	waiting  []func() // called when nothing waits to be written
}

func newStream(limits *Limits, overflow func()) *stream {
	return &stream{limits: limits, holding: true, overflow: overflow}
}

// bind gives the stream its connection; what was queued meanwhile stays held until release.
func (s *stream) bind(c net.Conn) {
	s.received.Store(time.Now().UnixNano())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.net, s.bound = c, true
	if s.ending {
		s.limitEnd()
		s.startWriting()
	}
}

func (s *stream) queue(frame []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return false
	}
	if s.size+len(frame) > s.limits.QueueBytes || len(s.out)+len(s.held) >= s.limits.QueueFrames {
		// Nothing is skipped in silence: the whole queue goes, and the socket with it.
		s.overflow()
		s.drop()
		s.endLocked(eureka.CloseSlowConsumer, "the client reads too slowly", 0)
		return false
	}
	s.size += len(frame)
	if s.holding {
		s.held = append(s.held, frame)
		return true
	}
	s.out = append(s.out, frame)
	s.startWriting()
	return true
}

// offer takes all frames or none: none when they would fill more than half of the queue.
func (s *stream) offer(frames [][]byte) (taken, open bool) {
	size := 0
	for _, frame := range frames {
		size += len(frame)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return false, false
	}
	// A page that is larger than half of an empty queue is let in alone; nothing is larger than one frame of the greatest size and one more step.
	waits := len(s.out) + len(s.held)
	if waits > 0 && (s.size+size > s.limits.QueueBytes/2 || waits+len(frames) > s.limits.QueueFrames/2) {
		return false, true
	}
	s.size += size
	if s.holding {
		s.held = append(s.held, frames...)
		return true, true
	}
	s.out = append(s.out, frames...)
	if len(s.out) > 0 {
		s.startWriting()
	}
	return true, true
}

// drained calls f when nothing waits to be written, or when the connection has ended.
func (s *stream) drained(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending || (!s.holding && !s.writing && len(s.out) == 0) {
		go f()
		return
	}
	s.waiting = append(s.waiting, f)
}

// wake calls those who wait for the end of writing. The caller holds mu.
func (s *stream) wake() {
	for _, f := range s.waiting {
		go f()
	}
	s.waiting = nil
}

// hold makes messages wait for release, so that a reply gets ahead of what it leads to.
func (s *stream) hold() {
	s.mu.Lock()
	s.holding = true
	s.mu.Unlock()
}

// release puts replies, and then the messages that were held, in line.
func (s *stream) release(replies [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holding = false
	if s.ending {
		return
	}
	for _, text := range replies {
		frame := wire.TextFrame(text)
		s.size += len(frame)
		s.out = append(s.out, frame)
	}
	s.out = append(s.out, s.held...)
	s.held = nil
	if len(s.out) > 0 {
		s.startWriting()
	} else if !s.writing {
		s.wake()
	}
}

// answerPing queues a pong. Only the last one unsent is kept, as RFC 6455 allows.
func (s *stream) answerPing(payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ending {
		s.pong = wire.PongFrame(payload)
		s.startWriting()
	}
}

func (s *stream) ping(now time.Time) {
	s.pinged.Store(now.UnixNano())
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ending {
		s.out = append(s.out, wire.PingFrame())
		s.startWriting()
	}
}

func (s *stream) end(code eureka.CloseCode, reason string, after time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(code, reason, after)
}

// endLocked lines up the bye and the close frame and limits how long the peer may take to read and to answer them.
func (s *stream) endLocked(code eureka.CloseCode, reason string, after time.Duration) {
	if s.ending {
		return
	}
	s.ending, s.code, s.reason = true, code, reason
	s.wake()
	// What is held goes with the reply that it waits for: without that a client would take it for what came next on its channel.
	s.held, s.holding, s.pong = nil, false, nil
	s.out = append(s.out, wire.TextFrame(protocol.EncodeBye(code, reason, after.Milliseconds())), wire.CloseFrame(code, reason))
	if s.bound {
		s.limitEnd()
		s.startWriting()
	}
}

// acknowledge answers the peer's close frame with its own code and hangs up when that is written.
func (s *stream) acknowledge(code eureka.CloseCode, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangUp = true
	if !s.ending {
		s.ending, s.code, s.reason = true, code, reason
		s.wake()
		s.held, s.holding, s.pong = nil, false, nil
		s.out = append(s.out, wire.CloseFrame(code, ""))
		s.limitEnd()
	}
	s.startWriting()
}

// limitEnd bounds the rest of the connection's life. Failing to set a deadline means that it has ended already.
func (s *stream) limitEnd() {
	_ = s.net.SetDeadline(time.Now().Add(closeWait))
}

// drop frees what waits to be written, but a frame that is half on the wire must be finished first: the writer has it.
func (s *stream) drop() {
	s.out, s.held, s.size = nil, nil, 0
}

// cut ends the connection at once, without a word.
func (s *stream) cut() {
	s.mu.Lock()
	c := s.net
	s.mu.Unlock()
	if c != nil {
		_ = c.Close()
	}
}

// ended returns what ended the stream; ok is false while nothing but the connection itself did.
func (s *stream) ended() (code eureka.CloseCode, reason string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.code, s.reason, s.ending
}

// startWriting starts the writer unless it runs. The caller holds mu.
func (s *stream) startWriting() {
	if s.writing || !s.bound {
		return
	}
	s.writing = true
	go s.write()
}

// write writes what is queued, joined into as few calls as possible, and ends when nothing is left.
func (s *stream) write() {
	for {
		s.mu.Lock()
		batch := net.Buffers(s.out)
		if s.pong != nil {
			batch = append(net.Buffers{s.pong}, batch...)
		}
		s.out, s.pong, s.size = nil, nil, heldSize(s.held)
		if len(batch) == 0 {
			s.writing = false
			if !s.holding {
				s.wake()
			}
			c, hangUp := s.net, s.hangUp
			s.mu.Unlock()
			if hangUp {
				_ = c.Close()
			}
			return
		}
		ending := s.ending
		s.mu.Unlock()
		if !ending {
			_ = s.net.SetWriteDeadline(time.Now().Add(writeTimeout))
		}
		if _, err := batch.WriteTo(s.net); err != nil {
			// The reader sees the end and reports it.
			_ = s.net.Close()
			return
		}
	}
}

func heldSize(held [][]byte) int {
	n := 0
	for _, frame := range held {
		n += len(frame)
	}
	return n
}
