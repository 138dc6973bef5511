package loadgen

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"eureka"
)

// runner is one run.
type runner struct {
	o       Options
	d       dialect
	server  process
	swarm   *swarm
	p       *publishing
	report  Report
	hearers []int // sockets that hear each channel; of one channel, all
}

// Run loads the service as the options say. The report is what was seen until the end, even when there is an error: CodeInvalid for
// options and limits of this machine, CodeUnavailable for a service that does not answer, CodeGap when messages were lost, doubled or
// out of order, and the service's own code when it refuses.
func Run(ctx context.Context, o Options) (Report, error) {
	r := &runner{o: o, report: Report{Scenario: o.Scenario, Protocol: o.Protocol, URL: o.URL, Asked: Asked{
		Sockets: o.Sockets, Channels: o.Channels, PerSocket: o.PerSocket, Size: o.Size, Rate: o.Rate, InFlight: o.InFlight,
	}}}
	if err := r.prepare(ctx); err != nil {
		return r.report, err
	}
	defer func() { _ = r.swarm.close() }()
	defer r.p.close()
	stop := r.progress()
	err := r.scenario(ctx)
	stop()
	r.report.Failures = r.swarm.failures.list()
	return r.report, err
}

func (r *runner) prepare(ctx context.Context) (err error) {
	if err := r.o.Validate(); err != nil {
		return err
	}
	if err := raiseFiles(r.o.Sockets + r.o.InFlight); err != nil {
		return err
	}
	if r.server, err = newProcess(r.o.PID); err != nil {
		return err
	}
	to, err := r.o.target()
	if err != nil {
		return err
	}
	dialer, err := newDialer(ctx, to.host)
	if err != nil {
		return err
	}
	if err := dialer.check(r.o.Sockets); err != nil {
		return err
	}
	r.d = newDialect(r.o)
	r.p = newPublishing(r.o, r.d, func(channel int) int { return r.hearers[channel] })
	if r.swarm, err = newSwarm(r.o, r.d, dialer, r.p); err != nil {
		return err
	}
	r.hearers = make([]int, r.o.Channels)
	for i := range r.o.Sockets {
		for k := range r.o.PerSocket {
			r.hearers[(r.swarm.first(i)+k)%r.o.Channels]++
		}
	}
	return nil
}

func (r *runner) scenario(ctx context.Context) error {
	switch r.o.Scenario {
	case Idle:
		return r.idle(ctx)
	case Connect:
		return r.cycles(ctx)
	case Storm:
		return r.storm(ctx)
	case Fanout, Channels, Publish:
	}
	if err := r.connect(ctx); err != nil {
		return err
	}
	if r.o.Scenario == Channels {
		if err := r.settle(ctx, r.report.Memory); err != nil {
			return err
		}
	}
	r.p.await = r.o.Scenario != Publish && r.o.Rate == 0
	return r.publish(ctx, plan{r.o.Messages, r.o.For, r.o.Rate})
}

// progress tells about every second how far the run is, until the returned function is called.
func (r *runner) progress() (stop func()) {
	if r.o.Progress == nil {
		return func() {}
	}
	done := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		c := &r.swarm.count
		last := c.messages.Load()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			now := c.messages.Load()
			line := fmt.Sprintf("%s of %s sockets open", grouped(c.open.Load()), grouped(int64(r.o.Sockets)))
			if expect := r.p.expect.Load(); expect > 0 {
				line += fmt.Sprintf(", %s published, %s of %s delivered (%s/s)", grouped(r.p.total.Load()), grouped(now), grouped(expect), grouped(now-last))
			}
			if n := c.refused.Load() + c.failed.Load() + c.ended.Load(); n > 0 {
				line += fmt.Sprintf(", %s refused, failed or ended", grouped(n))
			}
			r.o.Progress(line)
			last = now
		}
	})
	return func() {
		close(done)
		telling.Wait()
	}
}

// connect opens all sockets and reports how that went and what memory it took.
func (r *runner) connect(ctx context.Context) error {
	before, err := r.server.memory()
	if err != nil {
		return lostProcess(err)
	}
	own := ownResident()
	if err := r.open(ctx, false); err != nil {
		return err
	}
	after, err := r.server.memory()
	if err != nil {
		return lostProcess(err)
	}
	r.report.Memory = &Memory{
		BeforeBytes: before.resident, ConnectedBytes: after.resident, KernelPerSocket: float64(after.slab-before.slab) / float64(r.o.Sockets),
		GeneratorPerSock: float64(ownResident()-own) / float64(r.o.Sockets),
	}
	r.remember(after, 0)
	return nil
}

