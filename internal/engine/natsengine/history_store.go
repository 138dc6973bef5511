package natsengine

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"eureka"
	"eureka/internal/pause"
)

// store publishes an entry behind the one that is last. When others keep coming first it is stored without its place in the chain, and
// readers that cross it cannot prove completeness; tries bounds how often. The caller has a's turn.
func (h *history) store(
	ctx context.Context, a *appender, channelID string, msg *nats.Msg, tries int,
) (seq uint64, duplicate bool, err error) {
	for try := range tries + 1 {
		if err := h.bridge(ctx, a, channelID); err != nil {
			return 0, false, err
		}
		a.place(msg.Header)
		if try == tries {
			msg.Header.Del(headerExpected)
			h.engine.metrics.unchained.Inc()
		}
		began := h.now()
		ack, err := h.engine.js.PublishMsg(ctx, msg)
		if last, wrong := wrongLast(err); wrong {
			// Between this node's last message and now there was no time for an anchor: what came is a message.
			a.last, a.base, a.seen, a.open = last, last, h.now(), last == 0 || h.now().Sub(a.sent) < rushed
			if try >= politeTries && pause.For(ctx, jitter()) != nil {
				return 0, false, storeError(err)
			}
			continue
		}
		if isBusy(err) && pause.For(ctx, jitter()) == nil {
			continue
		}
		if err != nil {
			// Whether it was stored is not known: what comes next must ask where the end is.
			a.last, a.open = 0, false
			return 0, false, storeError(err)
		}
		if !ack.Duplicate {
			a.last = max(a.last, ack.Sequence)
			a.base, a.seen, a.sent = a.last, began, began
		}
		return ack.Sequence, ack.Duplicate, nil
	}
	return 0, false, eureka.Errorf(eureka.CodeUnavailable, "the channel is too busy")
}

// place says in an entry's headers what it is to be stored behind.
func (a *appender) place(header nats.Header) {
	header.Set(headerExpected, strconv.FormatUint(a.last, 10))
	header.Del(headerBehind)
	if a.base != a.last {
		header.Set(headerBehind, strconv.FormatUint(a.base, 10))
	}
}

// bridge makes sure that the channel's newest entry is known, and no lasting anchor: behind one, a message could expire unnoticed while no node runs.
// A lasting anchor is replaced by a bridge, which says what it was stored behind, and so does what follows the bridge: the chain holds for those who never
// saw them. The order matters: whatever is cut off in between leaves a channel whose end proves nothing too much.
func (h *history) bridge(ctx context.Context, a *appender, channelID string) error {
	for try := 0; ; try++ {
		now := h.now()
		if a.open && now.Sub(a.seen) < trusted { // later, another node's message may have come and gone
			return nil
		}
		last, ok, err := h.lastEntry(ctx, channelID)
		if err != nil {
			return err
		}
		switch {
		case !ok || !last.isLasting():
			if last.bridged != 0 { // whoever stored the bridge may have been cut off then
				if err := h.remove(ctx, last.bridged); err != nil {
					return err
				}
			}
			a.last, a.base = last.seq, last.base(now.Add(appendTimeout), h.ttl(ctx, channelID))
			a.seen, a.open = now, true
			return nil
		case try >= anchorTries:
			return eureka.Errorf(eureka.CodeUnavailable, "the channel is too busy")
		default:
			if err := h.replace(ctx, a, channelID, last); err != nil {
				return err
			}
		}
	}
}

// replace puts a bridge in the place of a lasting anchor. When another node is first it does nothing.
func (h *history) replace(ctx context.Context, a *appender, channelID string, anchor entry) error {
	behind := anchor.before
	if behind == 0 {
		behind = anchor.seq
	}
	began := h.now()
	seq, _, wrong, err := h.storeAnchor(ctx, channelID, anchor.seq, bridgeTTL, nats.Header{
		headerAnchor: {"bridge"}, headerBridged: {strconv.FormatUint(anchor.seq, 10)}, headerBehind: {strconv.FormatUint(behind, 10)},
	})
	if wrong {
		return pause.For(ctx, jitter())
	}
	if err == nil {
		err = h.remove(ctx, anchor.seq)
	}
	if err == nil {
		a.last, a.base, a.seen, a.open = seq, behind, began, true
	}
	return err
}

// remove deletes one entry; it may be gone already.
func (h *history) remove(ctx context.Context, seq uint64) error {
	err := h.stream.DeleteMsg(ctx, seq)
	if err == nil {
		return nil
	}
	if _, missing := h.stream.GetMsg(ctx, seq); errors.Is(missing, jetstream.ErrMsgNotFound) {
		return nil
	}
	return storeError(err)
}

// wrongLast reads the refusal of an entry that was not stored behind the last one, and which that is.
func wrongLast(err error) (last uint64, wrong bool) {
	var api *jetstream.APIError
	if !errors.As(err, &api) || api.ErrorCode != wrongLastError {
		return 0, false
	}
	_, digits, _ := strings.Cut(api.Description, ": ")
	last, _ = strconv.ParseUint(digits, 10, 64) // a text without a number means 0: the next try is told again
	return last, true
}

// jitter keeps nodes that meet on one channel from meeting again.
func jitter() time.Duration {
	return rand.N(appendWait) //nolint:gosec // nothing depends on who guesses it
}

// isBusy reports whether an entry was not stored because a cluster is about to store another one, so that the end of the chain is not known yet.
func isBusy(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == lastBusyError || api.ErrorCode == keyBusyError)
}

func storeError(err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return eureka.WrapError(eureka.CodeUnavailable, err, "the message could not be stored: the history is full or cannot be written")
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return natsError(err, "the message could not be stored: NATS does not answer")
}
