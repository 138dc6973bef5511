package porttest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"eureka"
)

func (k *keeper) since(s LiveSocket, since eureka.Cursor, name string) eureka.Subscription {
	sub := subscription(s.ID(), k.channel, name)
	sub.Since = since
	return sub
}

// resume subscribes a socket from a position that must be recovered.
func (k *keeper) resume(t *testing.T, n LiveNode, s LiveSocket, since eureka.Cursor) {
	t.Helper()
	got, err := n.Sockets.Subscribe(t.Context(), k.since(s, since, k.channel))
	if err != nil || !got.Recovered || got.Cursor != since {
		t.Fatalf("resumed from %s: %+v, %v", since, got, err)
	}
}

// behind is the numbers of all messages behind a position.
func (k *keeper) behind(since eureka.Cursor) []int {
	var numbers []int
	for i, c := range k.cursors {
		if c.Offset > since.Offset {
			numbers = append(numbers, i+1)
		}
	}
	return numbers
}

// frame is a frame as a client reads it.
type frame struct {
	Channel string
	Action  string
	Event   string
	ID      string
}

func frames(t *testing.T, s LiveSocket) []frame {
	t.Helper()
	var all []frame
	for _, text := range s.Frames() {
		var f frame
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		all = append(all, f)
	}
	return all
}

// numbers is the messages that a socket has received, the numbers among them.
func (k *keeper) numbers(t *testing.T, s LiveSocket) []int {
	t.Helper()
	var got []int
	for _, f := range frames(t, s) {
		if n, err := strconv.Atoi(f.Event); err == nil {
			if n <= len(k.cursors) && f.ID != k.cursors[n-1].String() {
				t.Errorf("message %d came with the id %s, it was stored at %s", n, f.ID, k.cursors[n-1])
			}
			got = append(got, n)
		}
	}
	return got
}

// wantFrames waits until a socket has these messages, in this order and no others.
func (k *keeper) wantFrames(t *testing.T, what string, s LiveSocket, want []int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s: %d messages arrive", what, len(want)), func() bool {
		return len(s.Frames()) >= len(want)
	})
	if got := k.numbers(t, s); !slices.Equal(got, want) {
		at := 0
		for at < len(got) && at < len(want) && got[at] == want[at] {
			at++
		}
		t.Errorf("%s: %d messages, want %d; from place %d on %v, want %v", what, len(got), len(want), at,
			got[at:min(at+5, len(got))], want[at:min(at+5, len(want))])
	}
}

