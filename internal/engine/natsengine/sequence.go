package natsengine

import (
	"context"
	"errors"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"eureka"
)

// sequence gives out channel numbers: the sequence numbers of a stream that keeps one empty message. The stream's leader counts, so
// no number is given twice on any number of nodes, and nobody has to try again.
type sequence struct {
	js      jetstream.JetStream
	subject string
	config  jetstream.StreamConfig
}

func newSequence(o storeOptions) *sequence {
	name := o.Namespace + "_numbers"
	return &sequence{js: o.JS, subject: name, config: jetstream.StreamConfig{
		Name: name, Subjects: []string{name}, Description: "the last number given to a channel",
		MaxMsgs: 1, MaxConsumers: -1, MaxMsgSize: 1 << 10, Storage: jetstream.FileStorage,
		Replicas: max(o.Replicas, 1), Discard: jetstream.DiscardOld,
	}}
}

// next returns a number that was never given before. When the stream is gone it begins again behind highest, the highest number
// known to be in use.
func (s *sequence) next(ctx context.Context, highest func() uint64) (string, error) {
	ack, err := s.js.Publish(ctx, s.subject, nil, jetstream.WithExpectStream(s.config.Name))
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		if err := s.ensure(ctx, highest); err != nil {
			return "", err
		}
		ack, err = s.js.Publish(ctx, s.subject, nil, jetstream.WithExpectStream(s.config.Name))
	}
	if err != nil {
		return "", channelError(err)
	}
	return strconv.FormatUint(ack.Sequence, 10), nil
}

// ensure creates the stream when it is missing. An existing one keeps its count.
func (s *sequence) ensure(ctx context.Context, highest func() uint64) error {
	_, err := s.js.Stream(ctx, s.config.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		config := s.config
		config.FirstSeq = max(eureka.FirstChannelNumber, highest()+1)
		_, err = s.js.CreateStream(ctx, config)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			err = nil // another node was first
		}
	}
	return channelError(err)
}
