package natsengine

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"eureka"
	"eureka/internal/pause"
	"eureka/internal/protocol"
)

// Limits of what a node keeps of one channel; Options.CacheBytes bounds all of them together.
const (
	tailEntries = 4096
	tailBytes   = 4 << 20
	// tailOverhead is what an entry costs beside its body, about.
	tailOverhead = 160
)

// How a tail catches up after it may have missed entries.
const (
	fillPage    = 512
	fillTimeout = 5 * time.Second
	fillTries   = 5
	fillWait    = 300 * time.Millisecond
)

// tail is the newest entries of a channel with history that sockets of this node listen to. All live delivery on such a channel goes through it:
// it drops what came already, notices what did not come and reads that from the stream, and so hands every entry to the subscribers once and
// in order, or tells them of a gap. A socket that resumes is switched to live delivery under its lock.
type tail struct {
	channelID string
	history   *history

	mu      sync.Mutex
	known   bool   // start and last are valid
	start   uint64 // every entry behind this position, up to last, is in entries
	last    uint64
	entries []tailEntry
	bytes   int
	lost    bool   // subscribers were told of a gap, and since then no position is known: they must be told again when one is
	dropped bool   // the channel has no subscribers here any more
	far     uint64 // what is behind this position, and those before it, is too much for one read

	reading sync.Mutex // held by the one who reads the stream for it, so that sockets that resume together share a read
}

// tailEntry is one message; anchors only move the tail's end.
type tailEntry struct {
	seq    uint64
	at     time.Time
	body   []byte // with its cursor
	except []string
	origin eureka.Origin
	name   string // the name that frame is for
	frame  []byte // the body as the frame of subscribers under name, made at the first resume
}

// receive takes one live entry. before is the entry that was the channel's last when it was stored.
func (t *tail) receive(e entry, before uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dropped {
		return
	}
	told := false
	switch {
	case !t.known || e.seq <= t.last:
	case e.forgot != 0 && e.forgot <= t.last:
		t.clear()
		t.start = e.seq
	case before > t.last || before == 0:
		t.history.engine.metrics.missed.Inc()
		t.fill(before)
		told = !t.known
	}
	if !t.known {
		t.begin(e.seq-1, e.seq-1, t.lost && !told)
	}
	if e.seq > t.last { // else it came already, in a read
		t.push(e)
	}
}

// begin sets the position of a tail that had none. With tell those who are live already hear of a gap: it is not known which of the messages up to there
// they have. The caller holds mu.
func (t *tail) begin(start, last uint64, tell bool) {
	t.known, t.start, t.last, t.lost = true, start, last, false
	if tell {
		t.tell()
	}
}

func (t *tail) tell() {
	t.history.engine.bus.gap(t.channelID, "messages may have been missed; fetch the state again")
}

// clear forgets all entries. The caller holds mu and sets start.
func (t *tail) clear() {
	t.grow(-t.bytes)
	t.entries = nil
}

// push appends an entry and hands it to the subscribers. The caller holds mu.
func (t *tail) push(e entry) {
	t.last = e.seq
	if !e.isMessage() {
		return
	}
	te := t.history.tailEntry(t.channelID, e)
	t.keep(te)
	t.history.engine.options.Delivery.Deliver(t.channelID, protocol.Broadcast{Body: te.body, Except: te.except, Facts: protocol.FactsOf(te.body, te.origin)})
}

func (h *history) tailEntry(channelID string, e entry) tailEntry {
	body := make([]byte, 0, len(e.body)+40)
	body = protocol.AppendID(append(body, e.body...), h.cursor(channelID, e.seq).String())
	return tailEntry{seq: e.seq, at: e.at, body: body, except: e.except, origin: e.origin}
}

func (te *tailEntry) size() int { return tailOverhead + len(te.body) + len(te.frame) }

// keep adds an entry at the end and drops the oldest ones over the limits. The caller holds mu.
func (t *tail) keep(te tailEntry) {
	t.entries = append(t.entries, te)
	t.grow(te.size())
	t.shrink()
}

