package natsengine

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"eureka"
	"eureka/internal/pause"
	"eureka/internal/protocol"
)

// Limits of one read of the stream.
const (
	readTimeout = 5 * time.Second
	readBytes   = 1 << 20 // about what one read returns at the most
	lagTries    = 20      // how often a replica that lags behind its leader is asked again
	lagWait     = 50 * time.Millisecond
)

// entry is one stored entry of a channel: a message or an anchor.
type entry struct {
	seq    uint64
	before uint64 // the entry it was stored behind, anchors aside; 0 when that is not known
	at     time.Time
	ttl    time.Duration
	anchor bool
	forgot uint64 // of an anchor: all entries up to this one were removed
	// bridged is the anchor in whose place this one is, of a bridge.
	bridged  uint64
	envelope // of messages; its body is of protocol.MessageBody
}

func (e *entry) isMessage() bool { return !e.anchor }

// expired reports whether a message is older than its channel lets it become.
func (e *entry) expired(now time.Time, ttl time.Duration) bool {
	return !e.anchor && now.Sub(e.at) > min(e.ttl, ttl)
}

// isLasting reports whether the entry outlives messages that would be stored behind it.
func (e *entry) isLasting() bool { return e.anchor && e.bridged == 0 && e.forgot == 0 }

// isEnd reports whether nothing can have been stored behind this entry and be gone already, when it is the newest one there is.
func (e *entry) isEnd(now time.Time, ttl time.Duration) bool {
	return e.anchor || now.Sub(e.at) <= max(leastLife, min(e.ttl, ttl))
}

// base is the entry behind which nothing but anchors was stored, up to and with this one, which is the newest there is; 0 when messages may have been.
func (e *entry) base(now time.Time, ttl time.Duration) uint64 {
	switch {
	case e.bridged != 0:
		return e.before
	case e.isEnd(now, ttl):
		return e.seq
	default:
		return 0
	}
}

// follows reports whether nothing was stored between the entry with the sequence pos and this one.
func (e *entry) follows(pos uint64) bool { return e.before != 0 && e.before <= pos }

// parseEntry reads an entry from its headers and payload, as a read or the live subject brings it.
func parseEntry(msg *nats.Msg) (entry, error) {
	malformed := eureka.Errorf(eureka.CodeInvalid, "the entry of a history is malformed")
	seq, err := strconv.ParseUint(msg.Header.Get(headerSequence), 10, 64)
	if err != nil || seq == 0 {
		return entry{}, malformed
	}
	e := entry{seq: seq}
	if e.at, err = time.Parse(time.RFC3339Nano, msg.Header.Get(headerTime)); err != nil {
		return entry{}, malformed
	}
	e.before, _ = strconv.ParseUint(msg.Header.Get(headerExpected), 10, 64) // an entry without it is not chained
	if behind, err := strconv.ParseUint(msg.Header.Get(headerBehind), 10, 64); err == nil {
		e.before = min(e.before, behind)
	}
	if e.anchor = msg.Header.Get(headerAnchor) != ""; e.anchor {
		e.forgot, _ = strconv.ParseUint(msg.Header.Get(headerForgot), 10, 64) // most anchors have none
		e.bridged, _ = strconv.ParseUint(msg.Header.Get(headerBridged), 10, 64)
		return e, nil
	}
	ttl, err := strconv.ParseInt(msg.Header.Get(headerTTL), 10, 64)
	if e.ttl = time.Duration(ttl) * time.Millisecond; err != nil || ttl <= 0 || e.ttl > eureka.MaxHistoryTTL {
		return entry{}, malformed
	}
	if e.envelope, err = decodeEnvelope(msg.Data); err != nil {
		return entry{}, err
	}
	return e, nil
}

// getRequest is JetStream's request for stored messages.
type getRequest struct {
	Seq      uint64 `json:"seq,omitempty"`
	Next     string `json:"next_by_subj,omitempty"`
	Batch    int    `json:"batch,omitempty"`
	MaxBytes int    `json:"max_bytes,omitempty"`
	LastFor  string `json:"last_by_subj,omitempty"`
	// StartTime takes the place of Seq: from the first entry that is not older.
	StartTime *time.Time `json:"start_time,omitempty"`
}

// enter waits for a turn to read for a client, so that many who come back together do not keep NATS from all else. What live delivery reads
// needs no turn.
func (h *history) enter(ctx context.Context) (leave func(), err error) {
	select {
	case h.reads <- struct{}{}:
		return func() { <-h.reads }, nil
	case <-ctx.Done():
		return nil, eureka.WrapError(eureka.CodeUnavailable, ctx.Err(), "the history is too busy")
	}
}

