package chaos

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// looseSpan is a time in which a socket listened to a channel without history.
type looseSpan struct {
	channel string
	event   int // the client's event with which it began
	began   time.Duration
	got     map[*Publish]time.Duration
	highest map[string]time.Duration // of each node, when the newest message received was sent through it
	gaps    []time.Duration
	settled bool // it went on until the end of the run
}

// looseEvent follows channels without history: what a socket receives keeps the order in which a node accepted it, nothing comes twice, and nothing is
// left out unless the service was cut off from NATS.
func (f *follower) looseEvent(i int, e *Event) {
	s := f.spans[e.Channel]
	switch e.Kind {
	case Subscribed:
		if s == nil {
			f.spans[e.Channel] = &looseSpan{channel: e.Channel, event: i, began: e.At, got: map[*Publish]time.Duration{}, highest: map[string]time.Duration{}}
			f.line(e.Channel).answered = true
		}
	case Unsubscribed:
		f.closeSpan(e.Channel)
	case Gap:
		f.judge.report.LiveGaps++
		if s != nil {
			s.gaps = append(s.gaps, e.At)
		}
	case Received:
		f.looseMessage(s, i, e)
	case Connected, Closed, Settled: // belong to no channel
	}
}

func (f *follower) looseMessage(s *looseSpan, i int, e *Event) {
	p := f.judge.publishes[keyOf(e.Channel, e.Content)]
	if p == nil || len(p.Attempts) == 0 {
		return // invented, as was said
	}
	if !f.line(e.Channel).answered {
		f.judge.wrong(Order, e.Channel, f.client.Name, i, "%s/%d came before its subscription was answered", e.Content.Publisher, e.Content.N)
	}
	if _, twice := f.seen[p]; twice && !f.judge.mayComeTwice(p) {
		f.judge.wrong(Double, e.Channel, f.client.Name, i, "%s/%d came twice: %+v", e.Content.Publisher, e.Content.N, p.Attempts)
	}
	f.seen[p] = e.At
	if s == nil {
		return // what comes behind the end of a subscription was on its way before
	}
	if _, twice := s.got[p]; !twice {
		s.got[p] = e.At
	}
	if !isSimple(p) {
		return
	}
	a := p.Attempts[0]
	if newest := s.highest[a.Node]; a.Acked && a.Done < newest && !f.judge.wasCut(a.Node, a.Sent, e.At) {
		f.judge.wrong(Order, e.Channel, f.client.Name, i, "%s/%d, which %s accepted at %s, came behind one that was sent through it at %s",
			e.Content.Publisher, e.Content.N, a.Node, a.Done, newest)
	}
	s.highest[a.Node] = max(s.highest[a.Node], a.Sent)
}

// isSimple reports whether it is known which request brought a message: the first, since others with its key only repeat it.
func isSimple(p *Publish) bool { return len(p.Attempts) == 1 || (p.Key != "" && p.Attempts[0].Acked) }

// mayComeTwice reports whether a message without history may be delivered again: its request was sent again, and it was not known whether it had been
// accepted, or that may not have been kept.
func (j *judge) mayComeTwice(p *Publish) bool {
	return len(p.Attempts) > 1 && (p.Key == "" || !p.Attempts[0].Acked || j.transcript.External)
}

