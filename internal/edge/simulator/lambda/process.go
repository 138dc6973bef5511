package lambda

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// Process is one sandbox: a process of the bootstrap and its runtime API.
type Process struct {
	function *Function
	number   int

	command *exec.Cmd
	server  *http.Server
	release func()        // of its credentials
	exited  chan struct{} // closed when it has ended
	asked   chan struct{} // holds an item while the process waits for its next event
	deliver chan *invocation
	failed  chan *Error // it told that its start failed

	output *lines

	idleTimer *time.Timer // of Function, under its lock, as idleSince
	idleSince time.Time

	mu      sync.Mutex
	current *invocation
	started bool
}

func newProcess(f *Function, number int) *Process {
	return &Process{
		function: f, number: number, exited: make(chan struct{}), asked: make(chan struct{}, 1),
		deliver: make(chan *invocation), failed: make(chan *Error, 1),
	}
}

// cold reports whether the process is still to be started.
func (p *Process) cold() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.started
}

// start starts the process and returns when it waits for its first event. It leaves nothing behind on an error but what drop clears.
func (p *Process) start() error {
	if err := p.launch(); err != nil {
		return err
	}
	timer := time.NewTimer(maxInit)
	defer timer.Stop()
	select {
	case <-p.asked:
		return nil
	case failure := <-p.failed:
		return failure
	case <-p.exited:
		select {
		case failure := <-p.failed: // it told why, and ended
			return failure
		default:
			return &Error{exitError, "Error: " + p.ending()}
		}
	case <-timer.C:
		return &Error{timedOut, fmt.Sprintf("Error: Init timed out after %.2f seconds", maxInit.Seconds())}
	}
}

func (p *Process) launch() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started {
		return errors.New("the process has been started or dropped") // the function closes
	}
	p.started = true
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		close(p.exited)
		return err
	}
	p.server = &http.Server{Handler: p.runtimeAPI(), ReadHeaderTimeout: time.Minute}
	go func() { _ = p.server.Serve(listener) }() // it ends with the process
	credentials, release := p.function.host.Credentials(p)
	p.release = release
	c := p.function.config
	p.command = exec.CommandContext(context.Background(), c.Bootstrap) //nolint:gosec // the user's own binary
	p.command.Dir = filepath.Dir(c.Bootstrap)
	p.command.Env = append(environment(c, credentials, listener.Addr().String(), p.number), c.Env...)
	// One writer for both, so that the lines of both stay in order.
	p.output = &lines{each: p.function.output}
	p.command.Stdout, p.command.Stderr = p.output, p.output
	p.command.WaitDelay = time.Second
	ownGroup(p.command)
	if err := p.command.Start(); err != nil {
		p.clean()
		close(p.exited)
		return &Error{"Runtime.InvalidEntrypoint", fmt.Sprintf("Error: Couldn't find valid bootstrap(s): [%s]", c.Bootstrap)}
	}
	go func() {
		_ = p.command.Wait() // ending tells how it ended
		p.output.flush()
		p.clean()
		close(p.exited)
	}()
	return nil
}

func (p *Process) clean() {
	_ = p.server.Close()
	p.release()
}

// environment is what Lambda gives every function.
func environment(c Config, credentials Credentials, api string, number int) []string {
	return []string{
		"AWS_LAMBDA_RUNTIME_API=" + api,
		"AWS_REGION=" + c.Region, "AWS_DEFAULT_REGION=" + c.Region,
		"AWS_ACCESS_KEY_ID=" + credentials.ID, "AWS_SECRET_ACCESS_KEY=" + credentials.Secret, "AWS_SESSION_TOKEN=" + credentials.Token,
		"AWS_LAMBDA_FUNCTION_NAME=" + c.Name, "AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=" + strconv.Itoa(c.MemoryMB),
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/" + c.Name,
		"AWS_LAMBDA_LOG_STREAM_NAME=" + time.Now().UTC().Format("2006/01/02") + "/[$LATEST]" + strconv.Itoa(number),
		"_HANDLER=bootstrap", "LAMBDA_TASK_ROOT=" + filepath.Dir(c.Bootstrap), "LAMBDA_RUNTIME_DIR=/var/runtime",
		"PATH=/usr/local/bin:/usr/bin/:/bin:/opt/bin", "LANG=en_US.UTF-8", "TZ=:UTC", "TMPDIR=" + os.TempDir(),
	}
}

