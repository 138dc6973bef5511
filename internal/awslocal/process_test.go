package awslocal

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestAwaitTriesAgain: a try that gets no answer at all is given up, so that the next one can succeed.
func TestAwaitTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, tries, began := &Process{ended: make(chan struct{})}, 0, time.Now()
		err := p.await(t.Context(), func(ctx context.Context) error {
			if tries++; tries > 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
		if took := time.Since(began); err != nil || tries != 2 || took >= startTime {
			t.Errorf("%d tries in %v: %v", tries, took, err)
		}
	})
}
