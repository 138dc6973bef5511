package dynamo

import (
	"slices"

	"eureka/internal/protocol"
)

// frames are one message's frames by the names that subscribers use; each is encoded once.
type frames struct {
	channelID string
	body      []byte
	byName    map[string][]byte
}

func newFrames(channelID string, body []byte) *frames {
	return &frames{channelID: channelID, body: body, byName: map[string][]byte{}}
}

func (f *frames) of(s subscriber) []byte {
	name := s.called(f.channelID)
	frame := f.byName[name]
	if frame == nil {
		frame = protocol.AppendMessage(make([]byte, 0, len(f.body)+len(name)+16), name, f.body)
		f.byName[name] = frame
	}
	return frame
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
	sieves   []*sieve
}

func (e *Engine) newBatch(l *lease, r runtime, messages []stored, t *tally) *batch {
	b := &batch{l: l, t: t, messages: messages}
	for _, s := range messages {
		b.frames = append(b.frames, newFrames(l.channelID, protocol.AppendID(slices.Clone(s.body), r.cursor(s.offset).String())))
		b.excluded = append(b.excluded, exclude(s.except))
		b.sieves = append(b.sieves, e.sieve(s.body, s.origin))
	}
	return b
}

// keep leaves the batch its first n messages.
func (b *batch) keep(n int) {
	b.messages, b.frames, b.excluded, b.sieves = b.messages[:n], b.frames[:n], b.excluded[:n], b.sieves[:n]
}

// sequence is the frames for one subscriber, one for each message; nil for one that it does not get. some: it gets any.
func (b *batch) sequence(s subscriber) (sequence [][]byte, some bool) {
	sequence = make([][]byte, len(b.messages))
	for i, f := range b.frames {
		if !b.excluded[i].has(s.socketID) && b.sieves[i].passes(s.filter) {
			sequence[i], some = f.of(s), true
		}
	}
	return sequence, some
}
