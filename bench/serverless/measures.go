package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"eureka/internal/edge/simulator/meter"
)

// broadcast is what one broadcast takes: the medians of some rounds.
type broadcast struct {
	Way         string  `json:"way"`
	Subscribers int     `json:"subscribers"`
	Reached     float64 `json:"reached"` // subscribers that got it: the original's way may take longer than a function may run
	Requests    float64 `json:"dynamodbRequests"`
	Reads       float64 `json:"readUnits"`
	Writes      float64 `json:"writeUnits"`
	Posts       float64 `json:"posts"`
	Invocations float64 `json:"invocations"`
	CPU         float64 `json:"lambdaCpuMs"`
	CPUPerPost  float64 `json:"lambdaCpuMsPerPost"`
	Billed      float64 `json:"lambdaBilledMs"`
	AnswerMs    float64 `json:"publishToAnswerMs"`
	LastMs      float64 `json:"publishToLastPostMs"`
}

// counted are the counters that a broadcast is measured by.
var counted = []meter.Counter{
	meter.DynamoCalls, meter.DynamoReads, meter.DynamoWrites, meter.Posts, meter.Invocations, meter.CPUMs, meter.BilledMs,
}

// round is one broadcast.
type round struct {
	counts         map[meter.Counter]float64
	answered, last time.Duration
	reached        int
	failed         error
}

// The ways that are compared.
const (
	service       = "service"
	serviceStored = "service, history"
	original      = "original's way"
)

// broadcasts measures all ways with n subscribers, round by round.
func (b *bench) broadcasts(ctx context.Context, n int) (found []broadcast, err error) {
	worlds := map[string]*world{}
	for _, program := range []string{"service", "original"} {
		w, err := b.open(ctx, program, fmt.Sprintf("%s%d", program[:1], n))
		if err != nil {
			return nil, err
		}
		defer w.sim.Stop()
		worlds[program] = w
		if program == "service" {
			if _, err := call(ctx, http.MethodPost, w.sim.HTTP()+"/channels/"+storedChannel, `{"history":{}}`); err != nil {
				return nil, err
			}
		}
	}
	if err := b.gather(ctx, worlds, n); err != nil {
		return nil, err
	}
	type way struct{ name, program, channel string }
	ways := []way{{service, "service", plainChannel}, {original, "original", plainChannel}}
	if b.history {
		ways = append(ways, way{serviceStored, "service", storedChannel})
	}
	rounds := map[string][]round{}
	for i := range b.rounds + 1 {
		for _, way := range ways {
			b.say("%s, %d subscribers, round %d of %d", way.name, n, i, b.rounds)
			r, err := worlds[way.program].measure(ctx, way.channel)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", way.name, err)
			}
			if r.failed != nil && way.name != original {
				return nil, fmt.Errorf("%s: %w", way.name, r.failed)
			}
			if r.failed != nil {
				b.say("%s: %v", way.name, r.failed)
			}
			if i > 0 { // the one before is to warm up, and to let channels grow
				rounds[way.name] = append(rounds[way.name], r)
			}
		}
	}
	for _, way := range ways {
		found = append(found, summary(way.name, n, rounds[way.name]))
	}
	return found, nil
}

// How a crowd gathers: some sockets at a time, and API Gateway closes those that have been idle for ten minutes.
const (
	joinAtOnce = 500
	maxIdle    = 4 * time.Minute
)

// gather connects n sockets to each of the worlds.
func (b *bench) gather(ctx context.Context, worlds map[string]*world, n int) error {
	channels := []string{plainChannel}
	if b.history {
		channels = append(channels, storedChannel)
	}
	awake := time.Now()
	for joined := 0; joined < n; joined += joinAtOnce {
		b.say("%d of %d sockets are connected", joined, n)
		for _, w := range worlds {
			if err := w.join(ctx, min(joinAtOnce, n-joined), b.side, channels...); err != nil {
				return err
			}
			if time.Since(awake) < maxIdle {
				continue
			}
			for _, w := range worlds {
				if _, err := w.measure(ctx, plainChannel); err != nil {
					return err
				}
			}
			awake = time.Now()
		}
	}
	for _, w := range worlds {
		if err := w.slow(b.latency); err != nil {
			return err
		}
	}
	return nil
}

func summary(way string, n int, rounds []round) broadcast {
	count := func(c meter.Counter) float64 {
		return median(rounds, func(r round) float64 { return r.counts[c] })
	}
	milliseconds := func(of func(round) time.Duration) float64 {
		return median(rounds, func(r round) float64 { return float64(of(r).Microseconds()) / 1000 })
	}
	return broadcast{
		Way: way, Subscribers: n, Reached: median(rounds, func(r round) float64 { return float64(r.reached) }), Requests: count(meter.DynamoCalls), Reads: count(meter.DynamoReads), Writes: count(meter.DynamoWrites),
		Posts: count(meter.Posts), Invocations: count(meter.Invocations), CPU: count(meter.CPUMs), Billed: count(meter.BilledMs),
		CPUPerPost: median(rounds, func(r round) float64 { return r.counts[meter.CPUMs] / r.counts[meter.Posts] }),
		AnswerMs:   milliseconds(func(r round) time.Duration { return r.answered }),
		LastMs:     milliseconds(func(r round) time.Duration { return r.last }),
	}
}

// median is the middle one of some values, the lower of two.
func median[T any](of []T, value func(T) float64) float64 {
	values := make([]float64, len(of))
	for i, v := range of {
		values[i] = value(v)
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}

// start is what a request takes of the processor in a new process of the HTTP API's function, through the runtime API, and in one that has run.
type start struct {
	Program string  `json:"program"`
	ColdMs  float64 `json:"coldCpuMs"`
	WarmMs  float64 `json:"warmCpuMs"`
}

// starts measures cold starts.
func (b *bench) starts(ctx context.Context) (found []start, err error) {
	for _, program := range []string{"service", "original"} {
		b.say("starts of the %s", program)
		w, err := b.open(ctx, program, program[:1]+"start")
		if err != nil {
			return nil, err
		}
		s, err := w.start(ctx, b.rounds)
		w.sim.Stop()
		if err != nil {
			return nil, fmt.Errorf("starts of the %s: %w", program, err)
		}
		s.Program = program
		found = append(found, s)
	}
	return found, nil
}

func (w *world) start(ctx context.Context, rounds int) (s start, err error) {
	var cold, warm []float64
	for range rounds {
		if _, err := call(ctx, http.MethodPost, w.sim.Endpoints().Control+"/functions/reset", ""); err != nil {
			return s, err
		}
		for i, times := range []*[]float64{&cold, &warm} {
			used, starts, err := w.hello(ctx)
			if err != nil {
				return s, err
			}
			if int(starts) != 1-i {
				return s, errors.New("another request came between")
			}
			*times = append(*times, used)
		}
	}
	same := func(v float64) float64 { return v }
	return start{ColdMs: median(cold, same), WarmMs: median(warm, same)}, nil
}

// hello asks for /hello, which needs no store, and returns the processor time that it took, and how many processes were started for it.
func (w *world) hello(ctx context.Context) (used, starts float64, err error) {
	before, err := w.counts()
	if err != nil {
		return 0, 0, err
	}
	if _, err := call(ctx, http.MethodGet, w.sim.HTTP()+"/hello", ""); err != nil {
		return 0, 0, err
	}
	if err := w.settle(ctx); err != nil {
		return 0, 0, err
	}
	after, err := w.counts()
	http, cold := meter.CPUMs.Of("http"), meter.ColdStarts.Of("http")
	return after[http] - before[http], after[cold] - before[cold], err
}
