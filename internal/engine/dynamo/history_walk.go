package dynamo

import (
	"context"
	"time"

	"eureka"
	"eureka/internal/pause"
)

// How a reader treats a hole: an offset that was given, with nothing stored although later ones are. Its writer is between two steps, or was cut off.
const (
	holePatience = 2 * time.Second // since something behind it was stored
	holePause    = 25 * time.Millisecond
	maxHolePause = 200 * time.Millisecond
	walkBytes    = 4 << 20  // of the messages of one page: large ones must not fill a function's memory
	newestBytes  = 16 << 20 // of the newest messages
)

// walk is a reading of a history offset by offset.
type walk struct {
	from    uint64 // behind this offset
	limit   int    // messages; 0: no limit
	lenient bool   // what is gone is passed by; otherwise it is a gap

	found []stored // messages, without seals
	last  uint64   // everything up to this offset is accounted for
	end   bool     // nothing is known to be behind last
	cut   bool     // lenient: something was gone, or too much to return
	bytes int
}

// complete reports whether everything behind a position is there.
func (e *Engine) complete(ctx context.Context, channelID string, r runtime, since eureka.Cursor) (bool, error) {
	if !r.has(since) {
		return false, nil
	}
	_, err := e.walk(ctx, channelID, r, walk{from: since.Offset, limit: 1})
	if eureka.CodeOf(err) == eureka.CodeGap {
		return false, nil
	}
	return err == nil, err
}

// walk reads on until the limit or the end. A hole at the end is no one's business: its writer will deliver it. One in between is waited for and then
// sealed, so that nobody passes it by as long as something may still be stored there.
func (e *Engine) walk(ctx context.Context, channelID string, r runtime, w walk) (walk, error) {
	w.last = w.from
	if w.from >= r.head {
		w.end = true
		return w, nil
	}
	if w.from+1 < r.lowest() {
		if !w.lenient {
			return w, errGap
		}
		w.last, w.cut = r.lowest()-1, true
	}
	began, wait := e.options.Now(), holePause
	for {
		hole, err := e.stride(ctx, channelID, r, &w)
		if err != nil {
			return w, err
		}
		now := e.options.Now()
		if hole == nil {
			err = w.finish(r, now)
			return w, err
		}
		// The clock of whoever stored what is behind the hole may be ahead of ours.
		late := now.Sub(time.UnixMilli(hole.next.at)) > holePatience || now.Sub(began) > 2*holePatience
		switch {
		case !late:
			if err := pause.For(ctx, wait); err != nil {
				return w, storeError(ctx, err)
			}
			wait = min(2*wait, maxHolePause)
		case hole.recent(now):
			if err := e.seal(ctx, channelID, r, w.last+1); err != nil {
				return w, err
			}
		case w.lenient:
			// Its message may have been there, and be gone.
			w.restart(hole.next.offset - 1)
		default:
			return w, errGap
		}
	}
}

// finish judges what is missing at the end: after a while it was there, or may have been, and was removed.
func (w *walk) finish(r runtime, now time.Time) error {
	if !w.end || w.last >= r.head || !r.cleared(now) {
		return nil
	}
	if !w.lenient {
		return errGap
	}
	w.restart(r.head)
	return nil
}

// restart drops what was found: it is not contiguous with what comes behind an offset.
func (w *walk) restart(offset uint64) {
	w.found, w.bytes, w.cut, w.last = nil, 0, true, offset
}

// begin is the position from which what a lenient walk found goes on without a gap.
func (w walk) begin() uint64 {
	if len(w.found) > 0 {
		return w.found[0].offset - 1
	}
	return w.last
}

// hole is a missing offset, or several, between two that are there.
type hole struct {
	before stored // zero when it is not there either
	next   stored
}

// recent reports whether the missing offsets were taken so short a time ago that whatever was stored there would still be there.
func (h hole) recent(now time.Time) bool {
	young := func(at int64) bool { return at != 0 && now.Sub(time.UnixMilli(at)) < keptOver }
	return young(h.before.at) || (h.next.offset == h.before.offset+2 && young(h.next.before))
}

// stride reads on from w.last until a hole, which it returns, the limit or the end.
func (e *Engine) stride(ctx context.Context, channelID string, r runtime, w *walk) (*hole, error) {
	for {
		q := query{partition: messagesKey(channelID, r.epoch), from: offsetText(w.last), consistent: true}
		if w.limit > 0 {
			q.limit = w.limit - len(w.found) + 2 // the position itself, and one to know that there is more
		}
		read, hole, full, err := e.strideOnce(ctx, r, w, q)
		if err != nil || hole != nil || full {
			return hole, err
		}
		if q.limit == 0 || read < q.limit {
			w.end = true
			return nil, nil //nolint:nilnil // no hole
		}
		// Seals took the place of messages; go on behind them.
	}
}

// strideOnce is stride with one query. full: there is more than w may have.
func (e *Engine) strideOnce(ctx context.Context, r runtime, w *walk, q query) (read int, found *hole, full bool, err error) {
	previous := stored{offset: w.last}
	if w.last == r.base {
		previous.at = r.began // everything behind was taken since
	}
	for it, err := range e.table.items(ctx, q) {
		if err != nil {
			return read, nil, false, err
		}
		read++
		s := storedOf(it)
		switch {
		case s.offset <= w.last:
			previous = s
			continue
		case w.limit > 0 && len(w.found) >= w.limit, w.bytes > walkBytes && !w.lenient:
			return read, nil, true, nil
		case s.offset > w.last+1:
			return read, &hole{previous, s}, false, nil
		case s.gone(r, e.nowMillis()):
			if !w.lenient {
				return read, nil, false, errGap
			}
			w.restart(s.offset)
		case !s.seal:
			w.found, w.bytes = append(w.found, s), w.bytes+len(s.body)
			for w.lenient && w.bytes > newestBytes {
				w.bytes, w.cut, w.found = w.bytes-len(w.found[0].body), true, w.found[1:]
			}
		}
		w.last, previous = s.offset, s
	}
	return read, nil, false, nil
}
