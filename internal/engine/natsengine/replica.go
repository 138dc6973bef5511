package natsengine

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"eureka"
)

// maxCountedNumber bounds which ids count as numbers that were given out: an id of one's own such as a date must not push the count.
const maxCountedNumber = 1_000_000_000

// replica is what a node knows of the bucket: a map for single reads and a database for lists. One goroutine (the watch) changes it, any
// number read it.
type replica struct {
	names  sync.Map // id or alias → *eureka.Channel, never changed once stored
	keys   map[string]key
	views  map[string]*eureka.Channel // by id: what is in names
	models models
	table  *table
	broken bool // the table must be built again

	created time.Time // of the bucket that the keys are from
	bucket  int       // counts buckets, so that revisions of different ones are never compared
	sync    int       // counts replays, to find the keys that the latest did not have
}

// key is a living key of the bucket.
type key struct {
	record
	revision     uint64
	bucket, sync int
}

// change is one difference that callers can see. The channels must not be written to.
type change struct{ old, new *eureka.Channel }

func newReplica(ctx context.Context) (*replica, error) {
	t, err := openTable(ctx)
	if err != nil {
		return nil, err
	}
	return &replica{keys: map[string]key{}, views: map[string]*eureka.Channel{}, models: models{channels: map[eureka.Origin]map[string]*eureka.Channel{}}, table: t}, nil
}

func (r *replica) close() { r.table.close() }

// get returns the channel with this id or alias, nil without one.
func (r *replica) get(name string) *eureka.Channel {
	v, ok := r.names.Load(name)
	if !ok {
		return nil
	}
	return v.(*eureka.Channel)
}

// channel returns the channel with this id, nil without one.
func (r *replica) channel(id string) *eureka.Channel {
	if ch := r.get(id); ch != nil && ch.ID == id {
		return ch
	}
	return nil
}

// has reports whether a channel is known by this id or alias.
func (r *replica) has(name string) bool { return r.get(name) != nil }

// highestNumber returns the highest id that looks like a number given out, 0 without one.
func (r *replica) highestNumber() uint64 {
	var highest uint64
	r.names.Range(func(name, _ any) bool {
		if n, err := strconv.ParseUint(name.(string), 10, 64); err == nil && n < maxCountedNumber {
			highest = max(highest, n)
		}
		return true
	})
	return highest
}

// begin starts a replay of the bucket created at that time. It reports whether this is another bucket than before.
func (r *replica) begin(created time.Time) bool {
	r.sync++
	if created.Equal(r.created) {
		return false
	}
	r.created = created
	r.bucket++
	return true
}

// apply takes over entries of the watch and returns what changed for callers, in order. Single reads see it at once; lists after flush.
func (r *replica) apply(entries []jetstream.KeyValueEntry, log *slog.Logger) []change {
	var changes []change
	for _, e := range entries {
		token, ok := strings.CutPrefix(e.Key(), nameKeys)
		name, err := unescapeToken(token)
		if !ok || err != nil {
			log.Warn("the channel bucket has a key that is not ours", slog.String("key", e.Key()))
			continue
		}
		k := key{revision: e.Revision(), bucket: r.bucket, sync: r.sync}
		old, known := r.keys[name]
		if known && old.bucket == k.bucket && old.revision >= k.revision {
			old.sync = r.sync
			r.keys[name] = old
			continue
		}
		if e.Operation() == jetstream.KeyValuePut {
			if k.record, err = decodeRecord(name, e.Value()); err != nil {
				log.Error("a key of the channel bucket has no valid record", slog.String("name", name), slog.Any("error", err))
			}
			if k.Channel != nil {
				k.Channel.Revision = k.revision
			}
		}
		changes = r.set(changes, name, old, k)
	}
	return changes
}

// sweep forgets the keys that the replay did not have.
func (r *replica) sweep() []change {
	var changes []change
	for name, k := range r.keys {
		if k.sync != r.sync {
			changes = r.set(changes, name, k, key{})
		}
	}
	return changes
}

// set replaces what a name's key holds and derives the channels that this concerns: those that the key held or pointed to, then those it
// holds or points to now.
func (r *replica) set(changes []change, name string, old, k key) []change {
	if k.Channel == nil && k.AliasOf == "" {
		delete(r.keys, name)
	} else {
		r.keys[name] = k
	}
	for _, held := range []record{old.record, k.record} {
		switch {
		case held.Channel != nil:
			changes = r.derive(changes, name)
		case held.AliasOf != "":
			changes = r.derive(changes, held.AliasOf)
		}
	}
	return changes
}

// derive brings what callers see of a channel in line with the keys. An alias shows only while its pointer points back.
func (r *replica) derive(changes []change, id string) []change {
	old := r.views[id]
	now := r.keys[id].Channel
	if now != nil && now.Alias != "" && r.keys[now.Alias].AliasOf != id {
		bare := *now
		bare.Alias = ""
		now = &bare
	}
	switch {
	case old == nil && now == nil, old != nil && now != nil && *old == *now:
		return changes
	case now == nil:
		delete(r.views, id)
		r.names.Delete(id)
	default:
		r.views[id] = now
		r.names.Store(id, now)
	}
	if old != nil && old.Alias != "" && (now == nil || now.Alias != old.Alias) {
		r.names.Delete(old.Alias)
	}
	if now != nil && now.Alias != "" {
		r.names.Store(now.Alias, now)
	}
	r.models.change(old, now)
	return append(changes, change{old: old, new: now})
}

// flush brings changes into the table. After an error the next flush builds the table again.
func (r *replica) flush(ctx context.Context, changes []change) error {
	if r.broken {
		all := make([]change, 0, len(r.views))
		for _, ch := range r.views {
			all = append(all, change{new: ch})
		}
		if err := r.table.reset(ctx); err != nil {
			return err
		}
		r.broken = false
		changes = all
	}
	for len(changes) > 0 {
		n := min(flushSize, len(changes))
		if err := r.table.write(ctx, changes[:n]); err != nil {
			r.broken = true
			return err
		}
		changes = changes[n:]
	}
	return nil
}
