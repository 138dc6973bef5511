package natsengine

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"eureka"
)

const (
	// writeTimeout bounds one write with all its steps when the caller's context allows more.
	writeTimeout = 4 * time.Second
	// liveTimeout bounds how long a write waits for the connection and the replica to come back.
	liveTimeout = 2 * time.Second
)

// storeOptions configure a channelStore. JS, Namespace and Log are required.
type storeOptions struct {
	JS        jetstream.JetStream
	Namespace string // prefix of the bucket's and the stream's name: A-Z a-z 0-9 _ -
	Replicas  int    // copies that JetStream keeps, 0 means 1
	Log       *slog.Logger
	// OnChange is told of every create (before is nil), update and delete (after is nil), on whichever node it was made, in the order of their
	// revisions and from one goroutine. The initial replay is not told. It must neither change the channels nor call
	// Create, Update or Delete, which wait for the goroutine that runs it.
	OnChange func(before, after *eureka.Channel)

	tick time.Duration // for tests: how often the watch looks after itself, 0 means watchTick
}

// channelStore is eureka.Channels on a JetStream key-value bucket. Writes go to the bucket; reads are served by a replica in
// memory that a watch keeps up to date, also while NATS is away.
type channelStore struct {
	nc       *nats.Conn
	log      *slog.Logger
	onChange func(before, after *eureka.Channel)
	bucket   *bucket
	numbers  *sequence
	replica  *replica
	progress *progress
	loaded   atomic.Bool      // the first replay is complete: reads may say "not found"
	tick     time.Duration    // how often the watch looks after itself
	liveWait time.Duration    // how long a write waits for the connection and the replica to come back
	now      func() time.Time // tells the age of a claim
	cancel   context.CancelFunc
	done     chan struct{}
}

var _ eureka.Channels = (*channelStore)(nil)

// errUnknownChannel is what Get answers for an undeclared name. Publishes to undeclared channels ask on every message, so it is made once.
var errUnknownChannel = eureka.Errorf(eureka.CodeNotFound, "there is no such channel")

// newChannelStore opens the bucket, creates it when it is missing, and returns when the replica has all channels. CodeUnavailable
// when that cannot be done before ctx ends. The store works until close.
func newChannelStore(ctx context.Context, o storeOptions) (*channelStore, error) {
	b, err := openBucket(ctx, o)
	if err != nil {
		return nil, err
	}
	r, err := newReplica(ctx)
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &channelStore{
		nc: o.JS.Conn(), log: o.Log, onChange: o.OnChange, bucket: b, numbers: newSequence(o), replica: r,
		progress: newProgress(), tick: o.tick, liveWait: liveTimeout, now: time.Now, cancel: cancel, done: make(chan struct{}),
	}
	if s.tick <= 0 {
		s.tick = watchTick
	}
	go s.run(running)
	if err := s.progress.wait(ctx, func(p position) bool { return p.synced }); err != nil {
		s.close()
		return nil, eureka.WrapError(eureka.CodeUnavailable, err, "the channels could not be read in time")
	}
	if err := s.numbers.ensure(ctx, s.replica.highestNumber); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// ready says whether the replica is complete and follows the bucket now; a CodeUnavailable error says what is missing.
func (s *channelStore) ready() error {
	switch {
	case !s.loaded.Load():
		return eureka.Errorf(eureka.CodeUnavailable, "the channels are still being read")
	case !s.nc.IsConnected():
		return eureka.Errorf(eureka.CodeUnavailable, "the connection to NATS is lost")
	case !s.live(s.progress.now()):
		return eureka.Errorf(eureka.CodeUnavailable, "the channels are being read again")
	default:
		return nil
	}
}

// close ends the watch and the replica. Reads and writes after it answer CodeUnavailable or what the replica last knew.
func (s *channelStore) close() {
	s.cancel()
	<-s.done
	s.replica.close()
}

// Create implements eureka.Channels.
func (s *channelStore) Create(ctx context.Context, ch eureka.Channel) (eureka.Channel, error) {
	if err := ch.Validate(); err != nil {
		return eureka.Channel{}, err
	}
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return eureka.Channel{}, err
	}
	defer cancel()
	ch.DeletedAt, ch.Revision = 0, 0
	if ch.ID == "" || ch.ID == eureka.NewID {
		return s.createNumbered(ctx, ch)
	}
	return s.create(ctx, ch)
}

