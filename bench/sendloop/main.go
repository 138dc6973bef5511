// Command sendloop is the bare send loop that a fan-out is measured against: it accepts sockets, answers any handshake,
// and for every POST writes one prebuilt frame to each socket with one blocking call. It checks nothing and queues nothing.
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

func main() {
	size, err := strconv.Atoi(os.Args[2])
	listener, listenErr := (&net.ListenConfig{}).Listen(context.Background(), "tcp", os.Args[1])
	if err != nil || listenErr != nil {
		fmt.Fprintln(os.Stderr, "usage: sendloop ADDRESS FRAME_BYTES", err, listenErr)
		os.Exit(2)
	}
	frame := append([]byte{0x81, 126, byte(size >> 8), byte(size)}, strings.Repeat("x", size)...) //nolint:gosec // a length of 16 bits
	var mu sync.Mutex
	var sockets []net.Conn
	for {
		conn, err := listener.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "sendloop:", err)
			os.Exit(1)
		}
		go func() {
			defer func() { _ = conn.Close() }()
			reader := bufio.NewReaderSize(conn, 1024)
			for {
				first, err := reader.ReadString('\n')
				length := 0
				for line := first; err == nil && line != "\r\n"; line, err = reader.ReadString('\n') {
					if value, ok := strings.CutPrefix(line, "Content-Length: "); ok {
						length, _ = strconv.Atoi(strings.TrimSpace(value))
					}
				}
				if _, skipErr := reader.Discard(length); err != nil || skipErr != nil {
					return
				}
				mu.Lock()
				if strings.HasPrefix(first, "POST") {
					sockets = slices.DeleteFunc(sockets, func(s net.Conn) bool { _, err := s.Write(frame); return err != nil })
					_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
				} else {
					_, _ = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\n\r\n"))
					sockets = append(sockets, conn)
				}
				mu.Unlock()
			}
		}()
	}
}
