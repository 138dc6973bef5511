package chaos

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// build builds the service once, with the race detector when the test has it, unless there is a binary to check.
var build = sync.OnceValues(func() (path string, err error) {
	if *binaryFlag != "" {
		return *binaryFlag, nil
	}
	dir, err := os.MkdirTemp("", "eureka-chaos-bin-")
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "eureka")
	args := []string{"build", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	if out, err := exec.CommandContext(context.Background(), "go", append(args, "eureka/cmd/eureka")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the service: %w\n%s", err, out)
	}
	return path, nil
})

// node is one place where a process of the service runs, time and again.
type node struct {
	world   *world
	name    string
	address string
	data    string
	nats    string // "" for the server inside the process

	mu      sync.Mutex
	command *exec.Cmd
	ended   chan struct{} // of command
	meant   bool          // its end is wanted
}

func (n *node) log() string { return filepath.Join(n.world.dir, n.name+".log") }

// start starts a process; a process that ends unasked is a trouble.
func (n *node) start() {
	path, err := build()
	if err != nil {
		n.world.wrong("%v", err)
		return
	}
	log, err := os.OpenFile(n.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.world.wrong("%v", err)
		return
	}
	// Small queues, so that slow readers are slow soon.
	args := []string{"serve", "--listen", n.address, "--queue-bytes", "256KiB", "--queue-frames", "256", "--drain-timeout", "8s", "--drain-spread", "100ms", "--log-level", "warn"}
	if n.nats != "" {
		args = append(args, "--nats", n.nats)
	} else {
		args = append(args, "--data-dir", n.data)
	}
	command := exec.CommandContext(context.Background(), path, args...)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		n.world.wrong("%v", err)
		return
	}
	ended := make(chan struct{})
	n.mu.Lock()
	n.command, n.ended, n.meant = command, ended, false
	n.mu.Unlock()
	go func() {
		defer close(ended)
		err := command.Wait()
		_ = log.Close()
		n.mu.Lock()
		defer n.mu.Unlock()
		if !n.meant {
			n.world.wrong("%s ended by itself: %v", n.name, err)
		}
	}()
}

// end sends a signal and waits for the end; it reports whether the process ended in time.
func (n *node) end(signal os.Signal, within time.Duration) bool {
	n.mu.Lock()
	command, ended := n.command, n.ended
	n.meant = true
	n.mu.Unlock()
	if command == nil {
		return true
	}
	_ = command.Process.Signal(signal) // fails when it has ended
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-ended:
		return true
	case <-timer.C:
		return false
	}
}

func (n *node) kill() { n.end(syscall.SIGKILL, patience) }

// stop ends the process as an operator does.
func (n *node) stop() {
	if !n.running() {
		return
	}
	if !n.end(syscall.SIGTERM, patience) {
		n.world.wrong("%s does not stop", n.name)
		n.kill()
		return
	}
	if code := n.command.ProcessState.ExitCode(); code != 0 && code != 130 {
		n.world.wrong("%s stopped with exit code %d", n.name, code)
	}
}

func (n *node) running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended == nil {
		return false
	}
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

// ready waits until the node takes traffic.
func (n *node) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if !n.running() {
			return fmt.Errorf("%s ended before it was ready; see %s", n.name, n.log())
		}
		if n.status(ctx) == http.StatusOK {
			return nil
		}
		if !rest(ctx, 50*time.Millisecond) {
			return fmt.Errorf("%s does not get ready; see %s", n.name, n.log())
		}
	}
}

func (n *node) status(ctx context.Context) int {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.address+"/readyz", http.NoBody)
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

// unkept is an error that a node may log while NATS is away.
const unkept = "the answer to a request could not be kept"

// checkLog looks for what no log may have.
func (n *node) checkLog(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(n.log())
	if err != nil {
		t.Error(err)
		return
	}
	found := map[string]int{}
	for line := range strings.SplitSeq(string(text), "\n") {
		for _, bad := range []string{"DATA RACE", "panic:", "panicked", "level=ERROR", "fatal error:"} {
			if !strings.Contains(line, bad) || (n.nats != "" && strings.Contains(line, unkept)) {
				continue
			}
			if found[bad]++; found[bad] == 1 {
				t.Errorf("the log of %s has %.1000s", n.name, line)
			}
		}
	}
	for bad, times := range found {
		t.Logf("the log of %s has %q in %d lines", n.name, bad, times)
	}
}
