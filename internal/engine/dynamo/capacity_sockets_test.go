package dynamo

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"eureka"
)

// TestCapacityOfSockets measures sockets, subscriptions, broadcasts and histories, of clients as API Gateway names them. Each use case has to stay in the
// bars: a connect with one subscription writes at most four units, and a broadcast reads one for at least 50 subscribers and nothing for each.
func TestCapacityOfSockets(t *testing.T) {
	t.Parallel()
	m := proxied(t, 1)
	clock := newRunningClock(1)
	ways, queue := &wires{}, &shelf{}
	var mu sync.Mutex
	var metered [2]float64
	e := testEngine(t, m.Endpoint, newTestTable(t), func(o *Options) {
		o.Now, o.Poster, o.Queue = clock.now, ways, queue
		o.Meter = func(read, write float64) {
			mu.Lock()
			defer mu.Unlock()
			metered[0], metered[1] = metered[0]+read, metered[1]+write
		}
	})
	e.oneOf = func(int) bool { return false } // the look at the size of a shard, half a unit of one subscription in 64
	ctx, s, next := t.Context(), e.Sockets(), 0
	connect := func() (string, error) {
		next++
		w := ways.open(fmt.Sprintf("L0SM9cOFvH%05d=", next))
		now := clock.now()
		return w.id, s.Add(ctx, eureka.Socket{
			ID: w.id, User: "ann@example.com", Remote: "203.0.113.7", Origin: "https://shop.example.com", Agent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
			ConnectedAt: now.Add(-time.Minute).UnixMilli(), ExpiresAt: now.Add(2 * time.Hour).UnixMilli(),
		})
	}
	subscribe := func(id, channel string, since eureka.Cursor) error {
		_, err := s.Subscribe(ctx, eureka.Subscription{SocketID: id, ChannelID: channel, Name: channel, SubscribedAt: clock.now().UnixMilli(), Since: since})
		return err
	}
	publish := func(message eureka.Message) func() error {
		return func() error {
			_, err := e.Fanout().Deliver(ctx, message)
			return err
		}
	}
	var alone, busy, hundred string
	var head eureka.Cursor
	for _, prepared := range []func() error{
		func() (err error) { alone, err = connect(); return err },
		func() (err error) { busy, err = connect(); return err },
		func() (err error) { hundred, err = connect(); return err },
		func() error { return subscribe(alone, "one", eureka.Cursor{}) },
		func() error {
			for i := range 100 {
				if err := subscribe(hundred, fmt.Sprintf("of-%d", i), eureka.Cursor{}); err != nil {
					return err
				}
			}
			return nil
		},
		func() error {
			for range 160 {
				d, err := e.Fanout().Deliver(ctx, message("history", "a message of some forty bytes or a few more"))
				if head = d.Cursor; err != nil {
					return err
				}
			}
			return nil
		},
		func() error { return subscribe(busy, "history", eureka.Cursor{}) },
	} {
		if err := prepared(); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int{100, 1000, 5000} {
		crowd(t, e, ways, fmt.Sprintf("crowd-%d", n), n)
	}
	page := func(limit int) func() error {
		return func() error {
			got, err := e.History().After(ctx, "history", eureka.Cursor{Epoch: head.Epoch, Offset: head.Offset - 150}, limit)
			if err == nil && len(got.Messages) != limit {
				err = fmt.Errorf("%d messages", len(got.Messages))
			}
			return err
		}
	}
	metered = [2]float64{}
	m.Reset()
	measureCapacity(t, "sockets", m, []capacityCase{
		{"connect", func() error { _, err := connect(); return err }, 0, 2},
		{"connect with one subscription", func() error {
			id, err := connect()
			if err != nil {
				return err
			}
			return subscribe(id, "fresh", eureka.Cursor{})
		}, 8, 4},
		{"subscribe", func() error { return subscribe(busy, "fresh", eureka.Cursor{}) }, 8, 2},
		{"subscribe to a channel with history", func() error { return subscribe(alone, "history", eureka.Cursor{}) }, 8, 2},
		{"resume with nothing missed", func() error {
			id, err := connect()
			if err != nil {
				return err
			}
			m.Reset()
			return subscribe(id, "history", head)
		}, 8, 7},
		{"unsubscribe", func() error { return s.Unsubscribe(ctx, busy, "fresh") }, 4, 4},
		{"disconnect with one subscription", func() error { _, err := s.Remove(ctx, busy); return err }, 2, 7},
		{"disconnect with 100 subscriptions", func() error { _, err := s.Remove(ctx, hundred); return err }, 4, 205},
		{"broadcast to 100", publish(direct("crowd-100", "m")), 1 + 100.0/50, 0},
		{"broadcast to 1,000", publish(direct("crowd-1000", "m")), 1 + 1000.0/50, 0},
		{"broadcast to 5,000 in one shard, which grows", publish(direct("crowd-5000", "m")), 2 + 5000.0/50, 1},
		{"publish with history, two subscribers", publish(message("history", "m")), 6, 4},
		{"the same with a key", func() error {
			keyed := message("history", "m")
			keyed.Key = "key"
			return publish(keyed)()
		}, 6, 5},
		{"history, a page of 100 messages", page(100), 8, 0},
		{"list of 100 of a user's sockets", func() error {
			for range 100 {
				if _, err := connect(); err != nil {
					return err
				}
			}
			m.Reset()
			_, err := s.List(ctx, eureka.SocketQuery{User: "ann@example.com", Paging: eureka.Paging{Limit: 100}})
			return err
		}, 130, 0},
	})
	if tasks := queue.take(); len(tasks) != 0 {
		t.Errorf("queued: %+v", tasks)
	}
	if metered[0] == 0 || metered[1] == 0 {
		t.Errorf("the engine's own meter shows %v", metered)
	}
}
