package dynamo

import (
	"context"
	"math/rand/v2"
	"time"

	"eureka/internal/pause"
)

// How a request is repeated: at most maxTries times, with exponential waits, each anything between nothing and its bound, and never
// beyond the caller's deadline. The SDK's own repetition is off, so that the two do not multiply.
const (
	maxTries  = 8
	firstWait = 25 * time.Millisecond
	maxWait   = time.Second
	// defaultTryTime is how long one try may take: a connection that hangs is given up.
	defaultTryTime = 5 * time.Second
)

// backoff counts tries that came to nothing.
type backoff struct{ tries int }

// next waits before another try. It returns false when there is none left or ctx ends before it.
func (b *backoff) next(ctx context.Context) bool {
	b.tries++
	if b.tries >= maxTries {
		return false
	}
	bound := min(firstWait<<(b.tries-1), maxWait)
	return pause.For(ctx, rand.N(bound)) == nil //nolint:gosec // waits need no secret
}

// repeat tries until do succeeds or has failed for good, and translates its error. A condition that did not hold comes as a conditionError.
func (t *table) repeat(ctx context.Context, do func(ctx context.Context) error) error {
	var b backoff
	unsure := false
	for {
		err := t.try(ctx, do)
		if err == nil {
			return nil
		}
		if refusal := conditionFailed(err); refusal != nil {
			refusal.unsure = unsure
			return refusal
		}
		outcome := outcomeOf(err)
		unsure = unsure || outcome == uncertain
		if outcome == failed || ctx.Err() != nil || !b.next(ctx) {
			return storeError(ctx, err)
		}
	}
}

func (t *table) try(ctx context.Context, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, t.tryTime)
	defer cancel()
	return do(ctx)
}
