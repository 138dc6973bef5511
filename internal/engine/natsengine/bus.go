package natsengine

import (
	"context"
	"hash/maphash"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"eureka"
	"eureka/internal/protocol"
)

// inboxSize is how many live messages may wait for one dispatcher. Past it NATS drops, and the subscribers are told.
const inboxSize = 64 << 10

// interestShards is how many locks the interest in channels is split over; a power of two.
const interestShards = 64

// bus carries live messages between nodes. The node is subscribed to a channel's subject while one of its sockets listens to the
// channel. A few dispatchers, each with one queue for many subjects, hand messages to this node's sockets: no goroutine per
// channel, and the order on a channel is that of its subject.
type bus struct {
	engine  *Engine
	prefix  string // of live subjects, with its dot
	nc      *nats.Conn
	seed    maphash.Seed
	shards  [interestShards]interestShard
	inboxes []chan *nats.Msg
	flushes chan chan error
	ended   chan struct{}
	running sync.WaitGroup
	once    sync.Once
}

type interestShard struct {
	mu       sync.Mutex
	channels map[string]*interest
}

// interest is this node's subscription to one channel's subject.
type interest struct {
	count   int // sockets that listen
	sub     *nats.Subscription
	settled bool  // the server is known to have the subscription
	dropped int   // messages that NATS dropped, as of the last time something was done about it
	tail    *tail // of a channel with history; nil until it is needed
}

func newBus(e *Engine) *bus {
	b := &bus{
		engine: e, prefix: e.subject("live") + ".", seed: maphash.MakeSeed(),
		inboxes: make([]chan *nats.Msg, min(max(runtime.GOMAXPROCS(0), 1), 8)),
		flushes: make(chan chan error, 1024), ended: make(chan struct{}),
	}
	for i := range b.shards {
		b.shards[i].channels = map[string]*interest{}
	}
	return b
}

func (b *bus) start(nc *nats.Conn) {
	b.nc = nc
	for i := range b.inboxes {
		inbox := make(chan *nats.Msg, inboxSize)
		b.inboxes[i] = inbox
		b.running.Go(func() { b.dispatch(inbox) })
	}
	b.running.Go(b.flushLoop)
}

// stop ends the dispatchers; the connection must be closed before.
func (b *bus) stop() {
	b.once.Do(func() { close(b.ended) })
	b.running.Wait()
}

// Deliver implements eureka.Fanout: the message is encoded once and published to its channel's subject, where every node with
// subscribers, this one included, takes it from.
func (b *bus) Deliver(ctx context.Context, m eureka.Message) (eureka.Delivery, error) {
	if err := ctx.Err(); err != nil {
		return eureka.Delivery{}, err
	}
	if err := eureka.CheckName("channel", m.ChannelID); err != nil {
		return eureka.Delivery{}, err
	}
	body, err := protocol.MessageBody(m)
	if err != nil {
		return eureka.Delivery{}, err
	}
	payload, err := envelope{body, m.Except, m.Origin}.encode()
	if err != nil {
		return eureka.Delivery{}, err
	}
	if len(m.Key) > eureka.MaxKeyLength {
		return eureka.Delivery{}, eureka.FieldError("key", "is %d bytes long, the limit is %d", len(m.Key), eureka.MaxKeyLength)
	}
	var d eureka.Delivery
	if m.Counted {
		d.Matched = b.engine.options.Delivery.Count(m.ChannelID, m.Except) + b.engine.dir.countElsewhere(ctx, m.ChannelID, m.Except)
		d.Sent = d.Matched
	}
	if m.Retention != nil {
		seq, err := b.engine.history.append(ctx, m.ChannelID, payload, m.Key, *m.Retention)
		if err != nil {
			return eureka.Delivery{}, err
		}
		d.Cursor = b.engine.history.cursor(m.ChannelID, seq)
	} else if err := b.nc.Publish(b.prefix+escapeToken(m.ChannelID), payload); err != nil {
		return eureka.Delivery{}, natsError(err, "the message was not accepted: NATS does not answer")
	}
	b.engine.metrics.published.Inc()
	return d, nil
}

func (b *bus) dispatch(inbox <-chan *nats.Msg) {
	for {
		select {
		case msg := <-inbox:
			b.receive(msg)
		case <-b.ended:
			return
		}
	}
}

