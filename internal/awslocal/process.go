package awslocal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// Errors of a start.
var (
	// ErrNotInstalled says that a stand-in is missing; `make tools` installs it.
	ErrNotInstalled = errors.New("is not installed; `make tools` installs it")
)

// startTime is how long a stand-in may take until it answers: a JVM on a loaded machine.
const startTime = 2 * time.Minute

// answerTime is how long one try to reach it may take.
const answerTime = 5 * time.Second

// Region is the region that all stand-ins take; any credentials do.
const Region = "eu-west-1"

// Tools finds the folder of installed tools: $EUREKA_TOOLS, else .tools beside the go.mod above the working directory.
func Tools() (string, error) {
	if dir := os.Getenv("EUREKA_TOOLS"); dir != "" {
		return dir, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".tools"), nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("the folder of tools %w", ErrNotInstalled)
		}
		dir = parent
	}
}

// Process is a running stand-in.
type Process struct {
	// Endpoint is its URL on loopback.
	Endpoint string

	command *exec.Cmd
	input   io.Closer
	output  *tail
	ended   chan struct{}
	clean   []func()
	once    sync.Once
}

// run starts a program that ends with its standard input. It outlives ctx.
func run(ctx context.Context, name string, args ...string) (*Process, error) {
	command := exec.CommandContext(context.WithoutCancel(ctx), name, args...) //nolint:gosec // what this package installs
	p := &Process{command: command, output: &tail{}, ended: make(chan struct{})}
	p.command.Stdout, p.command.Stderr = p.output, p.output
	var err error
	if p.input, err = p.command.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.command.Wait() // how it ended stands in its output
		close(p.ended)
	}()
	return p, nil
}

// await polls until answers says nil, the process ends, or the time is over.
func (p *Process) await(ctx context.Context, answers func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.asked(ctx, answers)
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended: %s", filepath.Base(p.command.Path), p.output)
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w; it said: %s", filepath.Base(p.command.Path), err, p.output)
		case <-tick.C:
		}
	}
}

// asked makes one try: a connection that was opened too early may never be answered.
func (p *Process) asked(ctx context.Context, answers func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	return answers(ctx)
}

// Stop ends the process and waits for its end.
func (p *Process) Stop() {
	p.once.Do(func() {
		_ = p.input.Close()
		select {
		case <-p.ended:
		case <-time.After(5 * time.Second):
			_ = p.command.Process.Kill()
			<-p.ended
		}
		for _, f := range p.clean {
			f()
		}
	})
}

// tail keeps the end of a program's output.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailBytes = 4 << 10

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if over := len(t.text) - tailBytes; over > 0 {
		t.text = t.text[over:]
	}
	return len(b), nil
}

// String is what is kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
