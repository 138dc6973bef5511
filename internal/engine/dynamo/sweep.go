package dynamo

import "context"

// Sweep calls end for every socket whose time is over although nobody reported its end, so that it can be reported; end is expected to remove it. It
// goes through the entries of lists from a position of an earlier call ("" for the beginning) until it is through, when next is "", or
// ctx is about to end.
func (e *Engine) Sweep(ctx context.Context, position string, end func(ctx context.Context, socketID string) error) (next string, err error) {
	for n := range listBuckets {
		bucket := bucketKey(n)
		if bucket < position {
			continue
		}
		for it, err := range e.table.items(ctx, query{partition: bucket, attributes: []string{KeyPartition, KeySort, attrExpires}}) {
			if err != nil {
				return bucket, err
			}
			if !it.has(attrExpires) || it.number(attrExpires) > e.nowMillis() {
				continue
			}
			if !enoughTime(ctx) {
				return bucket, nil
			}
			if err := end(ctx, entryID(it)); err != nil {
				return bucket, err
			}
			if err := e.dropEntry(ctx, it); err != nil {
				return bucket, err
			}
		}
	}
	return "", nil
}

// dropEntry removes an entry that stands for no socket any more.
func (e *Engine) dropEntry(ctx context.Context, it item) error {
	there, err := e.table.get(ctx, socketKey(entryID(it)), true)
	if err != nil || there != nil {
		return err
	}
	_, err = e.table.remove(ctx, it.key(), condition{})
	return err
}
