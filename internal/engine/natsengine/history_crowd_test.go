package natsengine_test

import (
	"bytes"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"eureka"
	"eureka/internal/engine/natsengine"
	"eureka/internal/gateway"
)

// crowd is sockets without connections, whose queues a test empties as it likes: more of them than there are descriptors.
type crowd struct {
	*gateway.Hub

	mu      sync.Mutex
	sockets map[string]*member
}

type member struct {
	mu      sync.Mutex
	slow    bool // its queue is not emptied at once
	pause   uint64
	live    bool
	frames  int // that wait
	bytes   int
	most    int // bytes that ever waited
	got     int
	last    uint64 // offset of the last one
	wrong   string
	waiting func()
}

func newCrowd() *crowd {
	return &crowd{Hub: gateway.NewHub(gateway.HubOptions{}), sockets: map[string]*member{}}
}

func (c *crowd) member(id string) *member {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.sockets[id]
	if m == nil {
		m = &member{}
		c.sockets[id] = m
	}
	return m
}

func (c *crowd) SubscribePaused(sub eureka.Subscription, pause uint64) (bool, error) {
	m := c.member(sub.SocketID)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pause, m.live = pause, false
	return c.Subscribe(sub)
}

func (c *crowd) Replay(socketID, _ string, pause uint64, frames [][]byte, last bool) (bool, error) {
	m := c.member(socketID)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pause != pause {
		return false, eureka.Errorf(eureka.CodeGone, "another pause")
	}
	size := 0
	for _, f := range frames {
		size += len(f)
	}
	if m.frames > 0 && (m.frames+len(frames) > 512 || m.bytes+size > 512<<10) {
		return false, nil
	}
	for _, f := range frames {
		m.take(f)
	}
	if last {
		m.pause, m.live = 0, true
	}
	return true, nil
}

func (m *member) take(frame []byte) {
	_, id, ok := bytes.Cut(frame, []byte(`"id":"`))
	if ok {
		_, id, ok = bytes.Cut(id, []byte("."))
	}
	id, _, _ = bytes.Cut(id, []byte(`"`))
	offset, err := strconv.ParseUint(string(id), 10, 64)
	if !ok || err != nil || offset <= m.last {
		m.wrong = fmt.Sprintf("%s came behind %d", frame, m.last)
	}
	m.last = offset
	m.got++
	if m.slow {
		m.frames++
		m.bytes += len(frame)
		m.most = max(m.most, m.bytes)
	}
}

func (c *crowd) WhenDrained(socketID string, f func()) {
	m := c.member(socketID)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.frames == 0 {
		go f()
		return
	}
	m.waiting = f
}

// drain is a client that reads all that waits.
func (m *member) drain() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.frames, m.bytes = 0, 0
	if m.waiting != nil {
		go m.waiting()
		m.waiting = nil
	}
}

func (m *member) state() (got int, live bool, wrong string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.got, m.live, m.wrong
}

func (c *crowd) Deliver(_ string, b gateway.Broadcast) (int, int) {
	c.mu.Lock()
	members := make([]*member, 0, len(c.sockets))
	for _, m := range c.sockets {
		members = append(members, m)
	}
	c.mu.Unlock()
	for _, m := range members {
		m.mu.Lock()
		if m.live {
			m.take(b.Body)
		}
		m.mu.Unlock()
	}
	return len(members), len(members)
}

