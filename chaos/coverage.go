package chaos

import (
	"cmp"
	"slices"
	"time"
)

// stretch is a time in which a client was promised every message of a channel, from one declared beginning on.
type stretch struct {
	channel  string
	event    int // the client's event with which it began
	began    time.Duration
	open     bool     // the beginning is the next message: a gap was declared
	start    Position // the promise begins behind it, unless open
	got      []uint64 // without those that came again
	tolerant bool     // messages of an earlier subscription of the same socket may still be on their way
}

// follower goes through what one client saw.
type follower struct {
	judge     *judge
	client    *Client
	node      string                     // of the present socket
	stretches map[string]*stretch        // by channel, of the present socket
	lines     map[string]*line           // by channel, of the present socket
	spans     map[string]*looseSpan      // by channel without history, of the present socket
	seen      map[*Publish]time.Duration // on channels without history, by the present socket
}

func (j *judge) client(c *Client) {
	f := &follower{judge: j, client: c, stretches: map[string]*stretch{}}
	f.closeAll()
	for i := range c.Events {
		f.event(i, &c.Events[i])
	}
	f.closeAll()
}

func (f *follower) event(i int, e *Event) {
	if e.Channel != "" && f.judge.channels[e.Channel].Size == 0 {
		f.looseEvent(i, e)
		return
	}
	switch e.Kind {
	case Connected, Closed:
		f.closeAll()
		f.node = e.Note
	case Subscribed:
		f.subscribed(i, e)
	case Unsubscribed:
		f.close(e.Channel)
	case Gap:
		f.judge.report.Gaps++
		f.line(e.Channel).gap()
		if s := f.stretches[e.Channel]; s != nil {
			f.finish(s, 0)
			f.stretches[e.Channel] = &stretch{channel: e.Channel, event: i, began: e.At, open: true, start: s.end(), tolerant: true}
		}
	case Received:
		right, since := f.inLine(i, e)
		s := f.stretches[e.Channel]
		if s != nil && s.open && since != 0 {
			// The gap was of the subscription before: what was asked for is promised as if it had come first.
			f.finish(s, 0)
			s = &stretch{channel: e.Channel, event: i, began: e.At, start: Position{Epoch: e.Position.Epoch, Offset: since}, tolerant: true}
			f.stretches[e.Channel] = s
		}
		if right && s != nil {
			f.received(s, i, e)
		}
	case Settled:
		f.settled(e)
	}
}

// settled compares what goes on on a channel with all that there is up to a position, and without a channel ends what goes on on those without history.
func (f *follower) settled(e *Event) {
	if e.Channel != "" {
		if s := f.stretches[e.Channel]; s != nil {
			f.finish(s, e.Position.Offset)
			delete(f.stretches, e.Channel)
		}
		return
	}
	for channel, s := range f.spans {
		s.settled = true
		f.closeSpan(channel)
	}
}

func (f *follower) subscribed(i int, e *Event) {
	resumes := e.Since != (Position{})
	switch {
	case e.Position == (Position{}):
		f.judge.wrong(Missing, e.Channel, f.client.Name, i, "the subscription told no cursor")
		return
	case !f.judge.oneLife(e.Channel, f.client.Name, i, e.Position):
		return
	case e.Recovered && e.Position != e.Since:
		f.judge.wrong(Conflict, e.Channel, f.client.Name, i, "the resume from %s went on at %s", e.Since, e.Position)
	case e.Recovered:
		f.judge.report.Recovered++
	case resumes:
		f.judge.report.NotRecovered++
		f.avoidable(i, e)
	}
	f.line(e.Channel).subscribed(e)
	s := f.stretches[e.Channel]
	start := e.Position
	if e.Recovered {
		start = e.Since
		if s != nil && s.holds(start) {
			return
		}
	}
	f.close(e.Channel)
	f.stretches[e.Channel] = &stretch{channel: e.Channel, event: i, began: e.At, start: start, tolerant: s != nil}
}

// holds reports whether the stretch goes on when its subscription is resumed from a position.
func (s *stretch) holds(since Position) bool {
	if s.open {
		return len(s.got) > 0 && since.Offset >= s.got[0]
	}
	return since.Epoch == s.start.Epoch && since.Offset >= s.start.Offset
}

// slowest is how long a request may be on its way before its message is stored.
const slowest = 30 * time.Second

