package loadgen

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"eureka"
	"eureka/internal/pause"
)

// maxAnswer is the largest answer to a publish, in bytes.
const maxAnswer = 1 << 20

// lane is one publisher with a connection of its own. It numbers what it sends to each channel.
type lane struct {
	p      *publishing
	id     int
	conn   net.Conn
	answer *bufio.Reader
	buffer []byte
	data   []byte
	took   histogram

	// A lane that waits for its messages to arrive sets a target; the loop answers on hit when as many have come.
	sent   int64 // copies that are to arrive
	target atomic.Int64
	hit    chan struct{}
}

// publishing is the publishers of one run.
type publishing struct {
	o       Options
	d       dialect
	began   time.Time // the generator's clock
	lanes   []*lane
	listen  func(channel int) int // sockets that hear a channel
	count   []uint32              // published so far, for each channel and its streams
	await   bool                  // each lane waits until its message has arrived everywhere
	stopped atomic.Bool
	total   atomic.Int64
	expect  atomic.Int64 // copies that are to arrive
	dialer  net.Dialer
	host    string
}

func newPublishing(o Options, d dialect, listen func(channel int) int) *publishing {
	to, _ := o.target() // valid
	p := &publishing{o: o, d: d, began: time.Now(), listen: listen, host: to.host, count: make([]uint32, o.Channels*o.streams())}
	for i := range o.InFlight {
		p.lanes = append(p.lanes, &lane{p: p, id: i, hit: make(chan struct{}, 1)})
	}
	return p
}

// now is the generator's clock: nanoseconds since 1970, and never set back while it runs.
func (p *publishing) now() int64 { return p.began.UnixNano() + int64(time.Since(p.began)) }

// plan is how long to publish, and how fast.
type plan struct {
	messages int           // in all; 0 for no end but span
	span     time.Duration // used without messages
	rate     float64       // per second, 0 for as fast as possible
}

// run publishes as planned and returns when the last answer has come. The first failure ends all lanes.
func (p *publishing) run(ctx context.Context, plan plan) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	start := p.now()
	var tickets atomic.Int64
	for _, l := range p.lanes {
		running.Go(func() {
			if err := l.run(ctx, plan, start, &tickets); err != nil {
				cancel(err)
			}
		})
	}
	running.Wait()
	return context.Cause(ctx)
}

// run publishes this lane's share.
func (l *lane) run(ctx context.Context, plan plan, start int64, tickets *atomic.Int64) error {
	channel := l.id % l.p.o.Channels
	for !l.p.stopped.Load() && ctx.Err() == nil {
		ticket := tickets.Add(1) - 1
		if plan.messages > 0 && ticket >= int64(plan.messages) {
			return nil
		}
		due := l.p.now()
		if plan.rate > 0 {
			due = start + int64(float64(ticket)/plan.rate*float64(time.Second))
		}
		if plan.messages == 0 && due-start >= int64(plan.span) {
			return nil
		}
		if err := until(ctx, l.p, due); err != nil {
			return err
		}
		if err := l.publish(ctx, channel, due); err != nil {
			return err
		}
		if channel += len(l.p.lanes); channel >= l.p.o.Channels {
			channel = l.id % l.p.o.Channels
		}
	}
	return ctx.Err()
}

func until(ctx context.Context, p *publishing, due int64) error {
	wait := time.Duration(due - p.now())
	if wait <= 0 {
		return nil
	}
	return pause.For(ctx, wait)
}

// publish sends one message, which was due at a time: what comes of a late one counts from there.
func (l *lane) publish(ctx context.Context, channel int, due int64) error {
	streams := l.p.o.streams()
	counter := &l.p.count[channel*streams+l.id%streams]
	s := stamp{at: due, channel: uint32(channel), lane: uint16(l.id), seq: *counter} //nolint:gosec // bounded by the options
	l.data = s.message(l.data[:0], l.p.o.Size)
	copies := int64(l.p.listen(channel))
	l.sent += copies
	if l.p.await {
		l.target.Store(l.sent)
	}
	*counter++
	l.p.expect.Add(copies)
	began := time.Now()
	if err := l.post(ctx, l.p.o.name(channel)); err != nil {
		return err
	}
	l.took.add(time.Since(began))
	l.p.total.Add(1)
	if !l.p.await || copies == 0 {
		return nil
	}
	timer := time.NewTimer(l.p.o.Wait)
	defer timer.Stop()
	select {
	case <-l.hit:
		return nil
	case <-timer.C:
		l.p.stopped.Store(true) // what is missing is counted at the end
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// post makes the request.
func (l *lane) post(ctx context.Context, name string) error {
	l.buffer = l.p.d.post(l.buffer[:0], name, l.data)
	if l.conn == nil {
		conn, err := l.p.dialer.DialContext(ctx, "tcp", l.p.host)
		if err != nil {
			return unreachable(err, l.p.host)
		}
		l.conn, l.answer = conn, bufio.NewReader(conn)
	}
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := l.conn.SetDeadline(time.Now().Add(l.p.o.Wait + time.Second)); err != nil {
		return unreachable(err, l.p.host)
	}
	if _, err := l.conn.Write(l.buffer); err != nil {
		return unreachable(err, l.p.host)
	}
	response, err := http.ReadResponse(l.answer, nil)
	if err != nil {
		return unreachable(err, l.p.host)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return unreachable(err, l.p.host)
	}
	return l.p.d.refused(response.StatusCode, text)
}

func (p *publishing) close() {
	for _, l := range p.lanes {
		if l.conn != nil {
			_ = l.conn.Close()
		}
	}
}

// latencies are the times from request to answer.
func (p *publishing) latencies() *histogram {
	var all histogram
	for _, l := range p.lanes {
		all.merge(&l.took)
	}
	return &all
}

func unreachable(err error, host string) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return eureka.WrapError(eureka.CodeUnavailable, err, "the service at %s does not answer", host)
}
