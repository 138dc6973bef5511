package natsengine

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"eureka"
)

// How the stream is looked after.
const (
	keepInterval  = 500 * time.Millisecond
	keepTimeout   = 30 * time.Second
	anchorTimeout = 5 * time.Second // less than lingering has beside leastLife: an anchor must not come when it says too much
	trimIntervals = 20              // keepIntervals between two trims of what has expired in memory
	// recheckIntervals is how many keepIntervals a dropped message may go unnoticed.
	recheckIntervals = 4
)

// keep purges what channels do not retain and anchors those that fall silent, until stop. A node looks after the channels that it stored
// messages on; at its start, after all that an earlier process may have left.
func (h *history) keep() {
	ctx := h.context
	ticker := time.NewTicker(keepInterval)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case channelID := <-h.purges:
			h.purge(ctx, channelID)
		case <-ticker.C:
			now := h.now()
			h.anchorSilent(ctx, now)
			if n%recheckIntervals == 0 {
				h.engine.bus.recheck()
			}
			if n%trimIntervals == 0 {
				h.engine.bus.trimTails(now)
			}
		}
	}
}

func (h *history) purge(ctx context.Context, channelID string) {
	a := h.acquire(channelID)
	defer h.release(channelID, a)
	size := a.size()
	if size == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	keep := uint64(size + anchorsAmong) //nolint:gosec // at most MaxHistorySize and a few
	err := h.stream.Purge(ctx, jetstream.WithPurgeSubject(h.subject(channelID)), jetstream.WithPurgeKeep(keep))
	if err != nil && ctx.Err() == nil {
		h.warn("old messages could not be removed", channelID, err)
	}
}

// size is what the channel retained when this node stored its last message, 0 when it did not.
func (a *appender) size() int {
	a.turn <- struct{}{}
	defer func() { <-a.turn }()
	return a.retention.Size
}

// anchorSilent anchors each channel whose newest message has lived half of its time.
func (h *history) anchorSilent(ctx context.Context, now time.Time) {
	for _, channelID := range h.silent(now) {
		if ctx.Err() != nil {
			return
		}
		h.anchorOne(ctx, channelID)
	}
}

func (h *history) silent(now time.Time) []string {
	var silent []string
	for i := range h.shards {
		shard := &h.shards[i]
		shard.mu.Lock()
		for channelID, a := range shard.channels {
			if a.users == 0 && a.isSilent(now) {
				silent = append(silent, channelID)
			}
		}
		shard.mu.Unlock()
	}
	return silent
}

// isSilent needs the turn, or that nobody uses the appender.
func (a *appender) isSilent(now time.Time) bool {
	return !a.at.IsZero() && now.Sub(a.at) >= time.Duration(a.retention.TTL)/2 && !now.Before(a.from)
}

func (h *history) anchorOne(ctx context.Context, channelID string) {
	a := h.acquire(channelID)
	defer h.release(channelID, a)
	a.turn <- struct{}{}
	defer func() { <-a.turn }()
	now := h.now()
	if !a.isSilent(now) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, anchorTimeout)
	defer cancel()
	if a.last == 0 || a.last != a.mine {
		// This node lost track of the end, or knows another node's message there. That one may be quite new.
		last, ok, err := h.lastEntry(ctx, channelID)
		switch {
		case err != nil:
			h.warn("a silent channel could not be looked at", channelID, err)
		case !ok || !last.isMessage() || !last.isEnd(now, h.ttl(ctx, channelID)):
			a.at = time.Time{}
		default:
			a.adopt(last, now)
		}
		return
	}
	// An anchor says that nothing came behind the entry before it. After too long this cannot be told any more.
	if now.Sub(a.at) > max(leastLife, min(time.Duration(a.retention.TTL), h.ttl(ctx, channelID))) {
		a.at = time.Time{}
		return
	}
	seq, _, wrong, err := h.anchor(ctx, channelID, a.last)
	switch {
	case err != nil:
		h.warn("a silent channel could not be anchored", channelID, err)
	case wrong:
		// Another node stored the newest message, and looks after it.
		a.at = time.Time{}
	default:
		a.last, a.open, a.at = seq, false, time.Time{}
	}
}

