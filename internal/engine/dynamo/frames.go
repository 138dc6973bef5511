package dynamo

import (
	"slices"

	"eureka"
	"eureka/internal/protocol"
)

// frames are one message's frames by the names that subscribers use; each is encoded once.
type frames struct {
	channelID string
	body      []byte
	byName    map[string][]byte
	filter    filter
}

func (e *Engine) newFrames(channelID string, body []byte, origin eureka.Origin) *frames {
	return &frames{channelID: channelID, body: body, byName: map[string][]byte{}, filter: filter{rules: e.options.Rules, facts: protocol.FactsOf(body, origin)}}
}

// of is the frame for a subscriber; nil when its filter does not pass the message.
func (f *frames) of(s subscriber) []byte {
	if !f.filter.passes(s.filter) {
		return nil
	}
	name := s.called(f.channelID)
	frame := f.byName[name]
	if frame == nil {
		frame = protocol.AppendMessage(make([]byte, 0, len(f.body)+len(name)+16), name, f.body)
		f.byName[name] = frame
	}
	return frame
}

// filter evaluates the filters of subscriptions on one message, each once; its data is decoded once.
type filter struct {
	rules eureka.Rules
	facts func() eureka.Facts // nil for what is not filtered
	run   eureka.RuleRun
}

func (f *filter) passes(text string) bool {
	if text == "" || f.facts == nil {
		return true
	}
	if f.rules == nil {
		return false
	}
	if f.run == nil {
		f.run = f.rules.On(eureka.RuleSubject{Facts: f.facts()})
	}
	passed, err := f.run.Passes(eureka.RuleSubscription, text)
	return passed && err == nil
}

// excluded are the sockets that a message leaves out. Tasks carry hashes in place of ids, of which a thousand could be more than a queue's message takes.
type excluded struct {
	ids, hashes map[string]bool
}

func exclude(ids []string) excluded {
	return excluded{ids: set(ids)}
}

func excludeHashed(hashes []string) excluded {
	return excluded{hashes: set(hashes)}
}

func set(texts []string) map[string]bool {
	if len(texts) == 0 {
		return nil
	}
	all := make(map[string]bool, len(texts))
	for _, s := range texts {
		all[s] = true
	}
	return all
}

func (x excluded) has(socketID string) bool {
	return x.ids[socketID] || (len(x.hashes) > 0 && x.hashes[hash(socketID)])
}

func hashes(ids []string) []string {
	all := make([]string, len(ids))
	for i, id := range ids {
		all[i] = hash(id)
	}
	return all
}

// batch is some messages of a history as a shard's subscribers get them.
type batch struct {
	l        *lease
	t        *tally
	messages []stored
	frames   []*frames
	excluded []excluded
}

func (e *Engine) newBatch(l *lease, r runtime, messages []stored, t *tally) *batch {
	b := &batch{l: l, t: t, messages: messages}
	for _, s := range messages {
		b.frames = append(b.frames, e.newFrames(l.channelID, protocol.AppendID(slices.Clone(s.body), r.cursor(s.offset).String()), s.origin))
		b.excluded = append(b.excluded, exclude(s.except))
	}
	return b
}

// sequence is the frames for one subscriber, one for each message; nil for one that it does not get.
func (b *batch) sequence(s subscriber) [][]byte {
	sequence := make([][]byte, len(b.messages))
	for i, f := range b.frames {
		if !b.excluded[i].has(s.socketID) {
			sequence[i] = f.of(s)
		}
	}
	return sequence
}
