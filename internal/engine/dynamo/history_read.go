package dynamo

import (
	"context"

	"eureka"
)

// history is eureka.History.
type history Engine

// The two kinds of a gap, in the words of the other engine.
var (
	errGap     = eureka.Errorf(eureka.CodeGap, "messages behind this position are no longer there; fetch the state again")
	errForeign = eureka.Errorf(eureka.CodeGap, "the position belongs to no present history of this channel; fetch the state again")
)

// After implements eureka.History.
func (h *history) After(ctx context.Context, channelID string, since eureka.Cursor, limit int) (eureka.HistoryPage, error) {
	e := (*Engine)(h)
	r, err := e.present(ctx, channelID)
	if err != nil {
		return eureka.HistoryPage{}, err
	}
	if since.Epoch != r.epoch {
		return eureka.HistoryPage{}, errForeign
	}
	if !r.has(since) {
		return eureka.HistoryPage{}, errGap
	}
	w, err := e.walk(ctx, channelID, r, walk{from: since.Offset, limit: limit})
	if err != nil {
		return eureka.HistoryPage{}, err
	}
	return r.page(w.found, w.last, !w.end)
}

// Newest implements eureka.History.
func (h *history) Newest(ctx context.Context, channelID string, limit int) (eureka.HistoryPage, error) {
	e := (*Engine)(h)
	r, err := e.present(ctx, channelID)
	if err != nil {
		return eureka.HistoryPage{}, err
	}
	if r.epoch == "" {
		r.epoch, r.head, r.base = newEpoch(), firstHead, firstHead // of a channel without a history: a position that is none later
	}
	oldest := min(r.lowest()-1, r.head)
	// As far back as the page may reach, and further as long as seals take the place of messages.
	for reach := uint64(limit); ; reach *= 2 { //nolint:gosec // 1 to MaxHistoryPage
		from := oldest
		if r.head > reach {
			from = max(from, r.head-reach)
		}
		w, err := e.walk(ctx, channelID, r, walk{from: from, lenient: true})
		if err != nil {
			return eureka.HistoryPage{}, err
		}
		if n := len(w.found); n >= limit || from == oldest || w.cut {
			return r.page(w.found[max(0, n-limit):], w.last, false)
		}
	}
}

// Forget implements eureka.History. Offsets go on, so that shards need not be told; what was stored goes by its TTL.
func (h *history) Forget(ctx context.Context, channelID string) error {
	if err := eureka.CheckName("channel", channelID); err != nil {
		return err
	}
	_, err := h.table.update(ctx, runtimeKey(channelID), change{
		expression: "SET ep = :epoch, hd = if_not_exists(hd, :first) + :one, ba = if_not_exists(hd, :first) + :one, bt = :now REMOVE la",
		values:     item{":epoch": text(newEpoch()), ":first": number(firstHead), ":one": number(1), ":now": number(h.options.Now().UnixMilli())},
	})
	return err
}

// has reports whether a cursor is a position of the present history.
func (r runtime) has(c eureka.Cursor) bool {
	return r.epoch != "" && c.Epoch == r.epoch && c.Offset >= r.base && c.Offset <= r.head
}

// page makes the answer of what was found up to a position.
func (r runtime) page(found []stored, last uint64, more bool) (eureka.HistoryPage, error) {
	page := eureka.HistoryPage{Cursor: r.cursor(last), More: more, Messages: make([]eureka.Retained, 0, len(found))}
	for _, s := range found {
		m, err := s.retained(r)
		if err != nil {
			return eureka.HistoryPage{}, err
		}
		page.Messages = append(page.Messages, m)
	}
	return page, nil
}
