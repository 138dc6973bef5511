package porttest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"eureka"
)

// History is the conformance suite of eureka.History, of Fanout.Deliver with a retention, and of Sockets.Subscribe with a position.
func History(t *testing.T, newHarness func(t *testing.T) LiveHarness) {
	t.Helper()
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, h LiveHarness)
	}{
		{"AppendAndRead", historyAppendAndRead},
		{"Long", historyLong},
		{"Large", historyLarge},
		{"SameKey", historySameKey},
		{"Expiry", historyExpiry},
		{"Size", historySize},
		{"Forget", historyForget},
		{"Count", historyCount},
		{"NoPosition", historyNoPosition},
		{"ResumeUnderLoad", resumeUnderLoad},
		{"ResumeElsewhere", resumeElsewhere},
		{"ResumeUnderTwoNames", resumeTwoNames},
		{"ResumeALiveSubscription", resumeLive},
		{"UnsubscribeDuringReplay", resumeUnsubscribed},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, newHarness(t)) })
	}
}

// keeper publishes on one channel with history; the events of its messages are the numbers from 1.
type keeper struct {
	LiveHarness

	channel   string
	retention eureka.Retention
	cursors   []eureka.Cursor // of message i+1
	acked     []time.Time     // when it was known to be stored
}

// retain creates a channel with history and waits until every node knows it.
func (h LiveHarness) retain(t *testing.T, channel string, size int, ttl time.Duration) *keeper {
	t.Helper()
	r := eureka.Retention{Size: size, TTL: eureka.Duration(ttl)}
	create(t, h.Nodes[0].Channels, eureka.Channel{ID: channel, History: &r})
	k := &keeper{LiveHarness: h, channel: channel, retention: r}
	k.known(t)
	return k
}

func (k *keeper) known(t *testing.T) {
	t.Helper()
	eventually(t, "every node knows the channel", func() bool {
		for _, n := range k.Nodes {
			if ch, err := n.Channels.Get(t.Context(), k.channel); err != nil || ch.History == nil || *ch.History != k.retention {
				return false
			}
		}
		return true
	})
}

// publish publishes the next n numbers, from one node after the other.
func (k *keeper) publish(t *testing.T, n int) {
	t.Helper()
	for range n {
		k.publishMessage(t, eureka.Message{})
	}
}

func (k *keeper) publishMessage(t *testing.T, m eureka.Message) {
	t.Helper()
	node := k.Nodes[(len(k.cursors)/10)%len(k.Nodes)]
	m.ChannelID, m.Retention = k.channel, &k.retention
	m.Event = strconv.Itoa(len(k.cursors) + 1)
	if m.Data == nil {
		m.Data = json.RawMessage(`1`)
	}
	k.cursors = append(k.cursors, node.deliver(t, m).Cursor)
	k.acked = append(k.acked, time.Now())
}

func (n LiveNode) after(t *testing.T, channel string, since eureka.Cursor, limit int) eureka.HistoryPage {
	t.Helper()
	page, err := n.History.After(t.Context(), channel, since, limit)
	if err != nil {
		t.Fatalf("After(%s, %d): %v", since, limit, err)
	}
	return page
}

func (n LiveNode) newest(t *testing.T, channel string, limit int) eureka.HistoryPage {
	t.Helper()
	page, err := n.History.Newest(t.Context(), channel, limit)
	if err != nil {
		t.Fatalf("Newest(%d): %v", limit, err)
	}
	return page
}

func (n LiveNode) wantGap(t *testing.T, what, channel string, since eureka.Cursor) {
	t.Helper()
	page, err := n.History.After(t.Context(), channel, since, 10)
	wantCode(t, fmt.Sprintf("%s: After(%s) with %d messages", what, since, len(page.Messages)), err, eureka.CodeGap)
}

