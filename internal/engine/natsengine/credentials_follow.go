package natsengine

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"eureka"
	"eureka/internal/pause"
)

// run follows the buckets until ctx ends, and reads them anew whenever that breaks off: nobody may stay in because his revocation was missed.
func (c *credentials) run(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; {
		synced, err := c.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if failures++; synced {
			failures = 1
		}
		level := slog.LevelInfo
		if failures > quietAttempts {
			level = slog.LevelWarn
		}
		c.log.Log(ctx, level, "the credentials are read again", slog.Any("error", err), slog.Int("failures", failures))
		_ = pause.For(ctx, min(restartPause*time.Duration(failures), restartLimit))
	}
}

// watched is the watches of both buckets, and when the buckets were created.
type watched struct {
	updates [2]<-chan jetstream.KeyValueEntry
	created [2]time.Time
}

// follow reads both buckets and then takes over each change, until the connection is lost, a watch ends or a bucket is another one. It
// reports whether it has read everything.
func (c *credentials) follow(ctx context.Context) (synced bool, err error) {
	status := c.nc.StatusChanged()
	defer c.nc.RemoveStatusListener(status)
	if err := awaitConnection(ctx, c.nc, status); err != nil {
		return false, err
	}
	reconnects := c.nc.Stats().Reconnects
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var w watched
	for i := range c.configs {
		watcher, created, err := c.watch(ctx, i)
		if err != nil {
			return false, err
		}
		defer endWatch(watcher)
		w.updates[i], w.created[i] = watcher.Updates(), created
	}
	if err := c.read(ctx, w.updates); err != nil {
		return false, err
	}
	c.syncOnce.Do(func() { close(c.synced) })
	return true, c.loop(ctx, w, status, reconnects)
}

// loop takes over changes until something ends it.
func (c *credentials) loop(ctx context.Context, w watched, status <-chan nats.Status, reconnects uint64) error {
	tick := time.NewTicker(checkEvery * watchTick)
	defer tick.Stop()
	for {
		var entry jetstream.KeyValueEntry
		ok := true
		select {
		case entry, ok = <-w.updates[0]:
		case entry, ok = <-w.updates[1]:
		case <-status:
		case <-tick.C:
			if !c.same(ctx, w) {
				return errBucketReplaced
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		switch {
		case !ok:
			return errWatchEnded
		case !c.nc.IsConnected() || c.nc.Stats().Reconnects != reconnects:
			return errConnectionLost
		case entry != nil && c.take(entry):
			c.changed()
		}
	}
}

// watch watches a bucket, which it makes when it is gone with the server's state.
func (c *credentials) watch(ctx context.Context, which int) (watcher jetstream.KeyWatcher, created time.Time, err error) {
	kv, err := c.js.CreateOrUpdateKeyValue(ctx, c.configs[which])
	if err != nil {
		return nil, created, err
	}
	// Before the watch begins: a bucket that is replaced in between is found to be another one.
	if created, err = c.birth(ctx, which); err != nil {
		return nil, created, err
	}
	watcher, err = kv.WatchAll(ctx)
	return watcher, created, err
}

// same reports whether the buckets are those that are watched.
func (c *credentials) same(ctx context.Context, w watched) bool {
	for i := range w.created {
		if at, err := c.birth(ctx, i); err != nil || !at.Equal(w.created[i]) {
			return false
		}
	}
	return true
}

// birth is when a bucket's stream was created.
func (c *credentials) birth(ctx context.Context, which int) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, infoTimeout)
	defer cancel()
	stream, err := c.js.Stream(ctx, "KV_"+c.configs[which].Bucket)
	if err != nil {
		return time.Time{}, err
	}
	return stream.CachedInfo().Created, nil
}

// read takes over what the buckets have: keys that are in none any more leave, and revocations stay for as long as the process lives.
func (c *credentials) read(ctx context.Context, updates [2]<-chan jetstream.KeyValueEntry) error {
	var entries []jetstream.KeyValueEntry
	keys := map[string]bool{}
	timeout := time.NewTimer(credentialsReady)
	defer timeout.Stop()
	for i := range updates {
		for complete := false; !complete; {
			select {
			case entry, ok := <-updates[i]:
				if !ok {
					return errWatchEnded
				}
				if complete = entry == nil; !complete {
					entries = append(entries, entry)
				}
			case <-timeout.C:
				return nats.ErrTimeout
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	for _, entry := range entries {
		if id, ok := strings.CutPrefix(entry.Key(), keyPrefix); ok && entry.Operation() == jetstream.KeyValuePut {
			keys[id] = true
		}
		c.take(entry)
	}
	c.mu.Lock()
	for id := range c.byID {
		if !keys[id] {
			delete(c.byID, id)
		}
	}
	for id := range c.gone {
		if !keys[id] {
			delete(c.gone, id)
		}
	}
	c.mu.Unlock()
	c.changed()
	return nil
}

// take takes over one change and reports whether it takes something away from somebody.
func (c *credentials) take(update jetstream.KeyValueEntry) (takes bool) {
	name, removed := update.Key(), update.Operation() != jetstream.KeyValuePut
	c.mu.Lock()
	defer c.mu.Unlock()
	if id, isKey := strings.CutPrefix(name, keyPrefix); isKey {
		return c.takeKey(id, removed, update.Value())
	}
	if removed {
		delete(c.tokens, name)
		delete(c.users, name)
		return false
	}
	var r eureka.Revocation
	if err := json.Unmarshal(update.Value(), &r); err != nil || r.Validate() != nil || revocationName(r) != name {
		c.log.Error("a revocation cannot be read and does not hold", slog.String("name", name))
		return false
	}
	return c.keep(name, r)
}

// takeKey is take for a key. The caller holds mu.
func (c *credentials) takeKey(id string, removed bool, value []byte) (takes bool) {
	if removed {
		delete(c.byID, id)
		delete(c.gone, id)
		return true
	}
	var k eureka.APIKey
	if err := json.Unmarshal(value, &k); err != nil || k.Validate() != nil || k.ID != id {
		c.log.Error("an API key cannot be read and is refused", slog.String("id", id))
		delete(c.byID, id)
		return true
	}
	c.byID[id] = k
	return false
}