// remember notes the server's memory some time after all sockets were open.
func (r *runner) remember(m memory, after time.Duration) {
	to := r.report.Memory
	to.SettledBytes, to.SettledAfterSecs = m.resident, after.Seconds()
	to.PerSocket = float64(m.resident-to.BeforeBytes) / float64(r.o.Sockets)
	to.PerSubscription = to.PerSocket / float64(r.o.PerSocket)
	to.ClosedMeanwhile = r.swarm.count.ended.Load()
}

// open opens all sockets. It is an error when one of them is not open then.
func (r *runner) open(ctx context.Context, resuming bool) error {
	used, err := r.server.cpu()
	if err != nil {
		return lostProcess(err)
	}
	own, began := ownCPU(), time.Now()
	failed := r.swarm.connect(ctx, resuming)
	took := time.Since(began)
	c := &r.swarm.count
	n := c.open.Load()
	r.report.Connects = &Connects{
		Open: n, Refused: c.refused.Load(), Failed: c.failed.Load(), Seconds: took.Seconds(), PerSecond: perSecond(n, took),
		OwnMicros: microsEach(ownCPU()-own, n), Latency: r.swarm.handshake.latency(),
	}
	if failed != nil {
		return failed
	}
	now, err := r.server.cpu()
	if err != nil {
		return lostProcess(err)
	}
	r.report.Connects.CPUMicros = microsEach(now-used, n)
	if failures := r.swarm.failures.list(); len(failures) > 0 {
		first := failures[0]
		return eureka.Errorf(first.Code, "%s of %s sockets are open; %s times: %s", grouped(n), grouped(int64(r.o.Sockets)), grouped(int64(first.Count)), first.Message)
	}
	if n < int64(r.o.Sockets) {
		return eureka.Errorf(eureka.CodeUnavailable, "%s of %s sockets are open; the service ended the others", grouped(n), grouped(int64(r.o.Sockets)))
	}
	return nil
}

// settle lets the sockets be until memory is what it is to be.
func (r *runner) settle(ctx context.Context, m *Memory) error {
	used, err := r.server.cpu()
	if err != nil {
		return lostProcess(err)
	}
	began := time.Now()
	if err := r.rest(ctx, r.o.Settle); err != nil {
		return err
	}
	after, err := r.server.memory()
	if err != nil {
		return lostProcess(err)
	}
	now, err := r.server.cpu()
	if err != nil {
		return lostProcess(err)
	}
	r.remember(after, r.o.Settle)
	if took := time.Since(began); took > 0 {
		m.IdleCPUPerSecond = (now - used).Seconds() / took.Seconds()
	}
	return nil
}

// rest answers pings and nothing else for a while.
func (r *runner) rest(ctx context.Context, span time.Duration) error {
	end := time.Now().Add(span)
	return r.swarm.run(ctx, func() (bool, error) { return !time.Now().Before(end), nil })
}

func (r *runner) idle(ctx context.Context) error {
	if err := r.connect(ctx); err != nil {
		return err
	}
	err := r.settle(ctx, r.report.Memory)
	r.report.Memory.ClosedMeanwhile = r.swarm.count.ended.Load()
	if n := r.swarm.count.messages.Load(); n > 0 { // somebody else has published to them
		r.report.Delivery = &Delivery{Expected: n, Received: n, Duplicates: r.swarm.count.duplicates.Load(), Latency: r.swarm.latency.latency()}
	}
	if err != nil {
		return err
	}
	return r.closedMeanwhile()
}

func (r *runner) closedMeanwhile() error {
	if n := r.swarm.count.ended.Load(); n > 0 {
		return eureka.Errorf(eureka.CodeUnavailable, "the service ended %s sockets%s", grouped(n), r.because())
	}
	return nil
}

// because is the most frequent failure, in brackets.
func (r *runner) because() string {
	if list := r.swarm.failures.list(); len(list) > 0 {
		return " (" + list[0].Message + ")"
	}
	return ""
}

// cycles connects and drops all sockets again and again.
func (r *runner) cycles(ctx context.Context) error {
	for range r.o.Cycles {
		if err := r.open(ctx, false); err != nil {
			return err
		}
		held, err := r.server.memory()
		if err != nil {
			return lostProcess(err)
		}
		r.swarm.dropAll()
		if err := r.rest(ctx, r.o.Settle); err != nil {
			return err
		}
		left, err := r.server.memory()
		if err != nil {
			return lostProcess(err)
		}
		c := r.report.Connects
		r.report.Cycles = append(r.report.Cycles, Cycle{
			PerSecond: c.PerSecond, CPUMicros: c.CPUMicros, OpenBytes: held.resident, DroppedBytes: left.resident, SlabBytes: left.slab,
		})
	}
	return nil
}

func lostProcess(err error) error {
	return eureka.WrapError(eureka.CodeGone, err, "the process to measure has ended, or its memory cannot be read")
}

func ownResident() int64 {
	m, err := process{os.Getpid()}.memory()
	if err != nil {
		return 0
	}
	return m.resident
}
