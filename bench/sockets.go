//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// handshake is what every socket sends; the key is the sample of RFC 6455.
func handshake(channels string) []byte {
	return []byte("GET /?channels=" + channels + " HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
}

// portsPerAddress is how many sockets leave from one loopback address before the next is used: a free port is hard to find among many in use.
const portsPerAddress = 1000

// sockets is many client connections read by one epoll loop, so that the load costs little beside the server.
type sockets struct {
	epoll  int
	conns  map[int]*conn
	frames atomic.Int64 // text frames received on all of them
	closed atomic.Int64 // connections the server ended
	open   atomic.Int64 // handshakes answered with 101
	failed atomic.Int64 // handshakes answered otherwise
	stop   chan struct{}
	done   chan struct{}
}

// conn is where one connection's byte stream stands.
type conn struct {
	upgraded bool
	head     []byte // the start of a handshake answer or of a frame header that is not complete
	skip     uint64 // payload bytes of the current frame still to come
}

func newSockets() (*sockets, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	s := &sockets{epoll: fd, conns: map[int]*conn{}, stop: make(chan struct{}), done: make(chan struct{})}
	return s, nil
}

// connect opens n sockets that listen to the channel of most measurements; it returns when all handshakes are answered.
func (s *sockets) connect(address string, n int) error {
	if err := s.dialAll(address, n); err != nil {
		return err
	}
	return s.shake("bench")
}

// dialAll opens n connections, without a handshake.
func (s *sockets) dialAll(address string, n int) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	for i := range n {
		if err := s.dial(to, i/portsPerAddress); err != nil {
			return fmt.Errorf("socket %d of %d: %w", i+1, n, err)
		}
	}
	return nil
}

// shake starts reading, sends the handshakes of all connections at once, and returns when they are answered.
func (s *sockets) shake(channels string) error {
	descriptors, request := slices.Collect(maps.Keys(s.conns)), handshake(channels)
	go s.read()
	for _, fd := range descriptors {
		if _, err := unix.Write(fd, request); err != nil {
			return err
		}
	}
	n := int64(len(descriptors))
	return waitUntil(time.Minute, func() bool { return s.open.Load()+s.failed.Load() == n }, func() error {
		return fmt.Errorf("%d of %d handshakes answered", s.open.Load(), n)
	})
}

func (s *sockets) dial(to netip.AddrPort, series int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	// Closing with a reset leaves no port behind in TIME_WAIT: the next round needs them.
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return err
	}
	from := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(2 + series)}} //nolint:gosec // a handful of addresses
	if err := unix.Bind(fd, from); err != nil {
		return err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	s.conns[fd] = &conn{}
	return unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}) //nolint:gosec // descriptors fit
}

// read is the loop that owns conns from then on.
func (s *sockets) read() {
	defer close(s.done)
	events := make([]unix.EpollEvent, 1024)
	buffer := make([]byte, 256<<10)
	for {
		select {
		case <-s.stop:
			return
		default:
		}
		n, err := unix.EpollWait(s.epoll, events, 100)
		if err != nil && err != unix.EINTR {
			return
		}
		for _, event := range events[:max(n, 0)] {
			fd := int(event.Fd)
			got, err := unix.Read(fd, buffer)
			if got <= 0 {
				if err == unix.EAGAIN || err == unix.EINTR {
					continue
				}
				s.closed.Add(1)
				_ = unix.Close(fd)
				delete(s.conns, fd)
				continue
			}
			s.take(fd, s.conns[fd], buffer[:got])
		}
	}
}

func (s *sockets) take(fd int, c *conn, b []byte) {
	if !c.upgraded {
		c.head = append(c.head, b...)
		end := indexHeaderEnd(c.head)
		if end < 0 {
			return
		}
		if string(c.head[:12]) != "HTTP/1.1 101" {
			s.failed.Add(1)
			return
		}
		b, c.head, c.upgraded = c.head[end:], nil, true
		s.open.Add(1)
	}
	for len(b) > 0 {
		if c.skip > 0 {
			n := min(c.skip, uint64(len(b)))
			c.skip -= n
			b = b[n:]
			continue
		}
		c.head = append(c.head, b[0])
		b = b[1:]
		if size, ok := payload(c.head); ok {
			switch c.head[0] & 0xf {
			case 1:
				s.frames.Add(1)
			case 9: // a ping without payload wants a pong without payload; the mask of an empty payload does not matter
				_, _ = unix.Write(fd, []byte{0x8a, 0x80, 0, 0, 0, 0})
			}
			c.skip, c.head = size, c.head[:0]
		}
	}
}

// payload returns the payload length of an unmasked frame header, false while the header is not complete.
func payload(head []byte) (uint64, bool) {
	if len(head) < 2 {
		return 0, false
	}
	switch short := head[1] & 0x7f; {
	case short < 126:
		return uint64(short), true
	case short == 126 && len(head) >= 4:
		return uint64(binary.BigEndian.Uint16(head[2:])), true
	case short == 127 && len(head) >= 10:
		return binary.BigEndian.Uint64(head[2:]), true
	default:
		return 0, false
	}
}

func indexHeaderEnd(b []byte) int {
	for i := 3; i < len(b); i++ {
		if b[i] == '\n' && b[i-1] == '\r' && b[i-2] == '\n' && b[i-3] == '\r' {
			return i + 1
		}
	}
	return -1
}

// close ends the loop and all connections.
func (s *sockets) close() {
	close(s.stop)
	<-s.done
	for fd := range s.conns {
		_ = unix.Close(fd)
	}
	_ = unix.Close(s.epoll)
}
