package natsengine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"eureka"
	"eureka/internal/protocol"
)

// What the external tests of the engine use of the package's own.
var (
	StartServer   = startServer
	StartServerOn = startServerOn
	StartCluster  = startCluster
	StopServer    = stopServer
)

// Crash ends the engine's connection as a dying process would: without a word to the other nodes.
func (e *Engine) Crash() { e.nc.Close() }

// InboxSize is how many live messages may wait for one dispatcher.
const InboxSize = inboxSize

// Fill stores n messages on a channel as Deliver does, each behind the one before, without waiting for each. The channel must have no entry yet, and
// no other may be written meanwhile.
func (e *Engine) Fill(ctx context.Context, channelID string, n int) error {
	info, err := e.history.stream.Info(ctx)
	if err != nil {
		return err
	}
	last := uint64(0)
	for i := range n {
		body, err := protocol.MessageBody(eureka.Message{Action: eureka.ActionMessage, Event: strconv.Itoa(i + 1)})
		if err != nil {
			return err
		}
		payload, err := envelope{body: body}.encode()
		if err != nil {
			return err
		}
		_, err = e.js.PublishMsgAsync(&nats.Msg{Subject: e.history.subject(channelID), Data: payload, Header: nats.Header{
			headerExpected: {strconv.FormatUint(last, 10)}, headerLife: {"660s"}, headerTTL: {"600000"},
		}}, jetstream.WithStallWait(testPatience))
		if err != nil {
			return err
		}
		last = info.State.LastSeq + uint64(i) + 1
	}
	select {
	case <-e.js.PublishAsyncComplete():
	case <-ctx.Done():
		return ctx.Err()
	}
	if end, err := e.history.stream.Info(ctx); err != nil || end.State.LastSeq != last {
		return fmt.Errorf("stored up to %d, not %d: %w", end.State.LastSeq, last, err)
	}
	return nil
}

// WithClock is o with a clock of the test's own.
func WithClock(o Options, now func() time.Time) Options {
	o.now = now
	return o
}

// Drop removes the entry at an offset, as its expiry does.
func (e *Engine) Drop(ctx context.Context, offset uint64) error { return e.history.remove(ctx, offset) }

// Entry is a stored entry as a test looks at it.
type Entry struct {
	Offset  uint64
	Message bool
	Lasting bool
}

// Entries are all entries of a channel.
func (e *Engine) Entries(ctx context.Context, channelID string) ([]Entry, error) {
	entries, _, err := e.history.read(ctx, channelID, 0, eureka.MaxHistoryPage)
	all := make([]Entry, 0, len(entries))
	for i := range entries {
		all = append(all, Entry{entries[i].seq, entries[i].isMessage(), entries[i].isLasting()})
	}
	return all, err
}

// LoseTrack leaves the engine with what it knows of the channel's end after a publish that failed: nothing (0), or what another node stored there.
func (e *Engine) LoseTrack(channelID string, last uint64) {
	a := e.history.acquire(channelID)
	defer e.history.release(channelID, a)
	a.turn <- struct{}{}
	a.last, a.base, a.open = last, last, last != 0
	<-a.turn
}

// Anchor looks after a channel as keep does, when it is silent.
func (e *Engine) Anchor(ctx context.Context, channelID string) { e.history.anchorOne(ctx, channelID) }

// Unkeep removes all that the store of requests has.
func (e *Engine) Unkeep(ctx context.Context) error {
	keys, err := e.requests.kv.Keys(ctx)
	for _, key := range keys {
		err = errors.Join(err, e.requests.kv.Purge(ctx, key))
	}
	return err
}

// EpochFile is the file that says whether cursors of an earlier run hold.
const EpochFile = epochFile

// Boot is the machine's present boot.
func Boot() string { return bootID() }

// Bucket opens a key-value bucket on a server.
func Bucket(t testing.TB, s *server.Server, name string) jetstream.KeyValue {
	t.Helper()
	kv, err := dialJetStream(t, s).KeyValue(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// ForgetRequestsAfter makes the store of requests keep answers for another time than it does.
func (e *Engine) ForgetRequestsAfter(ctx context.Context, d time.Duration) error {
	s, err := e.js.Stream(ctx, bucketPrefix+e.options.Namespace+"_requests")
	if err != nil {
		return err
	}
	config := s.CachedInfo().Config
	config.MaxAge, config.Duplicates = d, d
	_, err = e.js.UpdateStream(ctx, config)
	return err
}

// LeaseOver makes this engine's claims of keys as old as those of callers that have ended.
func (e *Engine) LeaseOver() {
	e.requests.now = func() time.Time { return time.Now().Add(claimLease + time.Second) }
}

// Doubt makes what was done under a claimed key as uncertain as when NATS does not answer.
func (e *Engine) Doubt(key string) { e.requests.doubted(key) }
