package natsengine

import (
	"context"
	"errors"
	"time"

	"eureka"
	"eureka/internal/pause"
	"eureka/internal/protocol"
)

// Replays hands what a resuming socket missed to it; the gateway's hub is one. Its methods never block.
type Replays interface {
	// SubscribePaused is Registry.Subscribe for a subscription that gets no live messages until Replay ends its pause. pause is not 0 and
	// tells this pause from others of the same subscription.
	SubscribePaused(sub eureka.Subscription, pause uint64) (added bool, err error)
	// Frame encodes a body for subscribers who know the channel by this name. Sockets may share it.
	Frame(name string, body []byte) []byte
	// Replay queues frames for a subscription in this pause, and with last ends the pause. taken is false when they do not fit now,
	// and nothing was done. CodeGone when the socket or the subscription has ended, or was replaced.
	Replay(socketID, channelID string, pause uint64, frames [][]byte, last bool) (taken bool, err error)
	// WhenDrained calls f once, in a goroutine of its own, when nothing waits to be written to the socket, or when it has ended.
	WhenDrained(socketID string, f func())
}

// Limits of replays.
const (
	replayFrames = 256 // of one step
	replayBytes  = 256 << 10
	replayTries  = 10 // reads of the stream that may fail before a replay gives up with a gap
	replayWait   = 500 * time.Millisecond
	resumeRounds = 3 // reads for the tail before a socket reads for itself; each reads what came since the one before
)

