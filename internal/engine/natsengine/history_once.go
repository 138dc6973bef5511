package natsengine

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"eureka"
)

// mayBeStored reports whether a message may have been stored although storing it failed: it was sent, and NATS did not refuse it.
func mayBeStored(err error) bool {
	var refusal *jetstream.APIError
	return !errors.As(err, &refusal) && !errors.Is(err, nats.ErrReconnectBufExceeded) && !errors.Is(err, jetstream.ErrNoStreamResponse) &&
		!errors.Is(err, nats.ErrNoResponders)
}

// mayStoreAgain refuses a message whose key was claimed before by a caller of which nobody knows what it did, when its message may have been stored and
// removed again. NATS knows a key for as long as it runs, and when it starts again by the messages that are there: a removed one it would take twice.
// The caller has the turn.
func (h *history) mayStoreAgain(ctx context.Context, channelID, key string, r eureka.Retention) error {
	if key == "" {
		return nil
	}
	since, open := h.engine.requests.openSince(key)
	if !open {
		return nil
	}
	// Messages are removed from the oldest on, and one with a key lives longer than the key is kept: so nothing is gone when there is an older one.
	entries, more, err := h.read(ctx, channelID, 0, 1)
	if err != nil {
		return err
	}
	if len(entries) == 0 || entries[0].at.Before(since.Add(leastLife-lingering)) {
		return nil
	}
	// Or when there are fewer than a removal leaves, and none can have expired since it.
	if more+len(entries) < r.Size && h.engine.requests.now().Sub(since) < time.Duration(r.TTL)+leastLife {
		return nil
	}
	return eureka.Errorf(eureka.CodeConflict,
		"a request with this key was begun before, and it can no longer be told whether its message was stored; with another key it may be stored twice")
}
