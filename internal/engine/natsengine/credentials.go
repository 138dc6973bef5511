package natsengine

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"eureka"
)

const (
	keyPrefix        = "key."
	tokenPrefix      = "token."
	userPrefix       = "user."
	revocationTTL    = 366 * 24 * time.Hour
	credentialsReady = 10 * time.Second
)

// credentials is API keys and revocations in key-value buckets that every node follows, so that checking one asks nobody.
type credentials struct {
	keys        jetstream.KeyValue
	revocations jetstream.KeyValue
	log         *slog.Logger
	changed     func() // a key went or a revocation came
	cancel      context.CancelFunc
	running     sync.WaitGroup

	mu     sync.RWMutex
	byID   map[string]eureka.APIKey
	tokens map[string]eureka.Revocation
	users  map[string]eureka.Revocation
}

func openCredentials(ctx context.Context, e *Engine) (*credentials, error) {
	c := &credentials{
		log: e.options.Log, changed: e.options.CredentialsChanged,
		byID: map[string]eureka.APIKey{}, tokens: map[string]eureka.Revocation{}, users: map[string]eureka.Revocation{},
	}
	if c.changed == nil {
		c.changed = func() {}
	}
	var err error
	c.keys, err = e.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: e.options.Namespace + "_keys", Description: "API keys, hashed", History: 1, Replicas: e.options.Replicas, Storage: jetstream.FileStorage,
	})
	if err == nil {
		c.revocations, err = e.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: e.options.Namespace + "_revocations", Description: "revoked tokens and users", History: 1, TTL: revocationTTL,
			Replicas: e.options.Replicas, Storage: jetstream.FileStorage,
		})
	}
	if err != nil {
		return nil, credentialsError(err)
	}
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	for _, kv := range []jetstream.KeyValue{c.keys, c.revocations} {
		if err := c.follow(ctx, watching, kv); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

// follow takes over what a bucket has and returns; what changes in it is taken over until close.
func (c *credentials) follow(ctx, watching context.Context, kv jetstream.KeyValue) error {
	watcher, err := kv.WatchAll(watching)
	if err != nil {
		return credentialsError(err)
	}
	ctx, cancel := context.WithTimeout(ctx, credentialsReady)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return eureka.WrapError(eureka.CodeUnavailable, ctx.Err(), "the credentials cannot be read: NATS does not answer")
		case update := <-watcher.Updates():
			if update != nil {
				c.take(update)
				continue
			}
		}
		break
	}
	c.running.Go(func() {
		for {
			select {
			case <-watching.Done():
				_ = watcher.Stop() // the connection may be gone already
				return
			case update, ok := <-watcher.Updates():
				switch {
				case !ok:
					return
				case update != nil && c.take(update):
					c.changed()
				}
			}
		}
	})
	return nil
}

// take takes over one change and reports whether it takes something away from somebody.
func (c *credentials) take(update jetstream.KeyValueEntry) (takes bool) {
	removed := update.Operation() != jetstream.KeyValuePut
	name := update.Key()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case strings.HasPrefix(name, keyPrefix):
		if removed {
			delete(c.byID, strings.TrimPrefix(name, keyPrefix))
			return true
		}
		var k eureka.APIKey
		if err := json.Unmarshal(update.Value(), &k); err != nil {
			c.log.Error("an API key cannot be read and is refused", slog.String("key", name))
			return false
		}
		c.byID[k.ID] = k
	case removed:
		delete(c.tokens, name)
		delete(c.users, name)
	default:
		var r eureka.Revocation
		if err := json.Unmarshal(update.Value(), &r); err != nil {
			c.log.Error("a revocation cannot be read and does not hold", slog.String("key", name))
			return false
		}
		if r.TokenID != "" {
			c.tokens[name] = r
		} else {
			c.users[name] = r
		}
		return true
	}
	return false
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
	return k, ok
}

// Revoked reports whether an identity's credential was taken back, by this node's copy.
func (c *credentials) Revoked(id eureka.Identity) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if id.TokenID != "" {
		if r, ok := c.tokens[tokenPrefix+escapeToken(id.TokenID)]; ok && r.Covers(id) {
			return true
		}
	}
	r, ok := c.users[userPrefix+escapeToken(id.User)]
	return ok && id.User != "" && r.Covers(id)
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
	_, err = c.keys.Create(ctx, keyPrefix+k.ID, text)
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
	if err := c.keys.Purge(ctx, keyPrefix+id); err != nil {
		return credentialsError(err)
	}
	c.mu.Lock()
	delete(c.byID, id)
	c.mu.Unlock()
	c.changed()
	return nil
}

// Keys implements eureka.Credentials.
func (c *credentials) Keys(context.Context) ([]eureka.APIKey, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	keys := make([]eureka.APIKey, 0, len(c.byID))
	for _, k := range c.byID {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b eureka.APIKey) int {
		if a.CreatedAt != b.CreatedAt {
			return int(a.CreatedAt - b.CreatedAt)
		}
		return strings.Compare(a.ID, b.ID)
	})
	return keys, nil
}

// Revoke implements eureka.Credentials.
func (c *credentials) Revoke(ctx context.Context, r eureka.Revocation) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	name := tokenPrefix + escapeToken(r.TokenID)
	if r.User != "" {
		name = userPrefix + escapeToken(r.User)
	}
	if _, err := c.revocations.Put(ctx, name, text); err != nil {
		return credentialsError(err)
	}
	c.mu.Lock()
	if r.User != "" {
		c.users[name] = r
	} else {
		c.tokens[name] = r
	}
	c.mu.Unlock()
	c.changed()
	return nil
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
		if a.At != b.At {
			return int(b.At - a.At)
		}
		return strings.Compare(a.TokenID+a.User, b.TokenID+b.User)
	})
	return all, nil
}

func credentialsError(err error) error {
	return natsError(err, "the store of credentials does not answer")
}
