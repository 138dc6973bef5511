package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"eureka/internal/edge/simulator"
	"eureka/internal/edge/simulator/fault"
	"eureka/internal/edge/simulator/meter"
)

// The channels that the sockets of a crowd subscribe to.
const (
	plainChannel  = "plain"
	storedChannel = "stored"
)

// patience is how long a broadcast may take until nothing of it is under way any more.
const patience = 3 * time.Minute

// quiet is how long nothing must have happened for that, and poll how often it is looked.
const (
	quiet = 500 * time.Millisecond
	poll  = 50 * time.Millisecond
)

// world is a simulator that runs one program, with a crowd.
type world struct {
	sim *simulator.Simulator
	n   int // sockets of the crowd
}

// open starts a simulator of a program of the bench's.
func (b *bench) open(ctx context.Context, program, stage string) (*world, error) {
	sim, err := simulator.Start(ctx, simulator.Options{
		Listen: "127.0.0.1:0", Control: "127.0.0.1:0", Stage: stage, Auth: "none", Bootstrap: b.program(program), DynamoDB: b.dynamo, Queues: b.queues,
		Env: map[string]string{"EUREKA_LOG_LEVEL": "error"}, Seed: 1, Log: b.log(),
	})
	if err != nil {
		return nil, err
	}
	return &world{sim: sim}, nil
}

// join connects n more sockets to the crowd.
func (w *world) join(ctx context.Context, n, side int, channels ...string) error {
	target := "/?channels=" + strings.Join(channels, ",")
	join := fmt.Sprintf("%s/crowd?n=%d&side=%d&target=%s", w.sim.Endpoints().Control, n, side, url.QueryEscape(target))
	if _, err := call(ctx, http.MethodPost, join, ""); err != nil {
		return err
	}
	w.n += n
	return nil
}

// slow makes posts as slow as wanted.
func (w *world) slow(latency time.Duration) error {
	if latency == 0 {
		return nil
	}
	return w.sim.PutFault(fault.Rule{Kind: fault.SlowPost, Share: 1, Delay: latency})
}

// call makes a request; an answer that is no success is an error.
func call(ctx context.Context, method, address, body string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", method, address, answer.Status, text)
	}
	return text, err
}

// crowd is what the crowd received since the last reset.
type crowd struct {
	Messages int       `json:"messages"`
	Last     time.Time `json:"last"`
}

func (w *world) crowd(ctx context.Context, reset bool) (c crowd, err error) {
	text, err := call(ctx, http.MethodGet, fmt.Sprintf("%s/crowd?reset=%t", w.sim.Endpoints().Control, reset), "")
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	return c, err
}

func (w *world) counts() (map[meter.Counter]float64, error) {
	report, err := w.sim.Report()
	return report.Counts, err
}

// busy are the counters that stand still when nothing is under way.
var busy = []meter.Counter{meter.Invocations, meter.Posts, meter.DynamoCalls}

// settle waits until nothing is under way any more.
func (w *world) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	var before [3]float64
	still := time.Now()
	for time.Since(still) < quiet {
		counts, err := w.counts()
		if err != nil {
			return err
		}
		depths, err := w.sim.Depths(ctx)
		if err != nil {
			return err
		}
		var now [3]float64
		for i, c := range busy {
			now[i] = counts[c]
		}
		if tasks := depths["tasks"]; now != before || tasks.Waiting+tasks.InFlight+tasks.Delayed > 0 {
			before, still = now, time.Now()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("it does not come to rest: %w", ctx.Err())
		}
	}
	return nil
}

// measure makes one broadcast on a channel and returns what it took, until nothing of it is under way any more. That the broadcast itself failed, or did
// not reach everybody, is a result, not an error.
func (w *world) measure(ctx context.Context, channel string) (r round, err error) {
	if err := w.settle(ctx); err != nil {
		return r, err
	}
	if _, err := w.crowd(ctx, true); err != nil {
		return r, err
	}
	before, err := w.counts()
	if err != nil {
		return r, err
	}
	began := time.Now()
	_, r.failed = call(ctx, http.MethodPost, w.sim.HTTP()+"/sockets/"+channel+"/broadcast", `{"data":{"message":"hello"}}`)
	r.answered = time.Since(began)
	if err := w.settle(ctx); err != nil {
		return r, err
	}
	got, err := w.crowd(ctx, false)
	if err != nil {
		return r, err
	}
	if r.reached = got.Messages; r.reached != w.n && r.failed == nil {
		r.failed = fmt.Errorf("%d of %d sockets got the message", got.Messages, w.n)
	}
	after, err := w.counts()
	if err != nil {
		return r, err
	}
	r.last = got.Last.Sub(began)
	r.counts = map[meter.Counter]float64{}
	for _, c := range counted {
		r.counts[c] = after[c] - before[c]
	}
	return r, nil
}
