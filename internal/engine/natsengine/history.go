package natsengine

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"hash/maphash"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"eureka"
)

// Limits of the stream that keeps history.
const (
	dedupWindow   = 5 * time.Minute                  // how long one key stores a message once
	anchorTTL     = eureka.MaxHistoryTTL + time.Hour // an anchor outlives every message
	lingering     = time.Minute                      // how long messages stay stored past their TTL, unseen
	keyedTTL      = dedupWindow + lingering          // NATS knows keys by stored messages when it starts again
	leastLife     = lingering - 5*time.Second        // how long any message is stored at least; servers and nodes agree on time by less
	bridgeTTL     = 50 * time.Second                 // less than any message
	forgotTTL     = bridgeTTL
	trusted       = 30 * time.Second       // how long the end of a channel counts as known; with appendTimeout it is less than leastLife
	rushed        = 250 * time.Millisecond // less than eureka.MinHistoryTTL/2, the silence before an anchor
	appendTries   = 1000                   // tries to store a message behind the one known to be last; the caller's deadline may come first
	politeTries   = 4                      // after so many, each waits for up to appendWait
	anchorTries   = 64
	appendWait    = 5 * time.Millisecond
	appendTimeout = 10 * time.Second // when the caller does not give less
)

// JetStream's codes of refusals that another try may overcome.
const (
	wrongLastError = 10071 // Nats-Expected-Last-Subject-Sequence is not met
	lastBusyError  = 10164 // it cannot be told yet: a cluster is storing another entry of the subject
	keyBusyError   = 10158 // a cluster is storing a message with the same key
)

// Headers of entries. Nats-Expected-Last-Subject-Sequence is stored with its entry, and so tells a reader which one came before: the chain by
// which it can prove that nothing is missing.
const (
	headerSequence = "Nats-Sequence"
	headerBefore   = "Nats-Last-Sequence" // of a live message: the entry before it on its channel
	headerTime     = "Nats-Time-Stamp"
	headerExpected = "Nats-Expected-Last-Subject-Sequence"
	headerLife     = "Nats-TTL"
	headerTTL      = "Eureka-TTL"     // of a message: how long readers may see it, in milliseconds
	headerAnchor   = "Eureka-Anchor"  // of an anchor: lasting, bridge, or forgot
	headerBridged  = "Eureka-Bridged" // of a bridge: the lasting anchor that it replaces
	headerBehind   = "Eureka-Behind"  // where nothing but anchors came in between: the entry before those; 0 when messages may have come and gone
	headerForgot   = "Eureka-Forgot"  // of an anchor: the last one of the entries that were removed before it
)

// history keeps the messages of all channels in one JetStream stream, one subject for each channel. Entries of a subject are chained: each
// says which one it was stored behind, checked by the server. A channel that falls silent gets an anchor, an entry without a message that outlives those
// before it, so that the last position stays provable. NATS republishes each entry to the channel's live subject.
//
// That an entry is the newest one stored proves that nothing came behind it only as long as nothing behind it can have expired before it did. So no
// message is ever stored behind a lasting anchor: the first message after a silence replaces that by a bridge, an anchor that lives shorter than any
// message (see [history.bridge]); and a message proves it for as long as all that may follow it lives (see [entry.isEnd]). What is stored behind an end
// that proves nothing breaks the chain, and says so.
type history struct {
	engine  *Engine
	stream  jetstream.Stream
	name    string
	prefix  string // of the stream's subjects, with its dot
	epoch   string // of the stream; another one when entries may have been lost
	seed    maphash.Seed
	shards  [interestShards]appenderShard
	purges  chan string // channels with more entries than they retain
	reads   chan struct{}
	cached  atomic.Int64  // bytes of all tails
	pauses  atomic.Uint64 // the last pause given to a replay
	now     func() time.Time
	context context.Context    //nolint:containedctx // the life of what runs on its own: keep, scan, replays and live delivery
	cancel  context.CancelFunc // ends keep, scan and replays
	running sync.WaitGroup
}

type appenderShard struct {
	mu       sync.Mutex
	channels map[string]*appender
}

// appender is what this node knows of the end of a channel that it stores messages on.
type appender struct {
	turn      chan struct{} // holds one token: messages of one node are stored in the order of their calls
	users     int           // callers that hold or wait for it; the shard's lock guards it
	last      uint64        // sequence of the newest entry, as far as this node knows
	base      uint64        // nothing but anchors was stored behind base, up to and with last; 0 when messages may have been
	open      bool          // last was no lasting anchor, and the newest entry, when seen says
	seen      time.Time
	mine      uint64    // sequence of the newest message that this node looks after
	at        time.Time // when that was stored; zero when the channel is anchored
	sent      time.Time // when it began to store it
	from      time.Time // not to be anchored before
	retention eureka.Retention
	stored    int // messages since the last purge
}

