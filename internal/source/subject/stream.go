package subject

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"eureka"
	"eureka/internal/pause"
	"eureka/internal/source"
)

// How the consumer behaves. Who wants it otherwise makes the consumer first; one that is there is used as it is.
const (
	ackWait    = 10 * time.Second       // until a message of a node that does not answer comes again; less than pinned, or all that is behind it overtakes it
	minAckWait = 300 * time.Millisecond // that is kept up with, on a consumer that says less
	maxPending = 256                    // messages under way on all nodes
	maxDeliver = 20                     // tries of one message; it stays in the stream
	pinned     = 15 * time.Second       // until another node takes over from one that asks for nothing more
	pullExpiry = 5 * time.Second
	firstAgain = time.Second // until a message that failed comes again; doubled each time
	lastAgain  = time.Minute
	bindAgain  = time.Second // until a stream that is not there is looked for again; doubled each time
	bindLater  = 15 * time.Second
	apiTimeout = 5 * time.Second
)

// group is the priority group in which one node takes all messages at a time, so that each model's events stay in order.
const group = "events"

// stream is the taking of events from a stream.
type stream struct {
	events  *Events
	js      jetstream.JetStream
	binding context.Context    //nolint:containedctx // ended when no consumer is to be bound any more
	stop    context.CancelFunc // ends binding
	bound   sync.WaitGroup
	changed chan struct{} // ackWait has

	mu      sync.Mutex
	current jetstream.ConsumeContext
	tries   uint64        // of a message, as the consumer says; 0 for any number
	ackWait time.Duration // likewise
	working map[jetstream.Msg]struct{}
}

func (e *Events) consume() error {
	js, err := jetstream.New(e.nc)
	if err != nil {
		return eureka.WrapError(eureka.CodeInternal, err, "JetStream cannot be used")
	}
	if e.options.ackWait == 0 {
		e.options.ackWait = ackWait
	}
	e.stream = &stream{events: e, js: js, ackWait: e.options.ackWait, changed: make(chan struct{}, 1), working: map[jetstream.Msg]struct{}{}}
	e.stream.binding, e.stream.stop = context.WithCancel(e.ctx)
	e.stream.bound.Go(e.stream.run)
	go e.stream.keep()
	return nil
}

// run binds to the consumer, and again whenever it or its stream has gone, until the end.
func (s *stream) run() {
	again := pause.Backoff{First: bindAgain, Last: bindLater}
	for {
		gone, err := s.bind()
		if err == nil {
			again.Reset()
			select {
			case <-gone:
				s.events.log.Warn("the consumer of events has gone; it is made again")
			case <-s.binding.Done():
				return
			}
			continue
		}
		s.events.log.Warn("the stream of events cannot be read yet", slog.String("stream", s.events.options.Stream), slog.Any("error", err))
		if again.Wait(s.binding) != nil {
			return
		}
	}
}

// bind begins to take messages. gone is closed when the consumer has ended.
func (s *stream) bind() (gone <-chan struct{}, err error) {
	ctx, cancel := context.WithTimeout(s.events.ctx, apiTimeout)
	defer cancel()
	consumer, err := s.consumer(ctx)
	if err != nil {
		return nil, err
	}
	config := consumer.CachedInfo().Config
	options := []jetstream.PullConsumeOpt{
		jetstream.PullMaxMessages(maxPending), jetstream.PullExpiry(pullExpiry), jetstream.ConsumeErrHandler(func(consuming jetstream.ConsumeContext, err error) {
			if errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, nats.ErrNoResponders) {
				consuming.Stop()
			}
			s.events.log.Debug("taking events from the stream", slog.Any("error", err))
		}),
	}
	s.mu.Lock()
	s.tries, s.ackWait = uint64(max(config.MaxDeliver, 0)), config.AckWait
	if len(config.BackOff) > 0 {
		s.ackWait = slices.Min(config.BackOff)
	}
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
	if len(config.PriorityGroups) > 0 {
		options = append(options, jetstream.PullPriorityGroup(config.PriorityGroups[0]))
	}
	consuming, err := consumer.Consume(s.receive, options...)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.current = consuming
	s.mu.Unlock()
	return consuming.Closed(), nil
}