func openCrowd(t *testing.T, cache int64) (*crowd, *natsengine.Engine, string) {
	t.Helper()
	c, id := newCrowd(), natsengine.NewNodeID()
	e, err := natsengine.Open(t.Context(), natsengine.Options{
		DataDir: t.TempDir(), Node: id, Registry: c.Hub, Delivery: c, Replays: c, Log: discard(), CacheBytes: cache,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	retain(t, "A", retention, e)
	return c, e, id
}

// join adds a socket that resumes from a position.
func (c *crowd) join(t *testing.T, e *natsengine.Engine, id string, since eureka.Cursor) {
	if err := e.Sockets().Add(t.Context(), eureka.Socket{ID: id}); err != nil {
		t.Error(err)
	}
	got, err := e.Sockets().Subscribe(t.Context(), eureka.Subscription{SocketID: id, ChannelID: "A", Name: "A", Since: since})
	if err != nil || !got.Recovered {
		t.Errorf("resumed: %+v, %v", got, err)
	}
}

func TestManySocketsResumeAtOnce(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		sockets, messages int
		cache             int64
	}{
		"short way":           {10_000, 100, 0},
		"long way":            {6, 2500, 0},
		"nothing in memory":   {40, 300, 1},
		"as much as it holds": {40, 300, 64 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			c, e, node := openCrowd(t, tt.cache)
			if err := e.Fill(t.Context(), "A", tt.messages); err != nil {
				t.Fatal(err)
			}
			page, err := e.History().Newest(t.Context(), "A", tt.messages)
			if err != nil {
				t.Fatal(err)
			}
			since := page.Messages[0].Cursor
			behind := min(tt.messages, eureka.MaxHistoryPage) - 1
			if tt.messages > eureka.MaxHistoryPage {
				since.Offset = 1
				behind = tt.messages - 1
			}
			var running sync.WaitGroup
			ids := make(chan string, tt.sockets)
			for range tt.sockets {
				ids <- natsengine.NewSocketID(node)
			}
			close(ids)
			all := make(chan string, tt.sockets)
			for range 200 {
				running.Go(func() {
					for id := range ids {
						c.join(t, e, id, since)
						all <- id
					}
				})
			}
			const more = 20
			for range more {
				mustStore(t, e, "A", "live", retention)
			}
			running.Wait()
			close(all)
			for id := range all {
				m := c.member(id)
				eventually(t, "a socket has all", func() bool {
					got, live, wrong := m.state()
					if wrong != "" {
						t.Fatal(wrong)
					}
					return live && got >= behind+more
				})
				if got, _, _ := m.state(); got != behind+more {
					t.Errorf("a socket has %d messages, want %d", got, behind+more)
				}
			}
		})
	}
}

// TestASlowReaderResumesALongWay counts goroutines, so nothing may run beside it.
func TestASlowReaderResumesALongWay(t *testing.T) {
	messages := 100_000
	if raceDetector {
		messages = 30_000 // the same code, at a third of its speed
	}
	c, e, _ := openCrowd(t, 0)
	if err := e.Fill(t.Context(), "A", messages); err != nil {
		t.Fatal(err)
	}
	page, err := e.History().Newest(t.Context(), "A", 1)
	if err != nil {
		t.Fatal(err)
	}
	since := page.Cursor
	since.Offset = 1
	before := runtime.NumGoroutine()
	slow, fast := c.member("slow"), c.member("fast")
	slow.slow = true
	c.join(t, e, "slow", since)
	eventually(t, "the queue is as full as it gets", func() bool {
		slow.mu.Lock()
		defer slow.mu.Unlock()
		return slow.waiting != nil
	})
	c.join(t, e, "fast", eureka.Cursor{Epoch: since.Epoch, Offset: uint64(messages) - 9999})
	eventually(t, "another one has all meanwhile", func() bool { got, live, _ := fast.state(); return live && got == 9_999 })
	if got, _, _ := slow.state(); got > 1024 {
		t.Errorf("one that does not read was given %d messages", got)
	}
	if now := runtime.NumGoroutine(); now > before+100 {
		t.Errorf("%d goroutines, %d before", now, before)
	}
	mustStore(t, e, "A", "live", retention)
	eventually(t, "the slow one has all", func() bool {
		slow.drain()
		got, live, wrong := slow.state()
		if wrong != "" {
			t.Fatal(wrong)
		}
		return live && got >= messages
	})
	if got, _, _ := slow.state(); got != messages || slow.most > 1<<20 {
		t.Errorf("it has %d messages, and %d bytes waited", got, slow.most)
	}
}
