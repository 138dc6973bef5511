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

// fanout is eureka.Fanout.
type fanout Engine

// Deliver implements eureka.Fanout. A message of a channel with one shard is posted before Deliver returns; each shard of others is a task.
func (f *fanout) Deliver(ctx context.Context, m eureka.Message) (eureka.Delivery, error) {
	if err := ctx.Err(); err != nil {
		return eureka.Delivery{}, err
	}
	if err := eureka.CheckName("channel", m.ChannelID); err != nil {
		return eureka.Delivery{}, err
	}
	if len(m.Except) > eureka.MaxExcept {
		return eureka.Delivery{}, eureka.FieldError("except", "has %d sockets, the limit is %d", len(m.Except), eureka.MaxExcept)
	}
	if len(m.Key) > eureka.MaxKeyLength {
		return eureka.Delivery{}, eureka.FieldError("key", "is %d bytes long, the limit is %d", len(m.Key), eureka.MaxKeyLength)
	}
	body, err := protocol.MessageBody(m)
	if err != nil {
		return eureka.Delivery{}, err
	}
	if m.Retention == nil {
		return (*Engine)(f).deliverNow(ctx, m, body)
	}
	return (*Engine)(f).deliverStored(ctx, m, body)
}

// deliverNow delivers a message of a channel without a history: at most once.
func (e *Engine) deliverNow(ctx context.Context, m eureka.Message, body []byte) (eureka.Delivery, error) {
	r, err := e.runtime(ctx, m.ChannelID)
	if err != nil {
		return eureka.Delivery{}, err
	}
	if r.shards > 1 {
		tasks := make([]Task, r.shards)
		for shard := range tasks {
			tasks[shard] = Task{
				Kind: TaskFanout, Channel: m.ChannelID, Shard: shard, Body: body, Except: hashes(m.Except), Since: e.nowMillis(),
				Service: m.Service, ModelType: m.ModelType, ModelID: m.ModelID,
			}
		}
		return e.deferred(ctx, tasks)
	}
	var t tally
	posting, cancel := inTime(ctx)
	defer cancel()
	err = e.broadcast(ctx, posting, broadcast{channelID: m.ChannelID, body: body, origin: m.Origin, except: exclude(m.Except)}, &t)
	return t.delivery(), err
}

// deliverStored stores a message and then delivers what its channel's shards have not had yet. Once it is stored and somebody is sure to deliver it, it
// is accepted, whatever fails.
func (e *Engine) deliverStored(ctx context.Context, m eureka.Message, body []byte) (eureka.Delivery, error) {
	r, offset, err := e.append(ctx, m, body)
	if err != nil {
		return eureka.Delivery{}, err
	}
	cursor := r.cursor(offset)
	t := tally{of: offset}
	if r.shards == 1 {
		if err := e.deliver(ctx, m.ChannelID, 0, publishTurns, &t); err != nil {
			// Saying that it failed would have the publisher store it again.
			e.options.Log.Warn("a stored message is left to the queue", slog.String("channel", m.ChannelID), slog.Any("error", err))
			t.shards = 0
			if err := e.enqueue(ctx, 0, e.deliverTask(m.ChannelID, 0)); err != nil {
				return eureka.Delivery{Cursor: cursor}, err
			}
		}
	}
	// Read behind the storing: a subscriber of a shard that is newer than this reading begins behind the message.
	if t.shards == 0 {
		now, err := e.runtime(ctx, m.ChannelID)
		if err != nil {
			now = r
		}
		t.shards = now.shards
	}
	if t.shards > 1 {
		var tasks []Task
		for shard := range t.shards {
			if shard > 0 || r.shards > 1 {
				tasks = append(tasks, e.deliverTask(m.ChannelID, shard))
			}
		}
		d, err := e.deferred(ctx, tasks)
		d.Cursor = cursor
		return d, err
	}
	if !t.settled {
		return eureka.Delivery{Cursor: cursor, Unknown: true}, nil // whoever holds the shard's lease delivers it, or has
	}
	d := t.delivery()
	d.Cursor = cursor
	return d, nil
}

// deferred puts one task for each shard into the queue. Counting who is to get the message would cost what delivering it costs.
func (e *Engine) deferred(ctx context.Context, tasks []Task) (eureka.Delivery, error) {
	if err := e.enqueue(ctx, 0, tasks...); err != nil {
		return eureka.Delivery{}, err
	}
	return eureka.Delivery{Unknown: true}, nil
}

func (e *Engine) enqueue(ctx context.Context, delay time.Duration, tasks ...Task) error {
	if err := e.options.Queue.Enqueue(ctx, delay, tasks...); err != nil {
		return eureka.WrapError(eureka.CodeUnavailable, err, "the queue of tasks does not answer; try again")
	}
	return nil
}

// tally counts what becomes of one message; of says of which, when several are delivered in one go.
type tally struct {
	of     uint64
	shards int // of the channel, once they were read behind the storing of the message
	// settled: all who were to get it were posted to, though there be none.
	settled bool
	mu      sync.Mutex
	d       eureka.Delivery
}

// read notes what was read of the channel.
func (t *tally) read(r runtime) {
	if t != nil {
		t.shards = r.shards
	}
}

// delivered notes that messages were posted to whoever is to get them.
func (t *tally) delivered(messages []stored) {
	if t != nil {
		t.settled = t.settled || slices.ContainsFunc(messages, func(s stored) bool { return s.offset == t.of })
	}
}

func (t *tally) count(offset uint64, outcome outcomeOfPost) {
	if t == nil || offset != t.of {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.d.Matched++
	switch outcome {
	case posted:
		t.d.Sent++
	case gone:
		t.d.Gone++
	case later:
		t.d.Deferred++
	case refusedForGood:
	}
}

func (t *tally) delivery() eureka.Delivery {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.d
}