func (s *channelStore) createNumbered(ctx context.Context, ch eureka.Channel) (eureka.Channel, error) {
	for {
		id, err := s.numbers.next(ctx, s.replica.highestNumber)
		if err != nil {
			return eureka.Channel{}, err
		}
		if s.replica.has(id) || id == ch.Alias {
			continue
		}
		numbered := ch
		numbered.ID = id
		created, err := s.create(ctx, numbered)
		if isTaken(err, id) {
			continue
		}
		return created, err
	}
}

// Get implements eureka.Channels. It never leaves the process and takes no lock.
func (s *channelStore) Get(_ context.Context, name string) (eureka.Channel, error) {
	if ch := s.replica.get(name); ch != nil {
		return *ch, nil
	}
	if err := eureka.CheckName("channel", name); err != nil {
		return eureka.Channel{}, err
	}
	if !s.loaded.Load() {
		return eureka.Channel{}, eureka.Errorf(eureka.CodeUnavailable, "the channels are still being read")
	}
	return eureka.Channel{}, errUnknownChannel
}

// Update implements eureka.Channels.
func (s *channelStore) Update(ctx context.Context, ch eureka.Channel) (eureka.Channel, error) {
	if err := ch.Validate(); err != nil {
		return eureka.Channel{}, err
	}
	if err := checkOwnID(ch.ID); err != nil {
		return eureka.Channel{}, err
	}
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return eureka.Channel{}, err
	}
	defer cancel()
	ch.DeletedAt = 0
	return s.update(ctx, ch)
}

// Delete implements eureka.Channels.
func (s *channelStore) Delete(ctx context.Context, id string, deletedAt int64) (eureka.Channel, error) {
	if err := checkOwnID(id); err != nil {
		return eureka.Channel{}, err
	}
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return eureka.Channel{}, err
	}
	defer cancel()
	return s.delete(ctx, id, deletedAt)
}

// List implements eureka.Channels.
func (s *channelStore) List(ctx context.Context, q eureka.ChannelQuery) (eureka.Page[eureka.Channel], error) {
	if err := q.Validate(); err != nil {
		return eureka.Page[eureka.Channel]{}, err
	}
	if !s.loaded.Load() {
		return eureka.Page[eureka.Channel]{}, eureka.Errorf(eureka.CodeUnavailable, "the channels are still being read")
	}
	return s.replica.list(ctx, q)
}

// begin bounds a write in time and waits until the replica follows the bucket, so that the write can be seen when it is done.
func (s *channelStore) begin(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, channelError(err)
	}
	select {
	case <-s.done:
		return nil, nil, eureka.Errorf(eureka.CodeUnavailable, "the channel store is closed")
	default:
	}
	if !s.live(s.progress.now()) {
		wait, stop := context.WithTimeout(ctx, s.liveWait)
		err := s.progress.wait(wait, s.live)
		stop()
		if err != nil {
			return nil, nil, eureka.WrapError(eureka.CodeUnavailable, err, "the channels cannot be changed now: NATS does not answer")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	return ctx, cancel, nil
}

// live reports whether the replica follows the bucket over the connection as it is now. Counting reconnects notices a connection that was
// lost and found again before anything else did.
func (s *channelStore) live(p position) bool {
	return p.synced && s.nc.IsConnected() && s.nc.Stats().Reconnects == p.reconnects
}

func checkOwnID(id string) error {
	if id == eureka.NewID {
		return errNoChannel(id)
	}
	return eureka.CheckName("id", id)
}

func errNoChannel(name string) error {
	return eureka.Errorf(eureka.CodeNotFound, "there is no channel %q", name)
}
