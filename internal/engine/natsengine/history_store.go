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
		if try == tries {
			msg.Header.Del(headerExpected)
			h.engine.metrics.unchained.Inc()
		} else {
			msg.Header.Set(headerExpected, strconv.FormatUint(a.last, 10))
		}
		// The bridge will be gone long before the message, so the message says itself what is behind the bridge.
		msg.Header.Del(headerBehind)
		if a.behind != 0 && try < tries {
			msg.Header.Set(headerBehind, strconv.FormatUint(a.behind, 10))
		}
		began := time.Now()
		ack, err := h.engine.js.PublishMsg(ctx, msg)
		if last, wrong := wrongLast(err); wrong {
			// Between this node's last message and now there was no time for an anchor: what came is a message.
			a.last, a.open, a.behind = last, last == 0 || time.Since(a.sent) < rushed, 0
			if try >= politeTries && wait(ctx, jitter()) != nil {
				return 0, false, storeError(err)
			}
			continue
		}
		if isBusy(err) && wait(ctx, jitter()) == nil {
			continue
		}
		if err != nil {
			// Whether it was stored is not known: what comes next must ask where the end is.
			a.last, a.open, a.behind = 0, false, 0
			return 0, false, storeError(err)
		}
		if !ack.Duplicate {
			a.last, a.sent, a.behind = max(a.last, ack.Sequence), began, 0
		}
		return ack.Sequence, ack.Duplicate, nil
	}
	return 0, false, eureka.Errorf(eureka.CodeUnavailable, "the channel is too busy")
}

// bridge makes sure that the channel's newest entry is no lasting anchor: behind one, a message could expire unnoticed while no node runs. A lasting
// anchor is replaced by a bridge, which says what it was stored behind, so that the chain holds for those who never saw the anchor. The order matters:
// whatever is cut off in between leaves a channel whose end proves nothing too much.
func (h *history) bridge(ctx context.Context, a *appender, channelID string) error {
	for try := 0; !a.open; try++ {
		last, ok, err := h.lastEntry(ctx, channelID)
		if err != nil {
			return err
		}
		a.last, a.behind = last.seq, 0
		switch {
		case !ok || !last.isLasting():
			if last.bridged != 0 { // whoever stored the bridge may have been cut off then
				a.behind = last.before
				if err := h.remove(ctx, last.bridged); err != nil {
					return err
				}
			}
			a.open = true
		case try >= anchorTries:
			return eureka.Errorf(eureka.CodeUnavailable, "the channel is too busy")
		default:
			if err := h.replace(ctx, a, channelID, last); err != nil {
				return err
			}
		}
	}
	return nil
}

// replace puts a bridge in the place of a lasting anchor. When another node is first it does nothing.
func (h *history) replace(ctx context.Context, a *appender, channelID string, anchor entry) error {
	behind := anchor.before
	if behind == 0 {
		behind = anchor.seq
	}
	seq, _, wrong, err := h.storeAnchor(ctx, channelID, anchor.seq, bridgeTTL, nats.Header{
		headerAnchor: {"bridge"}, headerBridged: {strconv.FormatUint(anchor.seq, 10)}, headerBehind: {strconv.FormatUint(behind, 10)},
	})
	if wrong {
		return wait(ctx, jitter())
	}
	if err == nil {
		err = h.remove(ctx, anchor.seq)
	}
	if err == nil {
		a.last, a.open, a.behind = seq, true, behind
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
