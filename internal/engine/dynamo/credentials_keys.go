package dynamo

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"eureka"
)

// How long the copy of credentials is good.
const (
	keysFresh   = 10 * time.Second // not read again before
	keysUsable  = time.Minute      // not believed any more after
	refreshTime = time.Second      // of a refresh that can fail without harm
)

// Keys is this process's copy of API keys and revocations, so that checking a credential asks nobody. Whoever serves a request calls Refresh
// before it looks at a credential. It is safe for concurrent use.
type Keys struct {
	engine *Engine
	now    atomic.Pointer[keysCopy]
	writes atomic.Int64  // by this process; a copy from before one is not fresh
	turn   chan struct{} // holds a token while somebody reads
}

// keysCopy is what one query found. It never changes.
type keysCopy struct {
	at     time.Time
	writes int64
	byID   map[string]eureka.APIKey
	tokens map[string]eureka.Revocation
	users  map[string]eureka.Revocation
}

func newKeys(e *Engine) *Keys { return &Keys{engine: e, turn: make(chan struct{}, 1)} }

// Keys returns this process's copy of the credentials.
func (e *Engine) Keys() *Keys { return e.keys }

// Key returns a key by its id. It does not wait; without a copy that is younger than a minute there is no key.
func (k *Keys) Key(id string) (eureka.APIKey, bool) {
	c := k.now.Load()
	if !k.younger(c, keysUsable) {
		return eureka.APIKey{}, false
	}
	key, ok := c.byID[id]
	return key, ok
}

// Revoked reports whether an identity's credential was taken back. It does not wait; without a copy that is younger than a minute every one
// counts as taken back.
func (k *Keys) Revoked(id eureka.Identity) bool {
	c := k.now.Load()
	if !k.younger(c, keysUsable) {
		return true
	}
	if r, ok := c.tokens[id.TokenID]; ok && id.TokenID != "" && r.Covers(id) {
		return true
	}
	r, ok := c.users[id.User]
	return ok && id.User != "" && r.Covers(id)
}

// Refresh makes sure that the copy is younger than ten seconds and has what this process wrote: with one query, or with none when it is so
// already. Where that fails the copy goes on being used until it is a minute old; then the error is returned, CodeUnavailable as a rule.
func (k *Keys) Refresh(ctx context.Context) error {
	if c := k.now.Load(); k.fresh(c) {
		return nil
	} else if k.younger(c, keysUsable) {
		select {
		case k.turn <- struct{}{}:
		default:
			return nil // somebody else is at it, and this copy is good enough meanwhile
		}
		defer func() { <-k.turn }()
		ctx, cancel := context.WithTimeout(ctx, refreshTime)
		defer cancel()
		if err := k.read(ctx); err != nil {
			k.engine.options.Log.Warn("the credentials cannot be read again now", slog.Any("error", err))
		}
		return nil
	}
	select {
	case k.turn <- struct{}{}:
	case <-ctx.Done():
		return storeError(ctx, ctx.Err())
	}
	defer func() { <-k.turn }()
	if k.fresh(k.now.Load()) {
		return nil // read by another caller meanwhile
	}
	return k.read(ctx)
}

func (k *Keys) younger(c *keysCopy, age time.Duration) bool {
	return c != nil && k.engine.options.Now().Sub(c.at) < age
}

func (k *Keys) fresh(c *keysCopy) bool { return k.younger(c, keysFresh) && c.writes == k.writes.Load() }

// outdate says that this process has written.
func (k *Keys) outdate() { k.writes.Add(1) }

func (k *Keys) read(ctx context.Context) error {
	c := &keysCopy{
		at: k.engine.options.Now(), writes: k.writes.Load(),
		byID: map[string]eureka.APIKey{}, tokens: map[string]eureka.Revocation{}, users: map[string]eureka.Revocation{},
	}
	for it, err := range k.engine.table.items(ctx, query{partition: credentialPartition, consistent: true}) {
		if err != nil {
			return err
		}
		if strings.HasPrefix(it.text(KeySort), apiKeyPrefix) {
			key := apiKeyOf(it)
			c.byID[key.ID] = key
		} else if r, ok := revocationOf(it, c.at.UnixMilli()); ok && r.TokenID != "" {
			c.tokens[r.TokenID] = r
		} else if ok {
			c.users[r.User] = r
		}
	}
	k.now.Store(c)
	return nil
}
