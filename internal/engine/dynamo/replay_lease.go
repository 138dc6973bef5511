package dynamo

import (
	"context"
	"time"

	"eureka/internal/pause"
)

// hold takes, and keeps, the right to post to the socket for this channel; a replay that was replaced may still have it for a moment.
func (p *replay) hold(ctx context.Context) (bool, error) {
	now := p.e.options.Now()
	_, err := p.e.table.update(ctx, replayKey(p.socketID, p.channelID), change{
		expression: "SET l = :token, lx = :until, #ttl = :ttl", only: "attribute_not_exists(l) OR l = :token OR lx < :now",
		names: map[string]string{"#ttl": KeyTTL},
		values: item{
			":token": text(p.token), ":until": number(now.Add(replayLease).UnixMilli()), ":now": number(now.UnixMilli()),
			":ttl": number(now.Add(socketMargin).Unix()),
		},
	})
	if isRefused(err) {
		return false, nil
	}
	p.until = now.Add(replayLease)
	return err == nil, err
}

func (p *replay) letGo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	_, err := p.e.table.remove(ctx, replayKey(p.socketID, p.channelID), condition{expression: "l = :token", values: item{":token": text(p.token)}})
	return unlessRefused(err)
}

// awaitReplay waits until no replay posts to a socket for a channel. One that was replaced stops after its page.
func (e *Engine) awaitReplay(ctx context.Context, socketID, channelID string) error {
	return e.await(ctx, replayLease, func() (bool, error) {
		it, err := e.table.get(ctx, replayKey(socketID, channelID), true)
		return it == nil || it.number(attrUntil) < e.nowMillis(), err
	})
}

// awaitDelivery waits until nobody posts on a shard who may have read its subscribers before now.
func (e *Engine) awaitDelivery(ctx context.Context, channelID string, shard int) error {
	before, err := e.table.get(ctx, deliveryKey(channelID, shard), true)
	if err != nil || !before.has(attrLease) {
		return err
	}
	return e.await(ctx, leaseTime, func() (bool, error) {
		it, err := e.table.get(ctx, deliveryKey(channelID, shard), true)
		return it.text(attrLease) != before.text(attrLease) || it.number(attrUntil) < e.nowMillis(), err
	})
}

// await asks for done, less and less often, until it is or limit is over.
func (e *Engine) await(ctx context.Context, limit time.Duration, done func() (bool, error)) error {
	deadline, wait := e.options.Now().Add(limit), holePause
	for e.options.Now().Before(deadline) {
		if ok, err := done(); err != nil || ok {
			return err
		}
		if err := pause.For(ctx, wait); err != nil {
			return storeError(ctx, err)
		}
		wait = min(2*wait, maxHolePause)
	}
	return nil
}
