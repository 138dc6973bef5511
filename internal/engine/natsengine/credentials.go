package natsengine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"eureka"
	"eureka/internal/pause"
)

const (
	keyPrefix        = "key."
	tokenPrefix      = "token."
	userPrefix       = "user."
	revocationTTL    = 366 * 24 * time.Hour
	credentialsReady = 10 * time.Second // for the first reading
	revokeTries      = 20               // with which one revocation gets past others of the same name
	revokePause      = 50 * time.Millisecond
)

// credentials is API keys and revocations in key-value buckets that every node follows, so that checking one asks nobody. While NATS is
// away a node goes on with what it knows; what came meanwhile is read as soon as it is back.
type credentials struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	configs  [2]jetstream.KeyValueConfig // of keys and of revocations
	log      *slog.Logger
	changed  func() // a key went or a revocation came
	cancel   context.CancelFunc
	running  sync.WaitGroup
	syncOnce sync.Once
	synced   chan struct{} // closed when all has been read once

	mu     sync.RWMutex
	byID   map[string]eureka.APIKey
	gone   map[string]bool // ids of keys that this node removed and still has to see go
	tokens map[string]eureka.Revocation
	users  map[string]eureka.Revocation
}

func openCredentials(ctx context.Context, e *Engine) (*credentials, error) {
	bucket := func(name, description string) jetstream.KeyValueConfig {
		return jetstream.KeyValueConfig{
			Bucket: e.options.Namespace + name, Description: description, History: 1, Replicas: e.options.Replicas, Storage: jetstream.FileStorage,
		}
	}
	c := &credentials{
		nc: e.nc, js: e.js, log: e.options.Log, changed: e.options.CredentialsChanged, synced: make(chan struct{}),
		configs: [2]jetstream.KeyValueConfig{bucket("_keys", "API keys, hashed"), bucket("_revocations", "revoked tokens and users")},
		byID:    map[string]eureka.APIKey{}, gone: map[string]bool{}, tokens: map[string]eureka.Revocation{}, users: map[string]eureka.Revocation{},
	}
	c.configs[1].TTL = revocationTTL
	if c.changed == nil {
		c.changed = func() {}
	}
	for _, config := range c.configs {
		if _, err := c.js.CreateOrUpdateKeyValue(ctx, config); err != nil {
			return nil, credentialsError(err)
		}
	}
	following, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	c.running.Go(func() { c.run(following) })
	ctx, stop := context.WithTimeout(ctx, credentialsReady)
	defer stop()
	select {
	case <-c.synced:
		return c, nil
	case <-ctx.Done():
		c.close()
		return nil, eureka.WrapError(eureka.CodeUnavailable, ctx.Err(), "the credentials cannot be read: NATS does not answer")
	}
}

func (c *credentials) close() {
	c.cancel()
	c.running.Wait()
}

// Key returns a key by its id from this node's copy.
func (c *credentials) Key(id string) (eureka.APIKey, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	k, ok := c.byID[id]
	return k, ok && !c.gone[id]
}

// Revoked reports whether an identity's credential was taken back, by this node's copy.
func (c *credentials) Revoked(id eureka.Identity) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, r := range []eureka.Revocation{{TokenID: id.TokenID}, {User: id.User}} {
		if r == (eureka.Revocation{}) {
			continue
		}
		if kept, ok := c.revocation(revocationName(r)); ok && kept.Covers(id) {
			return true
		}
	}
	return false
}

// AddKey implements eureka.Credentials.
func (c *credentials) AddKey(ctx context.Context, k eureka.APIKey) error {
	c.mu.RLock()
	n := len(c.byID)
	c.mu.RUnlock()
	if n >= eureka.MaxKeys {
		return eureka.Errorf(eureka.CodeConflict, "there are %d API keys already; revoke some", n)
	}
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	keys, err := c.bucket(ctx, 0)
	if err != nil {
		return err
	}
	_, err = keys.Create(ctx, keyPrefix+k.ID, text)
	if errors.Is(err, jetstream.ErrKeyExists) {
		return eureka.Errorf(eureka.CodeConflict, "there is an API key %q already", k.ID)
	}
	if err != nil {
		return credentialsError(err)
	}
	c.mu.Lock()
	c.byID[k.ID] = k // its creator may use it at once
	c.mu.Unlock()
	return nil
}

