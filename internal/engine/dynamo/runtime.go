package dynamo

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"eureka"
)

// Attributes of a channel at run time.
const (
	attrShards = "n"
	attrEpoch  = "ep"
	attrHead   = "hd"
	attrShown  = "sz" // messages that the history shows, as of the newest one
	attrLimit  = "tt" // milliseconds that it shows them, likewise
	attrLast   = "la" // epoch milliseconds when the newest offset was taken
	attrBase   = "ba" // offset behind which this epoch's messages begin
	attrBegan  = "bt" // epoch milliseconds when it began
)

// firstHead is the position of a history without messages. It is not zero, since no position is.
const firstHead = 1

// runtime is what deliveries have to know of a channel. The zero value is a channel that nothing happened on yet.
type runtime struct {
	shards int    // at least 1
	epoch  string // "" without a history
	head   uint64 // the last offset that was given
	base   uint64 // the offset that the epoch began with, of no message
	began  int64  // epoch milliseconds when it did
	size   int    // 0: as many as there are
	limit  int64  // milliseconds; 0: as their own
	taken  int64  // epoch milliseconds when the head was
}

func runtimeKey(channelID string) key { return key{"h#" + hash(channelID), "h"} }

func runtimeOf(it item) runtime {
	return runtime{
		shards: max(1, int(it.number(attrShards))), epoch: it.text(attrEpoch), head: uint64(max(0, it.number(attrHead))),
		size: int(it.number(attrShown)), limit: it.number(attrLimit),
		base: uint64(max(firstHead, it.number(attrBase))), began: it.number(attrBegan), taken: it.number(attrLast),
	}
}

// lowest is the first offset that the history still shows, by its size and its epoch.
func (r runtime) lowest() uint64 {
	if r.size > 0 && r.head > uint64(r.size) {
		return max(r.head-uint64(r.size), r.base) + 1
	}
	return r.base + 1
}

// cleared reports whether DynamoDB may have removed the newest message, and so every one.
func (r runtime) cleared(now time.Time) bool {
	return r.limit > 0 && r.taken > 0 && now.Sub(time.UnixMilli(r.taken+r.limit)) > keptOver
}

func (r runtime) cursor(offset uint64) eureka.Cursor {
	return eureka.Cursor{Epoch: r.epoch, Offset: offset}
}

func (e *Engine) runtime(ctx context.Context, channelID string) (runtime, error) {
	it, err := e.table.get(ctx, runtimeKey(channelID), true)
	return runtimeOf(it), err
}

// newEpoch names one life of a channel's history: 40 random bits in the letters of a cursor.
func newEpoch() string { return strings.ToLower(rand.Text()[:8]) }

// begin makes sure that the channel has an epoch, so that positions of its history exist before its first message.
func (e *Engine) begin(ctx context.Context, channelID string) (runtime, error) {
	it, err := e.table.update(ctx, runtimeKey(channelID), change{
		expression: "SET ep = if_not_exists(ep, :epoch), hd = if_not_exists(hd, :first), bt = if_not_exists(bt, :now)",
		values:     item{":epoch": text(newEpoch()), ":first": number(firstHead), ":now": number(e.nowMillis())}, returns: types.ReturnValueAllNew,
	})
	return runtimeOf(it), err
}

// present is runtime, and begin for a channel that is declared to keep a history.
func (e *Engine) present(ctx context.Context, channelID string) (runtime, error) {
	r, err := e.runtime(ctx, channelID)
	if err != nil || r.epoch != "" {
		return r, err
	}
	ch, err := e.Channels().Get(ctx, channelID)
	if eureka.CodeOf(err) == eureka.CodeNotFound {
		return r, nil
	}
	if err != nil || ch.History == nil {
		return r, err
	}
	return e.begin(ctx, channelID)
}

// grow adds a shard to a channel that is known to have n of them. The new shard has nothing to deliver of what the first one has delivered.
func (e *Engine) grow(ctx context.Context, channelID string, n int) error {
	r, err := e.runtime(ctx, channelID)
	if err != nil || r.shards != n || n >= maxShards {
		return err
	}
	if r.epoch != "" {
		// First its mark: without one it would begin with the first message of all. The head is none, since offsets below it may still be without
		// their messages.
		first, err := e.table.get(ctx, deliveryKey(channelID, 0), true)
		if err != nil {
			return err
		}
		if err := e.beginMark(ctx, channelID, n, max(r.base, first.offset(attrMark))); err != nil {
			return err
		}
	}
	_, err = e.table.update(ctx, runtimeKey(channelID), change{
		expression: "SET n = :more", only: "attribute_not_exists(n) OR n = :known",
		values: item{":more": number(int64(n + 1)), ":known": number(int64(n))},
	})
	return unlessRefused(err) // another one was faster
}
