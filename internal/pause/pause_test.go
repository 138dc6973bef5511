package pause_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"eureka/internal/pause"
)

func TestFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := pause.For(t.Context(), time.Minute); err != nil || time.Since(began) != time.Minute {
			t.Errorf("%s, %v", time.Since(began), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := pause.For(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute+time.Second {
			t.Errorf("%s, %v", time.Since(began), err)
		}
	})
}

// TestBackoff: pauses double up to the last, each between its bound and twice that, and begin again after a success.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := pause.Backoff{First: time.Second, Last: 5 * time.Second}
		lengths := map[time.Duration]bool{}
		for round := range 3 {
			for n, bound := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second} {
				began := time.Now()
				err := b.Wait(t.Context())
				took := time.Since(began)
				if err != nil || took < bound || took >= 2*bound {
					t.Errorf("pause %d of round %d took %s, %v; its bound is %s", n, round, took, err, bound)
				}
				lengths[took-bound] = true
			}
			b.Reset()
		}
		if len(lengths) < 2 {
			t.Error("all pauses are as long as their bounds say")
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.Wait(ended); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