// DeleteKey implements eureka.Credentials.
func (c *credentials) DeleteKey(ctx context.Context, id string) error {
	if _, ok := c.Key(id); !ok {
		return eureka.Errorf(eureka.CodeNotFound, "there is no API key %q", id)
	}
	keys, err := c.bucket(ctx, 0)
	if err != nil {
		return err
	}
	// From now on it is refused here, also when the news of its creation are still on the way.
	c.mark(id, true)
	if err := keys.Purge(ctx, keyPrefix+id); err != nil {
		c.mark(id, false)
		return credentialsError(err)
	}
	c.changed()
	return nil
}

// mark notes that a key is being removed, or that this failed.
func (c *credentials) mark(id string, gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if gone {
		c.gone[id] = true
	} else {
		delete(c.gone, id)
	}
}

// bucket opens the bucket of keys (0) or of revocations (1).
func (c *credentials) bucket(ctx context.Context, which int) (jetstream.KeyValue, error) {
	kv, err := c.js.KeyValue(ctx, c.configs[which].Bucket)
	if err != nil {
		return nil, credentialsError(err)
	}
	return kv, nil
}

// Keys implements eureka.Credentials.
func (c *credentials) Keys(context.Context) ([]eureka.APIKey, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	keys := make([]eureka.APIKey, 0, len(c.byID))
	for id, k := range c.byID {
		if !c.gone[id] {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b eureka.APIKey) int {
		return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	return keys, nil
}

// Revoke implements eureka.Credentials.
func (c *credentials) Revoke(ctx context.Context, r eureka.Revocation) error {
	name := revocationName(r)
	c.mu.RLock()
	_, replaces := c.revocation(name)
	n := len(c.tokens) + len(c.users)
	c.mu.RUnlock()
	if n >= eureka.MaxRevocations && !replaces {
		return eureka.Errorf(eureka.CodeConflict, "there are %d revocations already, and they last a year; revoke users instead of single tokens, or give new keys to the issuer", n)
	}
	if err := c.store(ctx, name, r); err != nil {
		return err
	}
	c.mu.Lock()
	c.keep(name, r)
	c.mu.Unlock()
	c.changed()
	return nil
}

// store writes a revocation unless a later one of the same name is there: nodes that revoke at the same time agree on the last moment.
func (c *credentials) store(ctx context.Context, name string, r eureka.Revocation) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	kv, err := c.bucket(ctx, 1)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		entry, err := kv.Get(ctx, name)
		var there eureka.Revocation
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
			_, err = kv.Create(ctx, name, text)
		case err != nil:
		case json.Unmarshal(entry.Value(), &there) == nil && revocationName(there) == name && there.At >= r.At:
			return nil
		default:
			_, err = kv.Update(ctx, name, text, entry.Revision())
		}
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, jetstream.ErrKeyExists) && !isWrongSequence(err) || try == revokeTries:
			return credentialsError(err)
		}
		if err := pause.For(ctx, rand.N(revokePause)); err != nil { //nolint:gosec // spreads load, guards nothing
			return credentialsError(err)
		}
	}
}

func revocationName(r eureka.Revocation) string {
	if r.User != "" {
		return userPrefix + escapeToken(r.User)
	}
	return tokenPrefix + escapeToken(r.TokenID)
}

// revocation returns what is kept under a name. The caller holds mu.
func (c *credentials) revocation(name string) (eureka.Revocation, bool) {
	if r, ok := c.tokens[name]; ok {
		return r, true
	}
	r, ok := c.users[name]
	return r, ok
}

// keep keeps the later one of two revocations of the same name and reports whether it is this one. The caller holds mu.
func (c *credentials) keep(name string, r eureka.Revocation) bool {
	if before, ok := c.revocation(name); ok && before.At >= r.At {
		return false
	}
	if r.User != "" {
		c.users[name] = r
	} else {
		c.tokens[name] = r
	}
	return true
}

// Revocations implements eureka.Credentials.
func (c *credentials) Revocations(context.Context) ([]eureka.Revocation, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	all := make([]eureka.Revocation, 0, len(c.tokens)+len(c.users))
	for _, r := range c.tokens {
		all = append(all, r)
	}
	for _, r := range c.users {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b eureka.Revocation) int {
		return cmp.Or(cmp.Compare(b.At, a.At), strings.Compare(a.TokenID+a.User, b.TokenID+b.User))
	})
	return all, nil
}

func credentialsError(err error) error {
	return natsError(err, "the store of credentials does not answer")
}
