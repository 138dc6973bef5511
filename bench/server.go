//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// server is one contender, a child process pinned to core 0 while this process keeps to the others.
type server struct {
	name    string
	address string
	command *exec.Cmd
	log     bytes.Buffer
	started time.Time

	token, adminKey string      // credentials of sockets and of publishers; "" for none
	trusted         *tls.Config // what its clients trust; nil for one that speaks no TLS
}

// build compiles a command of this module into dir.
func build(ctx context.Context, dir, pkg string) (string, error) {
	path := filepath.Join(dir, filepath.Base(pkg))
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, pkg).CombinedOutput() //nolint:gosec // packages of this module
	if err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}

// start runs a contender and returns when it accepts connections.
func start(ctx context.Context, name, path string, args func(address string) []string) (*server, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	s := &server{name: name, address: address}
	s.command = exec.CommandContext(ctx, path, args(address)...) //nolint:gosec // a binary that was just built
	s.command.Stdout, s.command.Stderr = &s.log, &s.log
	s.started = time.Now()
	if err := startOn(serverCore, s.command); err != nil {
		return nil, err
	}
	err = waitUntil(30*time.Second, func() bool {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}, func() error { return fmt.Errorf("%s does not listen on %s:\n%s", name, address, s.log.String()) })
	return s, err
}

// stop ends the contender the way an operator would.
func (s *server) stop() error {
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = s.command.Wait() // how it ends on a signal does not matter
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-time.After(30 * time.Second):
		return s.command.Process.Kill()
	}
}

// cpu is the processor time the contender has used, user and system.
func (s *server) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The command's name may have spaces; the fields are counted from behind it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:]))
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	const ticksPerSecond = 100 // USER_HZ, the same on every Linux
	return time.Duration(user+system) * time.Second / ticksPerSecond, err
}

// resident is the contender's resident memory in bytes.
func (s *server) resident() (int64, error) {
	return procBytes(fmt.Sprintf("/proc/%d/status", s.command.Process.Pid), "VmRSS:")
}

// slab is the kernel's memory for its own objects, sockets among them, of the whole machine in bytes.
func slab() (int64, error) { return procBytes("/proc/meminfo", "Slab:") }

// procBytes reads a line of a file of /proc that is in kilobytes.
func procBytes(path, key string) (int64, error) {
	text, err := os.ReadFile(path) //nolint:gosec // a file of /proc
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, key)
}

// scheme is how to reach it.
func (s *server) scheme() string {
	if s.trusted != nil {
		return "https"
	}
	return "http"
}

// maxAnswer bounds an answer.
const maxAnswer = 16 << 20

// call makes a request that must be accepted and returns its answer.
func (s *server) call(ctx context.Context, client *http.Client, method, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, s.scheme()+"://"+s.address+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if closeErr := response.Body.Close(); err == nil {
		err = closeErr
	}
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("%s answered %s %s with %s: %.300s", s.name, method, path, response.Status, text)
	}
	return text, err
}

func freeAddress(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// startOn starts a child on one core: it inherits the affinity of the thread that forks it.
func startOn(core int, command *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pinThread(core)
	defer unpinThread()
	return command.Start()
}

// pinThread keeps the calling thread, and what it starts, on one core; on a machine with one core it does nothing.
func pinThread(core int) {
	if runtime.NumCPU() < 2 {
		return
	}
	var set unix.CPUSet
	set.Set(core)
	_ = unix.SchedSetaffinity(0, &set) // without it the figures are noisier, not wrong
}

func unpinThread() {
	var set unix.CPUSet
	for core := range runtime.NumCPU() {
		set.Set(core)
	}
	_ = unix.SchedSetaffinity(0, &set)
}

// waitUntil polls a condition until it holds or the limit is over.
func waitUntil(limit time.Duration, holds func() bool, otherwise func() error) error {
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(500 * time.Microsecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			return otherwise()
		}
		<-tick.C
	}
	return nil
}
