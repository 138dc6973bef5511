package loadgen

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"eureka"
)

// process is one process of this machine, seen through /proc. Its id 0 stands for none: nothing is measured then.
type process struct{ pid int }

// newProcess checks that there is such a process.
func newProcess(pid int) (process, error) {
	p := process{pid}
	if pid == 0 {
		return p, nil
	}
	if _, err := p.cpu(); err != nil {
		return p, eureka.FieldError("pid", "there is no process %d whose /proc files can be read", pid)
	}
	return p, nil
}

// cpu is the processor time it has used, user and system.
func (p process) cpu() (time.Duration, error) {
	if p.pid == 0 {
		return 0, nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		return 0, err
	}
	// The command's name may have spaces; the fields are counted from behind it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", p.pid, len(fields))
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	const ticksPerSecond = 100 // USER_HZ, the same on every Linux
	return time.Duration(user+system) * time.Second / ticksPerSecond, err
}

// memory is what a process and the kernel hold, in bytes.
type memory struct {
	resident int64 // of the process
	slab     int64 // of the kernel, for all processes: sockets of both ends are in it when they are on one machine
}

func (p process) memory() (m memory, err error) {
	if m.slab, err = kilobytes("/proc/meminfo", "Slab:"); err != nil || p.pid == 0 {
		return m, err
	}
	m.resident, err = kilobytes(fmt.Sprintf("/proc/%d/status", p.pid), "VmRSS:")
	return m, err
}

// kilobytes reads one line of a file of /proc, as bytes.
func kilobytes(path, key string) (int64, error) {
	text, err := os.ReadFile(path) //nolint:gosec // a file of /proc
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, key)
}

// ownCPU is the processor time of this process.
func ownCPU() time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
