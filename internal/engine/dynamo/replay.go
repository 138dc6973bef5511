package dynamo

import (
	"context"
	"crypto/rand"
	"log/slog"
	"slices"
	"time"

	"eureka"
	"eureka/internal/protocol"
)

const (
	replayDelay = time.Second // so that the reply of the subscribe, or the connect, comes before
	replayPage  = 100         // messages between two saves
	replayLease = 20 * time.Second
)

// beginReplay makes a subscription live at once when it missed nothing, and else leaves its replay to the queue.
func (e *Engine) beginReplay(ctx context.Context, w writing, r runtime) error {
	p := &replay{e: e, socketID: w.sub.SocketID, channelID: w.sub.ChannelID, id: w.replay, shard: w.shard, key: w.key(), at: w.from}
	if r.head == w.from {
		live, err := p.catchUp(ctx)
		if err != nil || live {
			return err
		}
	}
	return e.enqueue(ctx, replayDelay, p.task(e.nowMillis(), 0))
}

// holdBack takes a live subscriber out of live delivery and has what it missed replayed from an offset.
func (e *Engine) holdBack(ctx context.Context, l *lease, s subscriber, offset uint64) error {
	id := rand.Text()
	_, err := e.table.update(ctx, s.key, change{
		expression: "SET p = :from, q = :id", only: "attribute_exists(" + KeyPartition + ") AND attribute_not_exists(p)",
		values: item{":from": number(int64(offset)), ":id": text(id)}, //nolint:gosec // offsets are below 2^63
	})
	if refused(err) != nil {
		return nil // it has left, or began again by itself
	}
	if err != nil {
		return err
	}
	_, err = e.table.update(ctx, mirrorKey(s.socketID, l.channelID), change{
		expression: "SET q = :id", only: "attribute_exists(" + KeyPartition + ")", values: item{":id": text(id)},
	})
	if refused(err) == nil && err != nil {
		return err
	}
	p := &replay{e: e, socketID: s.socketID, channelID: l.channelID, id: id, shard: l.shard, key: s.key}
	return e.enqueue(ctx, retryDelay, p.task(e.nowMillis(), 0))
}

// replay sends one socket what it missed on one channel.
type replay struct {
	e                   *Engine
	socketID, channelID string
	id                  string
	shard               int
	key                 key
	at                  uint64 // everything up to this offset was sent
	name                string
	held                bool // the lease on posting to this socket for this channel
}

func (p *replay) task(since int64, attempt int) Task {
	return Task{
		Kind: TaskReplay, Channel: p.channelID, Shard: p.shard, Sockets: []string{p.socketID}, Replay: p.id, Entry: p.key.sk, Since: since, Attempt: attempt,
	}
}

// workReplay does a TaskReplay.
func (e *Engine) workReplay(ctx context.Context, t Task) error {
	if len(t.Sockets) != 1 {
		return eureka.FieldError("sockets", "a replay is for one socket")
	}
	p := &replay{
		e: e, socketID: t.Sockets[0], channelID: t.Channel, id: t.Replay, shard: t.Shard, key: key{shardKey(t.Channel, t.Shard), t.Entry},
	}
	begun, err := p.load(ctx)
	if err != nil || !begun {
		return err
	}
	if held, err := p.hold(ctx); err != nil || !held {
		if err == nil {
			err = e.enqueue(ctx, time.Second, p.task(t.Since, t.Attempt+1)) // the one before it has to stop first
		}
		return err
	}
	again, err := p.run(ctx)
	if letErr := p.letGo(ctx); err == nil {
		err = letErr
	}
	if err != nil || !again {
		return err
	}
	if e.options.Now().Sub(time.UnixMilli(t.Since)) > retryTime {
		return eureka.Errorf(eureka.CodeUnavailable, "socket %q takes no frames", p.socketID)
	}
	return e.enqueue(ctx, min(retryDelay*time.Duration(t.Attempt+1), time.Minute), p.task(t.Since, t.Attempt+1))
}

