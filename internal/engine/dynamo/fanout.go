package dynamo

import (
	"context"
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
			tasks[shard] = Task{Kind: TaskFanout, Channel: m.ChannelID, Shard: shard, Body: body, Except: m.Except, Since: e.nowMillis()}
		}
		return e.deferred(ctx, m, tasks)
	}
	var t tally
	err = e.broadcast(ctx, m.ChannelID, 0, body, m.Except, &t)
	return t.delivery(), err
}

// deliverStored stores a message and then delivers what its channel's shards have not had yet.
func (e *Engine) deliverStored(ctx context.Context, m eureka.Message, body []byte) (eureka.Delivery, error) {
	r, offset, err := e.append(ctx, m, body)
	if err != nil {
		return eureka.Delivery{}, err
	}
	d := eureka.Delivery{Cursor: r.cursor(offset)}
	if r.shards > 1 {
		tasks := make([]Task, r.shards)
		for shard := range tasks {
			tasks[shard] = Task{Kind: TaskDeliver, Channel: m.ChannelID, Shard: shard, Since: e.nowMillis()}
		}
		counted, err := e.deferred(ctx, m, tasks)
		counted.Cursor = d.Cursor
		return counted, err
	}
	var t tally
	t.of = offset
	if err := e.deliver(ctx, m.ChannelID, 0, &t); err != nil {
		// It is stored: saying otherwise would have the publisher store it again.
		return d, e.enqueue(ctx, 0, Task{Kind: TaskDeliver, Channel: m.ChannelID, Since: e.nowMillis()})
	}
	counted := t.delivery()
	if counted.Matched == 0 && m.Counted {
		// Somebody else holds the shard's lease, and delivers it.
		n, err := e.countSubscribers(ctx, m.ChannelID)
		if err != nil {
			return d, err
		}
		counted.Matched, counted.Sent = n, n
	}
	counted.Cursor = d.Cursor
	return counted, nil
}

// deferred puts one task for each shard into the queue.
func (e *Engine) deferred(ctx context.Context, m eureka.Message, tasks []Task) (eureka.Delivery, error) {
	var d eureka.Delivery
	if m.Counted {
		n, err := e.countSubscribers(ctx, m.ChannelID)
		if err != nil {
			return d, err
		}
		d.Matched, d.Deferred = n, n
	}
	return d, e.enqueue(ctx, 0, tasks...)
}

func (e *Engine) enqueue(ctx context.Context, delay time.Duration, tasks ...Task) error {
	if err := e.options.Queue.Enqueue(ctx, delay, tasks...); err != nil {
		return eureka.WrapError(eureka.CodeUnavailable, err, "the message was not accepted: the queue does not answer")
	}
	return nil
}

// tally counts what becomes of one message; of says of which, when several are delivered in one go.
type tally struct {
	of uint64
	mu sync.Mutex
	d  eureka.Delivery
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
	}
}

func (t *tally) delivery() eureka.Delivery {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.d
}
