package loadgen

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestAnEndBehindDataIsCounted: one event tells of a last frame and of the end behind it.
func TestAnEndBehindDataIsCounted(t *testing.T) {
	o := good("http://127.0.0.1:1")
	o.Sockets = 1
	d := newDialect(o)
	s, err := newSwarm(o, d, dialer{}, newPublishing(o, d, func(int) int { return 1 }))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.close() }()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.conns[0].fd, s.conns[0].state = int32(ends[0]), open
	s.count.open.Add(1)
	if _, err := unix.Write(ends[1], []byte{0x81, 1, '1'}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Close(ends[1]); err != nil {
		t.Fatal(err)
	}
	if err := s.poller.add(ends[0], 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.run(ctx, func() (bool, error) { return s.count.ended.Load() == 1, nil }); err != nil {
		t.Errorf("%v: %d frames, %d ends", err, s.count.frames.Load(), s.count.ended.Load())
	}
}