func (b *bus) receive(msg *nats.Msg) {
	channelID, err := unescapeToken(strings.TrimPrefix(msg.Subject, b.prefix))
	if err == nil && len(msg.Header) > 0 {
		if err = b.receiveStored(channelID, msg); err == nil {
			b.engine.metrics.received.Inc()
			return
		}
	} else if err == nil {
		var e envelope
		if e, err = decodeEnvelope(msg.Data); err == nil {
			b.engine.metrics.received.Inc()
			b.engine.options.Delivery.Deliver(channelID, protocol.Broadcast{Body: e.body, Except: e.except, Facts: protocol.FactsOf(e.body, e.origin)})
			return
		}
	}
	b.engine.metrics.malformed.Inc()
	b.engine.options.Log.Warn("a message from another node could not be read", slog.String("subject", msg.Subject), slog.Any("error", err))
}

// acquire notes one more subscriber of a channel. When it returns, messages published from then on reach this node.
func (b *bus) acquire(channelID string) error {
	shard := &b.shards[maphash.String(b.seed, channelID)&(interestShards-1)]
	shard.mu.Lock()
	it := shard.channels[channelID]
	if it == nil {
		// Messages of one channel must stay in order, so its subject always has the same dispatcher.
		inbox := b.inboxes[maphash.String(b.seed, channelID)%uint64(len(b.inboxes))]
		sub, err := b.nc.ChanSubscribe(b.prefix+escapeToken(channelID), inbox)
		if err != nil {
			shard.mu.Unlock()
			return natsError(err, "the channel cannot be listened to: NATS does not answer")
		}
		it = &interest{sub: sub}
		shard.channels[channelID] = it
	}
	it.count++
	settled := it.settled
	shard.mu.Unlock()
	if settled {
		return nil
	}
	if err := b.flush(); err != nil {
		b.release(channelID, 1)
		return natsError(err, "the channel cannot be listened to: NATS does not answer")
	}
	shard.mu.Lock()
	it.settled = true
	shard.mu.Unlock()
	return nil
}

// release notes that n subscribers of a channel are gone.
func (b *bus) release(channelID string, n int) {
	shard := &b.shards[maphash.String(b.seed, channelID)&(interestShards-1)]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	it := shard.channels[channelID]
	if it == nil {
		return
	}
	if it.count -= n; it.count <= 0 {
		delete(shard.channels, channelID)
		if it.tail != nil {
			it.tail.forget()
		}
		_ = it.sub.Unsubscribe() // fails only on a closed connection, which has no subscriptions
	}
}

// add corrects the count of a channel that the caller holds.
func (b *bus) add(channelID string, n int) {
	shard := &b.shards[maphash.String(b.seed, channelID)&(interestShards-1)]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if it := shard.channels[channelID]; it != nil {
		it.count += n
	}
}

// flush waits until the server has everything that was sent before. Callers that come at the same time share one round trip.
func (b *bus) flush() error {
	answer := make(chan error, 1)
	select {
	case b.flushes <- answer:
	case <-b.ended:
		return nats.ErrConnectionClosed
	}
	select {
	case err := <-answer:
		return err
	case <-b.ended:
		return nats.ErrConnectionClosed
	}
}

func (b *bus) flushLoop() {
	for {
		var waiting []chan error
		select {
		case answer := <-b.flushes:
			waiting = append(waiting, answer)
		case <-b.ended:
			return
		}
		for more := true; more; {
			select {
			case answer := <-b.flushes:
				waiting = append(waiting, answer)
			default:
				more = false
			}
		}
		err := nats.ErrDisconnected
		if b.nc.IsConnected() {
			err = b.nc.FlushTimeout(flushTimeout)
		}
		for _, answer := range waiting {
			answer <- err
		}
	}
}

// rehome moves the subscribers of an undeclared name to the channel that took it as its alias.
func (b *bus) rehome(from, to string) {
	if b.engine.options.Delivery.Count(from, nil) == 0 {
		return
	}
	// The new subject comes first, so that no moment is without one.
	if err := b.acquire(to); err != nil {
		b.engine.options.Log.Warn("subscribers of a new alias could not be moved", slog.String("alias", from), slog.Any("error", err))
		return
	}
	left, gained := b.engine.options.Delivery.Move(from, to)
	b.add(to, gained)
	b.release(from, left)
	b.release(to, 1)
}

