package gateway

import (
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

// driver moves the bytes of streams. All methods but fanout are called with the stream's mu held, and none of them blocks.
type driver interface {
	// fanout is the lane that sends broadcasts to the stream; nil when queue does.
	fanout() *lane
	// direct writes what goes out at once, of a stream for which nothing waits, and returns how much that is.
	direct(s *stream, b []byte) int
	// write sees to it that what waits is written, in order.
	write(s *stream)
	// limit bounds the rest of the connection's life to closeWait.
	limit(s *stream)
	// cut ends the connection at once, without a word. It may be called again.
	cut(s *stream)
}

// stream is one connection: its place in the protocol, and what waits to be written. A silent one holds no buffer.
type stream struct {
	gateway   *Gateway
	driver    driver
	id        string
	received  atomic.Int64 // when the peer sent something last, in nanoseconds; 0 before the connection is bound
	pinged    atomic.Int64 // when it was pinged last
	expiresAt int64        // epoch milliseconds, 0 for never
	identity  atomic.Pointer[eureka.Identity]
	pace      *pace // of the one who handles its frames
	seat      int32 // in the gateway's registry
	poll      pollState

	mu      sync.Mutex
	waits   *backlog         // nil when nothing waits
	code    eureka.CloseCode // what ended it; 0 while open
	bound   bool             // the connection is there and the handshake's answer was sent
	holding bool             // messages wait until the reply to the frame being handled is in line
	ending  bool             // nothing more is taken: the close frame is in line
	hangUp  bool             // close the connection as soon as nothing waits
}

// backlog is what waits to be written to one connection.
type backlog struct {
	out     []chunk   // to write, in this order
	held    []chunk   // what waits for release
	pong    []byte    // the answer to the last ping; later pings replace it, so a flood of them queues one
	size    int       // bytes of out and held
	frames  int       // of out and held
	at      time.Time // when something was written last, or the first of out began to wait
	waiting []func()  // called when nothing waits to be written
	reason  string    // why the stream ended
	endBy   time.Time // when the connection is cut, if the peer has not ended it; zero while that is not to happen
	writing bool      // a goroutine writes; of drivers that need one
}

// chunk is complete frames in one piece, which others share. done bytes of it are written.
type chunk struct {
	bytes  []byte
	frames int
	done   int
}

func newStream(g *Gateway, d driver) *stream {
	return &stream{gateway: g, driver: d, holding: true}
}

// lane implements conn.
func (s *stream) lane() *lane { return s.driver.fanout() }

// bind tells the stream that its connection is there; what was queued meanwhile stays held until release.
func (s *stream) bind() {
	s.received.Store(time.Now().UnixNano())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bound = true
	if s.ending {
		s.driver.limit(s)
		s.write()
	}
}

// backlog returns what waits, to put something there. The caller holds mu.
func (s *stream) backlog() *backlog {
	if s.waits == nil {
		s.waits = &backlog{}
	}
	return s.waits
}

// write has what waits written. The caller holds mu.
func (s *stream) write() {
	if s.bound && s.waits != nil {
		s.driver.write(s)
	}
}

// line puts frames in line. The caller holds mu.
func (s *stream) line(c chunk) {
	if s.bound && s.waits == nil {
		n := s.driver.direct(s, c.bytes)
		if n == len(c.bytes) {
			return
		}
		c.done = n
	}
	w := s.backlog()
	w.put(c)
	w.size += len(c.bytes) - c.done
	w.frames += c.frames
}

// put lines up what is counted already.
func (w *backlog) put(chunks ...chunk) {
	if len(w.out) == 0 {
		w.at = time.Now()
	}
	w.out = append(w.out, chunks...)
}

func (s *stream) queue(b []byte, frames int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return false
	}
	if s.overflows(len(b), frames) {
		s.tooSlow()
		return false
	}
	s.take(chunk{bytes: b, frames: frames})
	s.write()
	return true
}

// overflows reports whether so much more is too much to wait. An empty queue takes everything. The caller holds mu.
func (s *stream) overflows(size, frames int) bool {
	w := s.waits
	return w != nil && w.frames > 0 && (w.size+size > s.gateway.limits.QueueBytes || w.frames+frames > s.gateway.limits.QueueFrames)
}

// tooSlow ends a stream whose peer does not read. Nothing is skipped in silence: the whole queue goes, and the socket with it. The caller holds mu.
func (s *stream) tooSlow() {
	if s.ending {
		return
	}
	s.gateway.metrics.slow.Inc()
	s.drop()
	s.endLocked(eureka.CloseSlowConsumer, "the client reads too slowly", 0)
}

// take puts frames in line, or behind the reply that is to come first. The caller holds mu.
func (s *stream) take(c chunk) {
	if !s.holding {
		s.line(c)
		return
	}
	w := s.backlog()
	w.held = append(w.held, c)
	w.size += len(c.bytes)
	w.frames += c.frames
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
	limits := &s.gateway.limits
	if w := s.waits; w != nil && w.frames > 0 && (w.size+size > limits.QueueBytes/2 || w.frames+len(frames) > limits.QueueFrames/2) {
		return false, true
	}
	for _, frame := range frames {
		s.take(chunk{bytes: frame, frames: 1})
	}
	s.write()
	return true, true
}

