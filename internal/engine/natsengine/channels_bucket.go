package natsengine

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"eureka"
)

const (
	nameKeys     = "name."
	purgeMarker  = "PURGE"
	operationKey = "KV-Operation" // header of the key-value protocol (NATS ADR-8)

	// markerTTL is how long the bucket remembers that a key was deleted. Nothing depends on it: a replica that was away for longer compares all
	// keys when it comes back.
	markerTTL = 30 * 24 * time.Hour
	// maxRecordBytes is far above the largest channel (all fields at their limits, every byte escaped by JSON).
	maxRecordBytes = 64 << 10
)

// bucket is the key-value bucket of names. Beside what jetstream.KeyValue offers it needs the revision of deletions and of deleted
// keys, and reads that the stream's leader answers, so it speaks the key-value protocol over the bucket's stream itself.
type bucket struct {
	js     jetstream.JetStream
	name   string
	config jetstream.StreamConfig
	stream jetstream.Stream
}

// record is the value of a key: a channel under its id, or a pointer to one under its alias.
type record struct {
	Channel *eureka.Channel `json:"channel,omitempty"`
	AliasOf string          `json:"aliasOf,omitempty"` // id of the channel this is an alias of
}

// held is what a key holds: nothing at all (revision 0), a deletion marker or a record.
type held struct {
	record   // zero when the key is free
	revision uint64
	at       time.Time // when it was written, by the clock of the server
	corrupt  bool      // there is a value that is no record
}

func openBucket(ctx context.Context, o storeOptions) (*bucket, error) {
	name := o.Namespace + "_channels"
	b := &bucket{js: o.JS, name: name, config: jetstream.StreamConfig{
		Name: "KV_" + name, Subjects: []string{"$KV." + name + ".>"}, Description: "channels by id and alias",
		MaxMsgsPerSubject: 1, MaxMsgs: -1, MaxBytes: -1, MaxConsumers: -1, MaxMsgSize: maxRecordBytes,
		Storage: jetstream.FileStorage, Replicas: max(o.Replicas, 1), Discard: jetstream.DiscardNew,
		AllowRollup: true, DenyDelete: true, AllowMsgTTL: true,
		// Direct gets may be answered by a replica that is behind; names are decided on what the leader knows.
		AllowDirect: false,
	}}
	var err error
	if b.stream, err = o.JS.CreateOrUpdateStream(ctx, b.config); err != nil {
		return nil, channelError(err)
	}
	return b, nil
}

// info returns the state of the bucket's stream, and creates the bucket again when it is gone.
func (b *bucket) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	info, err := b.stream.Info(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if _, err = b.js.CreateStream(ctx, b.config); err == nil || errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			info, err = b.stream.Info(ctx)
		}
	}
	return info, err
}

// watch delivers what every key holds and then each change, until ctx ends.
func (b *bucket) watch(ctx context.Context) (jetstream.KeyWatcher, error) {
	kv, err := b.js.KeyValue(ctx, b.name)
	if err != nil {
		return nil, err
	}
	return kv.WatchAll(ctx)
}

// read returns what the leader knows about a name.
func (b *bucket) read(ctx context.Context, name string) (held, error) {
	m, err := b.stream.GetLastMsgForSubject(ctx, b.subject(name))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return held{}, nil
	}
	if err != nil {
		return held{}, channelError(err)
	}
	h := held{revision: m.Sequence, at: m.Time}
	if m.Header.Get(operationKey) == "" && m.Header.Get(jetstream.MarkerReasonHeader) == "" {
		h.record, err = decodeRecord(name, m.Data)
		h.corrupt = err != nil
	}
	return h, nil
}

// write stores a record when the key is still at the given revision (0: never written) and returns the new one. The error is not
// translated yet: callers ask isWrongSequence.
func (b *bucket) write(ctx context.Context, name string, r record, revision uint64) (uint64, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return 0, eureka.WrapError(eureka.CodeInternal, err, "the channel could not be encoded")
	}
	return b.publish(ctx, &nats.Msg{Subject: b.subject(name), Data: data, Header: nats.Header{}},
		jetstream.WithExpectLastSequencePerSubject(revision))
}

// purge frees a name when its key is still at the given revision and returns the revision of the deletion.
func (b *bucket) purge(ctx context.Context, name string, revision uint64) (uint64, error) {
	m := nats.NewMsg(b.subject(name))
	m.Header.Set(operationKey, purgeMarker)
	m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	return b.publish(ctx, m, jetstream.WithExpectLastSequencePerSubject(revision), jetstream.WithMsgTTL(markerTTL))
}

func (b *bucket) publish(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (uint64, error) {
	ack, err := b.js.PublishMsg(ctx, m, opts...)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

func (b *bucket) subject(name string) string {
	return "$KV." + b.name + "." + nameKeys + escapeToken(name)
}

// decodeRecord reads the value of a name's key and checks that it belongs there.
func decodeRecord(name string, data []byte) (record, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return record{}, err
	}
	switch {
	case r.Channel != nil && r.AliasOf == "" && r.Channel.ID == name:
		if err := r.Channel.Validate(); err != nil {
			return record{}, err
		}
		return r, nil
	case r.Channel == nil && r.AliasOf != name && eureka.ValidName(r.AliasOf):
		return r, nil
	default:
		return record{}, errors.New("the value is neither the name's channel nor a pointer to one")
	}
}
