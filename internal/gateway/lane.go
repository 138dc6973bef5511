package gateway

import (
	"slices"
	"sync"
	"time"
)

// How broadcasts are sent.
const (
	turnSends    = 128              // sockets that get a batch before others have their turn: about a millisecond
	turnChecks   = 16               // sends between two looks at the clock
	turnTime     = time.Millisecond // behind it a turn is over, also with fewer sends: large frames take longer
	joinBytes    = 64 << 10         // frames of one channel that are sent with one call
	backlogBytes = 1 << 20          // frames of one channel that wait for a lane before publishers of the channel do
)

// lane is the broadcasts that wait for one goroutine, which sends them to the sockets that it drives: a mailbox. Its parts have their turns one
// after the other, so that a channel with many subscribers holds up nobody else for long.
type lane struct {
	wake   func()                  // tells the goroutine that something waits; it must not block
	failed func(c conn, fault any) // told when a connection panicked

	mu     sync.Mutex
	parts  []*part // in line, from first on
	first  int
	closed bool
}

// part is those subscribers of a group whose sockets one lane drives.
//
// A subscriber gets the frames that were pushed while it had its seat, all of them and no others, however long they waited: frames are
// numbered, and a seat knows which number it has come to.
type part struct {
	lane   *lane
	queued bool // in line; lane.mu guards it
	in     inbound

	mu     sync.Mutex
	seats  []seat // changed only under topic.mu, too
	batch  *batch // what is being sent; nil for nothing
	cursor int    // the seats below it have not got the batch yet
}

// seat is one subscriber's place in a part.
type seat struct {
	conn conn
	item *item
	has  uint64 // frames up to this number were handed to the connection, or are not for it
}

// inbound is the frames that wait for their turn.
type inbound struct {
	mu     sync.Mutex
	frames []pushed
	bytes  int
	last   uint64        // number of the last frame that was pushed
	room   chan struct{} // closed when there is room again; nil while nobody waits for that
}

// pushed is one frame for all but some.
type pushed struct {
	bytes  []byte
	except []string
}

// batch is frames that are sent together, joined into one piece that all sockets share.
type batch struct {
	frames []pushed
	after  uint64              // number of the frame before the first
	joined []byte              // nil when the frames are not for many
	except map[string]struct{} // sockets that do not get all of the frames; nil for none
}

// add puts a part in line, if it does not stand there.
func (l *lane) add(p *part) {
	l.mu.Lock()
	added := !p.queued && !l.closed
	if added {
		p.queued = true
		l.parts = append(l.parts, p)
	}
	closed := l.closed
	l.mu.Unlock()
	if added {
		l.wake()
	} else if closed {
		p.in.take(0)
	}
}

// next takes the first part out of the line; nil when there is none.
func (l *lane) next() *part {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == len(l.parts) {
		l.parts, l.first = l.parts[:0], 0
		return nil
	}
	p := l.parts[l.first]
	l.parts[l.first] = nil
	l.first++
	p.queued = false
	if l.first > 1024 && l.first > len(l.parts)/2 {
		l.parts, l.first = slices.Delete(l.parts, 0, l.first), 0
	}
	return p
}

// waits reports whether a part is in line.
func (l *lane) waits() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first < len(l.parts)
}

// turn lets the first part send to some of its sockets. It reports false when there was none.
func (l *lane) turn() bool {
	p := l.next()
	if p == nil {
		return false
	}
	if p.send(turnSends) {
		l.add(p)
	}
	return true
}

// close drops what waits and makes add do nothing: the sockets are gone.
func (l *lane) close() {
	l.mu.Lock()
	parts := l.parts[l.first:]
	l.parts, l.first, l.closed = nil, 0, true
	l.mu.Unlock()
	for _, p := range parts {
		p.in.take(0)
	}
}

func (l *lane) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// push lets a frame wait for its turn. While much waits already it waits itself, for the lane but for no client.
func (p *part) push(f pushed) {
	for {
		full := p.in.push(f)
		if full == nil {
			p.lane.add(p)
			return
		}
		if p.lane.isClosed() {
			return
		}
		<-full
	}
}

// push takes a frame, or returns what is closed when there may be room for it.
func (in *inbound) push(f pushed) (full <-chan struct{}) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.bytes >= backlogBytes {
		if in.room == nil {
			in.room = make(chan struct{})
		}
		return in.room
	}
	in.frames = append(in.frames, f)
	in.bytes += len(f.bytes)
	in.last++
	return nil
}

