package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"eureka"
)

// wantLimited checks that the metric of a setting counts so many refusals.
func (n *node) wantLimited(t *testing.T, setting string, want int) {
	t.Helper()
	got := -1.0
	eventually(t, fmt.Sprintf("%d refusals by %s are counted, and not %v", want, setting, got), func() bool {
		got = n.metric(t, fmt.Sprintf(`eureka_limited_total{setting=%q}`, setting))
		return got == float64(want)
	})
}

// over checks the answer to a handshake that a limit refuses.
func over(t *testing.T, a answer, setting string) {
	t.Helper()
	if a.status != http.StatusTooManyRequests || a.code() != eureka.CodeRateLimited || !strings.Contains(a.text, "over the limit of the setting "+setting+`"`) || a.header.Get("Retry-After") == "" {
		t.Errorf("%s: %d %v %s", setting, a.status, a.header, a.text)
	}
}

func TestEveryLimitHasItsMetricFromTheStart(t *testing.T) {
	n := serve(t)
	for _, setting := range []string{
		"max_sockets", "max_sockets_per_user", "connects_per_second", "connects_per_second_per_user", "frames_per_second", "publishes_per_second", "max_subscriptions", "max_body_bytes",
	} {
		n.wantLimited(t, setting, 0)
	}
}

// crowd connects many clients at the same time and returns those that got in, and how many did not.
func crowd(t *testing.T, n *node, size int, setting, query string) (in []*socket, out int) {
	t.Helper()
	var group sync.WaitGroup
	var mu sync.Mutex
	for range size {
		group.Go(func() {
			s, a := n.try(t, query)
			mu.Lock()
			defer mu.Unlock()
			if s != nil {
				in = append(in, s)
				return
			}
			out++
			over(t, a, setting)
		})
	}
	group.Wait()
	return in, out
}

func TestOpenSocketsAreLimited(t *testing.T) {
	n := serve(t, "--max-sockets=10")
	in, out := crowd(t, n, 40, "max_sockets", "")
	if len(in) != 10 || out != 30 {
		t.Errorf("%d are in, %d are out", len(in), out)
	}
	n.wantLimited(t, "max_sockets", 30)
	// Who leaves makes room, for one.
	_ = in[0].conn.CloseNow()
	eventually(t, "there is room again", func() bool { s, _ := n.try(t, ""); return s != nil })
	s, a := n.try(t, "")
	if s != nil {
		t.Error("an eleventh socket is in")
	}
	over(t, a, "max_sockets")
	in[1].ask(`{"action":"ping"}`, "pong")
}

func TestSocketsOfAUserAreLimited(t *testing.T) {
	n := serve(t, "--max-sockets-per-user=3", "--max-sockets=100")
	in, out := crowd(t, n, 20, "max_sockets_per_user", "?user=ann")
	if len(in) != 3 || out != 17 {
		t.Errorf("%d are in, %d are out", len(in), out)
	}
	n.wantLimited(t, "max_sockets_per_user", 17)
	n.dial(t, "?user=bob")
	for range 5 {
		n.dial(t, "") // those without a name are not one user
	}
	_ = in[0].conn.CloseNow()
	eventually(t, "there is room again", func() bool { s, _ := n.try(t, "?user=ann"); return s != nil })
	if s, _ := n.try(t, "?user=ann"); s != nil {
		t.Error("a fourth socket is in")
	}
	// A handshake that fails behind the count gives its place back.
	m := guarded(t, "--max-sockets-per-user=1")
	for range 3 {
		m.refused(t, eureka.CodeUnauthenticated, "", bearer("nonsense"))
	}
	s := m.dial(t, "", bearer(token(nil)))
	m.refused(t, eureka.CodeRateLimited, "", bearer(token(nil)))
	s.ask(fmt.Sprintf(`{"action":"refresh","token":%q}`, token(nil)), "refreshed")
	_ = s.conn.CloseNow()
	eventually(t, "the place is free after a refresh too", func() bool { s, _ := m.try(t, "", bearer(token(nil))); return s != nil })
}

func TestConnectsAreLimited(t *testing.T) {
	for setting, query := range map[string]string{"connects_per_second": "", "connects_per_second_per_user": "?user=ann"} {
		n := serve(t, "--"+strings.ReplaceAll(setting, "_", "-")+"=2")
		in, out := crowd(t, n, 60, setting, query)
		if len(in) < 4 || out == 0 { // four at once; on a slow machine the next second has begun
			t.Errorf("%s: %d are in, %d are out", setting, len(in), out)
		}
		n.wantLimited(t, setting, out)
		if query != "" {
			n.dial(t, "?user=bob")
			n.dial(t, "")
		}
		eventually(t, "the rate lets in again", func() bool { s, _ := n.try(t, query); return s != nil })
	}
	n := serve(t, "--connects-per-second=0", "--connects-per-second-per-user=0", "--max-sockets=0", "--max-sockets-per-user=0")
	if in, out := crowd(t, n, 120, "", "?user=ann"); len(in) != 120 || out != 0 {
		t.Errorf("without limits %d are in, %d are out", len(in), out)
	}
	// Who is not let in for want of a credential counts too: checking it is what costs.
	g := guarded(t, "--connects-per-second=1")
	limited := 0
	for range 30 {
		if _, a := g.try(t, "", bearer("nonsense")); a.status == http.StatusTooManyRequests {
			limited++
		}
	}
	if got := g.metric(t, `eureka_limited_total{setting="connects_per_second"}`, bearer(adminKey)); limited == 0 || got != float64(limited) {
		t.Errorf("%d were limited, %v are counted", limited, got)
	}
}

