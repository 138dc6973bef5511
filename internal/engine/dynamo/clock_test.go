package dynamo

import (
	"sync/atomic"
	"time"
)

// runningClock runs at a multiple of real time, and can be put forward: what waits for the end of a lease does not hold up a test.
type runningClock struct {
	start  time.Time
	speed  time.Duration
	offset atomic.Int64
}

func newRunningClock(speed int) *runningClock {
	return &runningClock{start: time.Now(), speed: time.Duration(speed)}
}

func (c *runningClock) now() time.Time {
	return c.start.Add(time.Since(c.start)*c.speed + time.Duration(c.offset.Load()))
}

func (c *runningClock) advance(d time.Duration) { c.offset.Add(int64(d)) }

// behind is this clock as another machine has it.
func (c *runningClock) behind(d time.Duration) func() time.Time {
	return func() time.Time { return c.now().Add(-d) }
}
