package dynamo

import (
	"context"
	"log/slog"
	"time"

	"eureka"
	"eureka/internal/protocol"
)

const (
	moves      = 32               // subscriptions that are moved or ended at the same time
	moveDelay  = time.Second      // of a task that came before the channel's own change
	moveUnseen = 20 * time.Second // after which it is believed that the change was not made
)

// following makes a change of a channel that the subscribers of a name have to follow: to the channel that takes the name as its alias, or out of one
// that is deleted. The task is queued before the change where somebody listens, so that nobody is left behind when the caller is cut off; who
// subscribes in between is found behind it, or finds the change himself.
func (e *Engine) following(ctx context.Context, name string, do func() error) error {
	if name == "" {
		return do()
	}
	told, err := e.announce(ctx, name)
	if err != nil {
		return err
	}
	if err := do(); err != nil || told {
		return err
	}
	if _, err := e.announce(ctx, name); err != nil {
		e.options.Log.Warn("subscribers that came while their channel changed may be left behind", slog.String("channel", name), slog.Any("error", err))
	}
	return nil
}

// announce queues a TaskMove if a name has subscribers.
func (e *Engine) announce(ctx context.Context, name string) (bool, error) {
	r, err := e.runtime(ctx, name)
	if err != nil {
		return false, err
	}
	if r.shards == 1 { // others are not asked: some of them will have somebody
		anybody := false
		q := query{partition: shardKey(name, 0), consistent: true, limit: 1, attributes: []string{KeySort}}
		for _, err := range e.table.items(ctx, q) {
			if err != nil {
				return false, err
			}
			anybody = true
			break
		}
		if !anybody {
			return false, nil
		}
	}
	return true, e.enqueue(ctx, 0, Task{Kind: TaskMove, Channel: name, Since: e.nowMillis(), Early: true})
}

// workMove does a TaskMove: what the name stands for by now says what becomes of its subscribers. That of the first shard queues those of the others.
func (e *Engine) workMove(ctx context.Context, t Task) error {
	it, err := e.table.get(ctx, nameKey(t.Channel), true)
	if err != nil {
		return err
	}
	var do func(ctx context.Context, s subscriber) error
	var again retries
	switch posting, cancel := inTime(ctx); {
	case living(it) && it.text(attrID) != t.Channel:
		cancel()
		to := it.text(attrID)
		do = func(ctx context.Context, s subscriber) error { return e.moveOne(ctx, t.Channel, to, s) }
	case it != nil && !living(it):
		defer cancel()
		before := it.number(attrDeletedAt) * versionsPerMilli
		do = func(ctx context.Context, s subscriber) error {
			return e.endOne(ctx, posting, t.Channel, s, before, &again)
		}
	default:
		cancel()
		if !t.Early || e.olderThan(t.Since, moveUnseen) {
			return nil
		}
		return e.enqueue(ctx, moveDelay, t)
	}
	t.Early = false
	if t.Shard == 0 {
		if err := e.spread(ctx, t); err != nil {
			return err
		}
	}
	err = e.eachSubscriber(ctx, t, do)
	if tasks := again.tasks(e.nowMillis()); len(tasks) > 0 {
		if queueErr := e.enqueue(ctx, retryDelay, tasks...); err == nil {
			err = queueErr
		}
	}
	return err
}

// spread queues the tasks of the other shards.
func (e *Engine) spread(ctx context.Context, t Task) error {
	r, err := e.runtime(ctx, t.Channel)
	if err != nil || r.shards == 1 {
		return err
	}
	tasks := make([]Task, 0, r.shards-1)
	for shard := 1; shard < r.shards; shard++ {
		other := t
		other.Shard = shard
		tasks = append(tasks, other)
	}
	return e.enqueue(ctx, 0, tasks...)
}

// eachSubscriber does something with each subscriber of the task's shard. What there is no time for is left to the queue.
func (e *Engine) eachSubscriber(ctx context.Context, t Task, do func(ctx context.Context, s subscriber) error) error {
	late := false
	for page, err := range e.shardPages(ctx, t.Channel, t.Shard) {
		if err != nil {
			return err
		}
		err := each(ctx, moves, page, func(ctx context.Context, s subscriber) error {
			if !enoughTime(ctx) {
				return errOutOfTime
			}
			return do(ctx, s)
		})
		if late = err != nil && !enoughTime(ctx); late {
			break
		}
		if err != nil {
			return err
		}
	}
	if !late {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	return e.enqueue(ctx, 0, t)
}

// moveOne moves a subscription to another channel, under the name that it has; a socket that listens there already keeps that subscription alone. The
// new one comes first, so that no moment is without one.
func (e *Engine) moveOne(ctx context.Context, from, to string, s subscriber) error {
	note, err := e.table.get(ctx, mirrorKey(s.socketID, from), true)
	if err != nil || note == nil {
		return err // it has left
	}
	r, err := e.present(ctx, to)
	if err != nil {
		return err
	}
	all := (*sockets)(e)
	subs, err := e.subscriptions(ctx, s.socketID, []item{note})
	if err != nil {
		return err
	}
	sub := subs[0]
	sub.ChannelID = to
	if err := all.writeNew(ctx, r, sub); err != nil {
		if eureka.CodeOf(err) == eureka.CodeNotFound {
			return nil // the socket has ended
		}
		return err
	}
	return unlessNone(all.endSubscription(ctx, s.socketID, from, 0))
}

// writeNew writes a subscription unless the socket has one.
func (s *sockets) writeNew(ctx context.Context, r runtime, sub eureka.Subscription) error {
	for range maxSubscribeTries {
		w, err := s.prepare(ctx, r, sub)
		if err != nil || w.before != nil {
			return err
		}
		if done, err := s.writeOnce(ctx, &w); err != nil || done {
			return err
		}
	}
	return errChanging()
}

// endOne tells a subscriber that the channel was deleted, and ends the subscription. One that was made since then stays.
func (e *Engine) endOne(ctx, posting context.Context, channelID string, s subscriber, before int64, again *retries) error {
	if s.version >= before {
		return nil
	}
	frame := protocol.AppendMessage(nil, s.called(channelID), protocol.ErrorBody(eureka.Errorf(eureka.CodeGone, "the channel was deleted")))
	outcome := e.post(posting, s.socketID, s.connectedAt, frame)
	e.settle(ctx, channelID, s, outcome)
	switch outcome {
	case gone:
		return nil
	case later:
		if posting.Err() != nil {
			return errOutOfTime
		}
		again.add(s.socketID, frame)
	case posted, refusedForGood:
	}
	return unlessNone((*sockets)(e).endSubscription(ctx, s.socketID, channelID, before))
}

// unlessNone returns the error of the end of a subscription, none when there is no such subscription.
func unlessNone(err error) error {
	if eureka.CodeOf(err) == eureka.CodeNotFound {
		return nil
	}
	return err
}