func (f *follower) closeSpan(channel string) {
	s := f.spans[channel]
	if s == nil {
		return
	}
	delete(f.spans, channel)
	proofs, reasons := s.proofs(), f.otherGaps(s)
	holes := 0
	sent := f.judge.live[channel]
	first, _ := slices.BinarySearchFunc(sent, s.began, func(p *Publish, t time.Duration) int { return cmp.Compare(p.Attempts[0].Sent, t) })
	for _, p := range sent[first:] {
		a := p.Attempts[0]
		if !isSimple(p) || !a.Acked {
			continue
		}
		proof := proofs[a.Node].since(a.Done)
		if proof == math.MaxInt64 {
			continue
		}
		f.judge.report.Live++
		if _, got := s.got[p]; got || f.judge.wasCut(a.Node, a.Sent, proof) || f.judge.wasCut(f.node, a.Sent, proof) {
			continue
		}
		if slices.ContainsFunc(reasons, func(at time.Duration) bool { return at >= a.Sent }) {
			continue
		}
		if holes++; holes <= maxHoles {
			f.judge.wrong(Hole, channel, f.client.Name, s.event, "%s/%d, which %s accepted at %s, was not received, but by %s one that was sent through it later",
				p.Content.Publisher, p.Content.N, a.Node, a.Done, proof)
		}
	}
	f.toldOfOutages(s, proofs)
}

// later is what was received of one node's messages, by when they were sent.
type later []struct {
	sent, at time.Duration // at: the earliest time at which one that was sent then or later was received
}

func (s *looseSpan) proofs() map[string]later {
	proofs := map[string]later{}
	for p, at := range s.got {
		if isSimple(p) {
			a := p.Attempts[0]
			proofs[a.Node] = append(proofs[a.Node], struct{ sent, at time.Duration }{a.Sent, at})
		}
	}
	for _, l := range proofs {
		slices.SortFunc(l, func(a, b struct{ sent, at time.Duration }) int { return cmp.Compare(a.sent, b.sent) })
		for i := len(l) - 2; i >= 0; i-- {
			l[i].at = min(l[i].at, l[i+1].at)
		}
	}
	return proofs
}

// since is when something was received that was sent after t, the largest time for never.
func (l later) since(t time.Duration) time.Duration {
	i, _ := slices.BinarySearchFunc(l, t+1, func(e struct{ sent, at time.Duration }, t time.Duration) int { return cmp.Compare(e.sent, t) })
	if i == len(l) {
		return math.MaxInt64
	}
	return l[i].at
}

// wasCut reports whether what a node had accepted may have been lost between two times.
func (j *judge) wasCut(node string, from, to time.Duration) bool {
	return slices.ContainsFunc(j.transcript.Outages, func(o Outage) bool {
		return (o.Node == "" || o.Node == node) && o.From <= to && o.To >= from
	})
}

// otherGaps are when the service told gaps that do not come from an outage of NATS as the socket's node saw it: it may have had reasons that are not known
// here.
func (f *follower) otherGaps(s *looseSpan) []time.Duration {
	var others []time.Duration
	for i, at := range s.gaps {
		explained := slices.ContainsFunc(f.judge.transcript.Outages, func(o Outage) bool {
			return (o.Node == "" || o.Node == f.node) && o.From <= at && (i == 0 || s.gaps[i-1] < o.From)
		})
		if !explained {
			others = append(others, at)
		}
	}
	return others
}

// enough is how many messages a socket receives behind an outage of NATS before it must have been told of it. The service tells it beside the messages, so
// some may come first.
const enough = 30

// toldOfOutages checks that a subscription that goes on behind an outage of NATS, as its node saw it, was told that messages may be missing.
func (f *follower) toldOfOutages(s *looseSpan, proofs map[string]later) {
	for _, o := range f.judge.transcript.Outages {
		if (o.Node != "" && o.Node != f.node) || o.From < s.began || slices.ContainsFunc(s.gaps, func(at time.Duration) bool { return at >= o.From }) {
			continue
		}
		behind := 0
		for _, l := range proofs {
			i, _ := slices.BinarySearchFunc(l, o.To, func(e struct{ sent, at time.Duration }, t time.Duration) int { return cmp.Compare(e.sent, t) })
			behind += len(l) - i
		}
		if behind >= enough || (behind > 0 && s.settled) {
			f.judge.wrong(Hole, s.channel, f.client.Name, s.event, "NATS was away for its node from %s to %s, %d messages came since then, but no gap was told", o.From, o.To, behind)
			return
		}
	}
}
