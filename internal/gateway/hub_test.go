package gateway

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"eureka"
)

// recorder is a conn that keeps what it is given; it stands for any way to drive a connection.
type recorder struct {
	mu     sync.Mutex
	frames [][]byte
	full   bool
}

func (r *recorder) lane() *lane { return nil }

func (r *recorder) queue(frame []byte, _ int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.full {
		r.frames = append(r.frames, frame)
	}
	return !r.full
}

func (r *recorder) offer(frames [][]byte) (taken, open bool) {
	for _, frame := range frames {
		if !r.queue(frame, 1) {
			return false, false
		}
	}
	return true, true
}

func (r *recorder) drained(f func()) { go f() }

func (r *recorder) end(eureka.CloseCode, string, time.Duration) {}

func addSocket(t testing.TB, h *Hub, id string, subs ...string) *recorder {
	t.Helper()
	r := &recorder{}
	h.attach(id, r)
	if err := h.Add(eureka.Socket{ID: id, ConnectedAt: int64(len(id))}); err != nil {
		t.Fatal(err)
	}
	for _, sub := range subs {
		channel, name, _ := strings.Cut(sub, "/")
		if _, err := h.Subscribe(eureka.Subscription{SocketID: id, ChannelID: channel, Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func TestOneFramePerName(t *testing.T) {
	h := NewHub(HubOptions{})
	a, b := addSocket(t, h, "a", "1000001/1000001"), addSocket(t, h, "b", "1000001/1000001")
	c, d := addSocket(t, h, "c", "1000001/orders"), addSocket(t, h, "d", "1000001/orders")
	full := addSocket(t, h, "e", "1000001/orders")
	full.full = true
	matched, sent := h.Deliver("1000001", Broadcast{Body: body(t, "1"), Except: []string{"d"}})
	if matched != 4 || sent != 3 {
		t.Errorf("matched %d, sent %d", matched, sent)
	}
	if len(a.frames) != 1 || len(b.frames) != 1 || &a.frames[0][0] != &b.frames[0][0] {
		t.Error("subscribers under one name do not share the frame's bytes")
	}
	if len(c.frames) != 1 || !strings.Contains(string(c.frames[0]), `{"channel":"orders",`) || len(d.frames) != 0 {
		t.Errorf("under another name: %q; excepted: %q", c.frames, d.frames)
	}
	if got := h.Count("1000001", []string{"d", "d", "nobody"}); got != 4 {
		t.Errorf("counted %d", got)
	}
}

func TestMove(t *testing.T) {
	h := NewHub(HubOptions{})
	a := addSocket(t, h, "a", "orders/orders")
	b := addSocket(t, h, "b", "orders/orders", "1000001/1000001")
	if left, gained := h.Move("orders", "1000001"); left != 2 || gained != 1 {
		t.Errorf("left %d, gained %d", left, gained)
	}
	if n := h.Count("orders", nil); n != 0 {
		t.Errorf("%d stayed", n)
	}
	h.Deliver("1000001", Broadcast{Body: body(t, "1")})
	if len(a.frames) != 1 || !strings.Contains(string(a.frames[0]), `"channel":"orders"`) {
		t.Errorf("the moved one got %q", a.frames)
	}
	if len(b.frames) != 1 || !strings.Contains(string(b.frames[0]), `"channel":"1000001"`) {
		t.Errorf("the one that was there got %q", b.frames)
	}
	if left, gained := h.Move("1000001", ""); left != 2 || gained != 0 || h.Count("1000001", nil) != 0 {
		t.Errorf("ended %d, gained %d", left, gained)
	}
	if s, err := h.Remove("a"); err != nil || len(s.Subscriptions) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestResubscribingRenames(t *testing.T) {
	h := NewHub(HubOptions{})
	a := addSocket(t, h, "a", "1000001/1000001")
	if added, err := h.Subscribe(eureka.Subscription{SocketID: "a", ChannelID: "1000001", Name: "orders"}); added || err != nil {
		t.Errorf("added %v, %v", added, err)
	}
	h.Deliver("1000001", Broadcast{Body: body(t, "1")})
	if len(a.frames) != 1 || !strings.Contains(string(a.frames[0]), `"channel":"orders"`) {
		t.Errorf("got %q", a.frames)
	}
}

// TestHubAgainstAModel runs random operations and compares every list with a plain model.
func TestHubAgainstAModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	h := NewHub(HubOptions{})
	model := map[string]map[string]bool{} // socket → channels
	name := func(prefix string, n int) string { return fmt.Sprintf("%s%d", prefix, r.IntN(n)) }
	for range 20_000 {
		socket, channel := name("s", 30), name("c", 10)
		_, there := model[socket]
		switch r.IntN(6) {
		case 0:
			if err := h.Add(eureka.Socket{ID: socket}); (err == nil) == there {
				t.Fatalf("add %s: %v", socket, err)
			}
			if !there {
				model[socket] = map[string]bool{}
			}
		case 1:
			if r.IntN(4) == 0 {
				if _, err := h.Remove(socket); (err == nil) != there {
					t.Fatalf("remove %s: %v", socket, err)
				}
				delete(model, socket)
			}
		case 2, 3:
			added, err := h.Subscribe(eureka.Subscription{SocketID: socket, ChannelID: channel, Name: name("n", 2)})
			if (err == nil) != there || (err == nil && added == model[socket][channel]) {
				t.Fatalf("subscribe %s %s: %v, %v", socket, channel, added, err)
			}
			if there {
				model[socket][channel] = true
			}
		case 4:
			if err := h.Unsubscribe(socket, channel); (err == nil) != model[socket][channel] {
				t.Fatalf("unsubscribe %s %s: %v", socket, channel, err)
			}
			delete(model[socket], channel)
		case 5:
			want := 0
			for _, channels := range model {
				if channels[channel] {
					want++
				}
			}
			page, err := h.List(eureka.SocketQuery{Channel: channel, Paging: eureka.Paging{Limit: 100}})
			if matched, _ := h.Deliver(channel, Broadcast{Body: []byte("x")}); err != nil || matched != want || page.Total != want || len(page.Items) != want || h.Count(channel, nil) != want {
				t.Fatalf("%s: delivered to %d, listed %d, want %d, %v", channel, matched, page.Total, want, err)
			}
		}
	}
	if h.Sockets() != len(model) {
		t.Errorf("%d sockets, want %d", h.Sockets(), len(model))
	}
}

func TestConcurrentUse(t *testing.T) {
	h := NewHub(HubOptions{})
	var running sync.WaitGroup
	for g := range 8 {
		running.Go(func() {
			for i := range 300 {
				id := fmt.Sprintf("s%d-%d", g, i)
				addSocket(t, h, id, "A/A", fmt.Sprintf("B%d/B", i%3))
				h.Deliver("A", Broadcast{Body: []byte("x")})
				h.Move(fmt.Sprintf("B%d", i%3), "A")
				if _, err := h.List(eureka.SocketQuery{Channel: "A"}); err != nil {
					t.Error(err)
				}
				if _, err := h.Remove(id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	if h.Sockets() != 0 || h.Count("A", nil) != 0 {
		t.Errorf("%d sockets and %d subscribers are left", h.Sockets(), h.Count("A", nil))
	}
}

func TestListPages(t *testing.T) {
	now := time.UnixMilli(1000)
	h := NewHub(HubOptions{Now: func() time.Time { return now }})
	for i := range 25 {
		if err := h.Add(eureka.Socket{ID: fmt.Sprintf("s%02d", i), ConnectedAt: int64(i / 5), User: fmt.Sprintf("u%d", i%2)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Add(eureka.Socket{ID: "expired", ExpiresAt: 1000}); err != nil {
		t.Fatal(err)
	}
	for _, asc := range []bool{true, false} {
		var byNumber, byPosition []string
		after := ""
		for page := range 4 {
			n, err := h.List(eureka.SocketQuery{Asc: asc, Paging: eureka.Paging{Page: page, Limit: 7}})
			p, afterErr := h.List(eureka.SocketQuery{Asc: asc, Paging: eureka.Paging{After: after, Limit: 7}})
			if err != nil || afterErr != nil || n.Total != 25 {
				t.Fatal(err, afterErr, n.Total)
			}
			for i := range n.Items {
				byNumber = append(byNumber, n.Items[i].ID)
				byPosition = append(byPosition, p.Items[i].ID)
			}
			after = p.Next
		}
		if diff := cmp.Diff(byNumber, byPosition); diff != "" || len(byNumber) != 25 || after != "" {
			t.Errorf("asc %v: the two ways to page differ, or miss some (%d), or do not end (%q):\n%s", asc, len(byNumber), after, diff)
		}
	}
	if page, err := h.List(eureka.SocketQuery{User: "u1"}); err != nil || page.Total != 12 {
		t.Errorf("of one user: %d, %v", page.Total, err)
	}
	if _, err := h.List(eureka.SocketQuery{Paging: eureka.Paging{After: "nonsense"}}); eureka.CodeOf(err) != eureka.CodeInvalid {
		t.Errorf("a made-up position: %v", err)
	}
}

func BenchmarkDeliver(b *testing.B) {
	for _, n := range []int{1, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := NewHub(HubOptions{})
			for i := range n {
				addSocket(b, h, fmt.Sprintf("s%d", i), "A/A").full = true
			}
			text := body(b, `{"orderId":"1000042","status":"paid"}`)
			b.ReportAllocs()
			for b.Loop() {
				h.Deliver("A", Broadcast{Body: text})
			}
		})
	}
}
