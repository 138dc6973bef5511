package chaos

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// contentKey is what a message is known by.
type contentKey struct {
	channel, publisher string
	n                  int
}

func keyOf(channel string, c Content) contentKey { return contentKey{channel, c.Publisher, c.N} }

// place is one cursor of a channel.
type place struct {
	channel string
	at      Position
}

// fact is what is known of a place: the message there, when its publisher first sent it, and when somebody first knew that it is there.
type fact struct {
	offset  uint64
	content Content
	sent    time.Duration
	known   time.Duration
}

// judge gathers what is known, and what is wrong.
type judge struct {
	transcript *Transcript
	report     Report
	channels   map[string]Channel
	publishes  map[contentKey]*Publish
	facts      map[place]*fact
	places     map[contentKey][]Position
	truth      map[string][]*fact         // of each channel, by offset
	epoch      map[string]string          // of each channel
	open       map[string][]time.Duration // of each channel, when requests were sent that nobody knows the outcome of
	live       map[string][]*Publish      // of each channel without history, by when they were sent
}

// Judge compares a run with the promises.
func Judge(t Transcript) Report {
	j := &judge{
		transcript: &t, channels: map[string]Channel{}, publishes: map[contentKey]*Publish{}, facts: map[place]*fact{},
		places: map[contentKey][]Position{}, truth: map[string][]*fact{}, epoch: map[string]string{}, live: map[string][]*Publish{}, open: map[string][]time.Duration{},
	}
	for _, ch := range t.Channels {
		j.channels[ch.Name] = ch
	}
	for _, p := range t.Publishes {
		j.publishes[keyOf(p.Channel, p.Content)] = p
	}
	j.gather()
	j.doubles()
	j.order()
	for i := range t.Clients {
		j.client(&t.Clients[i])
	}
	for i := range t.Reads {
		j.read(&t.Reads[i])
	}
	for i := range t.Histories {
		j.history(&t.Histories[i])
	}
	return j.report
}

func (j *judge) wrong(rule, channel, client string, event int, format string, args ...any) {
	j.report.Violations = append(j.report.Violations, Violation{rule, channel, client, event, fmt.Sprintf(format, args...)})
}

// gather makes the truth of each channel: every message that anybody knows to be at a place.
func (j *judge) gather() {
	for _, p := range j.transcript.Publishes {
		j.gatherPublish(p)
	}
	for i := range j.transcript.Clients {
		c := &j.transcript.Clients[i]
		for n := range c.Events {
			e := &c.Events[n]
			if e.Kind != Received {
				continue
			}
			j.report.Received++
			j.genuine(c.Name, n, e.Channel, e.Content, e.At)
			if e.Position != (Position{}) {
				j.learn(c.Name, n, e.Channel, e.Position, e.Content, e.At)
			}
		}
	}
	for i := range j.transcript.Histories {
		h := &j.transcript.Histories[i]
		j.gatherStored("", h.Channel, h.Messages, h.Read)
	}
	for i := range j.transcript.Reads {
		r := &j.transcript.Reads[i]
		j.gatherStored(r.Client, r.Channel, r.Messages, r.At)
	}
	for at, f := range j.facts {
		if at.at.Epoch == j.epoch[at.channel] {
			j.truth[at.channel] = append(j.truth[at.channel], f)
		}
	}
	j.gatherSent()
	for _, facts := range j.truth {
		slices.SortFunc(facts, func(a, b *fact) int { return cmp.Compare(a.offset, b.offset) })
	}
}

// gatherSent sorts what was sent: what has no history, and what nobody knows the outcome of.
func (j *judge) gatherSent() {
	for _, p := range j.transcript.Publishes {
		if j.channels[p.Channel].Size == 0 && len(p.Attempts) > 0 {
			j.live[p.Channel] = append(j.live[p.Channel], p)
		}
		// As many requests as there are places have found theirs, and with a key they have all.
		if known := len(j.places[keyOf(p.Channel, p.Content)]); known < len(p.Attempts) && (known == 0 || p.Key == "") {
			for _, a := range p.Attempts {
				if !a.Acked {
					j.open[p.Channel] = append(j.open[p.Channel], a.Sent)
				}
			}
		}
	}
	for _, sent := range j.live {
		slices.SortFunc(sent, func(a, b *Publish) int { return cmp.Compare(a.Attempts[0].Sent, b.Attempts[0].Sent) })
	}
}

func (j *judge) gatherStored(client, channel string, messages []Stored, at time.Duration) {
	for _, m := range messages {
		j.genuine(client, 0, channel, m.Content, at)
		j.learn(client, 0, channel, m.Position, m.Content, at)
	}
}