// vacate ends the subscriptions of a deleted channel and tells its subscribers.
func (b *bus) vacate(channelID string) {
	delivery := b.engine.options.Delivery
	delivery.Deliver(channelID, protocol.Broadcast{Body: protocol.ErrorBody(errChannelGone())})
	left, _ := delivery.Move(channelID, "")
	b.release(channelID, left)
}

func errChannelGone() error { return eureka.Errorf(eureka.CodeGone, "the channel was deleted") }

// tail returns the tail of a channel that this node listens to, nil for another.
func (b *bus) tail(channelID string) *tail {
	shard := &b.shards[maphash.String(b.seed, channelID)&(interestShards-1)]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	it := shard.channels[channelID]
	if it == nil {
		return nil
	}
	if it.tail == nil {
		it.tail = &tail{channelID: channelID, history: b.engine.history}
	}
	return it.tail
}

// each calls f for every channel that this node listens to, with its tail if it has one.
func (b *bus) each(f func(channelID string, t *tail)) {
	for i := range b.shards {
		shard := &b.shards[i]
		shard.mu.Lock()
		tails := make(map[string]*tail, len(shard.channels))
		for id, it := range shard.channels {
			tails[id] = it.tail
		}
		shard.mu.Unlock()
		for id, t := range tails {
			f(id, t)
		}
	}
}

// trimTails frees messages in memory that are older than their channels let them become.
func (b *bus) trimTails(now time.Time) {
	b.each(func(channelID string, t *tail) {
		if t != nil {
			ttl := b.engine.history.ttl(b.engine.history.context, channelID)
			t.mu.Lock()
			t.trim(now, ttl)
			t.mu.Unlock()
		}
	})
}

// maxAudits is how many tails read what they missed at the same time.
const maxAudits = 8

// audit makes sure that no channel misses messages, after the connection was lost: what has history reads it, the subscribers of others
// are told.
func (b *bus) audit() {
	turns := make(chan struct{}, maxAudits)
	b.each(func(channelID string, t *tail) {
		if t == nil {
			b.gap(channelID, "the node lost its connection for a while; messages may have been missed")
			return
		}
		turns <- struct{}{}
		go func() {
			defer func() { <-turns }()
			t.audit()
		}()
	})
}

// overflowed makes good for messages that NATS dropped because this node was too slow: it reads them, or tells the channel's subscribers.
func (b *bus) overflowed(sub *nats.Subscription) {
	channelID, err := unescapeToken(strings.TrimPrefix(sub.Subject, b.prefix))
	if err != nil {
		return
	}
	shard := &b.shards[maphash.String(b.seed, channelID)&(interestShards-1)]
	shard.mu.Lock()
	if it := shard.channels[channelID]; it != nil && it.sub == sub {
		it.dropped, _ = sub.Dropped() // fails only when it has ended
	}
	shard.mu.Unlock()
	b.engine.metrics.dropped.Inc()
	b.engine.options.Log.Warn("messages were dropped: this node cannot keep up", slog.String("channel", channelID))
	if t := b.tail(channelID); t != nil {
		go t.audit()
	}
}

// recheck finds channels whose messages NATS dropped after it said so the last time: it says so again only when one came through in between.
func (b *bus) recheck() {
	for i := range b.shards {
		shard := &b.shards[i]
		var overflowed []*nats.Subscription
		shard.mu.Lock()
		for _, it := range shard.channels {
			if n, err := it.sub.Dropped(); err == nil && n != it.dropped {
				overflowed = append(overflowed, it.sub)
			}
		}
		shard.mu.Unlock()
		for _, sub := range overflowed {
			b.overflowed(sub)
		}
	}
}

func (b *bus) gap(channelID, message string) {
	b.engine.options.Delivery.Deliver(channelID, protocol.Broadcast{Body: protocol.ErrorBody(eureka.Errorf(eureka.CodeGap, "%s", message))})
}

// natsError translates an error of the NATS client.
func natsError(err error, message string) error {
	switch eureka.CodeOf(channelError(err)) {
	case eureka.CodeUnavailable, eureka.CodeTimeout:
		return eureka.WrapError(eureka.CodeUnavailable, err, "%s", message)
	default:
		return eureka.WrapError(eureka.CodeInternal, err, "NATS refused the request")
	}
}
