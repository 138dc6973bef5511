package natsengine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"eureka"
	"eureka/internal/engine/natsengine"
	"eureka/internal/gateway"
	"eureka/internal/porttest"
)

var retention = &eureka.Retention{Size: eureka.MaxHistorySize, TTL: eureka.Duration(10 * time.Minute)}

// retain creates a channel with history, known to all nodes.
func retain(t *testing.T, channel string, r *eureka.Retention, engines ...*natsengine.Engine) {
	t.Helper()
	if _, err := engines[0].Channels().Create(t.Context(), eureka.Channel{ID: channel, History: r}); err != nil {
		t.Fatal(err)
	}
	for _, e := range engines {
		eventually(t, "all nodes know the channel", func() bool {
			_, err := e.Channels().Get(t.Context(), channel)
			return err == nil
		})
	}
}

func store(ctx context.Context, e *natsengine.Engine, channel, event string, r *eureka.Retention) (eureka.Cursor, error) {
	d, err := e.Fanout().Deliver(ctx, eureka.Message{ChannelID: channel, Action: eureka.ActionMessage, Event: event, Retention: r})
	return d.Cursor, err
}

func mustStore(t *testing.T, e *natsengine.Engine, channel, event string, r *eureka.Retention) eureka.Cursor {
	t.Helper()
	c, err := store(t.Context(), e, channel, event, r)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// events are the names of the events that a socket received; gap is told as "gap".
func events(t *testing.T, s porttest.LiveSocket) []string {
	t.Helper()
	var all []string
	for _, text := range s.Frames() {
		if !strings.Contains(text, `"event"`) && !strings.Contains(text, `"error"`) {
			continue
		}
		var f struct {
			Event string
			Error struct{ Code string }
		}
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			t.Fatal(err)
		}
		all = append(all, f.Event+f.Error.Code)
	}
	return all
}

// counters reads a node's counters.
func counter(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// blocking is a real hub whose deliveries on other channels than A block, so that messages wait until NATS drops them.
type blocking struct {
	*gateway.Hub

	release chan struct{}
}

func (b *blocking) Deliver(channel string, m gateway.Broadcast) (int, int) {
	if channel != "A" && !strings.Contains(string(m.Body), `"code":"gap"`) {
		<-b.release
	}
	return b.Hub.Deliver(channel, m)
}

func TestANodeReadsWhatNATSDropped(t *testing.T) {
	t.Parallel()
	metrics := prometheus.NewRegistry()
	b := &blocking{Hub: gateway.NewHub(gateway.HubOptions{}), release: make(chan struct{})}
	n := openNode(t, natsengine.Options{DataDir: t.TempDir(), Delivery: b, Registry: b.Hub, Replays: b.Hub, Metrics: metrics})
	release := sync.OnceFunc(func() { close(b.release) })
	t.Cleanup(release) // before the node closes
	retain(t, "A", retention, n.engine)
	s := n.dial(t)
	n.subscribe(t, s, "A")
	var want []string
	send := func() {
		want = append(want, strconv.Itoa(len(want)+1))
		mustStore(t, n.engine, "A", want[len(want)-1], retention)
	}
	send()
	eventually(t, "the first arrives live", func() bool { return slices.Equal(events(t, s), want) })
	for i := range 16 {
		n.subscribe(t, n.dial(t), fmt.Sprintf("B%d", i))
	}
	// All dispatchers block, and the queue of the one for A fills up with messages that have no event.
	for i := range 16 {
		if err := n.deliver(t.Context(), fmt.Sprintf("B%d", i), 1); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the queue is full", func() bool {
		for range 10_000 {
			if err := n.deliver(t.Context(), "A", 1); err != nil {
				t.Fatal(err)
			}
		}
		return counter(t, metrics, "eureka_nats_overflows_total") > 0
	})
	for range 3 {
		// NATS says only once that it drops a channel's messages, as long as none comes through.
		send()
		eventually(t, "a dropped message is read", func() bool { return slices.Equal(events(t, s), want) })
	}
	release()
	for len(events(t, s)) < 50 {
		send()
		eventually(t, "messages go on", func() bool { return slices.Equal(events(t, s), want) })
	}
}

func TestHistoryWhenNATSRestartsUnderLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := natsengine.StartServer(t, dir)
	address, ok := s.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatal("the server has no TCP address")
	}
	nodes := []*node{openNode(t, natsengine.Options{URL: s.ClientURL()}), openNode(t, natsengine.Options{URL: s.ClientURL()})}
	retain(t, "A", retention, nodes[0].engine, nodes[1].engine)
	start, err := nodes[0].engine.History().Newest(t.Context(), "A", 1)
	if err != nil {
		t.Fatal(err)
	}
	var sockets []porttest.LiveSocket
	for _, n := range nodes {
		sockets = append(sockets, n.dial(t))
		n.subscribe(t, sockets[len(sockets)-1], "A")
	}
	var accepted, refused atomic.Int64
	var mu sync.Mutex
	stored := map[string]eureka.Cursor{}
	stop := make(chan struct{})
	var traffic sync.WaitGroup
	for p, n := range nodes {
		traffic.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				event := fmt.Sprintf("%d.%d", p, i)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				cursor, err := store(ctx, n.engine, "A", event, retention)
				cancel()
				if err != nil {
					refused.Add(1)
					continue
				}
				accepted.Add(1)
				mu.Lock()
				stored[event] = cursor
				mu.Unlock()
			}
		})
	}
	eventually(t, "messages flow", func() bool { return accepted.Load() > 100 })
	natsengine.StopServer(s)
	eventually(t, "publishes are refused", func() bool { return refused.Load() > 20 })
	natsengine.StartServerOn(t, dir, address.Port)
	before := accepted.Load()
	eventually(t, "messages flow again", func() bool { return accepted.Load() > before+200 })
	close(stop)
	traffic.Wait()
	var last eureka.Cursor
	eventually(t, "this node publishes again", func() bool {
		last, err = store(t.Context(), nodes[0].engine, "A", "end", retention)
		return err == nil
	})
	for i, s := range sockets {
		eventually(t, "the end arrives", func() bool { return has(s, `"event":"end"`) })
		got := events(t, s)
		wantComplete(t, fmt.Sprintf("socket %d", i), got, stored, slices.Contains(got, "gap"))
		t.Logf("socket %d: gap told: %v", i, slices.Contains(got, "gap"))
	}
	for i, n := range nodes {
		s := n.dial(t)
		got, err := n.engine.Sockets().Subscribe(t.Context(), eureka.Subscription{SocketID: s.ID(), ChannelID: "A", Name: "A", Since: start.Cursor})
		if err != nil || !got.Recovered {
			t.Fatalf("node %d: %+v, %v", i, got, err)
		}
		eventually(t, "the replay ends", func() bool { return has(s, last.String()) })
		wantComplete(t, fmt.Sprintf("resumed on node %d", i), events(t, s), stored, false)
	}
}

