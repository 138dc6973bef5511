package natsengine

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"eureka"
)

// twoRequests is the store of requests as two nodes see it, with a clock of theirs.
func twoRequests(t *testing.T) (a, b *requests, clock *atomic.Int64) {
	t.Helper()
	server := startServer(t, t.TempDir())
	clock = &atomic.Int64{}
	clock.Store(time.Now().UnixNano())
	var nodes []*requests
	for range 2 {
		r, err := openRequests(t.Context(), &Engine{js: dialJetStream(t, server), options: Options{
			Namespace: "t", Replicas: 1, now: func() time.Time { return time.Unix(0, clock.Load()) },
		}})
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, r)
	}
	return nodes[0], nodes[1], clock
}

func begin(t *testing.T, r *requests, key, want string) {
	t.Helper()
	answer, err := r.Begin(t.Context(), key)
	if err != nil || string(answer) != want {
		t.Errorf("begun with %q, %v; want %q", answer, err, want)
	}
}

func TestRequests(t *testing.T) {
	a, b, clock := twoRequests(t)
	begin(t, a, "k", "")
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := b.Begin(short, "k"); eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("while it is handled: %v", err)
	}
	// All who wait get the first answer.
	var waiting sync.WaitGroup
	for i := range 10 {
		waiting.Go(func() { begin(t, []*requests{a, b}[i%2], "k", `{"n":1}`) })
	}
	if err := a.Finish(t.Context(), "k", []byte(`{"n":1}`)); err != nil {
		t.Fatal(err)
	}
	waiting.Wait()
	begin(t, b, "k", `{"n":1}`)

	// A claim that was given up is free, for one of those who want it.
	begin(t, a, "k2", "")
	if err := a.Abandon(t.Context(), "k2"); err != nil {
		t.Fatal(err)
	}
	var claims atomic.Int64
	for i := range 10 {
		waiting.Go(func() {
			r := []*requests{a, b}[i%2]
			answer, err := r.Begin(t.Context(), "k2")
			if err != nil {
				t.Error(err)
			}
			if answer == nil {
				claims.Add(1)
				if err := r.Finish(t.Context(), "k2", []byte(fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	waiting.Wait()
	if claims.Load() != 1 {
		t.Errorf("%d callers were to handle one request", claims.Load())
	}

	// A claim whose holder has ended is taken over by one alone.
	begin(t, a, "k3", "")
	clock.Add(int64(claimLease + time.Second))
	claims.Store(0)
	for i := range 10 {
		waiting.Go(func() {
			r := []*requests{a, b}[i%2]
			answer, err := r.Begin(t.Context(), "k3")
			switch {
			case err != nil:
				t.Error(err)
			case answer == nil:
				claims.Add(1)
				if err := r.Finish(t.Context(), "k3", []byte(`"taken over"`)); err != nil {
					t.Error(err)
				}
			case string(answer) != `"taken over"`:
				t.Errorf("answered with %s", answer)
			}
		})
	}
	waiting.Wait()
	if claims.Load() != 1 {
		t.Errorf("%d callers took one claim over", claims.Load())
	}
}