// drained calls f when nothing waits to be written, or when the connection has ended.
func (s *stream) drained(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending || (!s.holding && s.waits == nil) {
		go f()
		return
	}
	w := s.backlog()
	w.waiting = append(w.waiting, f)
}

// wake calls those who wait for the end of writing. The caller holds mu.
func (s *stream) wake() {
	if s.waits == nil {
		return
	}
	for _, f := range s.waits.waiting {
		go f()
	}
	s.waits.waiting = nil
}

// settle frees the backlog when nothing of it is left, and hangs up when that is what is left to do. The caller holds mu.
func (s *stream) settle() {
	w := s.waits
	if w != nil && (w.writing || len(w.out) > 0 || w.pong != nil) {
		return
	}
	if s.hangUp {
		s.driver.cut(s)
	}
	if w != nil && !s.holding && !s.ending && len(w.held) == 0 {
		s.wake()
		s.waits = nil
	}
}

// hold makes messages wait for release, so that a reply gets ahead of what it leads to.
func (s *stream) hold() {
	s.mu.Lock()
	s.holding = true
	s.mu.Unlock()
}

// release puts replies, and then the messages that were held, in line. A client that asks and asks, and does not read the replies, is too slow.
func (s *stream) release(replies [][]byte) {
	size := 0
	for _, text := range replies {
		size += wire.HeaderSize(len(text)) + len(text)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holding = false
	if s.ending {
		return
	}
	// What is held waits for us and not for the client, so by itself it is no sign of a slow one.
	if s.waits != nil && len(s.waits.out) > 0 && s.overflows(size, len(replies)) {
		s.tooSlow()
		return
	}
	for _, text := range replies {
		s.line(chunk{bytes: wire.TextFrame(text), frames: 1})
	}
	if w := s.waits; w != nil {
		w.put(w.held...)
		w.held = nil
		s.write()
		s.settle()
	}
}

// answerPing queues a pong. Behind what waits only the last one is kept, as RFC 6455 allows.
func (s *stream) answerPing(payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ending:
	case s.waits == nil:
		s.line(chunk{bytes: wire.PongFrame(payload)})
		s.write()
	default:
		s.waits.pong = wire.PongFrame(payload)
		s.write()
	}
}

func (s *stream) ping(now time.Time) {
	s.pinged.Store(now.UnixNano())
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ending {
		s.line(chunk{bytes: wire.PingFrame()})
		s.write()
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
	s.close(code, reason, wire.TextFrame(protocol.EncodeBye(code, reason, after.Milliseconds())), wire.CloseFrame(code, reason))
}

// close ends the stream with its last frames. The caller holds mu.
func (s *stream) close(code eureka.CloseCode, reason string, last ...[]byte) {
	w := s.backlog()
	s.ending, s.code, w.reason = true, code, reason
	s.wake()
	// What is held goes with the reply that it waits for: without that a client would take it for what came next on its channel.
	w.held, s.holding, w.pong = nil, false, nil
	for _, frame := range last {
		w.put(chunk{bytes: frame})
	}
	if s.bound {
		s.driver.limit(s)
		s.write()
	}
}

// acknowledge answers the peer's close frame with its own code and hangs up when that is written.
func (s *stream) acknowledge(code eureka.CloseCode, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangUp = true
	if !s.ending {
		s.close(code, reason, wire.CloseFrame(code, ""))
	}
	s.settle()
}

// drop frees what waits to be written, but a frame that is half on the wire must be finished first. The caller holds mu.
func (s *stream) drop() {
	w := s.waits
	var half []chunk
	if len(w.out) > 0 && w.out[0].done > 0 {
		c := w.out[0]
		c.bytes = c.bytes[:wire.FrameEnd(c.bytes, c.done-1)]
		if c.done < len(c.bytes) {
			half = []chunk{c}
		}
	}
	w.out, w.held, w.size, w.frames = half, nil, 0, 0
}

// cut ends the connection at once, without a word.
func (s *stream) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bound {
		s.driver.cut(s)
	}
}

// ended returns what ended the stream; ok is false while nothing but the connection itself did.
func (s *stream) ended() (code eureka.CloseCode, reason string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ending {
		return 0, "", false
	}
	return s.code, s.waits.reason, true
}

// check cuts a connection whose peer takes too long: to read what waits, or to answer the end.
func (s *stream) check(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.waits; w != nil && s.bound {
		switch {
		case !w.endBy.IsZero() && now.After(w.endBy):
			s.driver.cut(s)
		case len(w.out) > 0 && now.Sub(w.at) > writeTimeout:
			s.tooSlow()
		}
	}
	// Rates that are full again are all that new ones would be.
	if s.poll.unhandled() && s.pace != nil && s.pace.full(now) { // in this order: who handles frames does so without mu
		s.pace = nil
	}
}
