package dynamo

import (
	"context"
	"crypto/rand"
	mathrand "math/rand/v2"
	"time"

	"eureka"
	"eureka/internal/pause"
)

// How long requests with a key are remembered, and how callers with the same key meet.
const (
	requestTTL    = 5 * time.Minute
	claimLease    = 30 * time.Second // a claim that is older belongs to a caller that has ended
	claimPatience = 10 * time.Second
	firstPoll     = 25 * time.Millisecond
	maxPoll       = 500 * time.Millisecond
)

// Attributes of a request. One without an answer is a claim.
const (
	attrClaim   = "c" // the engine and the call that holds it
	attrAt      = "at"
	attrAnswer  = "v"
	attrExpires = "x" // epoch milliseconds; the TTL attribute only cleans up
)

// requests is eureka.Requests: one item per key, written under conditions.
type requests Engine

func requestKey(k string) key { return key{"r#" + k, "r"} }

// expiring adds when an item is over to readers, and a minute later to DynamoDB.
func expiring(it item, at time.Time) item {
	it[attrExpires], it[KeyTTL] = number(at.UnixMilli()), number(at.Add(time.Minute).Unix())
	return it
}

// Begin implements eureka.Requests.
func (r *requests) Begin(ctx context.Context, k string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, claimPatience)
	defer cancel()
	token := r.instance + "." + rand.Text()
	var there item // as it was last seen
	for poll := firstPoll; ; poll = min(2*poll, maxPoll) {
		now := r.options.Now()
		over := there == nil || there.number(attrExpires) <= now.UnixMilli()
		switch {
		case !over && there.has(attrAnswer):
			return append([]byte{}, there.blob(attrAnswer)...), nil
		case !over && there.text(attrClaim) == token:
			return nil, nil // the answer to our own write was lost
		case over || now.Sub(time.UnixMilli(there.number(attrAt))) > claimLease:
			refusal, err := r.claim(ctx, k, token, there, now)
			if err != nil || refusal == nil {
				return nil, r.waited(ctx, err)
			}
			there = refusal.item
			continue
		}
		if pause.For(ctx, poll/2+mathrand.N(poll/2)) != nil { //nolint:gosec // waits need no secret
			return nil, errHandled()
		}
		var err error
		if there, err = r.table.get(ctx, requestKey(k), true); err != nil {
			return nil, r.waited(ctx, err)
		}
	}
}

// claim writes a claim in place of what was seen there. It returns what stands in its way.
func (r *requests) claim(ctx context.Context, k, token string, seen item, now time.Time) (*conditionError, error) {
	it := requestKey(k).item()
	it[attrClaim], it[attrAt] = text(token), number(now.UnixMilli())
	only := condition{
		expression: "attribute_not_exists(" + KeyPartition + ") OR x <= :now", values: item{":now": number(now.UnixMilli())},
	}
	if seen != nil {
		only.expression += " OR (c = :seen AND attribute_not_exists(v))"
		only.values[":seen"] = text(seen.text(attrClaim))
	}
	err := r.table.put(ctx, expiring(it, now.Add(requestTTL)), only)
	if refusal := refused(err); refusal != nil {
		return refusal, nil
	}
	return nil, err
}

// waited says that the patience is over where that is why a read or a write failed.
func (r *requests) waited(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return errHandled()
	}
	return err
}

func errHandled() error {
	return eureka.Errorf(eureka.CodeUnavailable, "a request with the same key is still being handled; try again")
}

// Finish implements eureka.Requests. The first answer stays when a claim was taken over from a caller that was only slow.
func (r *requests) Finish(ctx context.Context, k string, answer []byte) error {
	now := r.options.Now()
	it := requestKey(k).item()
	it[attrAnswer] = blob(answer)
	err := r.table.put(ctx, expiring(it, now.Add(requestTTL)), condition{
		expression: "attribute_not_exists(v) OR x <= :now", values: item{":now": number(now.UnixMilli())},
	})
	return unlessRefused(err)
}

// Abandon implements eureka.Requests. A claim that another engine has taken over, or an answer, stays.
func (r *requests) Abandon(ctx context.Context, k string) error {
	_, err := r.table.remove(ctx, requestKey(k), condition{
		expression: "attribute_not_exists(" + KeyPartition + ") OR (attribute_not_exists(v) AND begins_with(c, :mine))",
		values:     item{":mine": text(r.instance + ".")},
	})
	return unlessRefused(err)
}
