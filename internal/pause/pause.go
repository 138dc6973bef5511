// Package pause waits for a while. It never tries anything, and never decides whether to try again.
package pause

import (
	"context"
	"math/rand/v2"
	"time"
)

// For waits for d. When ctx ends first it returns ctx's error.
func For(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Backoff are the pauses between tries that fail. The bound of each is First, doubled with each pause and at most Last. It is for one goroutine.
type Backoff struct {
	First, Last time.Duration // above 0

	next time.Duration
}

// Wait pauses for anything between its bound and twice that, so that those who wait for the same thing do not come back at once. When ctx ends first it
// returns ctx's error.
func (b *Backoff) Wait(ctx context.Context) error {
	bound := max(b.next, b.First)
	b.next = min(2*bound, b.Last)
	return For(ctx, bound+rand.N(bound)) //nolint:gosec // spreads load, guards nothing
}

// Reset begins with First again: a try has succeeded.
func (b *Backoff) Reset() { b.next = 0 }
