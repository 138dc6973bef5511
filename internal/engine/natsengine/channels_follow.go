package natsengine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"eureka/internal/pause"
)

const (
	batchSize     = 1000            // entries of the watch that are taken together
	flushSize     = 20000           // changes of the first replay that go into the list's database together
	watchTick     = time.Second     // how often a watch looks after itself
	checkEvery    = 5               // ticks between looks at the bucket's stream
	infoTimeout   = 5 * time.Second // for a look at the bucket's stream
	restartPause  = 50 * time.Millisecond
	restartLimit  = 2 * time.Second // longest pause between two watches
	quietAttempts = 3               // watches that fail before it is worth a warning
	silentTicks   = 2               // ticks without a change after which a revision that is still missing is taken to be gone
	stuckTicks    = 10              // ticks without a change after which the server's count of pending ones is not believed
)

var (
	errConnectionLost = errors.New("the connection was lost")
	errWatchEnded     = errors.New("the watch ended")
	errBucketReplaced = errors.New("the bucket is another one than before")
	errWatchStalled   = errors.New("the bucket has changes that the watch does not deliver")
)

// run keeps a watch on the bucket until ctx ends.
func (s *channelStore) run(ctx context.Context) {
	defer close(s.done)
	for failures := 0; ctx.Err() == nil; {
		synced, err := s.follow(ctx)
		s.progress.move(func(p *position) { p.synced = false })
		if ctx.Err() != nil {
			return
		}
		failures++
		if synced {
			failures = 1
		}
		level := slog.LevelInfo
		if failures > quietAttempts {
			level = slog.LevelWarn
		}
		s.log.Log(ctx, level, "the channels are read again", slog.Any("error", err), slog.Int("failures", failures))
		_ = pause.For(ctx, min(restartPause*time.Duration(failures), restartLimit))
	}
}

// session is one watch: it brings the replica to what the bucket has, whatever happened in between, and follows from there.
type session struct {
	*channelStore
	reconnects uint64
	created    time.Time // of the bucket's stream
	target     uint64    // last revision of the bucket when the watch began
	last       uint64    // last revision delivered
	pending    uint64    // changes behind it that the bucket has and the watch will deliver
	initial    bool      // the watch has said that the initial values are complete
	synced     bool
	behind     uint64 // last revision of the bucket at the previous check
	ticks      int
	silence    int      // ticks since the last change was delivered
	held       []change // of the first replay, not flushed yet: nobody can see them anyway
}

// follow runs one session. It reports whether the replica was in sync at some time.
func (s *channelStore) follow(ctx context.Context) (bool, error) {
	status := s.nc.StatusChanged()
	defer s.nc.RemoveStatusListener(status)
	if err := awaitConnection(ctx, s.nc, status); err != nil {
		return false, err
	}
	f := &session{channelStore: s, reconnects: s.nc.Stats().Reconnects}
	info, err := f.info(ctx)
	if err != nil {
		return false, err
	}
	f.created, f.target = info.Created, info.State.LastSeq
	watching, stop := context.WithCancel(ctx)
	defer stop()
	watcher, err := s.bucket.watch(watching)
	if err != nil {
		return false, err
	}
	defer endWatch(watcher)
	if s.replica.begin(f.created) {
		s.progress.move(func(p *position) { p.applied = 0 })
	}
	err = f.loop(ctx, watcher.Updates(), status)
	return f.synced, err
}

