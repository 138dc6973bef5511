package dynamo

import (
	"context"
	"crypto/rand"
	"iter"
	"log/slog"
	mathrand "math/rand/v2"
	"strconv"
	"time"

	"eureka"
)

// How a channel's subscribers are spread.
const (
	shardSize   = 1000 // subscribers of a shard, over which the channel gets another
	maxShards   = 1000
	sampleOneOf = 64 // subscribes that look at their shard's size are one of so many
)

// subscriber is one socket's subscription as deliveries read it.
type subscriber struct {
	key         key
	socketID    string
	connectedAt int64
	name        string // "" where the client uses the channel's id
	replaying   bool
}

func shardKey(channelID string, shard int) string {
	return hash(channelID) + "#" + strconv.Itoa(shard)
}

// subscriberKey orders the subscribers of a shard by their time.
func subscriberKey(channelID string, shard int, socketID string, connectedAt int64) key {
	return key{shardKey(channelID, shard), stamp(connectedAt) + socketID}
}

func subscriberOf(it item) subscriber {
	k := it.key()
	at := min(stampDigits, len(k.sk))
	return subscriber{
		key: k, socketID: k.sk[at:], connectedAt: parseStamp(k.sk[:at]), name: it.text(attrName), replaying: it.has(attrReplay),
	}
}

// called is the name under which the subscriber gets its frames.
func (s subscriber) called(channelID string) string {
	if s.name == "" {
		return channelID
	}
	return s.name
}

// expired reports whether the socket has reached the end of its time; DynamoDB removes the item later.
func expired(it item, now time.Time) bool {
	return it.has(KeyTTL) && it.number(KeyTTL) < now.Add(socketMargin).Unix()
}

// shardPages reads a shard page by page.
func (e *Engine) shardPages(ctx context.Context, channelID string, shard int) iter.Seq2[[]subscriber, error] {
	return func(yield func([]subscriber, error) bool) {
		for items, err := range e.table.pages(ctx, query{partition: shardKey(channelID, shard), consistent: true}) {
			now, page := e.options.Now(), make([]subscriber, 0, len(items))
			for _, it := range items {
				if !expired(it, now) {
					page = append(page, subscriberOf(it))
				}
			}
			if !yield(page, err) || err != nil {
				return
			}
		}
	}
}

// Subscribe implements eureka.Sockets: the socket's own note of the subscription comes first, so that its end finds whatever was written.
func (s *sockets) Subscribe(ctx context.Context, sub eureka.Subscription) (eureka.Subscribed, error) {
	if err := sub.Validate(); err != nil {
		return eureka.Subscribed{}, err
	}
	e := (*Engine)(s)
	own, mirror := socketKey(sub.SocketID), mirrorKey(sub.SocketID, sub.ChannelID)
	found, err := s.table.batchGet(ctx, []key{own, mirror}, true)
	if err != nil {
		return eureka.Subscribed{}, err
	}
	socket := found[own]
	if !alive(socket, e.nowMillis()) {
		return eureka.Subscribed{}, errNoSocket(sub.SocketID)
	}
	r, err := e.present(ctx, sub.ChannelID)
	if err != nil {
		return eureka.Subscribed{}, err
	}
	began, from := eureka.Subscribed{}, uint64(0)
	if sub.Since != (eureka.Cursor{}) {
		if began.Recovered, err = e.complete(ctx, sub.ChannelID, r, sub.Since); err != nil {
			return eureka.Subscribed{}, err
		}
		from = sub.Since.Offset
	}
	shard := s.chooseShard(ctx, sub.ChannelID, r, found[mirror])
	w := writing{sub: sub, socket: socket, shard: shard}
	if began.Recovered {
		w.from, w.replay = from, rand.Text()
	}
	if err := s.write(ctx, w); err != nil {
		return eureka.Subscribed{}, err
	}
	if found[mirror].has(attrReplayID) {
		// A replay of before may be posting; it must have stopped before others begin.
		if err := e.awaitReplay(ctx, sub.SocketID, sub.ChannelID); err != nil {
			return eureka.Subscribed{}, err
		}
	}
	if began.Recovered {
		began.Cursor = sub.Since
		return began, e.beginReplay(ctx, w, r)
	}
	if r.epoch != "" {
		// Read after the subscription was written: what comes behind this position reaches the socket.
		if r, err = e.runtime(ctx, sub.ChannelID); err != nil {
			return eureka.Subscribed{}, err
		}
		began.Cursor = r.cursor(r.head)
	}
	return began, nil
}

