package dynamo

import (
	"context"
	"errors"
	"time"
)

// positionKey is where the sweep that ran out of time stopped.
var positionKey = key{"g", "sweep"}

const attrPosition = "at" // of the sweep: the bucket and sort key of an entry, divided by a space

// Sweep calls ended for each socket whose time is over, or whose removal was cut off, though nobody reported its end; ended is expected to remove it.
// alive gets the others, at most limit ids at a time. A sweep that runs out of time returns nil, and the next one goes on where it stopped. An error
// of ended or alive does not stop it; it returns all of them.
//
// It reads the entries of lists, about 40 for a unit, and half a unit for each socket.
func (e *Engine) Sweep(
	ctx context.Context, limit int, ended func(ctx context.Context, socketID string) error, alive func(ctx context.Context, socketIDs []string) error,
) error {
	stopped, err := e.table.get(ctx, positionKey, false)
	if err != nil {
		return err
	}
	first, after := stoppedAt(stopped.text(attrPosition))
	s := sweep{e: e, limit: max(1, min(limit, maxBatchGet)), ended: ended, alive: alive}
	for i := range listBuckets {
		n := (first + i) % listBuckets
		if err := s.bucket(ctx, bucketKey(n), after); err != nil {
			return err
		}
		if s.stopped != "" {
			it := positionKey.item()
			it[attrPosition] = text(s.stopped)
			return errors.Join(append(s.faults, e.table.put(ctx, it, condition{}))...)
		}
		after = ""
	}
	if stopped != nil {
		_, err := e.table.remove(ctx, positionKey, condition{})
		s.faults = append(s.faults, err)
	}
	return errors.Join(s.faults...)
}

// stoppedAt reads attrPosition.
func stoppedAt(s string) (bucket int, after string) {
	for n := range listBuckets {
		if name := bucketKey(n) + " "; len(s) >= len(name) && s[:len(name)] == name {
			return n, s[len(name):]
		}
	}
	return 0, ""
}

// sweep is one run.
type sweep struct {
	e       *Engine
	limit   int
	ended   func(ctx context.Context, socketID string) error
	alive   func(ctx context.Context, socketIDs []string) error
	faults  []error
	stopped string // where the time was over
}

func (s *sweep) bucket(ctx context.Context, bucket, after string) error {
	var entries []item
	for it, err := range s.e.table.items(ctx, query{partition: bucket, after: after, attributes: []string{KeyPartition, KeySort, attrExpires}}) {
		if err != nil {
			return err
		}
		if entries = append(entries, it); len(entries) < s.limit {
			continue
		}
		if err := s.group(ctx, entries); err != nil || s.stopped != "" {
			return err
		}
		entries = entries[:0]
	}
	return s.group(ctx, entries)
}

// group looks after some entries of one bucket.
func (s *sweep) group(ctx context.Context, entries []item) error {
	keys := make([]key, len(entries))
	for i, it := range entries {
		keys[i] = socketKey(entryID(it))
	}
	found, err := s.e.table.batchGet(ctx, keys, false)
	if err != nil {
		return err
	}
	var living []string
	for i, it := range entries {
		if !enoughTime(ctx) {
			// The group again, since those that live have not been looked at.
			s.stopped = it.text(KeyPartition) + " " + before(entries[0].text(KeySort))
			return nil
		}
		id, now := entryID(it), s.e.options.Now()
		switch socket := found[keys[i]]; {
		case alive(socket, now.UnixMilli()), socket == nil && it.number(attrExpires) > now.UnixMilli(): // the read may not know it yet
			living = append(living, id)
		case socket.has(attrEnded) && now.Sub(time.UnixMilli(socket.number(attrEndedAt))) < removeLease:
			// Somebody is about to remove it.
		default:
			s.faults = append(s.faults, s.ended(ctx, id), s.e.dropEntry(ctx, it))
		}
	}
	if len(living) > 0 {
		s.faults = append(s.faults, s.alive(ctx, living))
	}
	return nil
}

// before is a sort key that stands before another one and behind all that stand before it.
func before(sk string) string { return sk[:len(sk)-1] }

// dropEntry removes an entry that stands for no socket any more.
func (e *Engine) dropEntry(ctx context.Context, it item) error {
	there, err := e.table.get(ctx, socketKey(entryID(it)), true)
	if err != nil || there != nil {
		return err
	}
	_, err = e.table.remove(ctx, it.key(), condition{})
	return err
}
