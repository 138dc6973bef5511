package natsengine

import (
	"context"
	"sync"
	"time"

	"eureka"
)

// counting is how many channels are counted at a time; each takes one request or two.
const counting = 8

// CountMessages implements eureka.MessageCounter. What a channel has stored since its oldest message that may be shown is told by NATS from the
// stream's index. Entries without a message that stand between messages, seldom and one or two, are counted as well.
func (h *history) CountMessages(ctx context.Context, channels []eureka.Channel) (map[string]int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		mu      sync.Mutex
		failure error
		running sync.WaitGroup
	)
	counts, turns := make(map[string]int, len(channels)), make(chan struct{}, counting)
	for _, ch := range channels {
		if ch.History == nil {
			continue
		}
		turns <- struct{}{}
		running.Go(func() {
			defer func() { <-turns }()
			n, err := h.count(ctx, ch)
			mu.Lock()
			defer mu.Unlock()
			if err != nil && failure == nil {
				failure = err
				cancel()
			}
			counts[ch.ID] = n
		})
	}
	running.Wait()
	if failure != nil {
		return nil, failure
	}
	return counts, nil
}

func (h *history) count(ctx context.Context, ch eureka.Channel) (int, error) {
	leave, err := h.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	oldest := h.now().Add(-time.Duration(ch.History.TTL))
	first, n, err := h.get(ctx, getRequest{StartTime: &oldest, Next: h.subject(ch.ID), Batch: 1})
	if err != nil || len(first) == 0 {
		return 0, err
	}
	if n > 0 {
		last, ok, err := h.lastEntry(ctx, ch.ID)
		if err != nil {
			return 0, err
		}
		if ok && !last.isMessage() {
			n--
		}
	}
	if first[0].isMessage() {
		n++
	}
	return min(n, ch.History.Size), nil
}
