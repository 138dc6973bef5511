package natsengine

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"eureka"
)

// How the stream is looked after.
const (
	keepInterval  = 500 * time.Millisecond
	keepTimeout   = 30 * time.Second
	trimIntervals = 20 // keepIntervals between two trims of what has expired in memory
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
		case now := <-ticker.C:
			h.anchorSilent(ctx, now)
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
	err := h.stream.Purge(ctx, jetstream.WithPurgeSubject(h.subject(channelID)), jetstream.WithPurgeKeep(uint64(size))) //nolint:gosec // at most MaxHistorySize
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
		h.anchorOne(ctx, channelID, now)
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
	return !a.at.IsZero() && now.Sub(a.at) >= time.Duration(a.retention.TTL)/2
}

func (h *history) anchorOne(ctx context.Context, channelID string, now time.Time) {
	a := h.acquire(channelID)
	defer h.release(channelID, a)
	a.turn <- struct{}{}
	defer func() { <-a.turn }()
	if !a.isSilent(now) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	seq, actual, wrong, err := h.anchor(ctx, channelID, a.last)
	switch {
	case err != nil:
		h.warn("a silent channel could not be anchored", channelID, err)
	case wrong && a.last == 0:
		// This node lost track of the end; the next round knows it.
		a.last = actual
	case wrong:
		// Another node stored the newest message, and looks after it.
		a.at = time.Time{}
	default:
		a.last, a.at = seq, time.Time{}
	}
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
		last, ok, err := h.lastEntry(ctx, channelID)
		if err != nil || !ok || !last.isMessage() {
			continue
		}
		h.adopt(channelID, last)
	}
}

func (h *history) adopt(channelID string, last entry) {
	a := h.acquire(channelID)
	defer h.release(channelID, a)
	a.turn <- struct{}{}
	defer func() { <-a.turn }()
	if a.at.IsZero() && a.last == 0 {
		a.last, a.at, a.retention = last.seq, last.at, eureka.Retention{TTL: eureka.Duration(last.ttl)}
	}
}
