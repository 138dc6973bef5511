package dynamo

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"eureka"
	"eureka/internal/protocol"
)

const (
	deliverBatch = 50 // messages between two saves
	deliverTurns = 20 // batches of one call, after which the queue has the next one
	spareTime    = 3 * time.Second
)

// deliver posts to a shard's subscribers whatever was stored and not delivered yet, unless somebody else does. t, which may be nil, counts one message.
func (e *Engine) deliver(ctx context.Context, channelID string, shard int, t *tally) error {
	for range deliverTurns {
		l, err := e.acquire(ctx, channelID, shard)
		if err != nil {
			return err
		}
		if l == nil {
			return e.lookAgain(ctx, channelID, shard)
		}
		r, err := e.runtime(ctx, channelID)
		if err == nil {
			err = e.deliverUpTo(ctx, l, r, 0, t)
		}
		if err != nil {
			return e.letGo(ctx, l, err)
		}
		if err := e.save(ctx, l, false); err != nil {
			return err
		}
		// What was stored while the lease was held was left to its holder.
		if r, err = e.runtime(ctx, channelID); err != nil {
			return err
		}
		done, err := e.nothingBehind(ctx, channelID, r, l.mark)
		if err != nil || done {
			return err
		}
		if !enoughTime(ctx) {
			break
		}
	}
	return e.enqueue(ctx, 0, Task{Kind: TaskDeliver, Channel: channelID, Shard: shard, Since: e.nowMillis()})
}

// nothingBehind reports whether no message is stored behind the mark. One whose offset is taken but which is not stored yet is its writer's to deliver.
func (e *Engine) nothingBehind(ctx context.Context, channelID string, r runtime, mark uint64) (bool, error) {
	if r.head <= mark {
		return true, nil
	}
	for _, err := range e.table.items(ctx, query{
		partition: messagesKey(channelID, r.epoch), from: offsetText(mark + 1), consistent: true, limit: 1, attributes: []string{KeySort},
	}) {
		return false, err
	}
	return true, nil
}

// letGo gives a lease up after a fault, as far as that is possible, and returns the fault.
func (e *Engine) letGo(ctx context.Context, l *lease, fault error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), defaultTryTime)
	defer cancel()
	if err := e.save(ctx, l, false); err != nil {
		e.options.Log.Warn("the delivery on a channel has to wait for the end of its lease", slog.String("channel", l.channelID), slog.Any("error", err))
	}
	return fault
}

// lookAgain makes sure that somebody delivers what was left to the holder of a lease, should the holder be cut off. One look of this engine per lease
// and shard is enough.
func (e *Engine) lookAgain(ctx context.Context, channelID string, shard int) error {
	if !e.looks.due(shardKey(channelID, shard), e.options.Now()) {
		return nil
	}
	return e.enqueue(ctx, leaseTime+time.Second, Task{Kind: TaskDeliver, Channel: channelID, Shard: shard, Since: e.nowMillis()})
}

// looks remembers which looks at a lease's end are in the queue.
type looks struct {
	mu sync.Mutex
	at map[string]time.Time
}

// maxLooks bounds what is remembered; forgetting only makes looks that are not needed.
const maxLooks = 10_000

func (l *looks) due(shard string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	// A lease that is renewed may end later than the look; the next look is due well before that.
	if now.Sub(l.at[shard]) < leaseTime/3 {
		return false
	}
	if l.at == nil || len(l.at) >= maxLooks {
		l.at = map[string]time.Time{}
	}
	l.at[shard] = now
	return true
}

func enoughTime(ctx context.Context) bool {
	deadline, limited := ctx.Deadline()
	return !limited || time.Until(deadline) > spareTime
}

