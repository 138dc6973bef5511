package dynamo

import (
	"context"
	"sync"
)

// each calls do for every value, at most n at the same time, and returns the first error; what has not begun by then is left.
func each[T any](ctx context.Context, n int, values []T, do func(ctx context.Context, v T) error) error {
	if len(values) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan T)
	var all sync.WaitGroup
	for range min(n, len(values)) {
		all.Go(func() {
			for v := range next {
				if err := do(ctx, v); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	for _, v := range values {
		select {
		case next <- v:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	all.Wait()
	return storeError(ctx, context.Cause(ctx))
}