func (j *judge) gatherPublish(p *Publish) {
	var first *Attempt // that was accepted
	accepted := 0
	for i := range p.Attempts {
		a := &p.Attempts[i]
		if !a.Acked {
			continue
		}
		j.accepted(p, first, a)
		if accepted++; first == nil {
			first = a
		}
		if a.ID != (Position{}) {
			j.learn("", 0, p.Channel, a.ID, p.Content, a.Done)
		}
	}
	if accepted == 0 {
		j.report.Unknown++
		return
	}
	j.report.Acked++
	if accepted > 1 && p.Key != "" {
		j.report.Repeated++
	}
}

// accepted checks an answer against the first one, nil when there was none.
func (j *judge) accepted(p *Publish, first, a *Attempt) {
	switch {
	case j.channels[p.Channel].Size > 0 && a.ID == (Position{}) && !p.Blind:
		j.wrong(Missing, p.Channel, "", 0, "%s/%d was accepted by %s without a cursor", p.Content.Publisher, p.Content.N, a.Node)
	case p.Key != "" && first != nil && !j.sameAnswer(first, a):
		j.wrong(Repeat, p.Channel, "", 0, "%s/%d with the key %s was answered %s %s, and %s %s when it was repeated at %s",
			p.Content.Publisher, p.Content.N, p.Key, first.ID, first.Answer, a.ID, a.Answer, a.Node)
	case p.Key == "" && a.ID != (Position{}) && j.facts[place{p.Channel, a.ID}] != nil:
		j.wrong(Conflict, p.Channel, "", 0, "%s/%d was given the cursor %s, which was given before", p.Content.Publisher, p.Content.N, a.ID)
	}
}

// sameAnswer reports whether a request was answered as the first time. When NATS is away an answer may be given that cannot be kept: the number of
// listeners that a repeated request tells may be another one then, but not the cursor.
func (j *judge) sameAnswer(first, again *Attempt) bool {
	return first.ID == again.ID && (first.Answer == again.Answer || j.transcript.External)
}

// genuine checks that a message was sent as it was received.
func (j *judge) genuine(client string, event int, channel string, c Content, at time.Duration) {
	p := j.publishes[keyOf(channel, c)]
	switch {
	case p == nil:
		j.wrong(Invented, channel, client, event, "nobody published %s/%d", c.Publisher, c.N)
	case p.Content.Sum != c.Sum:
		j.wrong(Invented, channel, client, event, "%s/%d was changed on its way", c.Publisher, c.N)
	case len(p.Attempts) == 0 || p.Attempts[0].Sent > at:
		j.wrong(Invented, channel, client, event, "%s/%d came before it was sent", c.Publisher, c.N)
	}
}

func (j *judge) learn(client string, event int, channel string, at Position, c Content, when time.Duration) {
	switch epoch := j.epoch[channel]; epoch {
	case at.Epoch:
	case "":
		j.epoch[channel] = at.Epoch
	default:
		j.wrong(Conflict, channel, client, event, "%s/%d is at %s, in another life of the channel than %s", c.Publisher, c.N, at, epoch)
		return
	}
	f := j.facts[place{channel, at}]
	if f == nil {
		f = &fact{offset: at.Offset, content: c, known: when}
		if p := j.publishes[keyOf(channel, c)]; p != nil && len(p.Attempts) > 0 {
			f.sent = p.Attempts[0].Sent
		}
		j.facts[place{channel, at}] = f
		j.places[keyOf(channel, c)] = append(j.places[keyOf(channel, c)], at)
	}
	if f.content != c {
		j.wrong(Conflict, channel, client, event, "%s is %s/%d and also %s/%d", at, f.content.Publisher, f.content.N, c.Publisher, c.N)
	}
	f.known = min(f.known, when)
}

// doubles looks for messages that were stored more often than they were sent.
func (j *judge) doubles() {
	for key, places := range j.places {
		p := j.publishes[key]
		if p == nil {
			continue // invented, as was said
		}
		allowed := len(p.Attempts)
		if p.Key != "" {
			allowed = 1
		}
		if len(places) > allowed {
			j.wrong(Double, key.channel, "", 0, "%s/%d, sent %d times with the key %q, is at %v: %+v", key.publisher, key.n, len(p.Attempts), p.Key, places, p.Attempts)
		}
	}
}

