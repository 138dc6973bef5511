package gateway

import (
	"runtime/debug"
	"time"

	"eureka"
)

// A sweep looks at every stream once in its interval, slice by slice.
const (
	maxSweep    = time.Second
	minSweep    = 5 * time.Millisecond
	sweepSlices = 16

	tidyInterval = 2 * burstSeconds * time.Second // behind it the rates of those who connected at once are full again
)

// sweep pings silent sockets and closes idle, old and stuck ones: one goroutine for all, instead of timers for each.
func (g *Gateway) sweep() {
	defer close(g.swept)
	interval := min(max(min(g.limits.PingInterval, g.limits.IdleTimeout)/4, minSweep), maxSweep)
	slices := 1
	if interval == maxSweep {
		slices = sweepSlices
	}
	ticker := time.NewTicker(interval / time.Duration(slices))
	defer ticker.Stop()
	var streams []*stream
	next, tidied := 0, time.Now()
	var crowd crowd
	for {
		select {
		case <-g.stop:
			return
		case now := <-ticker.C:
			streams, next = g.registry.slice(streams[:0], next, g.registry.size()/slices+1)
			for _, s := range streams {
				g.sweepOne(s, now)
			}
			if now.Sub(tidied) > tidyInterval {
				tidied = now
				g.admission.tidy(now)
				if crowd.settled(g.connected.Load()) {
					go debug.FreeOSMemory()
				}
			}
			clear(streams) // what has ended must not stay in memory
		}
	}
}

// crowdSize is how many handshakes in one interval are a crowd.
const crowdSize = 1000

// crowd notices when many clients have come at once. Their handshakes need much more memory than the sockets that they become, and
// the runtime would keep it for minutes.
type crowd struct {
	connected int64
	here      bool
}

// settled is asked in intervals, with the number of handshakes so far. It reports true once when a crowd has come and no more of it comes.
func (c *crowd) settled(connected int64) bool {
	came := connected - c.connected
	c.connected = connected
	if came >= crowdSize {
		c.here = true
		return false
	}
	was := c.here
	c.here = false
	return was
}

// sweepOne looks at one stream. When that panics this stream ends, and the sweep goes on.
func (g *Gateway) sweepOne(s *stream, now time.Time) {
	defer func() {
		if fault := recover(); fault != nil {
			g.failed(s, fault)
		}
	}()
	received := s.received.Load()
	if received == 0 {
		return // not bound yet
	}
	silent := time.Duration(now.UnixNano() - received)
	id := s.identity.Load()
	switch {
	case id != nil && id.ExpiresAt != 0 && now.UnixMilli() >= id.ExpiresAt:
		s.end(eureka.CloseUnauthenticated, "the credential has expired", 0)
	case s.expiresAt != 0 && now.UnixMilli() >= s.expiresAt:
		s.end(eureka.CloseMaxAge, "the socket reached its maximum age", 0)
	case silent >= g.limits.IdleTimeout:
		s.end(eureka.CloseIdle, "nothing was heard for "+g.limits.IdleTimeout.String(), 0)
	case silent >= g.limits.PingInterval && now.UnixNano()-s.pinged.Load() >= int64(g.limits.PingInterval):
		s.ping(now)
	}
	s.check(now)
}