// ending is how the process ended, in Lambda's words.
func (p *Process) ending() string {
	if p.command == nil || p.command.ProcessState == nil || p.command.ProcessState.Success() {
		return "Runtime exited without providing a reason"
	}
	return "Runtime exited with error: " + p.command.ProcessState.String()
}

// invoke hands the event over and returns the answer. The process waits for it.
func (p *Process) invoke(inv *invocation, deadline time.Time) ([]byte, error) {
	p.mu.Lock()
	p.current = inv
	p.mu.Unlock()
	inv.deadline, inv.arn = deadline, p.function.config.ARN()
	p.thaw()
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	timeout := &Error{timedOut, fmt.Sprintf("RequestId: %s Error: Task timed out after %.2f seconds", inv.id, p.function.config.Timeout.Seconds())}
	select {
	case p.deliver <- inv:
	case <-p.exited:
		return nil, p.exit(inv)
	case <-timer.C:
		p.kill()
		return nil, timeout
	}
	if inv.doomed && inv.killAt == 0 {
		p.kill()
	}
	select {
	case a := <-inv.answer:
		return a.payload, a.err
	case <-p.exited:
		select {
		case a := <-inv.answer: // it answered, and ended
			return a.payload, a.err
		default:
			return nil, p.exit(inv)
		}
	case <-timer.C:
		p.kill()
		return nil, timeout
	}
}

func (p *Process) exit(inv *invocation) error {
	return &Error{exitError, "RequestId: " + inv.id + " Error: " + p.ending()}
}

// awaitNext waits until the process asks for an event, and reports whether it does.
func (p *Process) awaitNext(d time.Duration) bool {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-p.asked:
		return true
	case <-p.exited:
		return false
	case <-timer.C:
		return false
	}
}

// gone reports whether the process has ended.
func (p *Process) gone() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// Posted tells that the process has just made a post. It ends the process when a fault wants that.
func (p *Process) Posted() {
	p.mu.Lock()
	inv := p.current
	p.mu.Unlock()
	if inv != nil && inv.posts.Add(1) == inv.killAt && inv.doomed {
		p.kill()
	}
}

// kill ends the process and waits for its end. It may be called more than once, and for one that was never started.
func (p *Process) kill() {
	p.mu.Lock()
	if !p.started {
		p.started = true // and never will be
		close(p.exited)
	}
	command := p.command
	p.mu.Unlock()
	if p.gone() {
		return
	}
	if command != nil && command.Process != nil {
		killGroup(command.Process)
	}
	<-p.exited
}

func (p *Process) freeze() {
	if !p.function.config.Thaw {
		stopGroup(p.command.Process)
	}
}

func (p *Process) thaw() {
	if !p.function.config.Thaw {
		continueGroup(p.command.Process)
	}
}

// cpu is the processor time that the process has used so far; 0 where the system does not tell.
func (p *Process) cpu() time.Duration {
	if p.command == nil || p.command.Process == nil {
		return 0
	}
	if !p.gone() {
		return processorTime(p.command.Process.Pid)
	}
	if state := p.command.ProcessState; state != nil {
		return state.UserTime() + state.SystemTime()
	}
	return 0
}

// memoryMB is the most memory that the process had so far; 0 where the system does not tell, and when it has ended.
func (p *Process) memoryMB() float64 { return peakMemory(p.command.Process.Pid) }

// lines cuts output into lines.
type lines struct {
	each func(string)
	mu   sync.Mutex
	rest []byte
	last string
}

// maxLine is the longest line that is kept in one piece: CloudWatch's longest event.
const maxLine = 256 << 10

// Write implements io.Writer.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, b...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 {
			break
		}
		l.take(i)
		l.rest = l.rest[i+1:]
	}
	if len(l.rest) > maxLine {
		l.take(len(l.rest))
		l.rest = nil
	}
	return len(b), nil
}

// take hands on the first n bytes of what is left; the caller holds mu.
func (l *lines) take(n int) {
	l.last = string(l.rest[:n])
	l.each(l.last)
}

func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.rest) > 0 {
		l.take(len(l.rest))
		l.rest = nil
	}
}

// lastLine is the last line so far.
func (l *lines) lastLine() string {
	if l == nil {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// newID returns a request id as Lambda makes them, which is a UUID.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