// order checks that a message which was sent when another was known to be stored stands behind it. That includes the order of each publisher.
func (j *judge) order() {
	for channel, facts := range j.truth {
		known := slices.Clone(facts)
		// A subscription that begins anew at a position tells that this position was taken.
		for i := range j.transcript.Clients {
			for _, e := range j.transcript.Clients[i].Events {
				if e.Kind == Subscribed && e.Channel == channel && !e.Recovered && e.Position.Epoch == j.epoch[channel] {
					known = append(known, &fact{offset: e.Position.Offset, known: e.At, content: Content{Publisher: "a subscription of " + j.transcript.Clients[i].Name}})
				}
			}
		}
		slices.SortFunc(known, func(a, b *fact) int { return cmp.Compare(a.known, b.known) })
		sent := slices.Clone(facts)
		slices.SortFunc(sent, func(a, b *fact) int { return cmp.Compare(a.sent, b.sent) })
		var highest *fact
		next := 0
		for _, f := range sent {
			for ; next < len(known) && known[next].known < f.sent; next++ {
				if highest == nil || known[next].offset > highest.offset {
					highest = known[next]
				}
			}
			if highest != nil && highest.offset >= f.offset {
				j.wrong(Order, channel, "", 0, "%s/%d at %d was sent at %s, when %s/%d was known at %d since %s",
					f.content.Publisher, f.content.N, f.offset, f.sent, highest.content.Publisher, highest.content.N, highest.offset, highest.known)
			}
		}
	}
}

// read checks an answer to a client: it is in order, and has all that is known between its beginning and its cursor.
func (j *judge) read(r *Read) {
	facts, from := j.truth[r.Channel], r.Since.Offset
	if !j.oneLife(r.Channel, r.Client, 0, r.Cursor) {
		return
	}
	if len(r.Messages) > 0 {
		j.report.Reads++
		if r.Since == (Position{}) {
			from = r.Messages[0].Position.Offset - 1
		}
	} else if r.Since == (Position{}) {
		return // how far back the newest messages go is not known
	}
	has, last := map[uint64]bool{}, from
	for _, m := range r.Messages {
		if m.Position.Offset <= last || m.Position.Offset > r.Cursor.Offset {
			j.wrong(Order, r.Channel, r.Client, 0, "a read since %s that ends at %s has %s behind %d", r.Since, r.Cursor, m.Position, last)
		}
		last = m.Position.Offset
		has[last] = true
	}
	for _, f := range facts[behind(facts, from):] {
		if f.offset <= r.Cursor.Offset && !has[f.offset] {
			j.wrong(Hole, r.Channel, r.Client, 0, "a read since %s that ends at %s does not have %s/%d at %d", r.Since, r.Cursor, f.content.Publisher, f.content.N, f.offset)
			return
		}
	}
}

// oneLife checks that a cursor that the service gave belongs to the channel's one life.
func (j *judge) oneLife(channel, client string, event int, at Position) bool {
	if epoch := j.epoch[channel]; epoch != "" && at.Epoch != epoch {
		j.wrong(Conflict, channel, client, event, "the cursor %s belongs to another life of the channel than %s", at, epoch)
		return false
	}
	return true
}

// clocks is how far the time of a message may be from what its publisher and its readers noted.
const clocks = time.Second

// history checks that what must be retained is, and that nothing is shown that must not.
func (j *judge) history(h *History) {
	ch, facts := j.channels[h.Channel], j.truth[h.Channel]
	j.report.Retained += len(h.Messages)
	if len(h.Messages) > ch.Size {
		j.wrong(Conflict, h.Channel, "", 0, "the history has %d messages, more than %d", len(h.Messages), ch.Size)
	}
	has := map[uint64]bool{}
	for i, m := range h.Messages {
		if has[m.Position.Offset] = true; i > 0 && h.Messages[i-1].Position.Offset >= m.Position.Offset {
			j.wrong(Order, h.Channel, "", 0, "the history has %s behind %s", m.Position, h.Messages[i-1].Position)
		}
		if f := j.facts[place{h.Channel, m.Position}]; f != nil && h.Began-f.known > ch.TTL+clocks {
			j.wrong(Expired, h.Channel, "", 0, "%s/%d at %d, known since %s, is still in the history at %s", f.content.Publisher, f.content.N, f.offset, f.known, h.Began)
		}
	}
	for i, f := range facts {
		newer := len(facts) - i - 1
		retained := newer < ch.Size && h.Read-f.sent < ch.TTL
		if retained && !has[f.offset] {
			j.wrong(Missing, h.Channel, "", 0, "%s/%d at %d, sent %s before the end, is not in the history", f.content.Publisher, f.content.N, f.offset, h.Read-f.sent)
		}
	}
	if len(facts) <= ch.Size {
		j.somewhere(h)
	}
}

// somewhere checks a channel that retains everything: an event's answer tells no cursor, but its message must be there.
func (j *judge) somewhere(h *History) {
	for _, p := range j.transcript.Publishes {
		if p.Channel != h.Channel || len(j.places[keyOf(p.Channel, p.Content)]) > 0 || h.Read-p.Attempts[0].Sent >= j.channels[h.Channel].TTL {
			continue
		}
		if slices.ContainsFunc(p.Attempts, func(a Attempt) bool { return a.Acked }) {
			j.wrong(Missing, h.Channel, "", 0, "%s/%d was accepted, but is nowhere", p.Content.Publisher, p.Content.N)
		}
	}
}