// deliverUpTo posts what is behind the lease's mark, at least up to an offset if that is stored, in order, and raises the mark in memory.
func (e *Engine) deliverUpTo(ctx context.Context, l *lease, r runtime, upTo uint64, t *tally) error {
	for range deliverTurns {
		w, err := e.walk(ctx, l.channelID, r, walk{from: l.mark, limit: deliverBatch})
		if eureka.CodeOf(err) == eureka.CodeGap {
			if err = e.declareGap(ctx, l, r); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if len(w.found) > 0 {
			if err := e.postBatch(ctx, l, r, w.found, t); err != nil {
				return err
			}
		}
		l.mark = w.last
		if w.end && l.mark >= upTo {
			return nil
		}
		if !enoughTime(ctx) {
			return nil // whoever holds the lease next goes on
		}
		if err := e.save(ctx, l, true); err != nil {
			return err
		}
	}
	return nil
}

// declareGap tells the subscribers that messages expired before they could be delivered, and goes on behind those.
func (e *Engine) declareGap(ctx context.Context, l *lease, r runtime) error {
	w, err := e.walk(ctx, l.channelID, r, walk{from: l.mark, lenient: true})
	if err != nil {
		return err
	}
	l.mark = w.last
	if n := len(w.found); n > 0 {
		l.mark = w.found[0].offset - 1
	}
	e.options.Log.Warn("messages of a channel expired before they were delivered; its subscribers are told", slog.String("channel", l.channelID))
	body := protocol.ErrorBody(eureka.Errorf(eureka.CodeGap, "messages expired before they could be delivered; fetch the state again"))
	if err := e.broadcast(ctx, l.channelID, l.shard, body, nil, nil); err != nil {
		return err
	}
	return e.save(ctx, l, true)
}

// postBatch posts messages to every live subscriber of the shard: to each of them in order, to many of them at once.
func (e *Engine) postBatch(ctx context.Context, l *lease, r runtime, batch []stored, t *tally) error {
	bodies := make([]*frames, len(batch))
	for i, s := range batch {
		bodies[i] = newFrames(l.channelID, protocol.AppendID(slices.Clone(s.body), r.cursor(s.offset).String()))
	}
	var jobs sync.WaitGroup
	var fault firstError
	slots := make(chan struct{}, posts)
	total := 0
	for page, err := range e.shardPages(ctx, l.channelID, l.shard) {
		if err != nil {
			fault.set(err)
			break
		}
		if !e.holds(l) {
			if err := e.save(ctx, l, true); err != nil {
				fault.set(err)
				break
			}
		}
		total += len(page)
		for _, s := range page {
			if s.replaying {
				continue
			}
			sequence := make([][]byte, len(bodies))
			for i, f := range bodies {
				if !slices.Contains(batch[i].except, s.socketID) {
					sequence[i] = f.of(s)
				}
			}
			slots <- struct{}{}
			jobs.Go(func() {
				defer func() { <-slots }()
				fault.set(e.postSequence(ctx, l, s, batch, sequence, t))
			})
		}
	}
	jobs.Wait()
	if fault.err == nil {
		e.outgrown(ctx, l.channelID, l.shard, total)
	}
	return fault.err
}

// postSequence posts a batch to one socket. What it does not get now it gets by a replay from there, so that nothing overtakes it.
func (e *Engine) postSequence(ctx context.Context, l *lease, s subscriber, batch []stored, sequence [][]byte, t *tally) error {
	for i, frame := range sequence {
		if frame == nil {
			continue
		}
		outcome, err := e.post(ctx, s.socketID, s.connectedAt, frame)
		if err != nil && ctx.Err() != nil {
			return err
		}
		e.settle(ctx, l.channelID, s, outcome, err)
		t.count(batch[i].offset, outcome)
		switch {
		case outcome == gone:
			return nil
		case outcome == later && err == nil:
			return e.holdBack(ctx, l, s, batch[i].offset-1)
		}
	}
	return nil
}

// firstError keeps the first of many errors.
type firstError struct {
	mu  sync.Mutex
	err error
}

func (f *firstError) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}
