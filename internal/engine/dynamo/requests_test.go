package dynamo

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"eureka"
	"eureka/internal/awslocal"
	"eureka/internal/porttest"
)

// testClock is a clock that a test moves.
type testClock struct{ nanos atomic.Int64 }

func newTestClock() *testClock {
	c := &testClock{}
	c.nanos.Store(time.Now().UnixNano())
	return c
}

func (c *testClock) now() time.Time          { return time.Unix(0, c.nanos.Load()) }
func (c *testClock) advance(d time.Duration) { c.nanos.Add(int64(d)) }
func (c *testClock) option(o *Options)       { o.Now = c.now }

func TestRequests(t *testing.T) {
	at := endpoint(t)
	porttest.Requests(t, func(t *testing.T) porttest.RequestsHarness {
		t.Parallel()
		name, clock := newTestTable(t), newTestClock()
		return porttest.RequestsHarness{
			Nodes: []eureka.Requests{
				testEngine(t, at, name, clock.option).Requests(), testEngine(t, at, name, clock.option).Requests(),
			},
			Advance: clock.advance,
		}
	})
}

// TestRequestsSlowHolder: a holder that was only slow takes nothing from the one that took its claim over.
func TestRequestsSlowHolder(t *testing.T) {
	t.Parallel()
	at, name, clock := endpoint(t), newTestTable(t), newTestClock()
	slow, quick := testEngine(t, at, name, clock.option).Requests(), testEngine(t, at, name, clock.option).Requests()
	claim := func(r eureka.Requests, key string) {
		t.Helper()
		if answer, err := r.Begin(t.Context(), key); err != nil || answer != nil {
			t.Fatalf("%q, %v", answer, err)
		}
	}
	for _, key := range []string{"answered", "abandoned"} {
		claim(slow, key)
		clock.advance(claimLease + time.Second)
		claim(quick, key)
	}
	if err := slow.Abandon(t.Context(), "abandoned"); err != nil {
		t.Fatal(err)
	}
	if it, err := testEngine(t, at, name, nil).table.get(t.Context(), requestKey("abandoned"), true); err != nil || it == nil {
		t.Errorf("the claim of the one that took over is gone: %v", err)
	}
	for _, r := range []struct {
		by     eureka.Requests
		answer string
	}{{quick, `"first"`}, {slow, `"second"`}} {
		if err := r.by.Finish(t.Context(), "answered", []byte(r.answer)); err != nil {
			t.Fatal(err)
		}
	}
	if answer, err := slow.Begin(t.Context(), "answered"); err != nil || string(answer) != `"first"` {
		t.Errorf("the answer is %s, %v; others may have it from the first one", answer, err)
	}
	if err := quick.Abandon(t.Context(), "answered"); err != nil {
		t.Fatal(err)
	}
	if answer, err := slow.Begin(t.Context(), "answered"); err != nil || answer == nil {
		t.Errorf("an answer was given up: %s, %v", answer, err)
	}
}

// TestRequestsUnderFaults: a claim whose answer was lost is the caller's, so that each key has one who handles it, and no more.
func TestRequestsUnderFaults(t *testing.T) {
	t.Parallel()
	proxy, name := proxied(t, 5), newTestTable(t)
	proxy.Set(awslocal.Faults{Throttle: 0.05, Lose: 0.15})
	engines := []eureka.Requests{testEngine(t, proxy.Endpoint, name, nil).Requests(), testEngine(t, proxy.Endpoint, name, nil).Requests()}
	for i := range 15 {
		key := fmt.Sprint(i)
		var claims atomic.Int64
		var all sync.WaitGroup
		for n := range 4 {
			all.Go(func() {
				r := engines[n%2]
				answer, err := r.Begin(t.Context(), key)
				if err == nil && answer == nil {
					claims.Add(1)
					err = r.Finish(t.Context(), key, []byte(key))
				} else if err == nil && string(answer) != key {
					t.Errorf("key %s is answered with %s", key, answer)
				}
				if err != nil {
					t.Errorf("key %s: %v", key, err)
				}
			})
		}
		all.Wait()
		if claims.Load() != 1 {
			t.Errorf("key %s was claimed %d times", key, claims.Load())
		}
	}
	if proxy.Usage().Lost == 0 {
		t.Error("no answer was lost")
	}
}
