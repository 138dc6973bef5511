package dynamo

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"eureka"
	"eureka/internal/protocol"
)

const (
	deliverBatch = 50 // messages between two saves
	deliverPages = 20 // batches of one turn under a lease
	workTurns    = 20 // turns of a worker, after which the queue has the next one
	publishTurns = 3  // of a publisher: others' messages must not hold up its answer
	spareTime    = 3 * time.Second
	noteTime     = 5 * time.Second // of a write behind the end of a call's own time
)

// deliver posts to a shard's subscribers whatever was stored and not delivered yet, unless somebody else does. What is left after some turns goes into
// the queue. t, which may be nil, counts one message.
func (e *Engine) deliver(ctx context.Context, channelID string, shard, turns int, t *tally) error {
	for range turns {
		l, err := e.acquire(ctx, channelID, shard)
		if err != nil {
			return err
		}
		if l == nil {
			return e.lookAgain(ctx, channelID, shard)
		}
		r, err := e.runtime(ctx, channelID)
		if err == nil {
			t.read(r)
			err = e.deliverRest(ctx, l, r, t)
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
	return e.enqueue(ctx, 0, e.deliverTask(channelID, shard))
}

func (e *Engine) deliverTask(channelID string, shard int) Task {
	return Task{Kind: TaskDeliver, Channel: channelID, Shard: shard, Since: e.nowMillis()}
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
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	if err := e.save(ctx, l, false); err != nil {
		e.options.Log.Warn("the delivery on a channel has to wait for the end of its lease", slog.String("channel", l.channelID), slog.Any("error", err))
	}
	return fault
}

// lookAgain makes sure that somebody delivers what was left to the holder of a lease, should the holder be cut off: a look that finds the lease
// taken again leaves another one behind. One look of this engine per shard and third of a lease is enough.
func (e *Engine) lookAgain(ctx context.Context, channelID string, shard int) error {
	name, now := shardKey(channelID, shard), e.options.Now()
	if !e.looks.due(name, now) {
		return nil
	}
	if err := e.enqueue(ctx, leaseTime+time.Second, e.deliverTask(channelID, shard)); err != nil {
		return err
	}
	e.looks.queued(name, now)
	return nil
}

// looks remembers which looks at a lease's end are in the queue.
type looks struct {
	mu sync.Mutex
	at map[string]time.Time
}

// maxLooks bounds what is remembered; forgetting only makes looks that are not needed.
const maxLooks = 10_000

// due reports whether the last look that is known to be in the queue comes too early for somebody who finds the lease taken now.
func (l *looks) due(shard string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return now.Sub(l.at[shard]) >= leaseTime/3
}

func (l *looks) queued(shard string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at == nil || len(l.at) >= maxLooks {
		l.at = map[string]time.Time{}
	}
	l.at[shard] = now
}

func enoughTime(ctx context.Context) bool {
	deadline, limited := ctx.Deadline()
	return ctx.Err() == nil && (!limited || time.Until(deadline) > spareTime)
}

// deliverRest posts what is stored behind the lease's mark, in order, and raises the mark in memory. When there is more than fits a turn, or the time,
// it returns early; whoever holds the lease next goes on.
func (e *Engine) deliverRest(ctx context.Context, l *lease, r runtime, t *tally) error {
	l.mark = max(l.mark, r.base) // what a history that was forgotten has not delivered is forgotten too
	for range deliverPages {
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
			found, err := e.postBatch(ctx, l, r, w.found, t)
			if err != nil {
				return err
			}
			t.delivered(found)
			if len(found) < len(w.found) {
				w.last, w.end = found[len(found)-1].offset, false
			}
		}
		l.mark = w.last
		if w.end || !enoughTime(ctx) {
			return nil
		}
		if err := e.save(ctx, l, true); err != nil {
			return err
		}
	}
	return nil
}

// declareGap tells the live subscribers that messages expired before they could be delivered, and goes on behind those. Subscribers with a replay are
// told by it, if they miss them too.
func (e *Engine) declareGap(ctx context.Context, l *lease, r runtime) error {
	w, err := e.walk(ctx, l.channelID, r, walk{from: l.mark, lenient: true, limit: 1})
	if err != nil {
		return err
	}
	e.options.Log.Warn("messages of a channel expired before they were delivered; its subscribers are told", slog.String("channel", l.channelID))
	body := protocol.ErrorBody(eureka.Errorf(eureka.CodeGap, "messages expired before they could be delivered; fetch the state again"))
	posting, cancel := e.within(ctx, l.until)
	defer cancel()
	b := broadcast{channelID: l.channelID, shard: l.shard, body: body, live: true}
	if err := e.broadcast(ctx, posting, b, nil); err != nil {
		return err
	}
	l.mark = w.begin()
	return e.save(ctx, l, true)
}

// postBatch posts messages to every live subscriber of the shard: to each of them in order, to many of them at once. It returns those that it posted: the
// first ones, when their filters take long.
func (e *Engine) postBatch(ctx context.Context, l *lease, r runtime, messages []stored, t *tally) ([]stored, error) {
	b := e.newBatch(l, r, messages, t)
	var jobs sync.WaitGroup
	var fault firstError
	slots := make(chan struct{}, posts)
	total := 0
	for page, err := range e.listeners(ctx, l.channelID, l.shard) {
		if err == nil {
			err = e.evaluate(ctx, b, page, total == 0)
		}
		if err == nil && !e.holds(l) {
			err = e.save(ctx, l, true)
		}
		if fault.set(err); fault.get() != nil {
			break
		}
		posting, cancel := e.within(ctx, l.until)
		total += len(page)
		for _, s := range page {
			if s.replaying {
				fault.set(e.heal(ctx, l, s))
				continue
			}
			sequence, some := b.sequence(s)
			if !some {
				continue
			}
			slots <- struct{}{}
			jobs.Go(func() {
				defer func() { <-slots }()
				fault.set(e.postSequence(ctx, posting, b, s, sequence))
			})
			if fault.get() != nil {
				break
			}
		}
		jobs.Wait() // no post of this page after the lease may have been renewed for the next
		cancel()
	}
	if fault.get() == nil {
		e.outgrown(ctx, l.channelID, l.shard, total)
	}
	return b.messages, fault.get()
}

// postSequence posts a batch to one socket. What it does not get now it gets by a replay from there, so that nothing overtakes it. posting is the
// context of the posts: what its end cuts off is delivered again by the next holder of the lease.
func (e *Engine) postSequence(ctx, posting context.Context, b *batch, s subscriber, sequence [][]byte) error {
	for i, frame := range sequence {
		if frame == nil {
			continue
		}
		outcome := e.post(posting, s.socketID, s.connectedAt, frame)
		if outcome == later && posting.Err() != nil {
			return errOutOfTime
		}
		e.settle(ctx, b.l.channelID, s, outcome)
		b.t.count(b.messages[i].offset, outcome)
		switch outcome {
		case gone:
			return nil
		case later:
			return e.holdBack(ctx, b.l, s, b.messages[i].offset-1)
		case posted, refusedForGood:
		}
	}
	return nil
}

// errOutOfTime says that posts were cut off by the end of the lease, or of the call.
var errOutOfTime = eureka.Errorf(eureka.CodeUnavailable, "the time was over before everything was posted")

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

func (f *firstError) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
