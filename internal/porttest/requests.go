package porttest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"eureka"
)

// RequestsHarness is one fresh store of requests as a suite sees it.
type RequestsHarness struct {
	// Nodes are views of the same store, as several nodes or functions have; at least one.
	Nodes []eureka.Requests
	// Advance moves the clock of all nodes forward; what is waiting meanwhile does not notice.
	Advance func(d time.Duration)
	// Cannot names what the harness cannot show, each with the reason.
	Cannot map[RequestsCapability]string
}

// RequestsCapability is something that a harness may do without.
type RequestsCapability string

// RequestsExpiry is that answers expire by the clock that Advance moves.
const RequestsExpiry RequestsCapability = "expiry by the harness's clock"

// lapse is longer than any claim lasts whose holder does not answer.
const lapse = time.Minute

func (h RequestsHarness) node(i int) eureka.Requests { return h.Nodes[i%len(h.Nodes)] }

// Requests is the conformance suite of eureka.Requests.
func Requests(t *testing.T, newHarness func(t *testing.T) RequestsHarness) {
	t.Helper()
	tests := []struct {
		name string
		run  func(t *testing.T, h RequestsHarness)
	}{
		{"AnswerIsKept", requestsAnswerIsKept},
		{"WaitersGetTheAnswer", requestsWaiters},
		{"AbandonedIsFreeForOne", requestsAbandoned},
		{"TakenOverByOne", requestsTakenOver},
		{"OneOfMany", requestsOneOfMany},
		{"StillHandled", requestsStillHandled},
		{"AnswersExpire", requestsExpire},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t)
			if len(h.Nodes) == 0 || h.Advance == nil {
				t.Fatal("the harness has no node or no clock")
			}
			tt.run(t, h)
		})
	}
}

// requestKey is a key as core makes them.
func requestKey(n int) string { return fmt.Sprintf("%040x", n) }

func begin(t *testing.T, r eureka.Requests, key, want string) {
	t.Helper()
	answer, err := r.Begin(t.Context(), key)
	if err != nil || string(answer) != want || (want == "" && answer != nil) {
		t.Errorf("Begin: %q, %v; want %q", answer, err, want)
	}
}

func finish(t *testing.T, r eureka.Requests, key, answer string) {
	t.Helper()
	if err := r.Finish(t.Context(), key, []byte(answer)); err != nil {
		t.Errorf("Finish: %v", err)
	}
}

func requestsAnswerIsKept(t *testing.T, h RequestsHarness) {
	large := `"` + strings.Repeat("x", 100<<10) + `"`
	for i, answer := range []string{`{"n":1}`, `null`, `{"text":"한글 \u0000"}`, large} {
		begin(t, h.node(i), requestKey(i), "")
		finish(t, h.node(i), requestKey(i), answer)
		for n := range h.Nodes {
			begin(t, h.node(n), requestKey(i), answer)
		}
	}
	begin(t, h.node(0), requestKey(99), "") // another key is another request
	h.Advance(4*time.Minute + 50*time.Second)
	begin(t, h.node(1), requestKey(0), `{"n":1}`)
}

func requestsWaiters(t *testing.T, h RequestsHarness) {
	key := requestKey(1)
	begin(t, h.node(0), key, "")
	var waiting sync.WaitGroup
	for i := range 10 {
		waiting.Go(func() { begin(t, h.node(i), key, `{"n":1}`) })
	}
	finish(t, h.node(0), key, `{"n":1}`)
	waiting.Wait()
}

// beginAll begins one key from ten callers at the same time. Those who get the claim answer with their number; it returns how many they were.
func beginAll(t *testing.T, h RequestsHarness, key string) int {
	t.Helper()
	var claims atomic.Int64
	var all sync.WaitGroup
	var answers sync.Map
	for i := range 10 {
		all.Go(func() {
			answer, err := h.node(i).Begin(t.Context(), key)
			switch {
			case err != nil:
				t.Errorf("caller %d: %v", i, err)
			case answer == nil:
				claims.Add(1)
				finish(t, h.node(i), key, fmt.Sprint(i))
				answers.Store(fmt.Sprint(i), true)
			default:
				answers.Store(string(answer), true)
			}
		})
	}
	all.Wait()
	different := 0
	answers.Range(func(any, any) bool { different++; return true })
	if different > 1 {
		t.Errorf("one request was answered in %d ways", different)
	}
	return int(claims.Load())
}

func requestsAbandoned(t *testing.T, h RequestsHarness) {
	key := requestKey(1)
	begin(t, h.node(0), key, "")
	if err := h.node(0).Abandon(t.Context(), key); err != nil {
		t.Fatalf("Abandon: %v", err)
	}
	if n := beginAll(t, h, key); n != 1 {
		t.Errorf("%d callers were to handle one request", n)
	}
}

func requestsTakenOver(t *testing.T, h RequestsHarness) {
	key := requestKey(1)
	begin(t, h.node(0), key, "")
	h.Advance(lapse)
	if n := beginAll(t, h, key); n != 1 {
		t.Errorf("%d callers took one claim over", n)
	}
}

func requestsOneOfMany(t *testing.T, h RequestsHarness) {
	for i := range 10 {
		if n := beginAll(t, h, requestKey(i)); n != 1 {
			t.Errorf("%d callers claimed one key", n)
		}
	}
}

func requestsStillHandled(t *testing.T, h RequestsHarness) {
	key := requestKey(1)
	begin(t, h.node(0), key, "")
	for i := range h.Nodes {
		short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err := h.node(i).Begin(short, key)
		cancel()
		wantCode(t, "Begin while it is handled", err, eureka.CodeUnavailable)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := h.node(0).Begin(ended, requestKey(2))
	wantCode(t, "Begin with an ended context", err, eureka.CodeUnavailable, eureka.CodeTimeout)
	finish(t, h.node(0), key, `"late"`)
	begin(t, h.node(1), key, `"late"`)
}

func requestsExpire(t *testing.T, h RequestsHarness) {
	if reason, missing := h.Cannot[RequestsExpiry]; missing {
		t.Skipf("the harness cannot do %s: %s", RequestsExpiry, reason)
	}
	key := requestKey(1)
	begin(t, h.node(0), key, "")
	finish(t, h.node(0), key, `"first"`)
	h.Advance(6 * time.Minute)
	begin(t, h.node(1), key, "")
	finish(t, h.node(1), key, `"second"`)
	begin(t, h.node(0), key, `"second"`)
}