func (t *tail) grow(n int) {
	t.bytes += n
	t.history.cached.Add(int64(n))
}

// shrink drops the oldest entries over the limits. The caller holds mu.
func (t *tail) shrink() {
	h := t.history
	n, freed := 0, 0
	for n < len(t.entries) && (len(t.entries)-n > tailEntries || t.bytes-freed > tailBytes || h.cached.Load()-int64(freed) > h.engine.options.CacheBytes) {
		freed += t.entries[n].size()
		n++
	}
	t.drop(n, freed)
}

// drop forgets the n oldest entries. The caller holds mu.
func (t *tail) drop(n, bytes int) {
	if n == 0 {
		return
	}
	t.start = t.entries[n-1].seq
	clear(t.entries[:n])
	t.entries = t.entries[n:]
	if cap(t.entries) > 2*tailEntries {
		t.entries = slices.Clone(t.entries)
	}
	t.grow(-bytes)
}

// trim drops what is older than the channel lets messages become. The caller holds mu.
func (t *tail) trim(now time.Time, ttl time.Duration) {
	n, freed := 0, 0
	for n < len(t.entries) && now.Sub(t.entries[n].at) > ttl {
		freed += t.entries[n].size()
		n++
	}
	t.drop(n, freed)
}

// forget frees the tail's memory when its channel has no subscribers here any more.
func (t *tail) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	t.known, t.dropped = false, true
}

// behind returns the entries behind pos. The caller holds mu; pos is within start and last.
func (t *tail) behind(pos uint64) []tailEntry {
	at, _ := slices.BinarySearchFunc(t.entries, pos+1, func(te tailEntry, seq uint64) int {
		switch {
		case te.seq < seq:
			return -1
		case te.seq > seq:
			return 1
		default:
			return 0
		}
	})
	return t.entries[at:]
}

// covers reports whether all entries behind pos are in memory. The caller holds mu.
func (t *tail) covers(pos uint64) bool { return t.known && pos >= t.start && pos <= t.last }

// fill reads the entries behind last from the stream, up to upTo at least, and hands them on; if they cannot be had the subscribers are told
// of a gap. The caller holds mu.
func (t *tail) fill(upTo uint64) {
	ctx, cancel := context.WithTimeout(t.history.context, fillTimeout)
	defer cancel()
	for try := 0; ; {
		entries, _, end, err := t.history.behind(ctx, t.channelID, t.last, fillPage)
		if err == nil && len(entries) == 0 && !end {
			err = eureka.Errorf(eureka.CodeUnavailable, "the history lags behind")
		}
		switch {
		case eureka.CodeOf(err) == eureka.CodeGap, err != nil && try >= fillTries:
			t.gap(err)
			return
		case err != nil:
			try++
			if pause.For(ctx, fillWait) != nil {
				try = fillTries
			}
			continue
		}
		for _, e := range entries {
			t.push(e)
		}
		if end || (upTo > 0 && t.last >= upTo) {
			return
		}
	}
}

// gap tells the subscribers that messages may be missing. The tail starts afresh when a position is known again. The caller holds mu.
func (t *tail) gap(err error) {
	t.history.engine.metrics.gaps.Inc()
	t.history.engine.options.Log.Warn("messages of a channel with history may be missing; its subscribers were told",
		slog.String("channel", t.channelID), slog.Any("error", err))
	t.clear()
	t.known, t.lost = false, true
	t.tell()
}

// audit reads what the tail may have missed without a later entry to tell, as after a lost connection. Subscribers of a channel without a known
// position, such as one without history, are told of a gap.
func (t *tail) audit() {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.dropped:
	case t.known:
		t.fill(0)
	default:
		t.tell()
	}
}

// receiveStored hands a live entry of a channel with history to its tail.
func (b *bus) receiveStored(channelID string, msg *nats.Msg) error {
	e, err := parseEntry(msg)
	if err != nil {
		return err
	}
	before, err := strconv.ParseUint(msg.Header.Get(headerBefore), 10, 64)
	if err != nil {
		return err
	}
	if t := b.tail(channelID); t != nil {
		t.receive(e, before)
	}
	return nil
}