// load reads where the replay stands; false when it is over, or another one took its place.
func (p *replay) load(ctx context.Context) (bool, error) {
	it, err := p.e.table.get(ctx, p.key, true)
	if err != nil || it == nil || it.text(attrReplayID) != p.id || !it.has(attrReplay) || expired(it, p.e.options.Now()) {
		return false, err
	}
	p.at = uint64(max(0, it.number(attrReplay))) //nolint:gosec // not negative
	p.name = subscriberOf(it).called(p.channelID)
	return true, nil
}

// run sends page by page, and makes the subscription live when it has caught up. again: it has to go on later.
func (p *replay) run(ctx context.Context) (again bool, err error) {
	for {
		r, err := p.e.runtime(ctx, p.channelID)
		if err != nil {
			return false, err
		}
		w, err := p.e.walk(ctx, p.channelID, r, walk{from: p.at, limit: replayPage})
		if eureka.CodeOf(err) == eureka.CodeGap {
			return p.giveUp(ctx, r)
		}
		if err != nil {
			return false, err
		}
		stopped, err := p.send(ctx, r, w)
		if err != nil || stopped != goOn {
			return stopped == tryLater, err
		}
		if w.end {
			if live, err := p.catchUp(ctx); err != nil || live {
				return false, err
			}
		}
		if !enoughTime(ctx) {
			return true, nil
		}
	}
}

type progress int

const (
	goOn progress = iota
	tryLater
	ended
)

// send posts a page and saves how far it came.
func (p *replay) send(ctx context.Context, r runtime, w walk) (progress, error) {
	_, connectedAt := p.socket()
	stop := goOn
	for _, s := range w.found {
		if slices.Contains(s.except, p.socketID) {
			p.at = s.offset
			continue
		}
		frame := protocol.AppendMessage(nil, p.name, protocol.AppendID(slices.Clone(s.body), r.cursor(s.offset).String()))
		outcome, err := p.e.post(ctx, p.socketID, connectedAt, frame)
		if err != nil {
			return ended, err
		}
		if outcome == gone {
			p.e.settle(ctx, p.channelID, subscriber{key: p.key, socketID: p.socketID}, gone, nil)
			return ended, nil
		}
		if outcome == later {
			stop = tryLater
			break
		}
		p.at = s.offset
	}
	if stop == goOn {
		p.at = w.last
	}
	_, err := p.e.table.update(ctx, p.key, change{
		expression: "SET p = :at", only: "q = :id", values: item{":at": number(int64(p.at)), ":id": text(p.id)}, //nolint:gosec // offsets are below 2^63
	})
	if refused(err) != nil {
		return ended, nil // unsubscribed, or begun again
	}
	return stop, err
}

func (p *replay) socket() (id string, connectedAt int64) {
	s := subscriberOf(p.key.item())
	return s.socketID, s.connectedAt
}

// catchUp makes the subscription live if that leaves no hole and no double: while nobody delivers, when it has had all that others have, and no more. false:
// there is more to send, or somebody delivers just now.
func (p *replay) catchUp(ctx context.Context) (bool, error) {
	l, err := p.e.acquire(ctx, p.channelID, p.shard)
	if err != nil {
		return false, err
	}
	if l == nil {
		return false, pauseBetween(ctx)
	}
	live, err := p.catchUpHolding(ctx, l)
	if err != nil {
		return false, p.e.letGo(ctx, l, err)
	}
	if err := p.e.save(ctx, l, false); err != nil {
		return false, err
	}
	// What was stored while the lease was held was left to its holder; the subscriber, live now, gets it with the others.
	return live, p.e.deliver(ctx, p.channelID, p.shard, nil)
}