// subscribe adds a subscription on a channel with history; the caller has acquired the channel.
func (h *history) subscribe(ctx context.Context, sub eureka.Subscription) (s eureka.Subscribed, added bool, err error) {
	t := h.engine.bus.tail(sub.ChannelID)
	if t == nil {
		return s, false, eureka.Errorf(eureka.CodeGone, "the channel was deleted")
	}
	if sub.Since != (eureka.Cursor{}) {
		pos, err := h.since(sub.ChannelID, sub.Since)
		if err == nil {
			s, added, err = h.resume(ctx, t, sub, pos)
		}
		if eureka.CodeOf(err) != eureka.CodeGap {
			return s, added, err
		}
	}
	if err := t.settle(ctx); err != nil {
		return s, false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	added, err = h.engine.options.Registry.Subscribe(sub)
	return eureka.Subscribed{Cursor: h.cursor(sub.ChannelID, t.last)}, added, err
}

// settle finds the position of a channel that nothing came on since this node listens to it.
func (t *tail) settle(ctx context.Context) error {
	t.reading.Lock()
	defer t.reading.Unlock()
	for {
		t.mu.Lock()
		known := t.known || t.dropped
		t.mu.Unlock()
		if known {
			return nil
		}
		pos, err := t.history.position(ctx, t.channelID)
		if err != nil {
			return err
		}
		t.mu.Lock()
		if !t.known {
			t.begin(pos, pos, true)
		}
		t.mu.Unlock()
	}
}

// resume adds a subscription that goes on behind pos. CodeGap when what is behind it is not all there.
func (h *history) resume(ctx context.Context, t *tail, sub eureka.Subscription, pos uint64) (s eureka.Subscribed, added bool, err error) {
	if err := t.reach(ctx, pos); err != nil {
		return s, false, err
	}
	r := &replay{history: h, tail: t, sub: sub, pos: pos, pause: h.pauses.Add(1)}
	t.mu.Lock()
	defer t.mu.Unlock()
	added, err = h.engine.options.Replays.SubscribePaused(sub, r.pause)
	if err != nil {
		return s, added, err
	}
	if !t.covers(pos) || !r.fromTail() {
		h.engine.options.Replays.WhenDrained(sub.SocketID, r.run)
	}
	return eureka.Subscribed{Cursor: sub.Since, Recovered: true}, added, nil
}

// reach brings what is behind pos into memory, unless it is too much for that: the socket reads the stream for itself then. CodeGap when it cannot be
// had.
func (t *tail) reach(ctx context.Context, pos uint64) error {
	if t.ready(ctx, pos) {
		return nil
	}
	if t.isFar(pos) {
		_, _, err := t.read(ctx, pos, 1)
		return err
	}
	// Sockets that come back together ask for much the same: one reads, the others find it in memory.
	t.reading.Lock()
	defer t.reading.Unlock()
	for round := range resumeRounds {
		if t.ready(ctx, pos) || (round > 0 && t.isFar(pos)) {
			return nil
		}
		entries, end, err := t.read(ctx, pos, tailEntries/2)
		if err != nil || !end {
			return err
		}
		t.seed(pos, entries) //nolint:contextcheck // live delivery depends on what it reads, not on this caller
	}
	return nil
}

// read reads for a client. What turns out to be more than tailEntries/2 hold, or than one read does, is noted.
func (t *tail) read(ctx context.Context, pos uint64, limit int) (entries []entry, end bool, err error) {
	leave, err := t.history.enter(ctx)
	if err != nil {
		return nil, false, err
	}
	defer leave()
	entries, pending, end, err := t.history.behind(ctx, t.channelID, pos, limit)
	if pending > 0 && limit >= tailEntries/2 {
		t.mu.Lock()
		t.far = max(t.far, pos)
		t.mu.Unlock()
	}
	return entries, end, err
}

func (t *tail) isFar(pos uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return pos <= t.far
}

func (t *tail) ready(ctx context.Context, pos uint64) bool {
	ttl := t.history.ttl(ctx, t.channelID)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trim(t.history.now(), ttl)
	return t.covers(pos)
}

// seed takes over entries that were read behind pos, all that there are.
func (t *tail) seed(pos uint64, entries []entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := pos
	if len(entries) > 0 {
		last = entries[len(entries)-1].seq
	}
	switch {
	case t.dropped:
	case !t.known:
		t.begin(pos, last, true)
		for _, e := range entries {
			if e.isMessage() {
				t.keep(t.history.tailEntry(t.channelID, e))
			}
		}
	case pos > t.last:
		t.fill(pos) // a client was faster than the live messages of this node
	case pos < t.start && last >= t.start:
		t.prepend(pos, entries)
		t.follow(pos, entries)
	default:
		t.follow(pos, entries)
	}
	if t.known && pos < t.start {
		t.far = max(t.far, pos) // memory does not hold them: nobody needs to read them for it again
	}
}

// prepend puts those of the entries behind pos that are not in memory before those that are. The caller holds mu.
func (t *tail) prepend(pos uint64, entries []entry) {
	var older []tailEntry
	for _, e := range entries {
		if e.seq <= t.start && e.isMessage() {
			te := t.history.tailEntry(t.channelID, e)
			t.grow(te.size())
			older = append(older, te)
		}
	}
	t.start, t.entries = pos, append(older, t.entries...)
	t.shrink()
}

// follow hands on those of the entries behind pos that this node's live messages have not brought yet. The caller holds mu.
func (t *tail) follow(pos uint64, entries []entry) {
	if !t.known || t.dropped || pos > t.last {
		return
	}
	for _, e := range entries {
		if e.seq > t.last {
			t.push(e)
		}
	}
}

// replay brings a resuming socket what it missed, as fast as it reads, and then switches it to live messages.
type replay struct {
	history *history
	tail    *tail
	sub     eureka.Subscription
	pos     uint64 // what the socket has
	pause   uint64
	failed  int
}

// run goes on with the replay until the socket has enough to read, or has all.
func (r *replay) run() {
	t := r.tail
	for {
		t.mu.Lock()
		covered, dropped := t.covers(r.pos), t.dropped
		waits := covered && !r.fromTail()
		t.mu.Unlock()
		switch {
		case dropped:
			r.ended()
			return
		case covered && !waits:
			return
		case waits:
			r.history.engine.options.Replays.WhenDrained(r.sub.SocketID, r.run)
			return
		}
		again, err := r.fromStream()
		switch {
		case errors.Is(err, errReplayEnded):
			r.ended()
			return
		case err != nil && (eureka.CodeOf(err) == eureka.CodeGap || r.failed >= replayTries):
			r.giveUp()
			return
		case err != nil:
			r.failed++
			if pause.For(r.history.context, replayWait) != nil {
				return
			}
		case !again:
			r.history.engine.options.Replays.WhenDrained(r.sub.SocketID, r.run)
			return
		}
	}
}

// errReplayEnded means that the socket or its subscription is gone.
var errReplayEnded = errors.New("the replay's subscription has ended")

// fromTail queues one step from memory. It reports whether the replay is over: all is queued and the socket is live, or it is gone. The
// caller holds the tail's lock.
func (r *replay) fromTail() (over bool) {
	replays := r.history.engine.options.Replays
	var frames [][]byte
	pos, size := r.pos, 0
	missed := r.tail.behind(r.pos)
	n := 0
	for ; n < len(missed) && n < replayFrames && size < replayBytes; n++ {
		te := &missed[n]
		pos = te.seq
		if !r.wants(te) {
			continue
		}
		frame := r.tail.frame(te, r.sub.Name)
		size += len(frame)
		frames = append(frames, frame)
	}
	last := n == len(missed)
	taken, err := replays.Replay(r.sub.SocketID, r.sub.ChannelID, r.pause, frames, last)
	if err != nil {
		r.ended()
		return true
	}
	if taken {
		r.pos = pos
	}
	return taken && last
}

// frame is the entry as subscribers under one name get it; the last one made is kept, since most know a channel by the same name.
func (t *tail) frame(te *tailEntry, name string) []byte {
	if te.frame == nil || te.name != name {
		before := len(te.frame)
		te.name, te.frame = name, t.history.engine.options.Replays.Frame(name, te.body)
		t.grow(len(te.frame) - before)
	}
	return te.frame
}

// wants reports whether the socket gets the message. What its filter leaves out is no hole: a later resume reads and filters it again.
func (r *replay) wants(te *tailEntry) bool {
	if excepts(te.except, r.sub.SocketID) {
		return false
	}
	facts := protocol.FactsOf(te.body, te.origin)
	rules := r.history.engine.options.Rules
	if r.sub.Filter == "" || facts == nil || rules == nil {
		return r.sub.Filter == "" || facts == nil
	}
	passed, err := rules.On(eureka.RuleSubject{Facts: facts()}).Passes(eureka.RuleSubscription, r.sub.Filter)
	return passed && err == nil
}

func excepts(except []string, socketID string) bool {
	for _, id := range except {
		if id == socketID {
			return true
		}
	}
	return false
}

// fromStream queues one page from the stream. again is false when the socket has to read first.
func (r *replay) fromStream() (again bool, err error) {
	h, t := r.history, r.tail
	replays := h.engine.options.Replays
	if room, err := replays.Replay(r.sub.SocketID, r.sub.ChannelID, r.pause, nil, false); err != nil || !room {
		return false, gone(err)
	}
	entries, end, err := t.read(h.context, r.pos, replayFrames)
	if err != nil {
		return false, err
	}
	if len(entries) == 0 {
		return true, r.atEnd(end)
	}
	frames, n := r.frames(entries)
	taken, err := replays.Replay(r.sub.SocketID, r.sub.ChannelID, r.pause, frames, false)
	if err != nil || !taken {
		return false, gone(err)
	}
	t.mu.Lock()
	t.follow(r.pos, entries[:n])
	t.mu.Unlock()
	r.pos, r.failed = entries[n-1].seq, 0
	return true, nil
}

// atEnd brings the tail to where the replay is, when nothing is behind that.
func (r *replay) atEnd(end bool) error {
	if !end {
		return eureka.Errorf(eureka.CodeUnavailable, "the history lags behind")
	}
	t := r.tail
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.dropped:
	case !t.known:
		t.begin(r.pos, r.pos, true)
	case t.last < r.pos:
		t.fill(r.pos)
	}
	return nil
}

