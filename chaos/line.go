package chaos

// line is the order in which one socket received a channel's messages. Positions only grow, but for one step back for each time that the client
// subscribed again from an earlier position; behind a step back they grow again. A gap that comes between the answer and the step back may be one of
// the subscription before, which was on its way when the socket asked.
type line struct {
	answered bool // the socket was told of a subscription
	last     uint64
	again    []uint64 // positions behind which messages may come again
}

func (f *follower) line(channel string) *line {
	l := f.lines[channel]
	if l == nil {
		l = &line{}
		f.lines[channel] = l
	}
	return l
}

func (l *line) subscribed(e *Event) {
	// What the earlier subscription brought may still be on its way, so it is not known yet where the step back begins.
	if l.answered && e.Recovered {
		l.again = append(l.again, e.Since.Offset)
	}
	l.answered = true
}

// gap makes everything new: where the service goes on behind a gap is not promised.
func (l *line) gap() { l.last = 0 }

// inLine checks a message's place in its line and reports whether it is right. Where it is a step back, since is the position that was asked for.
func (f *follower) inLine(i int, e *Event) (right bool, since uint64) {
	l, at := f.line(e.Channel), e.Position.Offset
	switch {
	case e.Position == (Position{}):
		f.judge.wrong(Missing, e.Channel, f.client.Name, i, "%s/%d came without a cursor", e.Content.Publisher, e.Content.N)
		return false, 0
	case e.Position.Epoch != f.judge.epoch[e.Channel]:
		return false, 0 // told already
	case !l.answered:
		f.judge.wrong(Order, e.Channel, f.client.Name, i, "%s came before its subscription was answered", e.Position)
		return false, 0
	case at > l.last:
		l.last = at
		return true, 0
	}
	facts := f.judge.truth[e.Channel]
	for n, since := range l.again {
		if first := behind(facts, since); first < len(facts) && facts[first].offset == at {
			l.last, l.again = at, l.again[n+1:]
			return true, since
		}
	}
	f.judge.wrong(Double, e.Channel, f.client.Name, i, "%s came behind %d, and nobody asked for it", e.Position, l.last)
	return false, 0
}
