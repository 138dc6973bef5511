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
	l.mark = max(firstHead, before.offset(attrMark))
	return l, nil
}

// errLeaseLost says that the lease went to somebody else, who does the rest.
var errLeaseLost = eureka.Errorf(eureka.CodeUnavailable, "the delivery was taken over")

// save notes how far the holder has come, and with more keeps the lease for another leaseTime.
func (e *Engine) save(ctx context.Context, l *lease, more bool) error {
	until := e.options.Now().Add(leaseTime)
	c := change{
		expression: "SET m = :mark, lx = :until", only: "l = :token",
		values: item{":mark": unsigned(l.mark), ":until": number(until.UnixMilli()), ":token": text(l.token)},
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
	if err == nil {
		l.until = until
	}
	return err
}

// holds reports whether there is time for another page of posts under the lease.
func (e *Engine) holds(l *lease) bool { return e.options.Now().Add(leaseTime / 3).Before(l.until) }

// within is inTime for posts under a lease: the context ends with the lease at the latest.
func (e *Engine) within(ctx context.Context, until time.Time) (context.Context, context.CancelFunc) {
	ctx, cancel := inTime(ctx)
	limited, cancelLimited := context.WithTimeout(ctx, until.Sub(e.options.Now()))
	return limited, func() { cancelLimited(); cancel() }
}

// inTime is a context for posts: it ends so early before ctx that what was not posted by then can be noted.
func inTime(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, limited := ctx.Deadline()
	if !limited {
		return context.WithCancel(ctx)
	}
	left := time.Until(deadline)
	return context.WithTimeout(ctx, left-min(spareTime, left/3))
}

// beginMark gives a shard that nobody delivered on its mark.
func (e *Engine) beginMark(ctx context.Context, channelID string, shard int, mark uint64) error {
	_, err := e.table.update(ctx, deliveryKey(channelID, shard), change{
		expression: "SET m = :mark", only: "attribute_not_exists(m)", values: item{":mark": unsigned(mark)},
	})
	return unlessRefused(err)
}