// adopt takes over the looking after of a channel whose newest entry was this message at the given time. The caller has the turn.
func (a *appender) adopt(last entry, now time.Time) {
	a.last, a.base, a.mine, a.open, a.seen, a.at = last.seq, last.seq, last.seq, true, now, last.at
	// Whoever stored it may be about to store the next one, and counts on rushed.
	a.from = now.Add(2 * rushed)
	a.retention.TTL = eureka.Duration(last.ttl)
}

// scan takes over the channels whose newest entry is a message: their node may have ended before it could anchor them.
func (h *history) scan() {
	ctx := h.context
	info, err := h.stream.Info(ctx, jetstream.WithSubjectFilter(h.prefix+"*"))
	if err != nil {
		if ctx.Err() == nil {
			h.warn("the history could not be looked through", "", err)
		}
		return
	}
	for subject := range info.State.Subjects {
		channelID, err := unescapeToken(strings.TrimPrefix(subject, h.prefix))
		if err != nil || ctx.Err() != nil {
			continue
		}
		now := h.now()
		last, ok, err := h.lastEntry(ctx, channelID)
		if err == nil && ok && last.isMessage() && last.isEnd(now, h.ttl(ctx, channelID)) {
			h.adopt(channelID, last, now)
		}
	}
}

func (h *history) adopt(channelID string, last entry, now time.Time) {
	a := h.acquire(channelID)
	defer h.release(channelID, a)
	a.turn <- struct{}{}
	defer func() { <-a.turn }()
	if a.at.IsZero() && a.last == 0 {
		a.adopt(last, now)
	}
}

// anchor stores an anchor behind the entry with the sequence last (0: on a channel without entries) and returns its sequence. wrong reports that
// the channel went on meanwhile: actual is its last entry then, 0 when that is not known.
func (h *history) anchor(ctx context.Context, channelID string, last uint64) (seq uint64, actual uint64, wrong bool, err error) {
	return h.storeAnchor(ctx, channelID, last, anchorTTL, nats.Header{headerAnchor: {"lasting"}})
}

func (h *history) storeAnchor(
	ctx context.Context, channelID string, last uint64, life time.Duration, header nats.Header,
) (seq, actual uint64, wrong bool, err error) {
	header.Set(headerExpected, strconv.FormatUint(last, 10))
	header.Set(headerLife, wholeSeconds(life))
	ack, err := h.engine.js.PublishMsg(ctx, &nats.Msg{Subject: h.subject(channelID), Header: header})
	if actual, wrong = wrongLast(err); wrong || isBusy(err) {
		return 0, actual, true, nil
	}
	if err != nil {
		return 0, 0, false, storeError(err)
	}
	return ack.Sequence, 0, false, nil
}

// Forget implements eureka.History. An anchor takes the place of what is removed: it tells all nodes to forget what they have in memory.
func (h *history) Forget(ctx context.Context, channelID string) error {
	a := h.acquire(channelID)
	defer h.release(channelID, a)
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return eureka.WrapError(eureka.CodeUnavailable, ctx.Err(), "the channel is too busy")
	}
	last, ok, err := h.lastEntry(ctx, channelID)
	if err != nil || !ok {
		return err
	}
	if err := h.stream.Purge(ctx, jetstream.WithPurgeSubject(h.subject(channelID))); err != nil {
		return natsError(err, "the history could not be removed: NATS does not answer")
	}
	a.last, a.open, a.at, a.stored = 0, false, time.Time{}, 0
	header := nats.Header{headerAnchor: {"forgot"}, headerForgot: {strconv.FormatUint(last.seq, 10)}}
	seq, actual, _, err := h.storeAnchor(ctx, channelID, 0, forgotTTL, header)
	if err != nil {
		return err
	}
	a.last = max(seq, actual) // another node was first: its message has nothing before it, which tells the nodes as well
	return nil
}