// read returns up to limit entries of a channel behind the sequence after, and how many more there are.
func (h *history) read(ctx context.Context, channelID string, after uint64, limit int) (entries []entry, pending int, err error) {
	return h.get(ctx, getRequest{Seq: after + 1, Next: h.subject(channelID), Batch: limit, MaxBytes: readBytes})
}

// get returns the entries that a batch request asks for, and how many more there are.
func (h *history) get(ctx context.Context, asked getRequest) (entries []entry, pending int, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	request, err := json.Marshal(asked)
	if err != nil {
		return nil, 0, err
	}
	h.engine.metrics.reads.Inc()
	nc := h.engine.nc
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, 0, natsError(err, "the history cannot be read: NATS does not answer")
	}
	defer func() { _ = sub.Unsubscribe() }()
	// A page of the smallest entries must not be dropped as too much for a slow reader.
	_ = sub.SetPendingLimits(-1, -1)
	if err := nc.PublishRequest("$JS.API.DIRECT.GET."+h.name, inbox, request); err != nil {
		return nil, 0, natsError(err, "the history cannot be read: NATS does not answer")
	}
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, 0, natsError(err, "the history cannot be read: NATS does not answer")
		}
		switch status := msg.Header.Get("Status"); status {
		case "":
		case "204":
			return entries, pending, nil
		case "404":
			return nil, 0, nil
		default:
			return nil, 0, eureka.Errorf(eureka.CodeUnavailable, "the history cannot be read now (%s)", status)
		}
		e, err := parseEntry(msg)
		if err != nil {
			return nil, 0, eureka.WrapError(eureka.CodeInternal, err, "the history has an entry that cannot be read")
		}
		pending, _ = strconv.Atoi(msg.Header.Get("Nats-Num-Pending"))
		entries = append(entries, e)
	}
}

// lastEntry returns the newest entry of a channel, as the stream's leader knows it.
func (h *history) lastEntry(ctx context.Context, channelID string) (e entry, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	request, err := json.Marshal(getRequest{LastFor: h.subject(channelID)})
	if err != nil {
		return e, false, err
	}
	h.engine.metrics.reads.Inc()
	msg, err := h.engine.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+h.name, request)
	if err != nil {
		return e, false, natsError(err, "the history cannot be read: NATS does not answer")
	}
	var answer struct {
		Error *struct {
			Code int `json:"code"`
		} `json:"error"`
		Message struct {
			Seq    uint64    `json:"seq"`
			Header []byte    `json:"hdrs"`
			Data   []byte    `json:"data"`
			Time   time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return e, false, eureka.WrapError(eureka.CodeInternal, err, "the history gave no sensible answer")
	}
	switch {
	case answer.Error != nil && answer.Error.Code == 404:
		return e, false, nil
	case answer.Error != nil:
		return e, false, eureka.Errorf(eureka.CodeUnavailable, "the history cannot be read now (%d)", answer.Error.Code)
	}
	stored := &nats.Msg{Data: answer.Message.Data}
	if len(answer.Message.Header) > 0 {
		if stored.Header, err = nats.DecodeHeadersMsg(answer.Message.Header); err != nil {
			return e, false, eureka.WrapError(eureka.CodeInternal, err, "the history has an entry that cannot be read")
		}
	} else {
		stored.Header = nats.Header{}
	}
	stored.Header.Set(headerSequence, strconv.FormatUint(answer.Message.Seq, 10))
	stored.Header.Set(headerTime, answer.Message.Time.Format(time.RFC3339Nano))
	e, err = parseEntry(stored)
	return e, err == nil, err
}

// position returns the sequence of a channel's newest entry. A channel without one gets an anchor, so that there is a position to resume from.
func (h *history) position(ctx context.Context, channelID string) (uint64, error) {
	for range anchorTries {
		last, ok, err := h.lastEntry(ctx, channelID)
		if err != nil || ok {
			return last.seq, err
		}
		seq, _, wrong, err := h.anchor(ctx, channelID, 0)
		if err != nil || !wrong {
			return seq, err
		}
	}
	return 0, eureka.Errorf(eureka.CodeUnavailable, "the channel is too busy")
}