// writing is a subscription to be written.
type writing struct {
	sub    eureka.Subscription
	socket item
	shard  int
	replay string // id of the replay that has to make it live; "" for a live one
	from   uint64 // offset behind which the replay begins
}

func (w writing) key() key {
	return subscriberKey(w.sub.ChannelID, w.shard, w.sub.SocketID, w.socket.number(attrAt))
}

// write stores both items of a subscription. When the socket ended, or the subscription was taken back, meanwhile, nothing stays.
func (s *sockets) write(ctx context.Context, w writing) error {
	own, mirror := socketKey(w.sub.SocketID), mirrorKey(w.sub.SocketID, w.sub.ChannelID)
	note, entry := mirror.item(), w.key().item()
	note[attrShard], note[attrAt] = number(int64(w.shard)), number(w.sub.SubscribedAt)
	for _, it := range []item{note, entry} {
		if w.sub.Name != w.sub.ChannelID {
			it[attrName] = text(w.sub.Name)
		}
		if w.socket.has(KeyTTL) {
			it[KeyTTL] = w.socket[KeyTTL]
		}
	}
	if w.replay != "" {
		note[attrReplayID] = text(w.replay)
		entry[attrReplayID], entry[attrReplay] = text(w.replay), number(int64(w.from)) //nolint:gosec // offsets are below 2^63
	}
	if err := s.table.put(ctx, note, condition{}); err != nil {
		return err
	}
	if err := s.table.put(ctx, entry, condition{}); err != nil {
		return err
	}
	found, err := s.table.batchGet(ctx, []key{own, mirror}, true)
	if err != nil {
		return err
	}
	if alive(found[own], (*Engine)(s).nowMillis()) && found[mirror] != nil {
		return nil
	}
	if err := s.table.batchWrite(ctx, nil, []key{w.key(), mirror}); err != nil {
		return err
	}
	if found[own] == nil || found[own].has(attrEnded) {
		return errNoSocket(w.sub.SocketID)
	}
	return nil // an unsubscribe came in between, and won
}

// chooseShard returns the shard of a new subscription: that of the one it replaces, else mostly the newest, and sometimes any, so that
// shards which others have left fill up again.
func (s *sockets) chooseShard(ctx context.Context, channelID string, r runtime, before item) int {
	if before != nil {
		return int(before.number(attrShard))
	}
	shard := r.shards - 1
	if mathrand.N(2) == 0 { //nolint:gosec // it only spreads
		shard = mathrand.N(r.shards) //nolint:gosec // likewise
	}
	if mathrand.N(sampleOneOf) == 0 { //nolint:gosec // likewise
		s.sample(ctx, channelID, r.shards)
	}
	return shard
}

// sample lets a channel grow whose newest shard is full. That it fails is no reason to refuse a subscription.
func (s *sockets) sample(ctx context.Context, channelID string, shards int) {
	n, err := s.table.count(ctx, query{partition: shardKey(channelID, shards-1)})
	if err == nil && n >= shardSize {
		err = (*Engine)(s).grow(ctx, channelID, shards)
	}
	if err != nil {
		s.options.Log.Warn("a channel could not get another shard", slog.String("channel", channelID), slog.Any("error", err))
	}
}

// Unsubscribe implements eureka.Sockets. The socket's own note goes last: as long as it is there, its end finds the rest.
func (s *sockets) Unsubscribe(ctx context.Context, socketID, channelID string) error {
	none := eureka.Errorf(eureka.CodeNotFound, "socket %q is not subscribed to %q", socketID, channelID)
	if socketID == "" || len(socketID) > eureka.MaxSocketIDLength || eureka.CheckName("channel", channelID) != nil {
		return none
	}
	own, mirror := socketKey(socketID), mirrorKey(socketID, channelID)
	found, err := s.table.batchGet(ctx, []key{own, mirror}, true)
	if err != nil {
		return err
	}
	if found[mirror] == nil || found[own] == nil {
		return none
	}
	k := subscriberKey(channelID, int(found[mirror].number(attrShard)), socketID, found[own].number(attrAt))
	if _, err := s.table.remove(ctx, k, condition{}); err != nil {
		return err
	}
	if _, err := s.table.remove(ctx, mirror, condition{}); err != nil {
		return err
	}
	if found[mirror].has(attrReplayID) {
		return (*Engine)(s).awaitReplay(ctx, socketID, channelID)
	}
	return nil
}
