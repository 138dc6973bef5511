package natsengine

import (
	"context"
	"fmt"
	"strconv"
	"time"

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
		payload, err := encodeEnvelope(body, nil)
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

// EpochFile is the file that says whether cursors of an earlier run hold.
const EpochFile = epochFile

// Boot is the machine's present boot.
func Boot() string { return bootID() }

// EndBridges removes what a channel has of bridges, as their end does that comes before that of any message. It returns how many there were.
func (e *Engine) EndBridges(ctx context.Context, channelID string) (n int, err error) {
	entries, _, err := e.history.read(ctx, channelID, 0, eureka.MaxHistoryPage)
	for i := range entries {
		if err == nil && entries[i].bridged != 0 {
			n++
			err = e.history.remove(ctx, entries[i].seq)
		}
	}
	return n, err
}

// Anchor anchors a channel now, as half of its messages' time without a message does.
func (e *Engine) Anchor(ctx context.Context, channelID string) error {
	a := e.history.acquire(channelID)
	defer e.history.release(channelID, a)
	a.turn <- struct{}{}
	defer func() { <-a.turn }()
	seq, _, wrong, err := e.history.anchor(ctx, channelID, a.last)
	if err == nil && wrong {
		err = fmt.Errorf("%d is not the last entry", a.last)
	}
	a.last, a.open, a.at = seq, false, time.Time{}
	return err
}

// Bridge puts a bridge in the place of a channel's anchor, as the next message does before it is stored.
func (e *Engine) Bridge(ctx context.Context, channelID string) error {
	a := e.history.acquire(channelID)
	defer e.history.release(channelID, a)
	a.turn <- struct{}{}
	defer func() { <-a.turn }()
	return e.history.bridge(ctx, a, channelID)
}

// LeaseOver makes this engine's claims of keys as old as those of callers that have ended.
func (e *Engine) LeaseOver() {
	e.requests.now = func() time.Time { return time.Now().Add(claimLease + time.Second) }
}

// Entries is how many entries of a channel are stored.
func (e *Engine) Entries(ctx context.Context, channelID string) (int, error) {
	entries, more, err := e.history.read(ctx, channelID, 0, 1)
	return len(entries) + more, err
}

// Doubt makes what was done under a claimed key as uncertain as when NATS does not answer.
func (e *Engine) Doubt(key string) { e.requests.doubted(key) }
