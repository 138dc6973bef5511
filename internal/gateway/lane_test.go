package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"eureka"
)

// laned is a connection that a lane sends to. It keeps the frames and how many calls brought them.
type laned struct {
	recorder

	in    *lane
	calls int
	fault bool // panics
	slow  bool // takes a whole turn's time
}

func (l *laned) lane() *lane { return l.in }

func (l *laned) queue(b []byte, frames int) bool {
	if l.fault {
		panic("on purpose")
	}
	l.calls++
	for began := time.Now(); l.slow && time.Since(began) < turnTime; {
		runtime.Gosched()
	}
	for range frames { // the frames of these tests are short
		n := 2 + int(b[1])
		l.frames = append(l.frames, b[:n])
		b = b[n:]
	}
	if len(b) > 0 {
		panic("the number of frames is wrong")
	}
	return true
}

// texts are the data of the messages that came.
func (l *laned) texts() []string {
	var texts []string
	for _, f := range l.frames {
		_, text, _ := bytes.Cut(f, []byte(`"data":`))
		texts = append(texts, string(bytes.TrimRight(text, "}")))
	}
	return texts
}

func newLane() *lane { return &lane{wake: func() {}, failed: func(conn, any) {}} }

func addLaned(t testing.TB, h *Hub, id string, in *lane) *laned {
	t.Helper()
	l := &laned{in: in}
	h.attach(id, l)
	if err := h.Add(eureka.Socket{ID: id}); err != nil {
		t.Fatal(err)
	}
	return l
}

func short(text string, except ...string) Broadcast {
	return Broadcast{Body: fmt.Appendf(nil, `"data":%s`, text), Except: except}
}

func TestFramesThatWaitAreJoined(t *testing.T) {
	h, in := NewHub(HubOptions{}), newLane()
	a, b := addLaned(t, h, "a", in), addLaned(t, h, "b", in)
	for _, id := range []string{"a", "b"} {
		if err := listen(t, h, id, "A", ""); err != nil {
			t.Fatal(err)
		}
	}
	for i, except := range [][]string{nil, {"b"}, nil} {
		if matched, sent := h.Deliver("A", short(fmt.Sprint(i), except...)); matched != 2-len(except) || sent != matched {
			t.Errorf("message %d: matched %d, sent %d", i, matched, sent)
		}
	}
	late := addLaned(t, h, "late", in)
	if err := listen(t, h, "late", "A", ""); err != nil {
		t.Fatal(err)
	}
	for in.turn() {
	}
	if got := a.texts(); a.calls != 1 || !slices.Equal(got, []string{"0", "1", "2"}) {
		t.Errorf("%d calls brought %v", a.calls, got)
	}
	if got := b.texts(); !slices.Equal(got, []string{"0", "2"}) {
		t.Errorf("the one that is excepted has %v", got)
	}
	if len(late.frames) > 0 {
		t.Errorf("one that subscribed later has %v", late.texts())
	}
	h.Deliver("A", short("3"))
	for in.turn() {
	}
	if &a.frames[3][0] != &late.frames[0][0] {
		t.Error("the bytes are not shared")
	}
}

