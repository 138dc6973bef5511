package dynamo

import (
	"context"
	"iter"
	"strconv"
	"time"
)

// How a channel's subscribers are spread.
const (
	shardSize   = 1000 // subscribers of a shard, over which the channel gets another
	maxShards   = 1000
	sampleOneOf = 64 // subscribes that look at their shard's size are one of so many
	refillOneOf = 8  // likewise those that take any shard in place of the newest
)

// subscriber is one socket's subscription as deliveries read it.
type subscriber struct {
	key         key
	socketID    string
	connectedAt int64
	name        string // "" where the client uses the channel's id
	replaying   bool
	replayID    string
	moved       int64 // epoch milliseconds when its replay last did
	version     int64
	filter      filter
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
		key: k, socketID: k.sk[at:], connectedAt: parseStamp(k.sk[:at]), name: it.text(attrName),
		replaying: it.has(attrReplay), replayID: it.text(attrReplayID), moved: it.number(attrMoved),
		version: it.number(attrVersion), filter: filterOf(it),
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

// listeners is shardPages with the texts of filters, for who has a message for them.
func (e *Engine) listeners(ctx context.Context, channelID string, shard int) iter.Seq2[[]subscriber, error] {
	return func(yield func([]subscriber, error) bool) {
		for page, err := range e.shardPages(ctx, channelID, shard) {
			if err == nil {
				filters := make([]*filter, len(page))
				for i := range page {
					filters[i] = &page[i].filter
				}
				err = e.readFilters(ctx, filters)
			}
			if !yield(page, err) || err != nil {
				return
			}
		}
	}
}
