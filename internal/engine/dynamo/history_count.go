package dynamo

import (
	"context"
	"sync"

	"eureka"
)

// CountMessages implements eureka.MessageCounter, from one item of each channel. That knows how many messages there were and when the newest one came,
// but not when each expires: as long as any may be shown, those are counted as well that have expired before it, and offsets that were sealed.
func (h *history) CountMessages(ctx context.Context, channels []eureka.Channel) (map[string]int, error) {
	var mu sync.Mutex
	counts, e := make(map[string]int, len(channels)), (*Engine)(h)
	err := each(ctx, parallel, channels, func(ctx context.Context, ch eureka.Channel) error {
		if ch.History == nil {
			return nil
		}
		it, err := e.table.get(ctx, runtimeKey(ch.ID), true)
		if err != nil {
			return err
		}
		n := retainedOf(it, *ch.History, e.nowMillis())
		mu.Lock()
		defer mu.Unlock()
		counts[ch.ID] = n
		return nil
	})
	if err != nil {
		return nil, err
	}
	return counts, nil
}

// retainedOf is how many messages a channel whose run-time item this is retains at the most.
func retainedOf(it item, kept eureka.Retention, now int64) int {
	r := runtimeOf(it)
	r.limit, r.size = min(r.limit, int64(kept.TTL)/1e6), min(r.size, kept.Size)
	if last := it.number(attrLast); r.epoch == "" || last == 0 || last+r.limit <= now || r.head < r.lowest() {
		return 0
	}
	return int(r.head - r.lowest() + 1) //nolint:gosec // at most Size
}