func TestFramesAreLimited(t *testing.T) {
	n := serve(t, "--frames-per-second=10")
	s, bystander := n.dial(t, ""), n.dial(t, "")
	const frames = 60
	for i := range frames {
		s.send(fmt.Sprintf(`{"action":"ping","data":%d}`, i))
	}
	refused, answered := 0, 0
	for range frames {
		switch got := s.next(); {
		case strings.Contains(got, `"pong"`):
			answered++
		case strings.Contains(got, `"code":"rate_limited","message":"over the limit of the setting frames_per_second"`):
			refused++
		default:
			t.Errorf("got %s", got)
		}
	}
	if answered < 20 || refused == 0 {
		t.Errorf("%d answered, %d refused", answered, refused)
	}
	n.wantLimited(t, "frames_per_second", refused)
	bystander.ask(`{"action":"ping"}`, "pong")
	eventually(t, "the rate allows frames again", func() bool {
		s.send(`{"action":"ping","data":"again"}`)
		return strings.Contains(s.next(), "pong")
	})
}

func TestAFloodIsClosed(t *testing.T) {
	n := serve(t, "--frames-per-second=10")
	s, bystander := n.dial(t, ""), n.dial(t, "")
	go func() {
		for range 100_000 {
			if s.conn.Write(t.Context(), 1, []byte(`{"action":"ping"}`)) != nil {
				return // it was closed, as it should be
			}
		}
	}()
	s.ended(eureka.CloseRateLimited, "over the limit of the setting frames_per_second")
	bystander.ask(`{"action":"ping"}`, "pong")
	eventually(t, "the close is counted", func() bool { return n.metric(t, `eureka_closes_total{code="4429"}`) == 1 })
}

func TestPublishesAreLimited(t *testing.T) {
	n := serve(t, "--publishes-per-second=5")
	s := n.dial(t, "")
	const publishes = 40
	for i := range publishes {
		s.send(fmt.Sprintf(`{"action":"publish","channel":"room","data":%d}`, i))
	}
	published, refused := 0, 0
	for range publishes {
		switch got := s.next(); {
		case strings.Contains(got, `"published"`):
			published++
		case strings.Contains(got, `"channel":"room","error":{"code":"rate_limited","message":"over the limit of the setting publishes_per_second"`):
			refused++
		default:
			t.Errorf("got %s", got)
		}
	}
	if published < 10 || refused == 0 {
		t.Errorf("%d published, %d refused", published, refused)
	}
	n.wantLimited(t, "publishes_per_second", refused)
	s.ask(`{"action":"ping"}`, "pong") // other frames go on
	n.dial(t, "").ask(`{"action":"publish","channel":"room","data":1}`, `"published"`)
}

func TestSubscriptionsAreLimited(t *testing.T) {
	n := serve(t, "--max-subscriptions=2")
	s := n.dial(t, "?channels=a,b,c")
	s.await(`"channel":"c","error":{"code":"invalid","message":"a socket may listen to 2 channels (setting max_subscriptions)"}`)
	s.ask(`{"action":"subscribe","channel":"d"}`, "max_subscriptions")
	n.wantLimited(t, "max_subscriptions", 2)
	s.ask(`{"action":"subscribe","channel":"a"}`, `"subscribed"`) // takes no place
	s.ask(`{"action":"unsubscribe","channel":"a"}`, `"unsubscribed"`)
	s.ask(`{"action":"subscribe","channel":"d"}`, `"subscribed"`)
}

func TestBodiesAreLimited(t *testing.T) {
	n := serve(t, "--max-body-bytes=2KiB")
	body := func(size int) string { return `{"data":"` + strings.Repeat("x", size-len(`{"data":""}`)) + `"}` }
	// The largest fits the buffers of a connection: of what does not, a client may hear that it was cut off before it hears why.
	const large = 20_000
	for size, status := range map[int]int{2048: http.StatusOK, 2049: http.StatusRequestEntityTooLarge, large: http.StatusRequestEntityTooLarge} {
		a := n.call(t, "POST", "/channels/room/broadcast", body(size))
		if a.status != status || (status != http.StatusOK && !strings.Contains(a.text, "over the limit of 2048 bytes (setting max_body_bytes)")) {
			t.Errorf("%d bytes: %d %s", size, a.status, a.text)
		}
	}
	n.wantLimited(t, "max_body_bytes", 2)
	// Without a credential nothing of a body is read.
	g := guarded(t)
	if a := g.call(t, "POST", "/channels/room/broadcast", body(large)); a.status != http.StatusUnauthorized {
		t.Errorf("a large body without a credential: %d %s", a.status, a.text)
	}
}

// TestLimitsUnderFire: sockets that come and go at the same time leave the counts as they were.
func TestLimitsUnderFire(t *testing.T) {
	n := serve(t, "--max-sockets=4", "--max-sockets-per-user=2", "--connects-per-second=0", "--connects-per-second-per-user=0")
	var group sync.WaitGroup
	var refused atomic.Int64
	for w := range 12 {
		group.Go(func() {
			for range 20 {
				s, _ := n.try(t, fmt.Sprintf("?user=u%d", w%2))
				if s == nil {
					refused.Add(1)
					continue
				}
				_ = s.conn.CloseNow()
			}
		})
	}
	group.Wait()
	eventually(t, "all have left", func() bool { return n.metric(t, "eureka_sockets_open") == 0 })
	eventually(t, "the counts are back at nothing", func() bool {
		in := 0
		for user := range 2 {
			for range 5 {
				if s, _ := n.try(t, fmt.Sprintf("?user=u%d", user)); s != nil {
					in++
					defer func() { _ = s.conn.CloseNow() }()
				}
			}
		}
		return in == 4
	})
	if refused.Load() == 0 {
		t.Error("nobody was refused: the limits were not under fire")
	}
}
