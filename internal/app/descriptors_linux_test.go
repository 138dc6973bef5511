package app

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestAServiceWithoutDescriptors: while nobody can come in those who are in are served, and when some leave others come in again.
func TestAServiceWithoutDescriptors(t *testing.T) {
	s := startProcess(t, childDescriptors+"=60")
	var in []*rawSocket
	waiting := false
	for !waiting {
		if len(in) > 200 {
			t.Fatal("there is no limit")
		}
		c, err := s.dial(0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		// Either the connection is not accepted, or there is no descriptor for the socket.
		if c.handshake("A") != nil {
			_ = c.Close()
			waiting = strings.Contains(s.log.String(), "as many open files as it may")
			continue
		}
		in = append(in, c)
	}
	if len(in) < 20 {
		t.Errorf("only %d sockets fit", len(in))
	}
	// The limit is reached, so this one asks over a connection that is there: its own socket.
	for _, c := range in {
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := in[0].Write(textFrame(`{"action":"publish","channel":"A","data":"still here"}`)); err != nil {
		t.Fatal(err)
	}
	for i, c := range in[1:] {
		if text, err := c.next(); err != nil || !strings.Contains(string(text), "still here") {
			t.Fatalf("socket %d: %s, %v", i, text, err)
		}
	}
	for _, c := range in[1:] {
		_ = c.Close()
	}
	again := func() bool {
		c, err := s.dial(0)
		if err != nil {
			return false
		}
		defer func() { _ = c.Close() }()
		return c.SetDeadline(time.Now().Add(5*time.Second)) == nil && c.handshake("A") == nil
	}
	for deadline := time.Now().Add(patience); !again(); {
		if time.Now().After(deadline) {
			t.Fatal("nobody comes in again")
		}
	}
	s.call(http.MethodPost, "/channels/A/broadcast", map[string]any{"data": "and again"}, nil)
	if n := strings.Count(s.log.String(), "as many open files as it may"); n != 1 {
		t.Errorf("it was logged %d times", n)
	}
}

// textFrame is a client's frame with a mask of zeros, of at most 125 bytes.
func textFrame(text string) []byte {
	return append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...)
}
