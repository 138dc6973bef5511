package natsengine

import (
	"context"
	"slices"
	"time"

	"eureka"
)

// Newest implements eureka.History.
func (h *history) Newest(ctx context.Context, channelID string, limit int) (eureka.HistoryPage, error) {
	ch, err := h.engine.channels.Get(ctx, channelID)
	if err != nil {
		return eureka.HistoryPage{}, err
	}
	if ch.History == nil {
		return eureka.HistoryPage{}, nil
	}
	leave, err := h.enter(ctx)
	if err != nil {
		return eureka.HistoryPage{}, err
	}
	defer leave()
	last, err := h.position(ctx, channelID)
	if err != nil {
		return eureka.HistoryPage{}, err
	}
	limit = min(limit, ch.History.Size)
	entries, err := h.newest(ctx, channelID, last, limit)
	if err != nil {
		return eureka.HistoryPage{}, err
	}
	page, now := eureka.HistoryPage{Cursor: h.cursor(channelID, last)}, h.now()
	entries = slices.DeleteFunc(entries, func(e entry) bool { return !e.isMessage() || e.expired(now, time.Duration(ch.History.TTL)) })
	for i := range entries[max(0, len(entries)-limit):] {
		if err := h.retained(&page, channelID, &entries[max(0, len(entries)-limit)+i]); err != nil {
			return eureka.HistoryPage{}, err
		}
	}
	return page, nil
}

// anchorsAmong is how many entries without a message may stand among the newest of a channel; one that is half its time silent gets one.
const anchorsAmong = 8

// newest returns entries up to last, at least the newest limit messages. The stream has no index of positions, so where to begin is found by asking
// how many entries there are behind a sequence.
func (h *history) newest(ctx context.Context, channelID string, last uint64, limit int) ([]entry, error) {
	want := limit + anchorsAmong
	low, high := uint64(0), last // with fewer than want entries behind high, and at least as many behind low, or all
	for probes := 0; ; probes++ {
		from := low
		if probes > 0 {
			from = low + (high-low)/2
		}
		first, pending, err := h.read(ctx, channelID, from, 1)
		if err != nil {
			return nil, err
		}
		switch count := pending + len(first); {
		case probes == 0 && count <= want:
			return h.through(ctx, channelID, from, last)
		case count >= want && count <= want+want/2+anchorsAmong:
			return h.through(ctx, channelID, from, last)
		case count >= want:
			low = from
			if len(first) > 0 {
				low = max(low, first[0].seq-1)
			}
		default:
			high = from
		}
		if high-low <= 1 {
			return h.through(ctx, channelID, low, last)
		}
	}
}

// through reads all entries behind from, up to and with last.
func (h *history) through(ctx context.Context, channelID string, from, last uint64) ([]entry, error) {
	var all []entry
	for try := 0; from < last; {
		entries, pending, err := h.read(ctx, channelID, from, eureka.MaxHistoryPage)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.seq > last {
				return all, nil
			}
			all = append(all, e)
			from = e.seq
		}
		if pending > 0 || from >= last {
			continue
		}
		// The replica that answered lags, or the last one has expired meanwhile.
		newest, ok, err := h.lastEntry(ctx, channelID)
		if err != nil {
			return nil, err
		}
		if !ok || newest.seq < last {
			return all, nil
		}
		if err := lag(ctx, try); err != nil {
			return nil, err
		}
		try++
	}
	return all, nil
}