// avoidable looks for a resume that was refused without need.
func (f *follower) avoidable(i int, e *Event) {
	ch, facts := f.judge.channels[e.Channel], f.judge.truth[e.Channel]
	if e.Since.Epoch != f.judge.epoch[e.Channel] {
		return // it was never given, as was said, or nothing is known
	}
	missed, next := 0, behind(facts, e.Since.Offset)
	var began time.Duration // what was sent long before was not stored behind since
	if next > 0 {
		began = facts[next-1].sent - slowest
	}
	for _, m := range facts[next:] {
		if m.offset > e.Position.Offset {
			break
		}
		if missed++; missed >= ch.Size || e.At-m.sent >= ch.TTL {
			return
		}
	}
	for _, sent := range f.judge.open[e.Channel] {
		if sent < began || sent > e.At {
			continue
		}
		if missed++; missed >= ch.Size || e.At-sent >= ch.TTL {
			return
		}
	}
	f.judge.wrong(Avoidable, e.Channel, f.client.Name, i, "the resume from %s with %d messages missed was refused, and went on at %s", e.Since, missed, e.Position)
}

func (f *follower) received(s *stretch, i int, e *Event) {
	at := e.Position
	switch {
	case at == (Position{}):
		f.judge.wrong(Missing, e.Channel, f.client.Name, i, "%s/%d came without a cursor", e.Content.Publisher, e.Content.N)
	case at.Epoch != f.judge.epoch[e.Channel]: // told already
	case at.Offset > s.end().Offset:
		s.got = append(s.got, at.Offset)
	default:
		_, again := slices.BinarySearch(s.got, at.Offset)
		if again || (s.tolerant && at.Offset <= s.start.Offset) {
			return
		}
		f.judge.wrong(Order, e.Channel, f.client.Name, i, "%s came behind %s, in a stretch that began at %s", at, s.end(), s.start)
	}
}

// end is the last message's position, or where the stretch begins.
func (s *stretch) end() Position {
	if len(s.got) == 0 {
		return s.start
	}
	return Position{Epoch: s.start.Epoch, Offset: s.got[len(s.got)-1]}
}

func (f *follower) closeAll() {
	for channel := range f.stretches {
		f.close(channel)
	}
	for channel := range f.spans {
		f.closeSpan(channel)
	}
	f.lines, f.spans, f.seen = map[string]*line{}, map[string]*looseSpan{}, map[*Publish]time.Duration{}
}

func (f *follower) close(channel string) {
	if s := f.stretches[channel]; s != nil {
		f.finish(s, 0)
		delete(f.stretches, channel)
	}
}

// maxHoles is how many messages one stretch reports as missed.
const maxHoles = 3

// finish compares a stretch with the truth, up to what was received last, or to the offset until.
func (f *follower) finish(s *stretch, until uint64) {
	facts := f.judge.truth[s.channel]
	if len(s.got) > 0 {
		until = max(until, s.got[len(s.got)-1])
	}
	next, holes := 0, 0
	for _, m := range facts[s.from(facts):] {
		if m.offset > until {
			break
		}
		f.judge.report.Compared++
		for next < len(s.got) && s.got[next] < m.offset {
			next++
		}
		if next < len(s.got) && s.got[next] == m.offset {
			continue
		}
		rule := Hole
		if len(s.got) == 0 || m.offset > s.got[len(s.got)-1] {
			rule = Missing
		}
		if holes++; holes <= maxHoles {
			f.judge.wrong(rule, s.channel, f.client.Name, s.event, "%s/%d at %d, sent at %s, known since %s, was not received in the stretch from %s (event %d) to %s",
				m.content.Publisher, m.content.N, m.offset, m.sent, m.known, s.start, s.event, s.end())
		}
	}
	if holes > maxHoles {
		f.judge.wrong(Hole, s.channel, f.client.Name, s.event, "and %d more in the same stretch", holes-maxHoles)
	}
}

// from is the index of the first fact that the stretch promises. Behind a gap that is the first message received, or the first that was sent
// after the gap.
func (s *stretch) from(facts []*fact) int {
	first := behind(facts, s.start.Offset)
	if !s.open {
		return first
	}
	for i := first; i < len(facts); i++ {
		if facts[i].sent > s.began || (len(s.got) > 0 && facts[i].offset >= s.got[0]) {
			return i
		}
	}
	return len(facts)
}

// behind is the index of the first fact behind an offset.
func behind(facts []*fact, offset uint64) int {
	i, _ := slices.BinarySearchFunc(facts, offset+1, func(m *fact, offset uint64) int { return cmp.Compare(m.offset, offset) })
	return i
}