// openHistory opens or makes the stream.
func openHistory(ctx context.Context, e *Engine) (*history, error) {
	h := &history{
		engine: e, name: e.options.Namespace + "_history", prefix: e.subject("hist") + ".", seed: maphash.MakeSeed(),
		purges: make(chan string, 1024), reads: make(chan struct{}, 16), now: e.options.now,
	}
	h.context, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for i := range h.shards {
		h.shards[i].channels = map[string]*appender{}
	}
	var err error
	h.stream, err = e.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: h.name, Description: "history of channels", Subjects: []string{h.prefix + "*"}, Replicas: e.options.Replicas,
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
		MaxMsgsPerSubject: -1, MaxBytes: e.options.HistoryBytes, Duplicates: dedupWindow, AllowDirect: true, AllowMsgTTL: true,
		RePublish: &jetstream.RePublish{Source: h.prefix + "*", Destination: e.subject("live") + ".{{wildcard(1)}}"},
	})
	if err != nil {
		return nil, natsError(err, "the history cannot be opened")
	}
	info := h.stream.CachedInfo()
	h.epoch = strconv.FormatInt(info.Created.UnixNano(), 36)
	if e.embedded != nil {
		h.epoch += "/" + e.embedded.epoch
	}
	return h, nil
}

func (h *history) start() {
	h.running.Go(h.keep)
	h.running.Go(h.scan)
}

func (h *history) stop() {
	h.cancel()
	h.running.Wait()
}

func (h *history) subject(channelID string) string { return h.prefix + escapeToken(channelID) }

var cursorEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// cursor is the position behind an entry of a channel. Its epoch belongs to this channel and this life of the stream.
func (h *history) cursor(channelID string, seq uint64) eureka.Cursor {
	return eureka.Cursor{Epoch: h.cursorEpoch(channelID), Offset: seq}
}

func (h *history) cursorEpoch(channelID string) string {
	sum := sha256.Sum256([]byte(h.epoch + "\x00" + channelID))
	return cursorEncoding.EncodeToString(sum[:5])
}

// append stores one message and returns its sequence: that of the first one when the key was used within dedupWindow.
func (h *history) append(ctx context.Context, channelID string, payload []byte, key string, r eureka.Retention) (uint64, error) {
	a := h.acquire(channelID)
	defer h.release(channelID, a)
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return 0, eureka.WrapError(eureka.CodeUnavailable, ctx.Err(), "the channel is too busy")
	}
	if err := h.mayStoreAgain(ctx, channelID, key, r); err != nil {
		return 0, err
	}
	ttl := time.Duration(r.TTL)
	life := ttl + lingering
	if key != "" {
		life = max(life, keyedTTL)
	}
	header := nats.Header{headerLife: {wholeSeconds(life)}, headerTTL: {strconv.FormatInt(ttl.Milliseconds(), 10)}}
	if key != "" {
		sum := sha256.Sum256([]byte(channelID + "\x00" + key))
		header[nats.MsgIdHdr] = []string{hex.EncodeToString(sum[:16])}
	}
	seq, duplicate, err := h.store(ctx, a, channelID, &nats.Msg{Subject: h.subject(channelID), Data: payload, Header: header}, appendTries)
	if err == nil || mayBeStored(err) {
		h.engine.requests.doubted(key)
	}
	if err != nil || duplicate {
		return seq, err
	}
	a.retention, a.at, a.mine = r, h.now(), seq
	if a.stored++; a.stored >= purgeSlack(r.Size) {
		select {
		case h.purges <- channelID:
			a.stored = 0
		default: // the next message asks again
		}
	}
	return seq, nil
}

// wholeSeconds is a TTL as NATS takes it. One more second, since NATS cuts off fractions: readers check the exact time themselves.
func wholeSeconds(ttl time.Duration) string {
	return strconv.FormatInt(int64((ttl+time.Second-1)/time.Second)+1, 10) + "s"
}

// purgeSlack is how many messages over its size a channel may hold before the oldest are removed.
func purgeSlack(size int) int { return max(100, size/8) }

// acquire returns the channel's appender, for release.
func (h *history) acquire(channelID string) *appender {
	shard := &h.shards[maphash.String(h.seed, channelID)&(interestShards-1)]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	a := shard.channels[channelID]
	if a == nil {
		// The first message looks for leftovers of an earlier process.
		a = &appender{turn: make(chan struct{}, 1), stored: eureka.MaxHistorySize}
		shard.channels[channelID] = a
	}
	a.users++
	return a
}

// release forgets the appender when nobody uses it and its channel is anchored.
func (h *history) release(channelID string, a *appender) {
	shard := &h.shards[maphash.String(h.seed, channelID)&(interestShards-1)]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if a.users--; a.users == 0 && a.at.IsZero() {
		delete(shard.channels, channelID)
	}
}

func (h *history) warn(text, channelID string, err error) {
	h.engine.options.Log.Warn("the history of a channel is not looked after now", slog.String("reason", text), slog.String("channel", channelID),
		slog.Any("error", err))
}