// frames makes the frames of one step, of the first n entries.
func (r *replay) frames(entries []entry) (frames [][]byte, n int) {
	size := 0
	for ; n < len(entries) && size < replayBytes; n++ {
		e := &entries[n]
		if !e.isMessage() {
			continue
		}
		te := r.history.tailEntry(r.sub.ChannelID, *e)
		if !r.wants(&te) {
			continue
		}
		frame := r.history.engine.options.Replays.Frame(r.sub.Name, te.body)
		size += len(frame)
		frames = append(frames, frame)
	}
	return frames, n
}

func gone(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(err, errReplayEnded)
}

// ended tells the socket, if that is still there, when it was the channel that ended: in its pause it did not hear what the others were told.
func (r *replay) ended() {
	e := r.history.engine
	if _, err := e.channels.Get(r.history.context, r.sub.ChannelID); eureka.CodeOf(err) == eureka.CodeNotFound {
		_ = e.options.Delivery.Send(r.sub.SocketID, protocol.EncodeError(nil, r.sub.Name, errChannelGone())) // fails when the socket has ended
	}
}

// giveUp tells the socket that what it missed can no longer be had, and switches it to live messages.
func (r *replay) giveUp() {
	t := r.tail
	replays := r.history.engine.options.Replays
	gap := protocol.ErrorBody(eureka.Errorf(eureka.CodeGap, "messages may have been missed; fetch the state again"))
	t.mu.Lock()
	taken, err := replays.Replay(r.sub.SocketID, r.sub.ChannelID, r.pause, [][]byte{replays.Frame(r.sub.Name, gap)}, true)
	t.mu.Unlock()
	switch {
	case err != nil:
		r.ended()
	case !taken:
		replays.WhenDrained(r.sub.SocketID, r.giveUp)
	}
}
