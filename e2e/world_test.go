package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rogpeppe/go-internal/testscript"

	"eureka/internal/awslocal"
)

type worldKey struct{}

// world is what one script has started.
type world struct {
	mode      mode
	stage     string // of the mode aws
	crashed   bool   // there, until it is served again
	env       *testscript.Env
	mu        sync.Mutex
	processes map[string]*process
	nats      *server.Server
	queues    *awslocal.Process
}

func worldOf(ts *testscript.TestScript) *world {
	w, ok := ts.Value(worldKey{}).(*world)
	if !ok {
		ts.Fatalf("the script has no world")
	}
	return w
}

// process is a program in the background whose output can be waited for.
type process struct {
	command *exec.Cmd
	input   io.WriteCloser
	mu      sync.Mutex
	output  bytes.Buffer
	read    int // how much of the output earlier expectations have used up
	done    chan struct{}
	err     error
}

func start(ts *testscript.TestScript, name, program string, args []string) *process {
	path, err := lookPath(ts, program)
	ts.Check(err)
	p := &process{command: exec.CommandContext(context.Background(), path, args...), done: make(chan struct{})}
	p.command.Env = environ(ts)
	p.command.Dir = ts.MkAbs(".")
	// A group of its own, so that what it starts ends with it.
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.command.Stdout, p.command.Stderr = p, p
	p.input, err = p.command.StdinPipe()
	ts.Check(err)
	ts.Check(p.command.Start())
	go func() {
		p.err = p.command.Wait()
		close(p.done)
	}()
	w := worldOf(ts)
	w.mu.Lock()
	defer w.mu.Unlock()
	if old := w.processes[name]; old != nil && old.running() {
		ts.Fatalf("%s runs already", name)
	}
	w.processes[name] = p
	return p
}

func lookPath(ts *testscript.TestScript, program string) (string, error) {
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), string(os.PathListSeparator)) {
		path := dir + "/" + program
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed; `make tools` installs it", program)
}

func environ(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{
		"PATH", "HOME", "WORK", "GOPATH", "GOMODCACHE", "GOCACHE", "GOFLAGS", "GOPROXY", "EUREKA_URL", "EUREKA_TOKEN", "EUREKA_ADMIN_KEY",
		"EUREKA_JWT_SECRET", "EUREKA_LISTEN", "EUREKA_DATA_DIR", "EUREKA_SOCKETS", "PORT", "ANN", "URL", "WS", "CONTROL", "STAGE", "SIMULATE",
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "QUEUE",
	} {
		if value := ts.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// Write collects the output.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.Write(b)
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// expect waits until unread output matches and uses it up to the end of the match.
func (p *process) expect(pattern string) error { return p.expectWithin(patience, pattern) }

func (p *process) expectWithin(within time.Duration, pattern string) error {
	expression, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	ended := false
	return pollFor(within, func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		unread := p.output.Bytes()[p.read:]
		if at := expression.FindIndex(unread); at != nil {
			p.read += at[1]
			return nil
		}
		if ended {
			return final{fmt.Errorf("it ended without %q; it said:\n%s", pattern, p.output.String())}
		}
		ended = !p.running() // one more look, at all of its output
		return fmt.Errorf("no %q in:\n%s", pattern, unread)
	})
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

func (p *process) wait() error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(patience):
		return errors.New("it does not end")
	}
}

// final is an error that waiting does not mend.
type final struct{ error }

// poll tries until it succeeds or patience is over, at first often and then less so: what is polled has work of its own.
func poll(try func() error) error { return pollFor(patience, try) }

func pollFor(within time.Duration, try func() error) error {
	wait := 5 * time.Millisecond
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for deadline := time.Now().Add(within); ; {
		err := try()
		var fatal final
		if err == nil || errors.As(err, &fatal) || time.Now().After(deadline) {
			return err
		}
		<-timer.C
		wait = min(wait*5/4, 100*time.Millisecond)
		timer.Reset(wait)
	}
}

// end stops what a script has left running.
func (w *world) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.processes {
		if p.running() {
			_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL) // it may have ended meanwhile
			<-p.done
		}
	}
	if w.queues != nil {
		w.queues.Stop()
	}
	if w.nats != nil {
		w.nats.Shutdown()
		w.nats.WaitForShutdown()
	}
	w.tellLogs()
}

// freeAddress is a loopback address that nothing listens on.
func freeAddress() (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// status asks a node for a path and returns the status of the answer, 0 when there is none.
func status(url string) int {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// field reads a dotted path, such as list.0.id, from JSON.
func field(text, path string) (string, error) {
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return "", fmt.Errorf("%w in %q", err, text)
	}
	for key := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[key]
		case []any:
			var i int
			if _, err := fmt.Sscan(key, &i); err != nil || i < 0 || i >= len(v) {
				return "", fmt.Errorf("no %s in %s", path, text)
			}
			value = v[i]
		default:
			return "", fmt.Errorf("no %s in %s", path, text)
		}
	}
	return fmt.Sprint(value), nil
}