// wantComplete checks that a socket has all that was stored, each once and in order; with a gap some may be missing.
func wantComplete(t *testing.T, what string, got []string, stored map[string]eureka.Cursor, gap bool) {
	t.Helper()
	seen := map[string]bool{}
	last := uint64(0)
	for _, event := range got {
		if seen[event] && event != "gap" {
			t.Errorf("%s: %s came twice", what, event)
		}
		seen[event] = true
		if c, ok := stored[event]; ok {
			if c.Offset <= last {
				t.Errorf("%s: %s is not in order", what, event)
			}
			last = c.Offset
		}
	}
	if !gap {
		for event := range stored {
			if !seen[event] {
				t.Errorf("%s: %s is missing, and no gap was told", what, event)
			}
		}
	}
}

func TestNodesThatPublishOnOneChannelKeepItsChain(t *testing.T) {
	t.Parallel()
	one := natsengine.StartServer(t, t.TempDir())
	for name, o := range map[string]struct {
		servers  []*server.Server
		replicas int
	}{
		"external": {[]*server.Server{one, one, one}, 1},
		"cluster":  {natsengine.StartCluster(t, 3), 3},
	} {
		t.Run(name, func(t *testing.T) {
			var nodes []*node
			var engines []*natsengine.Engine
			var registries []*prometheus.Registry
			namespace := "t" + natsengine.NewNodeID()
			for _, s := range o.servers {
				metrics := prometheus.NewRegistry()
				n := openNode(t, natsengine.Options{URL: s.ClientURL(), Namespace: namespace, Replicas: o.replicas, Metrics: metrics})
				nodes, registries, engines = append(nodes, n), append(registries, metrics), append(engines, n.engine)
			}
			retain(t, "A", retention, engines...)
			start, err := engines[0].History().Newest(t.Context(), "A", 1)
			if err != nil {
				t.Fatal(err)
			}
			live := nodes[0].dial(t)
			nodes[0].subscribe(t, live, "A")
			const each, publishers = 100, 2
			var running sync.WaitGroup
			var open atomic.Int32 // messages without a key of which nobody knows whether they were stored: NATS on a loaded machine may not answer in time
			for i, e := range engines {
				for p := range publishers {
					running.Go(func() {
						for n := range each {
							// Every second one is also given by another node at the same time, and stored once.
							m := eureka.Message{ChannelID: "A", Action: eureka.ActionMessage, Event: fmt.Sprintf("%d.%d.%d", i, p, n), Retention: retention}
							if n%2 == 0 {
								m.Event = fmt.Sprintf("same.%d.%d", p, n)
								m.Key = m.Event
							}
							_, err := e.Fanout().Deliver(t.Context(), m)
							for try := 0; try < 20 && m.Key != "" && eureka.CodeOf(err).Outcome().Retry; try++ {
								_, err = e.Fanout().Deliver(t.Context(), m)
							}
							if err != nil && m.Key == "" && eureka.CodeOf(err).Outcome().Retry {
								open.Add(1)
							} else if err != nil {
								t.Errorf("%s: %v", m.Event, err)
							}
						}
					})
				}
			}
			running.Wait()
			want := len(engines)*publishers*each/2 + publishers*each/2
			if n := open.Load(); n > each/10 {
				t.Errorf("%d messages were not answered in time: too many to tell anything", n)
			}
			for i, r := range registries {
				if n := counter(t, r, "eureka_history_unchained_total"); n != 0 {
					t.Errorf("node %d stored %v messages without their place in the chain", i, n)
				}
			}
			for i, e := range engines {
				page, got := eureka.HistoryPage{Cursor: start.Cursor, More: true}, 0
				for page.More {
					if page, err = e.History().After(t.Context(), "A", page.Cursor, 1000); err != nil {
						t.Fatal(err)
					}
					got += len(page.Messages)
				}
				if i == 0 && got < want && got >= want-int(open.Load()) {
					want = got // for all nodes
				}
				if got != want {
					t.Errorf("node %d reads %d messages, want %d", i, got, want)
				}
			}
			eventually(t, "all arrive live", func() bool { return len(live.Frames()) == want })
			if got := events(t, live); slices.Contains(got, "gap") {
				t.Error("a gap was told")
			}
		})
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
