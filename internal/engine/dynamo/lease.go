package dynamo

import (
	"context"
	"crypto/rand"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"eureka"
)

// leaseTime is how long a holder may go without renewing; it renews, and saves how far it has come, after each batch of messages.
const leaseTime = 15 * time.Second

// Attributes of the delivery of a shard.
const (
	attrMark  = "m"
	attrLease = "l" // the holder's token
	attrUntil = "lx"
)

// lease is the right to deliver on one shard of a channel with a history.
type lease struct {
	channelID string
	shard     int
	token     string
	mark      uint64 // everything up to this offset was delivered
	until     time.Time
}

func deliveryKey(channelID string, shard int) key {
	return key{"h#" + hash(channelID), "d#" + strconv.Itoa(shard)}
}

// acquire returns nil when somebody else holds the lease.
func (e *Engine) acquire(ctx context.Context, channelID string, shard int) (*lease, error) {
	now := e.options.Now()
	l := &lease{channelID: channelID, shard: shard, token: rand.Text(), until: now.Add(leaseTime)}
	before, err := e.table.update(ctx, deliveryKey(channelID, shard), change{
		expression: "SET l = :token, lx = :until", only: "attribute_not_exists(l) OR lx < :now",
		values:  item{":token": text(l.token), ":until": number(l.until.UnixMilli()), ":now": number(now.UnixMilli())},
		returns: types.ReturnValueAllOld,
	})
	if refusal := refused(err); refusal != nil {
		if !refusal.unsure || refusal.item.text(attrLease) != l.token {
			return nil, nil //nolint:nilnil // somebody else holds it, which is no fault
		}
		before = refusal.item
	} else if err != nil {
		return nil, err
	}
	l.mark = uint64(max(0, before.number(attrMark))) //nolint:gosec // not negative
	if l.mark < firstHead {
		l.mark = firstHead
	}
	return l, nil
}

// errLeaseLost says that the lease went to somebody else, who does the rest.
var errLeaseLost = eureka.Errorf(eureka.CodeUnavailable, "the delivery was taken over")

// save notes how far the holder has come, and with more keeps the lease for another leaseTime.
func (e *Engine) save(ctx context.Context, l *lease, more bool) error {
	until := e.options.Now().Add(leaseTime)
	c := change{
		expression: "SET m = :mark, lx = :until", only: "l = :token",
		values: item{":mark": number(int64(l.mark)), ":until": number(until.UnixMilli()), ":token": text(l.token)}, //nolint:gosec // offsets are below 2^63
	}
	if !more {
		c.expression = "SET m = :mark REMOVE l, lx"
		delete(c.values, ":until")
	}
	_, err := e.table.update(ctx, deliveryKey(l.channelID, l.shard), c)
	if refusal := refused(err); refusal != nil {
		if !more && refusal.unsure && !refusal.item.has(attrLease) {
			return nil // our own write, whose answer was lost
		}
		return errLeaseLost
	}
	l.until = until
	return err
}

// holds reports whether there is time for another batch of posts under the lease.
func (e *Engine) holds(l *lease) bool { return e.options.Now().Add(leaseTime / 3).Before(l.until) }

// raiseMark gives a shard that nobody delivered on a mark at the head.
func (e *Engine) raiseMark(ctx context.Context, channelID string, shard int, r runtime) error {
	_, err := e.table.update(ctx, deliveryKey(channelID, shard), change{
		expression: "SET m = :head", only: "attribute_not_exists(m)", values: item{":head": number(int64(r.head))}, //nolint:gosec // offsets are below 2^63
	})
	if refused(err) != nil {
		return nil
	}
	return err
}
