package chaos

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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

// node is one node of the service.
type node struct {
	process

	address string
	starts  int
	proxy   *proxy // to NATS; nil for the server inside the process
}

// start starts the process. Each other time it syncs every message, which is to make no difference to a process that is killed.
func (n *node) start() {
	n.starts++
	n.env = []string{"EUREKA_SYNC=" + []string{"always", "1s"}[n.starts%2]}
	n.process.start()
}

// newNode makes a node that is not started yet.
func newNode(w *world, i int, address string, p *proxy) (*node, error) {
	path, err := build()
	n := &node{address: address, proxy: p}
	n.world, n.name = w, fmt.Sprintf("node%d", i)
	n.args = []string{
		path, "serve", "--listen", address, "--log-level", "warn", "--drain-timeout", "8s", "--drain-spread", "100ms",
		// Small queues, so that slow readers are slow soon and replays take more than one step.
		"--queue-bytes", "256KiB", "--queue-frames", "64",
	}
	if p != nil {
		n.args = append(n.args, "--nats", "nats://"+p.address)
	} else {
		n.args = append(n.args, "--data-dir", filepath.Join(w.dir, fmt.Sprintf("data%d", i)))
	}
	return n, err
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
		if !rest(ctx, pollInterval) {
			return fmt.Errorf("%s does not get ready; see %s", n.name, n.log())
		}
	}
}

func (n *node) status(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
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

// slowMetric counts the sockets that a process closed because their queue overflowed.
const slowMetric = "eureka_slow_consumers_total "

// countSlow adds up what the node's processes say of slow clients, until the context ends. What a process counts shortly before it is killed is left out.
func (n *node) countSlow(ctx context.Context) {
	last := 0
	for rest(ctx, 500*time.Millisecond) {
		text, err := n.metrics(ctx)
		if err != nil {
			continue
		}
		_, text, _ = strings.Cut(text, "\n"+slowMetric)
		text, _, _ = strings.Cut(text, "\n")
		now, err := strconv.Atoi(text)
		if err != nil {
			n.world.wrong("%s has the metric %s%q", n.name, slowMetric, text)
			return
		}
		if now < last {
			last = 0 // another process
		}
		n.world.add(slowCloses, now-last)
		last = now
	}
}

func (n *node) metrics(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.address+"/metrics", http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %d", n.name, response.StatusCode)
	}
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// What logs may have although they may have nothing of its kind.
const (
	unkept       = "the answer to a request could not be kept" // while NATS is away
	tornTail     = "as after a crash in the middle of a write" // after a kill
	disconnected = "the connection to NATS is lost"
)

// checkLog looks for what no log may have.
func (n *node) checkLog(t *testing.T, kills int) {
	t.Helper()
	text, err := os.ReadFile(n.log())
	if err != nil {
		t.Error(err)
		return
	}
	found, torn := map[string]int{}, 0
	for line := range strings.SplitSeq(string(text), "\n") {
		if strings.Contains(line, tornTail) {
			torn++
			continue
		}
		for _, bad := range []string{"DATA RACE", "panic:", "panicked", "level=ERROR", "fatal error:"} {
			if !strings.Contains(line, bad) || (n.world.nats != nil && strings.Contains(line, unkept)) {
				continue
			}
			if found[bad]++; found[bad] == 1 {
				t.Errorf("the log of %s has %.1000s", n.name, line)
			}
		}
	}
	if torn > kills {
		t.Errorf("the log of %s tells of %d torn writes, more than it was killed", n.name, torn)
	}
	for bad, times := range found {
		t.Logf("the log of %s has %q in %d lines", n.name, bad, times)
	}
}

// losses are the times in which the node lost its connection to NATS, as its log tells them, and before which what it had accepted may not have left it.
func (n *node) losses() ([]Outage, error) {
	text, err := os.ReadFile(n.log())
	var losses []Outage
	for line := range strings.SplitSeq(string(text), "\n") {
		if !strings.Contains(line, disconnected) {
			continue
		}
		stamp, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			return nil, err
		}
		// A connection that is dead is noticed by two pings without an answer.
		to := at.Sub(n.world.began)
		losses = append(losses, Outage{Node: n.name, From: to - 20*time.Second, To: to})
	}
	return losses, err
}
