package loadgen

import (
	"context"
	"fmt"
	"time"

	"eureka"
	"eureka/client"
)

// Of a storm: messages that all hear before they are dropped, and the room that the channel's history has beside what is missed.
const (
	heardBefore = 3
	historyRoom = 1000
)

// storm drops all sockets at once, publishes what they miss, and lets them come back with the cursor of the last message they have.
func (r *runner) storm(ctx context.Context) error {
	remove, err := r.createChannel(ctx)
	if err != nil {
		return err
	}
	defer remove()
	r.swarm.cursors = true
	if err := r.open(ctx, true); err != nil { // with an empty cursor each learns its position
		return err
	}
	if err := r.publish(ctx, plan{messages: heardBefore}); err != nil {
		return err
	}
	held, err := r.server.memory()
	if err != nil {
		return lostProcess(err)
	}
	first := *r.report.Connects
	r.swarm.dropAll()
	if err := r.p.run(ctx, plan{messages: r.o.Missed}); err != nil {
		return err
	}
	r.swarm.count.recovered.Store(0)
	r.swarm.count.unrecovered.Store(0)
	r.swarm.handshake = histogram{}
	storm := &Stormed{Missed: r.o.Missed, BeforeBytes: held.resident, PeakBytes: held.resident}
	r.report.Storm = storm
	stop := r.watchPeak(storm)
	err = r.comeBack(ctx, storm)
	stop()
	if err != nil {
		return err
	}
	r.report.Delivery.Expected, r.report.Delivery.Received = r.p.expect.Load(), r.swarm.count.messages.Load()
	r.report.Delivery.Duplicates, r.report.Delivery.OutOfOrder = r.swarm.count.duplicates.Load(), r.swarm.count.late.Load()
	r.report.Delivery.Lost = r.report.Delivery.Expected - r.report.Delivery.Received
	storm.Recovered, storm.Unrecovered = r.swarm.count.recovered.Load(), r.swarm.count.unrecovered.Load()
	r.report.Connects.Failed -= first.Failed
	if storm.Unrecovered > 0 {
		return eureka.Errorf(eureka.CodeGap, "%s sockets were told that what they missed is gone", grouped(storm.Unrecovered))
	}
	return r.verdict(r.report.Delivery)
}

// comeBack connects all sockets again while the loop reads, and waits until they have all that was published.
func (r *runner) comeBack(ctx context.Context, storm *Stormed) error {
	used, err := r.server.cpu()
	if err != nil {
		return lostProcess(err)
	}
	began := time.Now()
	if err := r.open(ctx, true); err != nil {
		return err
	}
	storm.OpenSeconds = time.Since(began).Seconds()
	progress, before := r.p.now(), int64(-1)
	err = r.swarm.run(ctx, func() (bool, error) {
		n := r.swarm.count.messages.Load()
		if n != before {
			before, progress = n, r.p.now()
		}
		return n >= r.p.expect.Load() || time.Duration(r.p.now()-progress) > r.o.Wait, nil
	})
	took := time.Since(began)
	storm.CaughtSeconds, storm.PerSecond = took.Seconds(), perSecond(int64(r.o.Sockets), took)
	now, cpuErr := r.server.cpu()
	if err == nil && cpuErr != nil {
		err = lostProcess(cpuErr)
	}
	storm.CPUMicros = microsEach(now-used, int64(r.o.Sockets))
	return err
}

// watchPeak keeps the largest memory of the server until the returned function is called.
func (r *runner) watchPeak(storm *Stormed) (stop func()) {
	if r.server.pid == 0 {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			if m, err := r.server.memory(); err == nil {
				storm.PeakBytes = max(storm.PeakBytes, m.resident)
			}
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// createChannel makes the channel with a history that holds what is missed; remove deletes it.
func (r *runner) createChannel(ctx context.Context) (remove func(), err error) {
	c, err := client.New(r.o.URL)
	if err != nil {
		return nil, err
	}
	credential := r.o.APIKey
	if credential == "" {
		credential = r.o.Token
	}
	if credential != "" {
		c = c.WithToken(credential)
	}
	name := r.o.name(0)
	_, err = c.CreateChannel(ctx, name, map[string]any{
		"desc": "eureka bench", "history": map[string]any{"size": r.o.Missed + historyRoom, "ttl": "1h"},
	})
	if err != nil {
		return nil, eureka.WrapError(eureka.CodeOf(err), err, "the channel %s cannot be created: %s", name, eureka.MessageOf(err))
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if _, err := c.DeleteChannel(ctx, name); err != nil && r.o.Progress != nil {
			r.o.Progress(fmt.Sprintf("the channel %s is left behind: %s", name, eureka.MessageOf(err)))
		}
	}, nil
}
