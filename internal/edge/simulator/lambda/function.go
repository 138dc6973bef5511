package lambda

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"eureka/internal/edge/simulator/fault"
	"eureka/internal/edge/simulator/meter"
	"eureka/internal/pause"
)

// Limits of AWS Lambda.
const (
	MaxPayload  = 6 << 20 // bytes of an event, and of an answer
	maxInit     = 10 * time.Second
	answerGrace = 100 * time.Millisecond // between an answer and the call for the next event; longer ones go on in the background
)

// MemoryPeak is the meter's name for the highest memory of a role's processes, in MB.
const MemoryPeak meter.Counter = "lambda.memoryMB"

// ErrThrottled says that as many invocations run as may.
var ErrThrottled = errors.New("TooManyRequestsException: Rate Exceeded")

// Error is what Lambda reports when an invocation fails.
type Error struct {
	Type    string `json:"errorType"`
	Message string `json:"errorMessage"`
}

// Error returns type and message.
func (e *Error) Error() string { return e.Type + ": " + e.Message }

// Timeout reports whether the function was ended for its time.
func (e *Error) Timeout() bool { return e.Type == timedOut }

const (
	timedOut  = "Sandbox.Timedout"
	exitError = "Runtime.ExitError"
	tooLarge  = "Function.ResponseSizeTooLarge"
)

// Config describes a function.
type Config struct {
	Name        string // as in its ARN
	Role        string // what faults and counters call it
	Bootstrap   string // the binary
	Env         []string
	Region      string
	Account     string        // number of the account
	MemoryMB    int           // decides what a millisecond costs; not enforced
	Timeout     time.Duration // of one invocation, its start aside
	Concurrency int           // processes at most
	Keep        time.Duration // how long an idle process lives
	Thaw        bool          // leaves idle processes running instead of freezing them
}

// ARN is the function's name as its processes see it.
func (c Config) ARN() string {
	return fmt.Sprintf("arn:aws:lambda:%s:%s:function:%s", c.Region, c.Account, c.Name)
}

// Host is what functions share.
type Host struct {
	// Credentials returns what a new process signs with, and is told when the process has ended.
	Credentials func(p *Process) (Credentials, func())
	Meter       *meter.Meter
	Faults      *fault.Set
	Output      func(role, line string) // a line that a process printed, or that Lambda itself logs
	Log         *slog.Logger
}

// Credentials are temporary ones.
type Credentials struct{ ID, Secret, Token string }

// Function is one function. It is safe for concurrent use.
type Function struct {
	config Config
	host   Host

	mu      sync.Mutex
	idle    []*Process // the last one is taken first, as Lambda does
	all     map[*Process]struct{}
	started int
	closed  bool
	running sync.WaitGroup // invocations
}

// New returns a Function without any process.
func New(c Config, h Host) *Function {
	return &Function{config: c, host: h, all: map[*Process]struct{}{}}
}

// Result is a successful invocation.
type Result struct {
	Payload   []byte
	RequestID string
	Cold      bool // the process was started for it
}

