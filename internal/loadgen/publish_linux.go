package loadgen

import (
	"context"
	"sync/atomic"
	"time"

	"eureka"
)

// publish publishes as planned, waits for what is under way, and reports.
func (r *runner) publish(ctx context.Context, plan plan) error {
	used, err := r.server.cpu()
	if err != nil {
		return lostProcess(err)
	}
	c := &r.swarm.count
	bytesBefore, framesBefore := c.bytes.Load(), c.frames.Load()
	own, began := ownCPU(), time.Now()
	var answered time.Duration
	failed := r.pump(ctx, plan, func() { answered = time.Since(began) })
	took := time.Since(began)
	now, err := r.server.cpu()
	if err != nil {
		return lostProcess(err)
	}
	received := c.messages.Load()
	accepted := r.p.total.Load()
	r.report.Publishes = &Publishes{
		Accepted: accepted, Seconds: answered.Seconds(), PerSecond: perSecond(accepted, answered), CPUMicros: microsEach(now-used, accepted), Latency: r.p.latencies().latency(),
	}
	d := &Delivery{
		Expected: r.p.expect.Load(), Received: received, Duplicates: c.duplicates.Load(), OutOfOrder: c.late.Load(), Foreign: c.foreign.Load(), Closed: c.ended.Load(),
		Seconds: took.Seconds(), PerSecond: perSecond(received, took), Frames: c.frames.Load() - framesBefore,
		CPUMicros: microsEach(now-used, received), OwnMicros: microsEach(ownCPU()-own, received), Latency: r.swarm.latency.latency(),
	}
	d.Lost = d.Expected - d.Received
	if received > 0 {
		d.FrameBytes = float64(c.bytes.Load()-bytesBefore) / float64(received)
	}
	r.report.Delivery = d
	if failed != nil {
		return failed
	}
	return r.verdict(d)
}

// pump runs publishers and loop until the last message has arrived, or nothing has for a while.
func (r *runner) pump(ctx context.Context, plan plan, published func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	var over atomic.Bool
	go func() {
		done <- r.p.run(ctx, plan)
		over.Store(true)
	}()
	ended, progress, before := false, r.p.now(), int64(-1)
	err := r.swarm.run(ctx, func() (bool, error) {
		if !ended && over.Load() {
			ended, progress = true, r.p.now()
			published()
			if err := <-done; err != nil {
				return false, err
			}
		}
		if !ended {
			return false, nil
		}
		n := r.swarm.count.messages.Load()
		if n != before {
			before, progress = n, r.p.now()
		}
		return n >= r.p.expect.Load() || time.Duration(r.p.now()-progress) > r.o.Wait, nil
	})
	if !ended {
		cancel()
		_ = <-done //nolint:staticcheck // waited for; what ended the loop says more
		published()
	}
	return err
}

// verdict is an error unless all that was accepted has arrived once and in order.
func (r *runner) verdict(d *Delivery) error {
	if d.Lost > 0 || d.Duplicates > 0 || d.OutOfOrder > 0 {
		return eureka.Errorf(eureka.CodeGap, "of %s deliveries %s are lost, %s doubled and %s out of order; the service ended %s sockets%s",
			grouped(d.Expected), grouped(d.Lost), grouped(d.Duplicates), grouped(d.OutOfOrder), grouped(d.Closed), r.because())
	}
	return r.closedMeanwhile()
}
