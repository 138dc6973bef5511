package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"eureka"
	"eureka/internal/core"
	"eureka/internal/pause"
)

// Reporter is who reports through a source that has no credentials of the service: who may put events there is decided there.
var Reporter = eureka.Identity{Scopes: eureka.ScopePublish, Channels: []string{"*"}}

// Router takes events; core.Core is one.
type Router interface {
	Route(ctx context.Context, who eureka.Identity, ev eureka.Event) (core.RouteResult, error)
}

// How often an event is tried that may be accepted in a moment, before it goes back to where it came from. Its model waits meanwhile, so that a short
// trouble of the engine does not change the order.
const (
	tries     = 4
	firstWait = 100 * time.Millisecond // doubled each time, with as much jitter
)

// Defaults of Options.
const (
	DefaultWorkers = 32
	perWorker      = 8 // events that may wait for each worker
)

// Options configure New. Router and Log are required.
type Options struct {
	Router  Router
	Workers int // events that are routed at a time; DefaultWorkers when 0
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil for none
}

// Intake is the way of all sources into the core. It is safe for concurrent use.
type Intake struct {
	router  Router
	lanes   *Lanes
	log     *slog.Logger
	metrics *Metrics
}

// New returns an Intake that runs nothing yet.
func New(o Options) (*Intake, error) {
	if o.Router == nil || o.Log == nil {
		return nil, errors.New("source: an option is missing")
	}
	if o.Workers <= 0 {
		o.Workers = DefaultWorkers
	}
	return &Intake{router: o.Router, lanes: NewLanes(o.Workers, o.Workers*perWorker), log: o.Log, metrics: newMetrics(o.Metrics)}, nil
}

// Metrics returns what counts the events of all sources.
func (i *Intake) Metrics() *Metrics { return i.metrics }

// Outcome is what became of the events of one message.
type Outcome struct {
	Accepted int
	Channels []string // ids of the channels that they were delivered on, each once
	Err      error    // the first error; one after which it is worth trying again comes before others. nil: all were accepted
}

// Take routes the events of one message of a source and waits until each of them is accepted or not: that of one model in order, also with those of other
// messages that were taken before. Only when Outcome.Err is nil the message may be acknowledged. A message that is brought again counts once, since each
// event has an identity.
func (i *Intake) Take(ctx context.Context, source string, events []eureka.Event) Outcome {
	return i.Start(ctx, source, events)()
}

// Start is Take in two steps: when it returns the events have their place in the order, and the function that it returns waits for what becomes of them.
// It waits while too much is under way.
func (i *Intake) Start(ctx context.Context, source string, events []eureka.Event) func() Outcome {
	counts := i.metrics.of(source)
	counts.received.Add(float64(len(events)))
	results, errs := make([]core.RouteResult, len(events)), make([]error, len(events))
	var left sync.WaitGroup
	for n, ev := range events {
		counts.inFlight.Inc()
		left.Add(1)
		done := func(err error) {
			errs[n] = err
			counts.inFlight.Dec()
			left.Done()
		}
		if err := i.lanes.Go(ctx, lane(ev), func() {
			var err error
			results[n], err = i.route(ctx, ev)
			done(err)
		}); err != nil {
			done(eureka.WrapError(eureka.CodeUnavailable, err, "the service is stopping"))
		}
	}
	return func() Outcome {
		left.Wait()
		return i.outcome(counts, results, errs)
	}
}

func (i *Intake) outcome(counts *counts, results []core.RouteResult, errs []error) Outcome {
	var out Outcome
	seen := map[string]bool{}
	for n, err := range errs {
		counts.add(err)
		if err != nil {
			if out.Err == nil || (!Refused(err) && Refused(out.Err)) {
				out.Err = err
			}
			continue
		}
		out.Accepted++
		for _, id := range results[n].Channels {
			if !seen[id] {
				seen[id] = true
				out.Channels = append(out.Channels, id)
			}
		}
	}
	return out
}

// route routes an event, and tries again in a moment where that may help.
func (i *Intake) route(ctx context.Context, ev eureka.Event) (result core.RouteResult, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			i.log.ErrorContext(ctx, "routing an event panicked", slog.Any("panic", fault))
			err = eureka.WrapError(eureka.CodeInternal, fmt.Errorf("panic: %v", fault), "internal error")
		}
	}()
	wait := pause.Backoff{First: firstWait, Last: firstWait << tries}
	for try := 1; ; try++ {
		result, err = i.router.Route(ctx, Reporter, ev)
		if err == nil || Refused(err) || try == tries {
			return result, err
		}
		if wait.Wait(ctx) != nil {
			return result, err
		}
	}
}

// Refuse counts a message of which no event could be read.
func (i *Intake) Refuse(source string) {
	counts := i.metrics.of(source)
	counts.received.Inc()
	counts.refused.Inc()
}

// Refused reports whether an error stands however often the event is brought again. A defect of the service is none such: the event is not at fault.
func Refused(err error) bool {
	code := eureka.CodeOf(err)
	return err != nil && !code.Outcome().Retry && code != eureka.CodeInternal
}

// lane is the key of what must stay in order: one model's events, or one channel's.
func lane(ev eureka.Event) string {
	if ev.Service == "" {
		return "\x00" + ev.ChannelID
	}
	return ev.Service + "\x00" + ev.ModelType + "\x00" + ev.ModelID
}

// Wait returns when nothing is under way. The sources must have ended.
func (i *Intake) Wait() { i.lanes.Wait() }