// Invoke runs the function on an event. The error is an *Error when the function failed, ErrThrottled, or the context's: the function then goes on,
// as it would when its caller hangs up.
func (f *Function) Invoke(ctx context.Context, event []byte) (Result, error) {
	if len(event) > MaxPayload {
		return Result{}, &Error{"RequestTooLargeException", fmt.Sprintf("Request must be smaller than %d bytes for the InvokeFunction operation", MaxPayload)}
	}
	if rule, hit := f.host.Faults.Hit(fault.SlowInvoke, f.config.Role); hit {
		if err := pause.For(ctx, rule.Delay); err != nil {
			return Result{}, err
		}
	}
	p, err := f.take()
	if err != nil {
		return Result{}, err
	}
	inv := newInvocation(event)
	if rule, hit := f.host.Faults.Hit(fault.Kill, f.config.Role); hit {
		inv.killAt = int64(rule.Posts)
		inv.doomed = true
	}
	done := make(chan outcome, 1)
	go func() { //nolint:contextcheck // a process outlives the invocation that starts it
		defer f.running.Done()
		f.run(p, inv, done)
	}()
	select {
	case o := <-done:
		return o.result, o.err
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
}

type outcome struct {
	result Result
	err    error
}

// run takes an invocation from its start to the point where its process is free again or gone, and tells done when there is an answer.
func (f *Function) run(p *Process, inv *invocation, done chan<- outcome) {
	cold := p.cold()
	var initTime time.Duration
	if cold {
		began := time.Now()
		if err := p.start(); err != nil {
			f.drop(p)
			f.measure(p, inv, usage{init: time.Since(began), cpu: p.cpu(), cold: true, err: err})
			done <- outcome{err: err}
			return
		}
		initTime = time.Since(began)
	}
	cpu := p.cpu()
	if cold {
		cpu = 0 // what the start took is its work too
	}
	began := time.Now()
	f.output("START RequestId: " + inv.id + " Version: $LATEST")
	payload, err := p.invoke(inv, began.Add(f.config.Timeout))
	o := outcome{Result{payload, inv.id, cold}, err}
	// Whoever asks again at once should find this process free.
	free := p.awaitNext(answerGrace)
	answered := !free && !p.gone()
	if answered { // it is busy still, and its caller need not wait
		done <- o
		free = p.awaitNext(time.Until(began.Add(f.config.Timeout)))
	}
	f.measure(p, inv, usage{init: initTime, run: time.Since(began), cpu: p.cpu() - cpu, memoryMB: p.memoryMB(), cold: cold, err: err})
	if free {
		f.free(p)
	} else {
		f.drop(p)
	}
	if !answered {
		done <- o
	}
}

// take returns an idle process, or a new one that is still to be started.
func (f *Function) take() (*Process, error) {
	_, cold := f.host.Faults.Hit(fault.ColdStart, f.config.Role)
	f.mu.Lock()
	var old *Process
	defer func() {
		f.mu.Unlock()
		if old != nil {
			old.kill()
		}
	}()
	if f.closed {
		return nil, errors.New("the function is closed")
	}
	if n := len(f.idle); n > 0 {
		p := f.idle[n-1]
		f.idle = f.idle[:n-1]
		p.idleTimer.Stop()
		if !cold {
			f.running.Add(1)
			return p, nil
		}
		delete(f.all, p)
		old = p
	}
	if len(f.all) >= f.config.Concurrency {
		f.host.Meter.Add(meter.Throttles.Of(f.config.Role), 1)
		return nil, ErrThrottled
	}
	f.running.Add(1)
	f.started++
	p := newProcess(f, f.started)
	f.all[p] = struct{}{}
	return p, nil
}

// free puts a process back that waits for its next event.
func (f *Function) free(p *Process) {
	p.freeze()
	f.mu.Lock()
	closed := f.closed
	if !closed {
		f.idle = append(f.idle, p)
		p.idleSince = time.Now()
		p.idleTimer = time.AfterFunc(f.config.Keep, func() { f.expire(p) })
	}
	f.mu.Unlock()
	if closed {
		f.drop(p)
	}
}

// expire ends a process that was idle for too long, unless it was taken meanwhile.
func (f *Function) expire(p *Process) {
	f.mu.Lock()
	found := false
	for i, idle := range f.idle {
		if idle == p && time.Since(p.idleSince) >= f.config.Keep { // else it was taken and given back while the timer fired
			f.idle = append(f.idle[:i], f.idle[i+1:]...)
			found = true
			break
		}
	}
	f.mu.Unlock()
	if found {
		f.drop(p)
	}
}

// drop ends a process for good.
func (f *Function) drop(p *Process) {
	p.kill()
	f.mu.Lock()
	delete(f.all, p)
	f.mu.Unlock()
}

// Processes is how many processes there are, idle ones included.
func (f *Function) Processes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.all)
}

// Reset ends the idle processes, as a deployment does; the next invocations start cold.
func (f *Function) Reset() {
	f.mu.Lock()
	idle := f.idle
	f.idle = nil
	f.mu.Unlock()
	for _, p := range idle {
		f.drop(p)
	}
}

// Close ends all processes and waits for their end. Invocations under way fail.
func (f *Function) Close() {
	f.mu.Lock()
	f.closed = true
	f.idle = nil
	all := make([]*Process, 0, len(f.all))
	for p := range f.all {
		all = append(all, p)
	}
	f.mu.Unlock()
	for _, p := range all {
		p.kill()
	}
	f.running.Wait()
}

func (f *Function) output(line string) {
	f.host.Meter.Add(meter.LogGB.Of(f.config.Role), float64(len(line)+1)/1e9)
	if f.host.Output != nil {
		f.host.Output(f.config.Role, line)
	}
}

// usage is what one invocation took.
type usage struct {
	init, run, cpu time.Duration
	memoryMB       float64
	cold           bool
	err            error
}

// measure counts an invocation and writes the line that Lambda logs about it.
func (f *Function) measure(p *Process, inv *invocation, u usage) {
	m, role := f.host.Meter, f.config.Role
	billed := float64((u.init + u.run + time.Millisecond - 1).Milliseconds())
	m.Add(meter.Invocations.Of(role), 1)
	m.Add(meter.BilledMs.Of(role), billed)
	m.Add(meter.GBSeconds.Of(role), billed/1000*float64(f.config.MemoryMB)/1024)
	m.Add(meter.CPUMs.Of(role), float64(u.cpu.Microseconds())/1000)
	m.Peak(MemoryPeak.Of(role), u.memoryMB)
	if u.cold {
		m.Add(meter.ColdStarts.Of(role), 1)
	}
	if u.err != nil {
		m.Add(meter.Errors.Of(role), 1)
		f.host.Log.Warn("an invocation failed", slog.String("role", role), slog.Int("process", p.number), slog.Any("error", u.err),
			slog.String("said", p.output.lastLine()))
	}
	f.output("END RequestId: " + inv.id)
	report := fmt.Sprintf("REPORT RequestId: %s\tDuration: %.2f ms\tBilled Duration: %.0f ms\tMemory Size: %d MB\tMax Memory Used: %.0f MB",
		inv.id, float64(u.run.Microseconds())/1000, billed, f.config.MemoryMB, u.memoryMB)
	if u.cold {
		report += fmt.Sprintf("\tInit Duration: %.2f ms", float64(u.init.Microseconds())/1000)
	}
	f.output(report)
}