// TestLanesAgainstAModel: whatever comes in between, a subscriber gets the messages that were delivered while it was subscribed, once and in
// order. One that has unsubscribed may miss the last ones.
func TestLanesAgainstAModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	h, _ := filtering(t)
	lanes := []*lane{newLane(), newLane()}
	conns, want := map[string]*laned{}, map[string][]string{}
	var ids []string
	for i := range 300 {
		id := fmt.Sprint("s", i)
		ids = append(ids, id)
		conns[id] = addLaned(t, h, id, lanes[i%2])
	}
	at, pause := "A", uint64(0)
	for n := range 20_000 {
		id := ids[r.IntN(len(ids))]
		_, there := h.Filter(id, at)
		switch r.IntN(7) {
		case 0, 1: // also renames, filters, and ends pauses
			sub := eureka.Subscription{SocketID: id, ChannelID: at, Name: fmt.Sprint("n", r.IntN(2)), Filter: []string{"", "x"}[r.IntN(2)]}
			if _, err := h.Subscribe(sub); err != nil {
				t.Fatal(err)
			}
		case 2:
			pause++
			if _, err := h.SubscribePaused(eureka.Subscription{SocketID: id, ChannelID: at, Name: "n0"}, pause); err != nil {
				t.Fatal(err)
			}
			if _, err := h.Replay(id, at, pause, nil, true); err != nil {
				t.Fatal(err)
			}
		case 3, 4:
			text, except := fmt.Sprint(n), ids[r.IntN(len(ids))]
			for _, id := range ids {
				if _, ok := h.Filter(id, at); ok && id != except {
					want[id] = append(want[id], text)
				}
			}
			h.Deliver(at, short(text, except))
		case 5:
			for range r.IntN(8) {
				lanes[r.IntN(2)].turn()
			}
			if r.IntN(50) == 0 {
				at = map[string]string{"A": "B", "B": "A"}[at]
				h.Move(map[string]string{"A": "B", "B": "A"}[at], at)
			}
		case 6:
			if there {
				if err := h.Unsubscribe(id, at); err != nil {
					t.Fatal(err)
				}
				got := conns[id].texts()
				if len(got) > len(want[id]) || !slices.Equal(got, want[id][:len(got)]) {
					t.Fatalf("%s has %v, want the start of %v", id, got, want[id])
				}
				want[id] = got
			}
		}
	}
	for _, l := range lanes {
		for l.turn() {
		}
	}
	for _, id := range ids {
		if got := conns[id].texts(); !slices.Equal(got, want[id]) {
			t.Fatalf("%s has %v\nwant %v", id, got, want[id])
		}
	}
}

// TestChannelsTakeTurns: one subscriber of a quiet channel does not wait until a message has reached the very many of another one.
func TestChannelsTakeTurns(t *testing.T) {
	h, in := NewHub(HubOptions{}), newLane()
	for i := range 10 * turnSends {
		id := fmt.Sprint("s", i)
		addLaned(t, h, id, in)
		if err := listen(t, h, id, "A", ""); err != nil {
			t.Fatal(err)
		}
	}
	quiet := addLaned(t, h, "quiet", in)
	if _, err := h.Subscribe(eureka.Subscription{SocketID: "quiet", ChannelID: "B", Name: "B"}); err != nil {
		t.Fatal(err)
	}
	h.Deliver("A", short("1"))
	h.Deliver("B", short("2"))
	for turns := 0; len(quiet.frames) == 0; turns++ {
		if turns > 2 || !in.turn() {
			t.Fatal("the quiet channel waits for the large one")
		}
	}
}

// TestATurnEndsInTime: where sends take long a turn has few of them, and all get the message in the end.
func TestATurnEndsInTime(t *testing.T) {
	h, in := NewHub(HubOptions{}), newLane()
	var all []*laned
	for i := range 3 * turnChecks {
		l := addLaned(t, h, fmt.Sprint("s", i), in)
		l.slow = true
		if err := listen(t, h, fmt.Sprint("s", i), "A", ""); err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	h.Deliver("A", short("1"))
	calls := func() (n int) {
		for _, l := range all {
			n += l.calls
		}
		return n
	}
	for n := 1; n <= 3; n++ {
		if in.turn(); calls() != n*turnChecks {
			t.Fatalf("%d sends in %d turns", calls(), n)
		}
	}
	if in.turn() {
		t.Error("there is something left to send")
	}
}

func TestAPublisherThatIsFasterWaits(t *testing.T) {
	h, in := NewHub(HubOptions{}), newLane()
	a := addLaned(t, h, "a", in)
	if err := listen(t, h, "a", "A", ""); err != nil {
		t.Fatal(err)
	}
	const messages = 60_000 // of more than 24 bytes: more than may wait
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range messages {
			h.Deliver("A", short(fmt.Sprint(i)))
		}
	}()
	waits := func() bool {
		p := h.topic("A").groups[0].parts[0]
		p.in.mu.Lock()
		defer p.in.mu.Unlock()
		return p.in.room != nil
	}
	eventually(t, "the publisher waits", waits)
	for running := true; running; {
		select {
		case <-done:
			running = in.turn()
		default:
			in.turn()
		}
	}
	if len(a.frames) != messages {
		t.Errorf("%d of %d messages came", len(a.frames), messages)
	}
	// A lane that closes lets its publishers go.
	stuck := make(chan struct{})
	go func() {
		defer close(stuck)
		for range messages {
			h.Deliver("A", short("1"))
		}
	}()
	eventually(t, "the publisher waits", waits)
	in.close()
	<-stuck
}

