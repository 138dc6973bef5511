package natsengine

import (
	"sync/atomic"
	"testing"
	"time"

	"eureka"
	"eureka/internal/porttest"
)

func TestRequests(t *testing.T) {
	server := startServer(t, t.TempDir())
	porttest.Requests(t, func(t *testing.T) porttest.RequestsHarness {
		t.Parallel()
		name := namespace(t)
		var clock atomic.Int64
		clock.Store(time.Now().UnixNano())
		h := porttest.RequestsHarness{
			Advance: func(d time.Duration) { clock.Add(int64(d)) },
			Cannot:  map[porttest.RequestsCapability]string{porttest.RequestsExpiry: "NATS removes what has expired, by its own clock"},
		}
		for range 2 {
			r, err := openRequests(t.Context(), &Engine{js: dialJetStream(t, server), options: Options{
				Namespace: name, Replicas: 1, now: func() time.Time { return time.Unix(0, clock.Load()) },
			}})
			if err != nil {
				t.Fatal(err)
			}
			h.Nodes = append(h.Nodes, eureka.Requests(r))
		}
		return h
	})
}
