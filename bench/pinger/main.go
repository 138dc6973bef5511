//go:build linux

// Command pinger measures how long the service takes to answer pings: `pinger HOST:PORT SPAN`. A few sockets take turns with a ping
// a millisecond, whether or not earlier ones were answered. It prints a summary as JSON, and never measures anything else: it is a process
// of its own, so that what it waits for is not what it does itself.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// The load: light, so that pings are no work beside a broadcast.
const (
	sockets  = 8
	interval = time.Millisecond
	patience = 30 * time.Second // for an answer
	ahead    = 1 << 16          // pings of one socket that may wait for their answers
)

// summary is what there is to know; durations in milliseconds.
type summary struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50Ms"`
	P99   float64 `json:"p99Ms"`
	Max   float64 `json:"maxMs"`
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "pinger:", err)
		os.Exit(1)
	}
}

func run(args []string, w io.Writer) error {
	if len(args) != 2 {
		return errors.New("give HOST:PORT and a duration")
	}
	span, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	list := make([]*socket, 0, sockets)
	for range sockets {
		s, err := dial(args[0])
		if err != nil {
			return err
		}
		defer func() { _ = s.conn.Close() }()
		list = append(list, s)
	}
	var hearing sync.WaitGroup
	for _, s := range list {
		hearing.Go(s.hear)
	}
	err = ping(list, span)
	for _, s := range list {
		close(s.sent)
	}
	hearing.Wait()
	var took []time.Duration
	for _, s := range list {
		err = errors.Join(err, s.failed)
		took = append(took, s.took...)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(summarize(took))
}

// socket is one connection. Answers come in the order of the pings.
type socket struct {
	conn   net.Conn
	reader *bufio.Reader
	sent   chan time.Time
	took   []time.Duration
	failed error
}

func dial(address string) (*socket, error) {
	conn, err := net.DialTimeout("tcp", address, patience) //nolint:noctx,gosec // a command that is ended as a whole, and dials what it is told
	if err != nil {
		return nil, err
	}
	s := &socket{conn: conn, reader: bufio.NewReader(conn), sent: make(chan time.Time, ahead)}
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+address+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	if err != nil {
		return nil, err
	}
	answer, err := http.ReadResponse(s.reader, nil) //nolint:bodyclose // what follows the answer are the socket's frames
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("the handshake was answered %s", answer.Status)
	}
	return s, nil
}

// ping sends pings in turns for a while.
func ping(list []*socket, span time.Duration) error {
	const text = `{"action":"ping"}`
	frame := append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...) // the mask of zeros is one
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for i, end := 0, time.Now().Add(span); time.Now().Before(end); i++ {
		<-tick.C
		s := list[i%len(list)]
		s.sent <- time.Now()
		if _, err := s.conn.Write(frame); err != nil {
			return err
		}
	}
	return nil
}

// hear reads the answer of each ping that was sent, until there are no more.
func (s *socket) hear() {
	for at := range s.sent {
		if s.failed != nil {
			continue
		}
		if s.failed = s.pong(at.Add(patience)); s.failed == nil {
			s.took = append(s.took, time.Since(at))
		}
	}
}

// pong reads frames until one is a pong.
func (s *socket) pong(deadline time.Time) error {
	if err := s.conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	for {
		text, err := s.frame()
		if err != nil {
			return err
		}
		switch {
		case strings.Contains(text, `"action":"pong"`):
			return nil
		case strings.Contains(text, `"action":"error"`), strings.Contains(text, `"action":"bye"`):
			return fmt.Errorf("the service says %s", text)
		}
	}
}

// frame reads a short text frame: the service sends nothing else to a socket without channels that is never silent.
func (s *socket) frame() (string, error) {
	var head [2]byte
	if _, err := io.ReadFull(s.reader, head[:]); err != nil {
		return "", err
	}
	const short = 126
	if head[0] != 0x81 || head[1] >= short {
		return "", fmt.Errorf("a frame that begins with %x is no short text", head)
	}
	text := make([]byte, head[1])
	_, err := io.ReadFull(s.reader, text)
	return string(text), err
}

func summarize(took []time.Duration) summary {
	slices.Sort(took)
	ms := func(share float64) float64 {
		return float64(took[min(int(share*float64(len(took))), len(took)-1)].Nanoseconds()) / 1e6
	}
	if len(took) == 0 {
		return summary{}
	}
	return summary{Count: len(took), P50: ms(0.5), P99: ms(0.99), Max: ms(1)}
}