func awaitConnection(ctx context.Context, nc *nats.Conn, status <-chan nats.Status) error {
	for !nc.IsConnected() {
		if nc.IsClosed() {
			// Nothing brings a closed connection back; whoever closed it closes the store too.
			_ = pause.For(ctx, restartLimit)
			return nats.ErrConnectionClosed
		}
		select {
		case <-status:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// endWatch stops a watch and takes what it still wants to deliver, without which it would never end. Stopping asks the server to forget
// the watch and waits for the answer, which nobody here needs.
func endWatch(w jetstream.KeyWatcher) {
	go func() { _ = w.Stop() }()
	go func() {
		for range w.Updates() {
		}
	}()
}

func (f *session) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, infoTimeout)
	defer cancel()
	return f.bucket.info(ctx)
}

func (f *session) loop(ctx context.Context, updates <-chan jetstream.KeyValueEntry, status <-chan nats.Status) error {
	tick := time.NewTicker(f.tick)
	defer tick.Stop()
	var batch []jetstream.KeyValueEntry
	for {
		select {
		case entry, ok := <-updates:
			if !ok {
				return errWatchEnded
			}
			f.silence = 0
			batch = f.collect(batch[:0], entry, updates)
			if err := f.apply(ctx, batch); err != nil {
				return err
			}
		case <-status:
			if !f.nc.IsConnected() || f.nc.Stats().Reconnects != f.reconnects {
				return errConnectionLost
			}
		case <-tick.C:
			if err := f.look(ctx); err != nil {
				return err
			}
			f.silence++
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := f.finishSync(ctx); err != nil {
			return err
		}
	}
}

// collect returns the entry and what else is there already, so that many changes become one write to the list's database.
func (f *session) collect(batch []jetstream.KeyValueEntry, entry jetstream.KeyValueEntry, updates <-chan jetstream.KeyValueEntry) []jetstream.KeyValueEntry {
	for {
		if entry == nil {
			f.initial = true
		} else {
			batch = append(batch, entry)
			f.last, f.pending = entry.Revision(), entry.Delta()
		}
		if len(batch) == batchSize {
			return batch
		}
		select {
		case next, ok := <-updates:
			if !ok { // the next receive finds it again
				return batch
			}
			entry = next
		default:
			return batch
		}
	}
}

func (f *session) apply(ctx context.Context, batch []jetstream.KeyValueEntry) error {
	changes := f.replica.apply(batch, f.log)
	if f.loaded.Load() {
		return f.commit(ctx, changes, f.last)
	}
	if f.held = append(f.held, changes...); len(f.held) < flushSize {
		return nil
	}
	return f.commitHeld(ctx)
}

func (f *session) commitHeld(ctx context.Context) error {
	changes := f.held
	f.held = nil
	return f.commit(ctx, changes, 0)
}

// commit makes changes visible to lists, then to waiters, and tells about them.
func (f *session) commit(ctx context.Context, changes []change, revision uint64) error {
	err := f.replica.flush(ctx, changes)
	if err != nil {
		f.log.Error("the list's database failed; it is built again", slog.Any("error", err))
	} else {
		f.progress.move(func(p *position) { p.applied = max(p.applied, revision) })
	}
	if f.onChange != nil && f.loaded.Load() {
		for _, c := range changes {
			f.onChange(c.old, c.new)
		}
	}
	return err
}

// finishSync ends the replay when everything that the bucket had has been delivered: then channels that it does not have
// any more leave the replica. The watch's own mark is not enough, because changes during the replay move keys to its end.
func (f *session) finishSync(ctx context.Context) error {
	switch {
	case f.synced, !f.initial, f.pending > 0 && f.silence < stuckTicks:
		return nil
	case f.last < f.target && f.silence < silentTicks:
		return nil // the bucket's last revision may be gone without a successor (an expired marker): then silence has to do
	}
	if err := f.commitHeld(ctx); err != nil {
		return err
	}
	if err := f.commit(ctx, f.replica.sweep(), max(f.last, f.target)); err != nil {
		return err
	}
	f.synced = true
	f.loaded.Store(true)
	f.progress.move(func(p *position) { p.synced, p.reconnects = true, f.reconnects })
	f.log.Debug("the channels are in sync", slog.Uint64("revision", f.last))
	return nil
}

// look asks every few seconds whether the bucket is still the same one and whether the watch delivers what it has.
func (f *session) look(ctx context.Context) error {
	if f.ticks++; f.ticks%checkEvery != 0 || !f.synced {
		return nil
	}
	info, err := f.info(ctx)
	switch {
	case err != nil:
		return err
	case !info.Created.Equal(f.created) || info.State.LastSeq < f.last:
		return errBucketReplaced
	case max(f.last, f.target) < f.behind:
		return errWatchStalled
	}
	f.behind = info.State.LastSeq
	return nil
}