// wantNumbers checks that a page has the messages from first to last, with their cursors.
func (k *keeper) wantNumbers(t *testing.T, what string, page eureka.HistoryPage, first, last int) {
	t.Helper()
	if len(page.Messages) != last-first+1 {
		t.Errorf("%s: %d messages, want %d to %d", what, len(page.Messages), first, last)
		return
	}
	for i, m := range page.Messages {
		if m.Event != strconv.Itoa(first+i) || m.Cursor != k.cursors[first+i-1] || m.Action != eureka.ActionMessage {
			t.Errorf("%s: %+v where message %d should be", what, m, first+i)
			return
		}
	}
}

func historyAppendAndRead(t *testing.T, h LiveHarness) {
	k := h.retain(t, "A", 100, time.Minute)
	empty := h.Nodes[0].newest(t, "A", 10)
	if len(empty.Messages) != 0 || empty.Cursor == (eureka.Cursor{}) || empty.More {
		t.Errorf("a new channel's newest are %+v", empty)
	}
	for i, n := range h.Nodes {
		if page := n.after(t, "A", empty.Cursor, 10); len(page.Messages) != 0 || page.More {
			t.Errorf("node %d: a new channel has %+v", i, page)
		}
	}
	const all = 25
	k.publish(t, all)
	if slices.Contains(k.cursors, eureka.Cursor{}) || !slices.IsSortedFunc(k.cursors, func(a, b eureka.Cursor) int {
		if a.Epoch == b.Epoch && a.Offset < b.Offset {
			return -1
		}
		return 1
	}) {
		t.Errorf("cursors do not grow: %v", k.cursors)
	}
	for i, n := range h.Nodes {
		for since := range all + 1 {
			from := empty.Cursor
			if since > 0 {
				from = k.cursors[since-1]
			}
			what := fmt.Sprintf("node %d behind message %d", i, since)
			k.wantNumbers(t, what, n.readAll(t, "A", from, 10), since+1, all)
		}
		if page := n.after(t, "A", empty.Cursor, all-1); !page.More {
			t.Errorf("node %d: one message is left, and More is %v", i, page.More)
		}
		if page := n.after(t, "A", k.cursors[0], all-1); len(page.Messages) != all-1 {
			t.Errorf("node %d: a page of all has %d messages", i, len(page.Messages))
		}
		for _, limit := range []int{1, 10, all - 1, all, all + 1, eureka.MaxHistoryPage} {
			page := n.newest(t, "A", limit)
			k.wantNumbers(t, fmt.Sprintf("node %d, newest %d", i, limit), page, max(1, all-limit+1), all)
			if rest := n.after(t, "A", page.Cursor, 10); len(rest.Messages) != 0 || rest.More {
				t.Errorf("node %d: behind the newest are %+v", i, rest)
			}
		}
	}
}

// readAll pages until there is no more.
func (n LiveNode) readAll(t *testing.T, channel string, since eureka.Cursor, limit int) eureka.HistoryPage {
	t.Helper()
	all := eureka.HistoryPage{Cursor: since, More: true}
	for all.More {
		page := n.after(t, channel, all.Cursor, limit)
		if len(page.Messages) > limit || (page.More && len(page.Messages) == 0) {
			t.Fatalf("a page of %d has %d messages, more: %v", limit, len(page.Messages), page.More)
		}
		all.Messages = append(all.Messages, page.Messages...)
		all.Cursor, all.More = page.Cursor, page.More
	}
	return all
}

