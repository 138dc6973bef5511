package core_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"golang.org/x/sync/errgroup"

	"eureka"
	"eureka/internal/core"
	"eureka/internal/engine/natsengine"
	"eureka/internal/gateway"
	"eureka/internal/rule"
)

// benchService is the core on the real engine; sockets that are added have no connection, so that nothing is sent.
type benchService struct {
	*core.Core
	sockets eureka.Sockets
	hub     arriving
}

// arriving is a hub that tells of each message that was delivered: a benchmark that does not wait for them measures what is dropped. With -cpu 1 the
// time of a message is the processor's.
type arriving struct {
	*gateway.Hub
	done chan struct{}
}

// Deliver is the hub's.
func (a arriving) Deliver(channelID string, b gateway.Broadcast) (matched, sent int) {
	matched, sent = a.Hub.Deliver(channelID, b)
	a.done <- struct{}{}
	return matched, sent
}

func (a arriving) await(messages int) {
	for range messages {
		<-a.done
	}
}

func newBenchService(b *testing.B) benchService {
	b.Helper()
	rules := rule.New(rule.Options{})
	hub := arriving{gateway.NewHub(gateway.HubOptions{NewSelector: func() gateway.Selector { return rules.NewSet() }}), make(chan struct{}, 1<<15)}
	engine, err := natsengine.Open(b.Context(), natsengine.Options{
		DataDir: b.TempDir(), Node: node, Registry: hub, Delivery: hub, Replays: hub, Rules: rules, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = engine.Close(b.Context()) })
	c, err := core.New(core.Options{
		Ports: core.Ports{Channels: engine.Channels(), Sockets: engine.Sockets(), Fanout: engine.Fanout(), Sender: engine.Sender(), History: engine.History(), Requests: engine.Requests(), Credentials: engine.Credentials()},
		Node:  node, AllowUndeclared: true, MaxSubscriptions: 3, Rules: rules, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	return benchService{c, engine.Sockets(), hub}
}

// declare declares channels of a model, several at a time.
func (s benchService) declare(b *testing.B, count int, model func(i int) string) {
	b.Helper()
	var group errgroup.Group
	group.SetLimit(8)
	for i := range count {
		group.Go(func() error {
			_, err := s.CreateChannel(b.Context(), eureka.Everyone(""), eureka.Channel{Service: "orders", ModelType: model(i)})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRoute routes events to 1, 100 and 10,000 declared channels among 100,000. Declaring those takes a minute or two.
func BenchmarkRoute(b *testing.B) {
	s := newBenchService(b)
	sizes, others := []int{1, 100, 10_000}, 100_000
	for _, size := range sizes {
		s.declare(b, size, func(int) string { return fmt.Sprint("model", size) })
		others -= size
	}
	s.declare(b, others, func(i int) string { return fmt.Sprint("other", i%1000) })
	for _, size := range sizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			ev := eureka.Event{Service: "orders", ModelType: fmt.Sprint("model", size), Event: "create", Data: json.RawMessage(`{"id":42}`)}
			for b.Loop() {
				r, err := s.Route(b.Context(), eureka.Everyone(""), ev)
				if err != nil || len(r.Channels) != size {
					b.Fatalf("%d channels, %v", len(r.Channels), err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// filtered is the channel whose subscribers have so many filters.
func filtered(size int) string { return fmt.Sprint("filters-", size) }

// BenchmarkPublishFiltered publishes on a channel whose subscribers have as many filters of equality, of which one passes, and on one with a
// subscriber that has none.
func BenchmarkPublishFiltered(b *testing.B) {
	s := newBenchService(b)
	filters := 0
	sizes := []int{0, 1, 10_000}
	// All are there before the first is measured: what the collector has to go through is the same for each.
	for _, size := range sizes {
		channel := filtered(size)
		for i := range max(1, size) {
			filters++
			id := fmt.Sprint("socket", filters)
			sub := eureka.Subscription{SocketID: id, ChannelID: channel, Name: channel}
			if size > 0 {
				sub.Filter = fmt.Sprintf(`data.userId == "user-%d"`, i)
			}
			if err := s.sockets.Add(b.Context(), eureka.Socket{ID: id, Node: node}); err != nil {
				b.Fatal(err)
			}
			if _, err := s.sockets.Subscribe(b.Context(), sub); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, size := range sizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			r := core.PublishRequest{Channel: filtered(size), Event: "create", Data: json.RawMessage(`{"userId":"user-0","total":120,"status":"paid"}`)}
			for b.Loop() {
				if _, err := s.Publish(b.Context(), eureka.Everyone(""), r); err != nil {
					b.Fatal(err)
				}
				s.hub.await(1)
			}
		})
	}
}
