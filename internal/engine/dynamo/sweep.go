package dynamo

import (
	"context"
	"math/rand/v2"
)

// Sweep goes through all sockets. It calls ended for each whose time is over although nobody reported its end, so that it can be reported, which is
// expected to remove it; and alive for the others, in groups of at most limit ids. Entries that stand for no socket any more are dropped. It begins
// with another part at each call and stops, without an error, when ctx is about to end: what it did not come to is the next one's.
func (e *Engine) Sweep(
	ctx context.Context, limit int, ended func(ctx context.Context, socketID string) error, alive func(ctx context.Context, socketIDs []string) error,
) error {
	var living []string
	first := rand.N(listBuckets) //nolint:gosec // it only spreads
	for n := range listBuckets {
		bucket := bucketKey((first + n) % listBuckets)
		for it, err := range e.table.items(ctx, query{partition: bucket, attributes: []string{KeyPartition, KeySort, attrExpires}}) {
			switch {
			case err != nil:
				return err
			case !enoughTime(ctx):
				return nil
			case it.has(attrExpires) && it.number(attrExpires) <= e.nowMillis():
				err = e.sweepEnded(ctx, it, ended)
			default:
				if living = append(living, entryID(it)); len(living) >= limit {
					err = alive(ctx, living)
					living = nil
				}
			}
			if err != nil {
				return err
			}
		}
	}
	if len(living) == 0 {
		return nil
	}
	return alive(ctx, living)
}

// sweepEnded reports a socket's end, and drops an entry that stands for none.
func (e *Engine) sweepEnded(ctx context.Context, entry item, ended func(ctx context.Context, socketID string) error) error {
	id := entryID(entry)
	if err := ended(ctx, id); err != nil {
		return err
	}
	there, err := e.table.get(ctx, socketKey(id), true)
	if err != nil || there != nil {
		return err
	}
	_, err = e.table.remove(ctx, entry.key(), condition{})
	return err
}