// historyLong: more messages than one page, one step of a replay or a node's memory holds.
func historyLong(t *testing.T, h LiveHarness) {
	all := h.Long
	if all == 0 {
		all = 5000
	}
	k := h.retain(t, "A", eureka.MaxHistorySize, 10*time.Minute)
	start := h.Nodes[0].newest(t, "A", 1).Cursor
	early := h.Nodes[0].Connect(t) // what it hears is in its node's memory
	h.Nodes[0].subscribe(t, early, "A", "A")
	excepted := h.Nodes[len(h.Nodes)-1].Connect(t)
	for i := range all {
		m := eureka.Message{}
		if i%3 == 0 {
			m.Except = []string{"nobody", excepted.ID()}
		}
		k.publishMessage(t, m)
	}
	for i, n := range h.Nodes {
		k.wantNumbers(t, fmt.Sprintf("node %d, all", i), n.readAll(t, "A", start, eureka.MaxHistoryPage), 1, all)
		for _, limit := range []int{1, 7, 100, eureka.MaxHistoryPage} {
			k.wantNumbers(t, fmt.Sprintf("node %d, newest %d", i, limit), n.newest(t, "A", limit), all-limit+1, all)
		}
		for _, since := range []eureka.Cursor{start, k.cursors[all-300], k.cursors[all-1]} {
			s := n.Connect(t)
			k.resume(t, n, s, since)
			k.wantFrames(t, fmt.Sprintf("node %d from %s", i, since), s, k.behind(since))
		}
	}
	k.resume(t, h.Nodes[len(h.Nodes)-1], excepted, start)
	var want []int
	for i := range all {
		if i%3 != 0 {
			want = append(want, i+1)
		}
	}
	k.wantFrames(t, "the excepted one", excepted, want)
	k.wantFrames(t, "the one that was there", early, k.behind(start))
}

// historyLarge: few messages, but more bytes than one read, and than a node's memory, hold.
func historyLarge(t *testing.T, h LiveHarness) {
	const all = 45
	k := h.retain(t, "A", 1000, 10*time.Minute)
	start := h.Nodes[0].newest(t, "A", 1).Cursor
	large := json.RawMessage(`"` + strings.Repeat("x", 100<<10) + `"`)
	for range all {
		k.publishMessage(t, eureka.Message{Data: large})
	}
	for i, n := range h.Nodes {
		if page := n.readAll(t, "A", start, 1000); len(page.Messages) != all {
			t.Errorf("node %d reads %d messages", i, len(page.Messages))
		}
		if page := n.newest(t, "A", 1000); len(page.Messages) != all {
			t.Errorf("node %d has %d newest messages", i, len(page.Messages))
		}
		for _, since := range []eureka.Cursor{start, k.cursors[all-5]} {
			s := n.Connect(t)
			k.resume(t, n, s, since)
			k.wantFrames(t, fmt.Sprintf("node %d from %s", i, since), s, k.behind(since))
		}
	}
}

// historySameKey: a key stores a message once, whoever gives it again and whatever came in between.
func historySameKey(t *testing.T, h LiveHarness) {
	k := h.retain(t, "A", 100, time.Minute)
	other := h.retain(t, "B", 100, time.Minute)
	start := h.Nodes[0].newest(t, "A", 1).Cursor
	same := func(n LiveNode) eureka.Cursor {
		return n.deliver(t, eureka.Message{ChannelID: "A", Key: "key", Retention: &k.retention, Data: json.RawMessage(`"same"`)}).Cursor
	}
	first := same(h.Nodes[0])
	for i, n := range h.Nodes {
		if got := same(n); got != first {
			t.Errorf("node %d: stored at %s, and again at %s", i, first, got)
		}
	}
	k.publish(t, 3)
	for i, n := range h.Nodes {
		if got := same(n); got != first {
			t.Errorf("node %d, after others: stored at %s, and again at %s", i, first, got)
		}
	}
	k.publish(t, 1)
	for i, n := range h.Nodes {
		if page := n.after(t, "A", start, 10); len(page.Messages) != 5 {
			t.Errorf("node %d has %+v", i, page)
		}
	}
	d := h.Nodes[0].deliver(t, eureka.Message{ChannelID: "B", Key: "key", Retention: &other.retention, Data: json.RawMessage(`1`)})
	if d.Cursor == first || d.Cursor.Epoch == first.Epoch {
		t.Errorf("another channel's message has the cursor %s", d.Cursor)
	}
	long := make([]byte, eureka.MaxKeyLength+1)
	_, err := h.Nodes[0].Fanout.Deliver(t.Context(), eureka.Message{ChannelID: "A", Action: eureka.ActionMessage, Key: string(long), Data: json.RawMessage(`1`)})
	wantCode(t, "a key over the limit", err, eureka.CodeInvalid)
}
