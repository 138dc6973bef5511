//go:build linux

// Command bare is the bare send loop that a fan-out is measured against: it accepts sockets, answers any handshake, and for every POST
// makes one frame of the body and sends it to each socket with one system call. It checks nothing, joins nothing and queues nothing.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// sockets are the listeners' descriptors; the connections are kept so that nothing closes them.
type sockets struct {
	mu    sync.Mutex
	fds   []uintptr
	conns []net.Conn
}

// send makes one call per socket, and waits for one whose buffer is full.
func (s *sockets) send(frame []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 0; i < len(s.fds); i++ {
		for {
			_, _, errno := rawSend(s.fds[i], frame)
			if errno == unix.EAGAIN {
				_, _ = unix.Poll([]unix.PollFd{{Fd: int32(s.fds[i]), Events: unix.POLLOUT}}, -1) //nolint:gosec // descriptors fit
				continue
			}
			if errno != 0 {
				_ = s.conns[i].Close()
				last := len(s.fds) - 1
				s.fds[i], s.conns[i] = s.fds[last], s.conns[last]
				s.fds, s.conns = s.fds[:last], s.conns[:last]
				i--
			}
			break
		}
	}
}

// add answers a handshake. Nothing is sent in between: a socket that is told that it is one has all that comes.
func (s *sockets) add(c net.Conn) {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
	_ = raw.Control(func(fd uintptr) { s.fds, s.conns = append(s.fds, fd), append(s.conns, c) }) // c is open
}

// serve answers requests until the peer has become a socket, or is gone.
func (s *sockets) serve(c net.Conn) {
	for reader := bufio.NewReader(c); ; {
		r, err := http.ReadRequest(reader)
		if err != nil {
			_ = c.Close()
			return
		}
		if r.Method == http.MethodGet {
			s.add(c)
			return
		}
		body, _ := io.ReadAll(r.Body)
		s.send(append([]byte{0x81, 126, byte(len(body) >> 8), byte(len(body))}, body...)) //nolint:gosec // a length of 16 bits
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
}

func main() {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", os.Args[len(os.Args)-1])
	for s := (&sockets{}); err == nil; {
		c, acceptErr := listener.Accept()
		if acceptErr != nil { // out of descriptors: a ping finds the sockets that have gone
			s.send([]byte{0x89, 0})
			c, err = listener.Accept()
		}
		if err == nil {
			go s.serve(c)
		}
	}
	fmt.Fprintln(os.Stderr, "usage: bare HOST:PORT:", err)
	os.Exit(2)
}
