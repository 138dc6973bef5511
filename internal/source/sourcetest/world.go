// Package sourcetest is what tests of sources share: the real core on the real engine, with a spy in front of what it delivers. It is linked by tests
// alone.
package sourcetest

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"eureka"
	"eureka/internal/core"
	"eureka/internal/engine/natsengine"
	"eureka/internal/gateway"
	"eureka/internal/source"
)

// Patience is how long a test waits for something that should happen soon, on a loaded machine too.
const Patience = time.Minute

// Spy notes what goes to the real Fanout behind it, and waits or fails as a test tells it.
type Spy struct {
	eureka.Fanout

	mu       sync.Mutex
	messages []string
	fault    func(m eureka.Message) error
}

// Deliver implements eureka.Fanout.
func (s *Spy) Deliver(ctx context.Context, m eureka.Message) (eureka.Delivery, error) {
	s.mu.Lock()
	fault := s.fault
	s.mu.Unlock()
	if fault != nil {
		if err := fault(m); err != nil {
			return eureka.Delivery{}, err
		}
	}
	s.mu.Lock()
	s.messages = append(s.messages, fmt.Sprintf("%s %s %s", m.ChannelID, m.Event, m.Data))
	s.mu.Unlock()
	return s.Fanout.Deliver(ctx, m)
}

// Taken lists what was delivered as "channel event data", in its order.
func (s *Spy) Taken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Sorted is Taken in the order of its texts.
func (s *Spy) Sorted() []string {
	taken := s.Taken()
	slices.Sort(taken)
	return taken
}

// Fail has fault decide what becomes of each delivery from now on; nil for none.
func (s *Spy) Fail(fault func(eureka.Message) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// World is one node without its edges. It has the channels orders (of shop, order) and room, and undeclared ones are refused.
type World struct {
	T      *testing.T
	Core   *core.Core
	Spy    *Spy
	Intake *source.Intake
	Counts *prometheus.Registry // of the Intake
	Log    *slog.Logger
}

// New makes a World that ends with the test.
func New(t *testing.T) *World {
	t.Helper()
	w := &World{T: t, Counts: prometheus.NewRegistry(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	hub := gateway.NewHub(gateway.HubOptions{})
	engine, err := natsengine.Open(t.Context(), natsengine.Options{DataDir: t.TempDir(), Node: "aaaaaaaa", Registry: hub, Delivery: hub, Replays: hub, Log: w.Log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	w.Spy = &Spy{Fanout: engine.Fanout()}
	w.Core, err = core.New(core.Options{
		Ports: core.Ports{
			Channels: engine.Channels(), Sockets: engine.Sockets(), Fanout: w.Spy, Sender: engine.Sender(),
			History: engine.History(), Requests: engine.Requests(), Credentials: engine.Credentials(),
		},
		Node: "aaaaaaaa", Log: w.Log,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, ch := range []eureka.Channel{{ID: "orders", Service: "shop", ModelType: "order"}, {ID: "room"}} {
		if _, err := w.Core.CreateChannel(t.Context(), eureka.Everyone(""), ch); err != nil {
			t.Fatal(err)
		}
	}
	if w.Intake, err = source.New(source.Options{Router: w.Core, Log: w.Log, Metrics: w.Counts}); err != nil {
		t.Fatal(err)
	}
	return w
}

// Await polls until ok, for Patience.
func (w *World) Await(what string, ok func() bool) {
	w.T.Helper()
	tick, deadline := time.NewTicker(20*time.Millisecond), time.Now().Add(Patience)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			w.T.Fatalf("%s did not happen; taken: %s", what, strings.Join(w.Spy.Taken(), "; "))
		}
		<-tick.C
	}
}