// consumer is the durable one, made unless it is there.
func (s *stream) consumer(ctx context.Context) (jetstream.Consumer, error) {
	o := s.events.options
	consumer, err := s.js.Consumer(ctx, o.Stream, o.Name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		consumer, err = s.js.CreateConsumer(ctx, o.Stream, jetstream.ConsumerConfig{
			Durable: o.Name, FilterSubject: o.Subject, AckPolicy: jetstream.AckExplicitPolicy, AckWait: o.ackWait, MaxAckPending: maxPending, MaxDeliver: maxDeliver,
			PriorityPolicy: jetstream.PriorityPolicyPinned, PriorityGroups: []string{group}, PinnedTTL: pinned,
			Description: "events for Eureka Sockets",
		})
	}
	if err != nil {
		return nil, err
	}
	if consumer.CachedInfo().Config.AckPolicy != jetstream.AckExplicitPolicy {
		return nil, eureka.Errorf(eureka.CodeInvalid, "the consumer %s of the stream %s does not want each message acknowledged (AckExplicit)", o.Name, o.Stream)
	}
	return consumer, nil
}

// receive gives the events of a message their place, and returns to the next message while they are routed.
func (s *stream) receive(msg jetstream.Msg) {
	meta, err := msg.Metadata()
	if err != nil {
		s.events.log.Error("a message of the stream says nothing of its place", slog.Any("error", err))
		return
	}
	s.mu.Lock()
	s.working[msg] = struct{}{}
	s.mu.Unlock()
	wait := s.events.start(msg.Data(), msg.Headers(), sequenceID(meta))
	s.events.begun.Go(func() {
		out := wait()
		s.mu.Lock()
		delete(s.working, msg)
		last := s.tries > 0 && meta.NumDelivered >= s.tries
		s.mu.Unlock()
		s.settle(msg, meta, out.Err, last)
	})
}

// settle acknowledges what was accepted. What never can be is ended, and what could not be for now is given back for a while, also when that was the last
// time that NATS gave it: that NATS then tells who listens for it.
func (s *stream) settle(msg jetstream.Msg, meta *jetstream.MsgMetadata, err error, last bool) {
	var said error
	switch {
	case err == nil:
		said = msg.Ack()
	case source.Refused(err):
		s.events.log.Error("an event of the stream is refused and stays there", slog.Uint64("sequence", meta.Sequence.Stream), slog.Any("error", err))
		said = msg.TermWithReason(string(eureka.CodeOf(err)))
	default:
		again := min(firstAgain<<min(meta.NumDelivered-1, 10), lastAgain)
		log := s.events.log.With(slog.Uint64("sequence", meta.Sequence.Stream), slog.Uint64("deliveries", meta.NumDelivered), slog.Any("error", err))
		if last {
			log.Error("an event of the stream could not be accepted as often as its consumer gives it; it is not tried again and stays there")
		} else {
			log.Warn("an event of the stream could not be accepted for now")
		}
		said = msg.NakWithDelay(again + rand.N(again/2)) //nolint:gosec // jitter
	}
	if said != nil {
		s.events.log.Warn("a message of the stream could not be settled; it comes again and counts once", slog.Any("error", said))
	}
}

// keep tells NATS of what is still worked on, so that it does not give it to another node.
func (s *stream) keep() {
	for {
		s.mu.Lock()
		wait := max(s.ackWait, minAckWait) / 3
		s.mu.Unlock()
		tick := time.NewTimer(wait)
		select {
		case <-tick.C:
		case <-s.changed: // the time that NATS waits
			tick.Stop()
		case <-s.events.ctx.Done():
			tick.Stop()
			return
		}
		s.mu.Lock()
		working := make([]jetstream.Msg, 0, len(s.working))
		for msg := range s.working {
			working = append(working, msg)
		}
		s.mu.Unlock()
		for _, msg := range working {
			if err := msg.InProgress(); err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
				s.events.log.Debug("NATS cannot be told that an event is worked on", slog.Any("error", err))
			}
		}
	}
}

// drain takes nothing more from the server, and returns when what has come is under way.
func (s *stream) drain() {
	s.stop()
	s.bound.Wait()
	s.mu.Lock()
	current := s.current
	s.mu.Unlock()
	if current != nil {
		current.Drain()
		select {
		case <-current.Closed():
		case <-s.events.ctx.Done():
		}
	}
}

// answer tells a requester what became of its events.
func (e *Events) answer(msg *nats.Msg, out source.Outcome) {
	a := answer{Accepted: out.Accepted, Channels: out.Channels}
	if a.Channels == nil {
		a.Channels = []string{}
	}
	if out.Err != nil {
		code := eureka.CodeOf(out.Err)
		a.Error = &fault{Code: code, Message: eureka.MessageOf(out.Err), Retry: code.Outcome().Retry}
	}
	text, err := json.Marshal(a)
	if err == nil {
		err = msg.Respond(text)
	}
	if err != nil {
		e.log.Warn("an answer could not be sent", slog.Any("error", err))
	}
}
