package porttest

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"testing"
	"time"

	"eureka"
)

// historyExpiry: what is too old is not returned, what was missed is told, and a position that missed nothing holds however long it is quiet.
func historyExpiry(t *testing.T, h LiveHarness) {
	const ttl = time.Second
	k := h.retain(t, "A", 100, ttl)
	k.publish(t, 3)
	last := k.cursors[2]
	for i, n := range h.Nodes {
		eventually(t, "all have expired", func() bool {
			asked := time.Now()
			page := n.newest(t, "A", 10)
			for _, m := range page.Messages {
				number, err := strconv.Atoi(m.Event)
				if err != nil || asked.After(k.acked[number-1].Add(ttl)) {
					t.Errorf("node %d returned message %s %s after it was stored", i, m.Event, asked.Sub(k.acked[number-1]))
				}
			}
			return len(page.Messages) == 0
		})
		n.wantGap(t, fmt.Sprintf("node %d, expired", i), "A", k.cursors[0])
		k.wantNotRecovered(t, n, k.cursors[0])
	}
	complete := func(what string) {
		for i, n := range h.Nodes {
			if page := n.after(t, "A", last, 10); len(page.Messages) != 0 || page.More {
				t.Errorf("%s, node %d: %+v", what, i, page)
			}
		}
	}
	complete("expired")
	// Longer than the engine may take to remove what is expired.
	removed := k.acked[2].Add(3 * ttl)
	eventually(t, "it is quiet for long", func() bool { return time.Now().After(removed) })
	complete("quiet")
	k.retention.TTL = eureka.Duration(time.Minute)
	ch, err := h.Nodes[0].Channels.Get(t.Context(), "A")
	if err != nil {
		t.Fatal(err)
	}
	ch.History = &k.retention
	update(t, h.Nodes[0].Channels, ch)
	k.known(t)
	k.publish(t, 2)
	for i, n := range h.Nodes {
		k.wantNumbers(t, fmt.Sprintf("node %d, after the quiet", i), n.after(t, "A", last, 10), 4, 5)
		k.wantNumbers(t, fmt.Sprintf("node %d, newest after the quiet", i), n.newest(t, "A", 10), 4, 5)
		n.wantGap(t, "expired long ago", "A", k.cursors[0])
		s := n.Connect(t)
		k.resume(t, n, s, last)
		k.wantFrames(t, fmt.Sprintf("node %d resumes after the quiet", i), s, []int{4, 5})
	}
}

// historySize: the newest messages stay, the oldest go, and readers are told.
func historySize(t *testing.T, h LiveHarness) {
	const size = 10
	all := h.times(400)
	k := h.retain(t, "A", size, 10*time.Minute)
	k.publish(t, all)
	for i, n := range h.Nodes {
		eventually(t, "the oldest are gone", func() bool {
			_, err := n.History.After(t.Context(), "A", k.cursors[0], 10)
			return eureka.CodeOf(err) == eureka.CodeGap
		})
		k.wantNumbers(t, fmt.Sprintf("node %d, newest", i), n.newest(t, "A", 1000), all-size+1, all)
		k.wantNumbers(t, fmt.Sprintf("node %d, after", i), n.after(t, "A", k.cursors[all-size-1], 1000), all-size+1, all)
		k.wantNotRecovered(t, n, k.cursors[0])
	}
}

// historyForget: nothing of before is to be had, also not where it was heard live.
func historyForget(t *testing.T, h LiveHarness) {
	k := h.retain(t, "A", 100, 10*time.Minute)
	start := h.Nodes[0].newest(t, "A", 1).Cursor
	for _, n := range h.Nodes {
		s := n.Connect(t)
		n.subscribe(t, s, "A", "A")
		defer eventually(t, "it hears what comes later", func() bool { return len(k.numbers(t, s)) >= 5 })
	}
	k.publish(t, 3)
	if err := h.Nodes[0].History.Forget(t.Context(), "A"); err != nil {
		t.Fatal(err)
	}
	gone := func(what string) {
		for i, n := range h.Nodes {
			for j, since := range append([]eureka.Cursor{start}, k.cursors[:3]...) {
				eventually(t, fmt.Sprintf("%s: node %d forgets", what, i), func() bool {
					_, err := n.History.After(t.Context(), "A", since, 10)
					return eureka.CodeOf(err) == eureka.CodeGap
				})
				eventually(t, fmt.Sprintf("%s: node %d resumes nothing behind message %d", what, i, j), func() bool {
					s, err := n.Sockets.Subscribe(t.Context(), k.since(n.Connect(t), since, "A"))
					if err != nil {
						t.Fatal(err)
					}
					return !s.Recovered
				})
			}
		}
	}
	gone("right after")
	for i, n := range h.Nodes {
		if page := n.newest(t, "A", 10); len(page.Messages) != 0 {
			t.Errorf("node %d still has %+v", i, page)
		}
	}
	k.publish(t, 2)
	gone("with newer ones")
	for i, n := range h.Nodes {
		k.wantNumbers(t, fmt.Sprintf("node %d, newest", i), n.newest(t, "A", 10), 4, 5)
		k.wantNumbers(t, fmt.Sprintf("node %d, after", i), n.after(t, "A", k.cursors[3], 10), 5, 5)
	}
	if err := h.Nodes[0].History.Forget(t.Context(), "never-seen"); err != nil {
		t.Error(err)
	}
}

// historyNoPosition: what is no position of the channel's present history is a gap.
func historyNoPosition(t *testing.T, h LiveHarness) {
	k := h.retain(t, "A", 100, time.Minute)
	other := h.retain(t, "B", 100, time.Minute)
	k.publish(t, 3)
	other.publish(t, 3)
	last := k.cursors[2]
	for i, n := range h.Nodes {
		for what, since := range map[string]eureka.Cursor{
			"another channel":   other.cursors[0],
			"another epoch":     {Epoch: "aaaaaaaa", Offset: k.cursors[0].Offset},
			"the next position": {Epoch: last.Epoch, Offset: last.Offset + 1000},
			"the far future":    {Epoch: last.Epoch, Offset: math.MaxInt64},
			"zero":              {Epoch: last.Epoch},
		} {
			what = fmt.Sprintf("node %d, %s", i, what)
			n.wantGap(t, what, "A", since)
			k.wantNotRecovered(t, n, since)
		}
	}
}

// wantNotRecovered checks that a resume is refused and that live messages alone follow.
func (k *keeper) wantNotRecovered(t *testing.T, n LiveNode, since eureka.Cursor) {
	t.Helper()
	s := n.Connect(t)
	got, err := n.Sockets.Subscribe(t.Context(), k.since(s, since, k.channel))
	if err != nil || got.Recovered || got.Cursor == (eureka.Cursor{}) || got.Cursor == since {
		t.Errorf("from %s: %+v, %v", since, got, err)
		return
	}
	const mark = `"live"`
	eventually(t, "live messages follow", func() bool {
		n.deliver(t, eureka.Message{ChannelID: k.channel, Data: json.RawMessage(mark)})
		return len(s.Frames()) > 0
	})
	if numbers := k.numbers(t, s); len(numbers) > 0 {
		t.Errorf("from %s it got the messages %v", since, numbers)
	}
	if err := n.Sockets.Unsubscribe(t.Context(), s.ID(), k.channel); err != nil {
		t.Error(err)
	}
}