// TestAChannelWhosePublishersWaitHoldsUpItselfAlone: those who come and go in it wait with them, and nobody else does.
func TestAChannelWhosePublishersWaitHoldsUpItselfAlone(t *testing.T) {
	h, in := NewHub(HubOptions{}), newLane()
	for _, id := range []string{"a", "b"} {
		addLaned(t, h, id, in)
	}
	if err := listen(t, h, "a", "A", ""); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	defer running.Wait()
	defer in.close()
	running.Go(func() {
		for range 3 {
			h.Deliver("A", short(strings.Repeat("1", backlogBytes)))
		}
	})
	eventually(t, "the publisher waits", func() bool {
		p := h.topic("A").groups[0].parts[0]
		p.in.mu.Lock()
		defer p.in.mu.Unlock()
		return p.in.room != nil
	})
	full := h.topic("A")
	joining, joined := make(chan struct{}), make(chan error, 1)
	running.Go(func() {
		close(joining)
		_, err := h.Subscribe(eureka.Subscription{SocketID: "b", ChannelID: "A", Name: "A"})
		joined <- err
	})
	<-joining
	eventually(t, "somebody waits to subscribe", func() bool {
		if full.mu.TryRLock() {
			full.mu.RUnlock()
			return false
		}
		return true
	})
	neighbour := "B" // of the same shard
	for i := 0; h.shard(neighbour) != h.shard("A"); i++ {
		neighbour = fmt.Sprint("B", i)
	}
	c := addLaned(t, h, "c", newLane())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := h.Subscribe(eureka.Subscription{SocketID: "c", ChannelID: neighbour, Name: "B"}); err != nil {
			t.Error(err)
		}
		h.Deliver(neighbour, short("1"))
		for c.in.turn() {
		}
	}()
	eventually(t, "the neighbour's message comes", func() bool {
		select {
		case <-done:
			return len(c.frames) == 1
		default:
			return false
		}
	})
	in.close()
	if err := <-joined; err != nil {
		t.Error(err)
	}
}

func TestAConnectionThatPanicsStopsNoBroadcast(t *testing.T) {
	h, in := NewHub(HubOptions{}), newLane()
	var failed []conn
	in.failed = func(c conn, _ any) { failed = append(failed, c) }
	var conns []*laned
	for i := range 5 {
		id := fmt.Sprint("s", i)
		conns = append(conns, addLaned(t, h, id, in))
		if err := listen(t, h, id, "A", ""); err != nil {
			t.Fatal(err)
		}
	}
	conns[2].fault = true
	h.Deliver("A", short("1"))
	for in.turn() {
	}
	for i, c := range conns {
		if (len(c.frames) == 1) == (i == 2) {
			t.Errorf("socket %d has %v", i, c.texts())
		}
	}
	if len(failed) != 1 || failed[0] != conn(conns[2]) {
		t.Errorf("failed: %v", failed)
	}
}

// TestLanesInConcurrentUse is for the race detector.
func TestLanesInConcurrentUse(t *testing.T) {
	h := NewHub(HubOptions{})
	var running, turning sync.WaitGroup
	stop := make(chan struct{})
	lanes := []*lane{newLane(), newLane()}
	for _, l := range lanes {
		turning.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					l.turn()
				}
			}
		})
	}
	errs := make(chan error, 8)
	for g := range 8 {
		running.Go(func() {
			for i := range 300 {
				id := fmt.Sprintf("s%d-%d", g, i)
				addLaned(t, h, id, lanes[i%2])
				err := listen(t, h, id, "A", "")
				h.Deliver("A", short("1"))
				h.Deliver("A", short("2", id))
				err = errors.Join(err, listen(t, h, id, strings.Repeat("n", 1+i%2), ""))
				h.Move("A", "B")
				h.Move("B", "A")
				if _, removeErr := h.Remove(id); err != nil || removeErr != nil {
					errs <- errors.Join(err, removeErr)
					return
				}
			}
		})
	}
	running.Wait()
	close(stop)
	turning.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}