// take returns the frames at the front that are to be sent together, at most limit bytes of them but always one; with limit 0 it returns and
// forgets all.
func (in *inbound) take(limit int) *batch {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.frames) == 0 {
		return nil
	}
	b := &batch{after: in.last - uint64(len(in.frames))}
	n, size := 0, 0
	for n < len(in.frames) && (n == 0 || limit == 0 || size+len(in.frames[n].bytes) <= limit) {
		size += len(in.frames[n].bytes)
		for _, id := range in.frames[n].except {
			if b.except == nil {
				b.except = map[string]struct{}{}
			}
			b.except[id] = struct{}{}
		}
		n++
	}
	if n == len(in.frames) {
		b.frames, in.frames = in.frames, nil
	} else {
		b.frames = slices.Clone(in.frames[:n])
		in.frames = slices.Delete(in.frames, 0, n)
	}
	in.bytes -= size
	if in.room != nil && in.bytes < backlogBytes {
		close(in.room)
		in.room = nil
	}
	b.joined = b.frames[0].bytes
	if n > 1 && limit > 0 {
		b.joined = make([]byte, 0, size)
		for _, f := range b.frames {
			b.joined = append(b.joined, f.bytes...)
		}
	}
	return b
}

// end is the number of the batch's last frame.
func (b *batch) end() uint64 { return b.after + uint64(len(b.frames)) }

// send hands the batch to up to limit seats, and takes the next one when it is through with it. It reports whether something is left to do.
func (p *part) send(limit int) (more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() {
		if fault := recover(); fault != nil {
			p.lane.failed(p.seats[p.cursor].conn, fault)
			more = true // the others still are to get it
		}
	}()
	if p.batch == nil {
		if p.batch = p.in.take(joinBytes); p.batch == nil {
			return false
		}
		p.cursor = len(p.seats)
	}
	// From the end: a seat that is taken away is filled with the last one, which is behind the cursor or has moved below it.
	p.cursor = min(p.cursor, len(p.seats))
	began := time.Now()
	for n := 1; p.cursor > 0 && n <= limit; n++ {
		p.cursor--
		p.seats[p.cursor].get(p.batch)
		if n%turnChecks == 0 && time.Since(began) >= turnTime {
			break
		}
	}
	if p.cursor > 0 {
		return true
	}
	p.batch = nil
	return p.in.waits()
}

func (in *inbound) waits() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.frames) > 0
}

// get hands a batch to the connection: what it has not got yet, without what it is excepted from. A connection that takes nothing has ended.
func (s *seat) get(b *batch) {
	end := b.end()
	if s.has >= end {
		return
	}
	from := s.has
	s.has = end
	id := s.item.entry.id
	if _, misses := b.except[id]; !misses && from <= b.after && b.joined != nil {
		s.conn.queue(b.joined, len(b.frames))
		return
	}
	for i, f := range b.frames {
		if b.after+uint64(i) >= from && !slices.Contains(f.except, id) {
			s.conn.queue(f.bytes, 1)
		}
	}
}

// sit gives an item a seat. The caller holds topic.mu.
func (p *part) sit(it *item, c conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.in.mu.Lock()
	last := p.in.last
	p.in.mu.Unlock()
	it.part, it.index = p, len(p.seats)
	p.seats = append(p.seats, seat{conn: c, item: it, has: last})
}

// leave takes an item's seat away. With flush its connection gets at once what it still is to get. The caller holds topic.mu.
func (p *part) leave(it *item, flush bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.seats[it.index]
	if flush {
		p.flush(s)
	}
	last := len(p.seats) - 1
	p.seats[it.index] = p.seats[last]
	p.seats[it.index].item.index = it.index
	p.seats[last] = seat{}
	p.seats = p.seats[:last]
	it.part = nil
	if cap(p.seats) > 64 && len(p.seats) < cap(p.seats)/4 {
		p.seats = slices.Clone(p.seats)
	}
}

// flush hands a seat all that was pushed. The caller holds mu.
func (p *part) flush(s *seat) {
	if p.batch != nil {
		s.get(p.batch)
	}
	p.in.mu.Lock()
	defer p.in.mu.Unlock()
	if len(p.in.frames) > 0 {
		// Each frame by itself: nothing is joined for one socket.
		s.get(&batch{frames: p.in.frames, after: p.in.last - uint64(len(p.in.frames))})
	}
}