// resumeUnderLoad: clients that leave and come back while a publisher never stops have every message once and in order.
func resumeUnderLoad(t *testing.T, h LiveHarness) {
	const clients, rounds, most = 6, 12, 20_000
	many := h.times(300)
	k := h.retain(t, "A", eureka.MaxHistorySize, 10*time.Minute)
	start := h.Nodes[0].newest(t, "A", 1).Cursor
	done := make(chan struct{})
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for range most {
			select {
			case <-done:
				return
			default:
				k.publish(t, 1)
			}
		}
	})
	var running sync.WaitGroup
	last, seen := make([]eureka.Cursor, clients), make([][]int, clients)
	for c := range clients {
		last[c] = start
		var sockets []LiveSocket
		for range rounds {
			sockets = append(sockets, h.Nodes[(c+len(sockets))%len(h.Nodes)].Connect(t))
		}
		running.Go(func() {
			for round, s := range sockets {
				n := h.Nodes[(c+round)%len(h.Nodes)]
				got, err := n.Sockets.Subscribe(t.Context(), k.since(s, last[c], k.channel))
				if err != nil || !got.Recovered {
					t.Errorf("client %d, round %d: %+v, %v", c, round, got, err)
					return
				}
				// It leaves right away, in the middle of a replay, or when it is live; the next round is a pause for it.
				await(t, s, []int{0, 1, 50, many}[(c+round)%4])
				if err := n.Sockets.Unsubscribe(t.Context(), s.ID(), k.channel); err != nil {
					t.Error(err)
				}
				for _, f := range frames(t, s) {
					seen[c] = append(seen[c], number(t, f))
					if last[c], err = eureka.ParseCursor("id", f.ID); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	running.Wait()
	close(done)
	publishing.Wait()
	for c := range clients {
		s := h.Nodes[c%len(h.Nodes)].Connect(t)
		k.resume(t, h.Nodes[c%len(h.Nodes)], s, last[c])
		k.wantFrames(t, fmt.Sprintf("client %d in the end", c), s, k.behind(last[c]))
		if all := slices.Concat(seen[c], k.numbers(t, s)); !slices.Equal(all, k.behind(start)) {
			t.Errorf("client %d has %d messages over all rounds, want %d", c, len(all), len(k.cursors))
		}
	}
}

// await waits until a socket has some frames; it ends in any case.
func await(t *testing.T, s LiveSocket, n int) {
	for deadline := time.Now().Add(4 * patience); len(s.Frames()) < n; {
		if time.Now().After(deadline) {
			t.Errorf("only %d of %d frames in time", len(s.Frames()), n)
			return
		}
		<-time.After(time.Millisecond)
	}
}

func number(t *testing.T, f frame) int {
	t.Helper()
	n, err := strconv.Atoi(f.Event)
	if err != nil {
		t.Errorf("%v: %+v", err, f)
	}
	return n
}

// resumeElsewhere: a position is one on every node, also where nobody listened to the channel before, and where somebody did.
func resumeElsewhere(t *testing.T, h LiveHarness) {
	k := h.retain(t, "A", 1000, 10*time.Minute)
	first := h.Nodes[0].Connect(t)
	began, err := h.Nodes[0].Sockets.Subscribe(t.Context(), subscription(first.ID(), "A", "A"))
	if err != nil || began.Recovered {
		t.Fatalf("%+v, %v", began, err)
	}
	k.publish(t, 20)
	k.wantFrames(t, "the live one", first, k.behind(began.Cursor))
	live := frames(t, first)
	for i, n := range h.Nodes {
		for _, at := range []int{5, 2, 19, 10} { // not in order: what a node has in memory does not matter
			since, err := eureka.ParseCursor("id", live[at].ID)
			if err != nil {
				t.Fatal(err)
			}
			s := n.Connect(t)
			k.resume(t, n, s, since)
			k.wantFrames(t, fmt.Sprintf("node %d from message %d", i, at+1), s, k.behind(since))
			defer k.wantFramesLater(t, s, since)
		}
	}
	k.publish(t, 20)
}

// wantFramesLater is wantFrames for a deferred call: with what was published since.
func (k *keeper) wantFramesLater(t *testing.T, s LiveSocket, since eureka.Cursor) {
	t.Helper()
	k.wantFrames(t, "in the end, from "+since.String(), s, k.behind(since))
}

// resumeTwoNames: those who know the channel by another name get their frames under it.
func resumeTwoNames(t *testing.T, h LiveHarness) {
	k := h.retain(t, "A", 1000, 10*time.Minute)
	start := h.Nodes[0].newest(t, "A", 1).Cursor
	k.publish(t, 300)
	n := h.Nodes[0]
	names := []string{"A", "orders-api:order", "A", "other"}
	sockets := make([]LiveSocket, len(names))
	for i, name := range names {
		sockets[i] = n.Connect(t)
		if got, err := n.Sockets.Subscribe(t.Context(), k.since(sockets[i], start, name)); err != nil || !got.Recovered {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	k.publish(t, 10)
	for i, name := range names {
		k.wantFrames(t, name, sockets[i], k.behind(start))
		for _, f := range frames(t, sockets[i]) {
			if f.Channel != name {
				t.Fatalf("under the name %s it got %+v", name, f)
			}
		}
	}
}

// resumeLive: a live subscription that asks for a position starts again from there.
func resumeLive(t *testing.T, h LiveHarness) {
	k := h.retain(t, "A", 1000, 10*time.Minute)
	n := h.Nodes[0]
	s := n.Connect(t)
	n.subscribe(t, s, "A", "A")
	k.publish(t, 30)
	k.wantFrames(t, "live", s, k.behind(eureka.Cursor{}))
	k.resume(t, n, s, k.cursors[24])
	k.publish(t, 5)
	want := slices.Concat(k.behind(eureka.Cursor{})[:30], k.behind(k.cursors[24]))
	k.wantFrames(t, "resumed", s, want)
	n.subscribe(t, s, "A", "A")
	k.publish(t, 5)
	k.wantFrames(t, "subscribed again without a position", s, append(want, k.behind(k.cursors[34])...))
	page, err := n.Sockets.List(t.Context(), eureka.SocketQuery{Channel: "A"})
	if err != nil || page.Total != 1 {
		t.Errorf("%d subscribers, %v", page.Total, err)
	}
}

// resumeUnsubscribed: a replay ends with its subscription, and disturbs none that comes later.
func resumeUnsubscribed(t *testing.T, h LiveHarness) {
	all := h.times(1000)
	k := h.retain(t, "A", eureka.MaxHistorySize, 10*time.Minute)
	start := h.Nodes[0].newest(t, "A", 1).Cursor
	k.publish(t, all)
	for i, n := range h.Nodes[:min(2, len(h.Nodes))] {
		for round := range 6 {
			s := n.Connect(t)
			k.resume(t, n, s, start)
			if round%2 == 0 {
				if err := n.Sockets.Unsubscribe(t.Context(), s.ID(), "A"); err != nil {
					t.Fatal(err)
				}
			}
			since := k.cursors[all-1]
			if round%3 == 0 {
				since = k.cursors[all-all*2/5]
			}
			k.resume(t, n, s, since)
			k.publish(t, 1)
			want := k.behind(since)
			eventually(t, "the second subscription has all", func() bool {
				got := k.numbers(t, s)
				return len(got) >= len(want) && got[len(got)-1] == len(k.cursors)
			})
			k.publish(t, 1)
			eventually(t, "it is live", func() bool {
				got := k.numbers(t, s)
				return got[len(got)-1] == len(k.cursors)
			})
			got, want := k.numbers(t, s), k.behind(since)
			tail := got[max(0, len(got)-len(want)):]
			cut := got[:len(got)-len(tail)]
			if !slices.Equal(tail, want) || !slices.Equal(cut, k.behind(start)[:len(cut)]) {
				t.Errorf("node %d, round %d: the first subscription got %d messages, the second one %d, not in order", i, round, len(cut), len(tail))
			}
		}
	}
}
