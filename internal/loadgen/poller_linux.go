package loadgen

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// poller waits for events of many sockets. It parks in Go's netpoller rather than block a thread, so that publishers run beside it on one core.
type poller struct {
	file   *os.File
	raw    syscall.RawConn
	fd     int
	events [1024]unix.EpollEvent
	flood  bool // the last wait brought many events
}

// In a flood the poller lets events gather for a moment rather than be woken by each: waking costs the sender as well, when it is on the same
// machine, and the service is to be measured and not that.
const (
	manyEvents = 16
	gather     = 100 * time.Microsecond
)

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil { // or os.File would block
		return nil, errors.Join(err, unix.Close(fd))
	}
	p := &poller{file: os.NewFile(uintptr(fd), "epoll"), fd: fd}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, p.file.Close())
	}
	return p, nil
}

// add watches a descriptor, edge by edge, for the socket with a number.
func (p *poller) add(fd int, number int32) error {
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: number, Pad: int32(fd), //nolint:gosec // descriptors fit
	})
}

// wait returns what has happened, nothing when nothing does for a while.
func (p *poller) wait(limit time.Duration) ([]unix.EpollEvent, error) {
	if p.flood {
		rawSleep(gather)
	}
	n, err := rawEpollWait(p.fd, p.events[:])
	p.flood = n >= manyEvents
	if n == 0 && err == nil {
		if err := p.file.SetReadDeadline(time.Now().Add(limit)); err != nil {
			return nil, err
		}
		readErr := p.raw.Read(func(uintptr) bool {
			n, err = rawEpollWait(p.fd, p.events[:])
			return n != 0 || err != nil
		})
		if readErr != nil && !errors.Is(readErr, os.ErrDeadlineExceeded) {
			return nil, readErr
		}
	}
	if errors.Is(err, unix.EINTR) {
		n, err = 0, nil
	}
	return p.events[:max(n, 0)], err
}

func (p *poller) close() error { return p.file.Close() }