// behind returns up to limit entries behind the position pos, proven to be all there are: each follows the one before. pending is how many more there
// are; end reports that the last one is the channel's newest. Neither: the replica that answered lags. CodeGap when entries behind pos may be missing.
func (h *history) behind(ctx context.Context, channelID string, pos uint64, limit int) (entries []entry, pending int, end bool, err error) {
	gap := eureka.Errorf(eureka.CodeGap, "messages behind this position are no longer there; fetch the state again")
	entries, pending, err = h.read(ctx, channelID, pos, limit)
	if err != nil {
		return nil, 0, false, err
	}
	ttl, now, last := h.ttl(ctx, channelID), h.now(), pos
	for i := range entries {
		e := &entries[i]
		if !e.follows(last) || e.expired(now, ttl) {
			return nil, 0, false, gap
		}
		last = e.seq
	}
	if pending > 0 {
		return entries, pending, false, nil
	}
	if len(entries) > 0 && h.engine.options.Replicas == 1 {
		return entries, 0, true, nil
	}
	newest, ok, err := h.lastEntry(ctx, channelID)
	switch {
	case err != nil:
		return nil, 0, false, err
	case !ok || newest.seq < last || (newest.seq == last && !newest.isEnd(now, ttl)):
		return nil, 0, false, gap
	default:
		// Newer ones may have come since, or the replica that answered lags: the caller reads on.
		return entries, 0, newest.seq == last, nil
	}
}

// ttl is how long a channel lets its messages live now.
func (h *history) ttl(ctx context.Context, channelID string) time.Duration {
	ch, err := h.engine.channels.Get(ctx, channelID)
	if err != nil || ch.History == nil {
		return 0
	}
	return time.Duration(ch.History.TTL)
}

// since checks a cursor that a client gave against the channel's present history.
func (h *history) since(channelID string, c eureka.Cursor) (uint64, error) {
	if c.Epoch != h.cursorEpoch(channelID) || c.Offset == 0 {
		return 0, eureka.Errorf(eureka.CodeGap, "the position belongs to no present history of this channel; fetch the state again")
	}
	return c.Offset, nil
}

// After implements eureka.History.
func (h *history) After(ctx context.Context, channelID string, since eureka.Cursor, limit int) (eureka.HistoryPage, error) {
	pos, err := h.since(channelID, since)
	if err != nil {
		return eureka.HistoryPage{}, err
	}
	leave, err := h.enter(ctx)
	if err != nil {
		return eureka.HistoryPage{}, err
	}
	defer leave()
	return h.collect(ctx, channelID, pos, limit, func(pos uint64, limit int) ([]entry, int, bool, error) {
		return h.behind(ctx, channelID, pos, limit)
	})
}

// collect fills a page from reads as [history.behind] answers them, until it is full or the channel ends.
func (h *history) collect(
	ctx context.Context, channelID string, pos uint64, limit int, read func(pos uint64, limit int) (entries []entry, pending int, end bool, err error),
) (eureka.HistoryPage, error) {
	page := eureka.HistoryPage{Cursor: h.cursor(channelID, pos)}
	for try := 0; ; try++ {
		entries, pending, end, err := read(pos, limit-len(page.Messages))
		if err != nil {
			return eureka.HistoryPage{}, err
		}
		for i := range entries {
			if err := h.retained(&page, channelID, &entries[i]); err != nil {
				return eureka.HistoryPage{}, err
			}
			pos = entries[i].seq
		}
		page.Cursor = h.cursor(channelID, pos)
		page.More = !end
		switch found := len(page.Messages); {
		case end, found == limit, found > 0 && pending > 0:
			return page, nil
		case pending > 0:
			continue // a page of anchors
		}
		// The replica that answered lacks what its leader has: a message that its publisher was told is retained must not be missing.
		if err := lag(ctx, try); err != nil {
			if len(page.Messages) > 0 {
				return page, nil
			}
			return eureka.HistoryPage{}, err
		}
	}
}

// lag waits before a replica is asked again.
func lag(ctx context.Context, try int) error {
	if try >= lagTries {
		return eureka.Errorf(eureka.CodeUnavailable, "the history is being written faster than it can be read")
	}
	if err := pause.For(ctx, lagWait); err != nil {
		return eureka.WrapError(eureka.CodeUnavailable, err, "the history does not answer in time")
	}
	return nil
}

func (h *history) retained(page *eureka.HistoryPage, channelID string, e *entry) error {
	if !e.isMessage() {
		return nil
	}
	m, err := protocol.ParseBody(e.body)
	if err != nil {
		return err
	}
	page.Messages = append(page.Messages, eureka.Retained{
		Cursor: h.cursor(channelID, e.seq), Action: m.Action, Event: m.Event, Data: m.Data, TS: m.TS, Origin: e.origin,
	})
	return nil
}
