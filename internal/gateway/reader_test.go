package gateway

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"eureka/internal/wire"
)

// timed is a connection that notes how much is written in the time that one deadline gives. The first write waits.
type timed struct {
	net.Conn

	begin chan struct{}
	mu    sync.Mutex
	spans []int
}

func (c *timed) SetWriteDeadline(time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans = append(c.spans, 0)
	return nil
}

func (c *timed) Write(b []byte) (int, error) {
	<-c.begin
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans[len(c.spans)-1] += len(b)
	return len(b), nil
}

// TestALongQueueHasTimeToBeWritten: what a client has to read in the time of one write does not grow with what waits.
func TestALongQueueHasTimeToBeWritten(t *testing.T) {
	w := newWorld(t, SocketsGoroutines, Limits{})
	c := &timed{begin: make(chan struct{})}
	s := newStream(w.gateway, &reader{net: c})
	s.bind()
	s.release(nil)
	text := wire.TextFrame([]byte(strings.Repeat("x", 10_000)))
	const frames = 80
	for i := range frames {
		if !s.queue(text, 1) {
			t.Fatalf("frame %d is not taken", i)
		}
	}
	close(c.begin)
	eventually(t, "all is written", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.waits == nil
	})
	total := 0
	for _, n := range c.spans {
		total += n
		if n > joinBytes {
			t.Errorf("%d bytes had the time of one write", n)
		}
	}
	if total != frames*len(text) {
		t.Errorf("%d of %d bytes were written", total, frames*len(text))
	}
}
