package subject

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"eureka"
	"eureka/internal/intake"
	"eureka/internal/source"
)

// Source is the name under which the events are counted.
const Source = "nats"

// How the connection behaves.
const (
	connectTimeout = 5 * time.Second
	reconnectWait  = 250 * time.Millisecond
	pingInterval   = 5 * time.Second
	flushTimeout   = 2 * time.Second
)

// What may wait for the subscription's callback; over it NATS drops, which is counted.
const (
	pendingMessages = 8192
	pendingBytes    = 64 << 20
)

// Options configure Start. URL, Subject, Name, Intake and Log are required.
type Options struct {
	URL     string // of the NATS that services publish on; a comma list for a cluster
	Subject string // with wildcards
	Stream  string // of JetStream; "" for core NATS
	Name    string // of the queue group and the durable consumer, which all nodes share
	Intake  *source.Intake
	Log     *slog.Logger

	ackWait time.Duration // of tests
}

// Events takes events from subjects until it is stopped.
type Events struct {
	options Options
	log     *slog.Logger
	nc      *nats.Conn
	sub     *nats.Subscription // of core NATS
	ctx     context.Context    //nolint:containedctx // of what is under way, ended by Stop: NATS calls back without one
	cut     context.CancelFunc
	begun   sync.WaitGroup // messages under way
	dropped atomic.Int64
	stream  *stream // of JetStream
}

// Start connects and takes events. A NATS that does not answer yet is connected to when it does, and a stream that is not there yet is used when it is.
// CodeInvalid for an address or a subject that is wrong.
func Start(ctx context.Context, o Options) (*Events, error) {
	if o.URL == "" || o.Subject == "" || o.Name == "" || o.Intake == nil || o.Log == nil {
		return nil, errors.New("subject: an option is missing")
	}
	e := &Events{options: o, log: o.Log.With(slog.String("subject", o.Subject))}
	e.ctx, e.cut = context.WithCancel(context.WithoutCancel(ctx))
	o.Intake.Metrics().Connected(Source, false)
	nc, err := nats.Connect(o.URL, e.connection()...)
	if err != nil {
		e.cut()
		return nil, eureka.WrapError(eureka.CodeInvalid, err, "nats_events_url: cannot be used")
	}
	e.nc = nc
	if o.Stream == "" {
		err = e.subscribe()
	} else {
		err = e.consume()
	}
	if err != nil {
		e.cut()
		nc.Close()
		return nil, err
	}
	return e, nil
}

func (e *Events) connection() []nats.Option {
	up := func(state string) nats.ConnHandler {
		return func(*nats.Conn) {
			e.options.Intake.Metrics().Connected(Source, true)
			e.log.Info("NATS of events is connected", slog.String("how", state))
		}
	}
	return []nats.Option{
		nats.Name(e.options.Name), nats.Timeout(connectTimeout), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, reconnectWait), nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(2), nats.IgnoreAuthErrorAbort(),
		nats.ConnectHandler(up("first")), nats.ReconnectHandler(up("again")),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			e.options.Intake.Metrics().Connected(Source, false)
			if err != nil {
				e.log.Warn("the connection to NATS of events is lost", slog.Any("error", err))
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			if sub != nil && errors.Is(err, nats.ErrSlowConsumer) {
				e.lost(sub)
				return
			}
			e.log.Warn("NATS of events reports an error", slog.Any("error", err))
		}),
	}
}

// lost counts what core NATS dropped because events came faster than they are accepted.
func (e *Events) lost(sub *nats.Subscription) {
	total, err := sub.Dropped()
	if err != nil {
		return
	}
	if more := int64(total) - e.dropped.Swap(int64(total)); more > 0 {
		e.options.Intake.Metrics().Count(Source, 0, 0, int(more))
		e.log.Error("events came faster than they could be accepted, and NATS dropped some; a stream would keep them", slog.Int64("events", more))
	}
}

// subscribe takes events from core NATS: one node of all takes each.
func (e *Events) subscribe() error {
	sub, err := e.nc.QueueSubscribe(e.options.Subject, e.options.Name, e.receive)
	if err == nil {
		err = sub.SetPendingLimits(pendingMessages, pendingBytes)
	}
	if err != nil {
		return eureka.WrapError(eureka.CodeInvalid, err, "nats_events_subject: %q cannot be subscribed to", e.options.Subject)
	}
	e.sub = sub
	return nil
}

// receive gives the events of a message their place, and returns to the next message while they are routed.
func (e *Events) receive(msg *nats.Msg) {
	wait := e.start(msg.Data, msg.Header, "")
	e.begun.Go(func() {
		out := wait()
		if msg.Reply != "" {
			e.answer(msg, out)
		} else if out.Err != nil {
			e.log.Warn("an event of NATS was not accepted and is lost: nobody waits for an answer", slog.String("on", msg.Subject), slog.Any("error", out.Err))
		}
	})
}

// start reads a message and gives its events their place. The function that it returns waits for what becomes of them. id is the message's when it has none
// of its publisher's.
func (e *Events) start(data []byte, header nats.Header, id string) func() source.Outcome {
	m := intake.Message{ID: id, Body: string(data), Attributes: make(map[string]string, len(header))}
	if given := header.Get(nats.MsgIdHdr); given != "" {
		m.ID = "nats-id " + given
	}
	for name, values := range header {
		if len(values) > 0 {
			m.Attributes[strings.ToLower(name)] = intake.HeaderValue(values[0])
		}
	}
	events, err := intake.Queued(m)
	if len(data) > intake.MaxMessage { // a server may let through far more
		events, err = nil, eureka.Errorf(eureka.CodeTooLarge, "the message has %d bytes, the limit is %d", len(data), intake.MaxMessage)
	}
	if err != nil {
		e.options.Intake.Refuse(Source)
		return func() source.Outcome { return source.Outcome{Err: err} }
	}
	return e.options.Intake.Start(e.ctx, Source, events)
}

// Stop takes no more events, waits until those that have come are done with, and disconnects. When ctx ends first it does not wait: those of a stream come
// again.
func (e *Events) Stop(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if e.sub != nil {
			e.drain()
		}
		if e.stream != nil {
			e.stream.drain()
		}
		e.begun.Wait()
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = eureka.WrapError(eureka.CodeTimeout, ctx.Err(), "events of NATS were under way")
	}
	if e.nc.IsConnected() {
		_ = e.nc.FlushTimeout(flushTimeout) // answers and acknowledgements; without them events come again
	}
	e.cut()
	e.nc.Close()
	return err
}

// drain ends the subscription behind what has come.
func (e *Events) drain() {
	if e.sub.Drain() != nil {
		_ = e.sub.Unsubscribe() // there is no connection to say it on
		return
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for e.sub.IsValid() {
		select {
		case <-tick.C:
		case <-e.ctx.Done():
			return
		}
	}
}

// answer is what a request gets.
type answer struct {
	Accepted int      `json:"accepted"`
	Channels []string `json:"channels"`
	Error    *fault   `json:"error,omitempty"`
}

type fault struct {
	Code    eureka.Code `json:"code"`
	Message string      `json:"message"`
	Retry   bool        `json:"retry"`
}

// sequenceID is the identity of a message of a stream: its place. A stream that was made anew gives places again, but not at the same time.
func sequenceID(meta *jetstream.MsgMetadata) string {
	return "nats-place " + meta.Stream + " " + strconv.FormatUint(meta.Sequence.Stream, 10) + " " + strconv.FormatInt(meta.Timestamp.UnixNano(), 10)
}
