package dynamo

import (
	"context"
	"crypto/rand"
	"log/slog"
	mathrand "math/rand/v2"

	"eureka"
)

// maxSubscribeTries bounds how often a subscription begins again because another one of the same socket and channel came between.
const maxSubscribeTries = 10

// versionsPerMilli is how many versions of subscriptions a millisecond has.
const versionsPerMilli = 1000

// writing is a subscription to be written. Of two with the same socket and channel the one with the greater version stays, whatever order their steps
// come in.
type writing struct {
	sub     eureka.Subscription
	socket  item
	before  item // the socket's own note of the subscription that it replaces, nil without one
	version int64
	shard   int
	replay  string // id of the replay that has to make it live; "" for a live one
	from    uint64 // offset behind which the replay begins
	filter  filter
	home    string // once it is written: the channel that has taken the subscription's channel's name as its alias; "" mostly
}

func (w writing) key() key {
	return subscriberKey(w.sub.ChannelID, w.shard, w.sub.SocketID, w.socket.number(attrAt))
}

// Subscribe implements eureka.Sockets: the socket's own note of the subscription comes first, so that its end finds whatever was written.
func (s *sockets) Subscribe(ctx context.Context, sub eureka.Subscription) (eureka.Subscribed, error) {
	e := (*Engine)(s)
	if err := e.accepts(sub); err != nil {
		return eureka.Subscribed{}, err
	}
	r, err := e.present(ctx, sub.ChannelID)
	if err != nil {
		return eureka.Subscribed{}, err
	}
	var began eureka.Subscribed
	if sub.Since != (eureka.Cursor{}) {
		if began.Recovered, err = e.complete(ctx, sub.ChannelID, r, sub.Since); err != nil {
			return eureka.Subscribed{}, err
		}
	}
	w, err := s.write(ctx, r, sub, began.Recovered)
	if err != nil {
		return eureka.Subscribed{}, err
	}
	if w.home != "" {
		if err := e.moveOne(ctx, sub.ChannelID, w.home, subscriberOf(w.key().item())); err != nil {
			return eureka.Subscribed{}, err
		}
		sub.ChannelID, w.before = w.home, nil
		if r, err = e.runtime(ctx, sub.ChannelID); err != nil {
			return eureka.Subscribed{}, err
		}
	}
	if w.before != nil {
		// What the subscription of before still gets must come before all that this one does.
		if err := e.awaitReplay(ctx, sub.SocketID, sub.ChannelID); err != nil {
			return eureka.Subscribed{}, err
		}
	}
	if began.Recovered {
		if w.before != nil {
			if err := e.awaitDelivery(ctx, sub.ChannelID, w.shard); err != nil {
				return eureka.Subscribed{}, err
			}
		}
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

// accepts returns why a subscription cannot be: it is invalid, or has a filter that nobody here could evaluate.
func (e *Engine) accepts(sub eureka.Subscription) error {
	if sub.Filter != "" && e.options.Rules == nil {
		return eureka.Errorf(eureka.CodeUnavailable, "this service evaluates no filters")
	}
	return sub.Validate()
}

// write writes a subscription, again and again while others of the same socket and channel come between.
func (s *sockets) write(ctx context.Context, r runtime, sub eureka.Subscription, replayed bool) (writing, error) {
	for range maxSubscribeTries {
		w, err := s.prepare(ctx, r, sub)
		if err != nil {
			return w, err
		}
		if replayed {
			w.from, w.replay = sub.Since.Offset, rand.Text()
		}
		if done, err := s.writeOnce(ctx, &w); err != nil || done {
			return w, err
		}
	}
	return writing{}, errChanging()
}

// prepare reads what a subscription is written on.
func (s *sockets) prepare(ctx context.Context, r runtime, sub eureka.Subscription) (writing, error) {
	own, mirror := socketKey(sub.SocketID), mirrorKey(sub.SocketID, sub.ChannelID)
	found, err := s.table.batchGet(ctx, []key{own, mirror}, true)
	if err != nil {
		return writing{}, err
	}
	if !alive(found[own], (*Engine)(s).nowMillis()) {
		return writing{}, errNoSocket(sub.SocketID)
	}
	w := writing{sub: sub, socket: found[own], before: found[mirror]}
	// Versions of a subscription that was taken back are not used again: they begin with the time.
	w.version = max(w.before.number(attrVersion)+1, s.options.Now().UnixMilli()*versionsPerMilli+mathrand.Int64N(versionsPerMilli)) //nolint:gosec // it only tells two apart
	w.shard = s.chooseShard(ctx, sub.ChannelID, r, w.before)
	w.filter, err = (*Engine)(s).keepFilter(ctx, sub.Filter, w.socket)
	return w, err
}

// writeOnce stores both items of a subscription. When the socket ended, the channel was deleted, or the subscription was taken back, meanwhile, nothing
// stays. False when another subscribe came between and this one has to begin again.
func (s *sockets) writeOnce(ctx context.Context, w *writing) (bool, error) {
	note, entry := w.items(mirrorKey(w.sub.SocketID, w.sub.ChannelID), (*Engine)(s).nowMillis())
	only := absent
	if w.before != nil {
		only = condition{expression: "v = :before", values: item{":before": number(w.before.number(attrVersion))}}
	}
	if written, err := s.putVersion(ctx, note, only); err != nil || !written {
		return false, err
	}
	only = condition{expression: "attribute_not_exists(v) OR v < :version", values: item{":version": number(w.version)}}
	if written, err := s.putVersion(ctx, entry, only); err != nil || !written {
		return err == nil, err // a later one has replaced it already
	}
	return s.review(ctx, w)
}

// review is what writeOnce does once both items are written: what has happened meanwhile may take them back.
func (s *sockets) review(ctx context.Context, w *writing) (bool, error) {
	own, mirror, name := socketKey(w.sub.SocketID), mirrorKey(w.sub.SocketID, w.sub.ChannelID), nameKey(w.sub.ChannelID)
	// Whoever changes the channel looks for subscribers behind the change, so one of the two finds the other.
	found, err := s.table.batchGet(ctx, []key{own, mirror, name}, true)
	if err != nil {
		return false, err
	}
	lives, deleted := alive(found[own], (*Engine)(s).nowMillis()), found[name].number(attrDeletedAt)*versionsPerMilli > w.version
	if home := found[name]; living(home) && home.text(attrID) != w.sub.ChannelID {
		w.home = home.text(attrID)
	}
	switch {
	case deleted:
	case lives && found[mirror].number(attrVersion) >= w.version:
		return true, nil
	case lives && found[mirror] != nil:
		return false, nil // of a clock that is behind ours: what was written over its entry has to be the later one
	}
	mine := condition{expression: "v = :version", values: item{":version": number(w.version)}}
	for _, k := range []key{w.key(), mirror} {
		if _, err := s.table.remove(ctx, k, mine); err != nil && refused(err) == nil {
			return false, err
		}
	}
	switch {
	case !lives:
		return false, errNoSocket(w.sub.SocketID)
	case deleted:
		return false, errNoChannel(w.sub.ChannelID)
	}
	return true, nil // an unsubscribe came between, and won
}

// putVersion stores an item of a subscription; false when only does not hold, though not because of this very write, whose answer was lost.
func (s *sockets) putVersion(ctx context.Context, it item, only condition) (bool, error) {
	err := s.table.put(ctx, it, only)
	if isRefused(err) {
		return refused(err).item.number(attrVersion) == it.number(attrVersion), nil
	}
	return err == nil, err
}

// items are the socket's note of a subscription, and the channel's.
func (w writing) items(mirror key, now int64) (note, entry item) {
	note, entry = mirror.item(), w.key().item()
	note[attrShard], note[attrAt] = number(int64(w.shard)), number(w.sub.SubscribedAt)
	for _, it := range []item{note, entry} {
		it[attrVersion] = number(w.version)
		w.filter.describe(it)
		if w.sub.Name != w.sub.ChannelID {
			it[attrName] = text(w.sub.Name)
		}
		if w.socket.has(KeyTTL) {
			it[KeyTTL] = w.socket[KeyTTL]
		}
	}
	if w.replay != "" {
		entry[attrReplayID], entry[attrReplay], entry[attrMoved] = text(w.replay), unsigned(w.from), number(now)
	}
	return note, entry
}

// chooseShard returns the shard of a new subscription: that of the one it replaces, else mostly the newest, and sometimes any, so that
// shards which others have left fill up again.
func (s *sockets) chooseShard(ctx context.Context, channelID string, r runtime, before item) int {
	if before != nil {
		return int(before.number(attrShard))
	}
	shard := r.shards - 1
	if s.oneOf(refillOneOf) {
		shard = mathrand.N(r.shards) //nolint:gosec // it only spreads
	}
	if s.oneOf(sampleOneOf) {
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

// Unsubscribe implements eureka.Sockets. Both items go in one transaction: one without the other would be a socket that nobody can unsubscribe, or
// one that believes it is subscribed.
func (s *sockets) Unsubscribe(ctx context.Context, socketID, channelID string) error {
	if socketID == "" || len(socketID) > eureka.MaxSocketIDLength || eureka.CheckName("channel", channelID) != nil {
		return errNotSubscribed(socketID, channelID)
	}
	if err := s.endSubscription(ctx, socketID, channelID, 0); err != nil {
		return err
	}
	return (*Engine)(s).awaitReplay(ctx, socketID, channelID)
}

// endSubscription is Unsubscribe without the wait for a replay; with before, for subscriptions of earlier versions alone.
func (s *sockets) endSubscription(ctx context.Context, socketID, channelID string, before int64) error {
	own, mirror := socketKey(socketID), mirrorKey(socketID, channelID)
	for range maxSubscribeTries {
		found, err := s.table.batchGet(ctx, []key{own, mirror}, true)
		if err != nil {
			return err
		}
		note := found[mirror]
		if note == nil || found[own] == nil || (before != 0 && note.number(attrVersion) >= before) {
			return errNotSubscribed(socketID, channelID)
		}
		err = s.table.transact(ctx,
			step{key: mirror, remove: true, only: condition{expression: "v = :version", values: item{":version": number(note.number(attrVersion))}}},
			step{key: subscriberKey(channelID, int(note.number(attrShard)), socketID, found[own].number(attrAt)), remove: true},
		)
		if isRefused(err) {
			continue // it was replaced meanwhile
		}
		return err
	}
	return errChanging()
}

func errChanging() error {
	return eureka.Errorf(eureka.CodeUnavailable, "the subscription changes all the time; try again")
}

func errNotSubscribed(socketID, channelID string) error {
	return eureka.Errorf(eureka.CodeNotFound, "socket %q is not subscribed to %q", socketID, channelID)
}