func (p *replay) catchUpHolding(ctx context.Context, l *lease) (bool, error) {
	r, err := p.e.runtime(ctx, p.channelID)
	if err != nil {
		return false, err
	}
	// The others first: they may not have had yet what this one was sent already.
	if l.mark < p.at {
		if err := p.e.deliverUpTo(ctx, l, r, p.at, nil); err != nil {
			return false, err
		}
	}
	if l.mark != p.at {
		if !p.held {
			return false, nil // a subscribe sends nothing before its reply
		}
		w, err := p.e.walk(ctx, p.channelID, r, walk{from: p.at, limit: replayPage})
		if eureka.CodeOf(err) == eureka.CodeGap {
			return false, nil // the next page tells the socket
		}
		if err != nil {
			return false, err
		}
		w.found = slices.DeleteFunc(w.found, func(s stored) bool { return s.offset > l.mark })
		w.last = min(w.last, l.mark)
		if stop, err := p.send(ctx, r, w); err != nil || stop != goOn || p.at != l.mark {
			return false, err
		}
	}
	return p.live(ctx)
}

// live ends the replay.
func (p *replay) live(ctx context.Context) (bool, error) {
	_, err := p.e.table.update(ctx, p.key, change{expression: "REMOVE p, q", only: "q = :id", values: item{":id": text(p.id)}})
	if refusal := refused(err); refusal != nil {
		return true, nil // it was unsubscribed, or begun again, or our own write's answer was lost: over in any case
	}
	return err == nil, err
}

// giveUp tells the socket that what it missed is no longer there, and makes it live.
func (p *replay) giveUp(ctx context.Context, r runtime) (again bool, err error) {
	_, connectedAt := p.socket()
	p.e.options.Log.Warn("a client asked for messages that expired while they were sent; it was told", slog.String("channel", p.channelID))
	frame := protocol.EncodeError(nil, p.name, eureka.Errorf(eureka.CodeGap, "messages expired while they were sent; fetch the state again"))
	if outcome, err := p.e.post(ctx, p.socketID, connectedAt, frame); err != nil || outcome != posted {
		return outcome == later, err
	}
	w, err := p.e.walk(ctx, p.channelID, r, walk{from: p.at, lenient: true})
	if err != nil {
		return false, err
	}
	p.at = w.last
	if len(w.found) > 0 {
		p.at = w.found[0].offset - 1
	}
	stop, err := p.send(ctx, r, walk{last: p.at})
	return err == nil && stop != ended, err
}

// hold takes the right to post to the socket for this channel; a replay that was replaced may still have it for a moment.
func (p *replay) hold(ctx context.Context) (bool, error) {
	now := p.e.options.Now()
	_, err := p.e.table.update(ctx, replayKey(p.socketID, p.channelID), change{
		expression: "SET l = :id, lx = :until, #ttl = :ttl", only: "attribute_not_exists(l) OR lx < :now", names: map[string]string{"#ttl": KeyTTL},
		values: item{
			":id": text(p.id), ":until": number(now.Add(replayLease).UnixMilli()), ":now": number(now.UnixMilli()),
			":ttl": number(now.Add(socketMargin).Unix()),
		},
	})
	if refusal := refused(err); refusal != nil {
		p.held = refusal.unsure && refusal.item.text(attrLease) == p.id
		return p.held, nil
	}
	p.held = err == nil
	return p.held, err
}

func (p *replay) letGo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), defaultTryTime)
	defer cancel()
	_, err := p.e.table.remove(ctx, replayKey(p.socketID, p.channelID), condition{expression: "l = :id", values: item{":id": text(p.id)}})
	if refused(err) != nil {
		return nil
	}
	return err
}

// awaitReplay waits until no replay posts to a socket for a channel. One that was replaced stops after its page.
func (e *Engine) awaitReplay(ctx context.Context, socketID, channelID string) error {
	for deadline := e.options.Now().Add(replayLease); e.options.Now().Before(deadline); {
		it, err := e.table.get(ctx, replayKey(socketID, channelID), true)
		if err != nil || it == nil || it.number(attrUntil) < e.nowMillis() {
			return err
		}
		if err := pauseBetween(ctx); err != nil {
			return err
		}
	}
	return nil
}

// pauseBetween is the pause between two looks at what somebody else is about to finish.
func pauseBetween(ctx context.Context) error {
	return storeError(ctx, pause(ctx, holePause))
}
