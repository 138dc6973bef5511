package porttest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"eureka"
)

// SocketsNode is one node's, or function's, view of the sockets.
type SocketsNode struct {
	Sockets eureka.Sockets
	NewID   func() string // makes ids of sockets that this node holds
}

// SocketsHarness is one fresh directory of sockets.
type SocketsHarness struct {
	Nodes []SocketsNode // views of the same directory; at least one
}

// Sockets is the conformance suite of eureka.Sockets.
func Sockets(t *testing.T, newHarness func(t *testing.T) SocketsHarness) {
	t.Helper()
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, h SocketsHarness)
	}{
		{"LifeCycle", socketsLifeCycle},
		{"RemovedOnce", socketsRemovedOnce},
		{"Subscriptions", socketsSubscriptions},
		{"FieldLimits", socketsFieldLimits},
		{"Expiry", socketsExpiry},
		{"ListFromEveryNode", socketsListFromEveryNode},
		{"PageWhileOthersComeAndGo", socketsPageWhileOthersComeAndGo},
		{"Counts", socketsCounts},
		{"Identities", socketsIdentities},
		{"QueriesRefused", socketsQueriesRefused},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, newHarness(t)) })
	}
}

func (n SocketsNode) add(t *testing.T, s eureka.Socket) eureka.Socket {
	t.Helper()
	if s.ID == "" {
		s.ID = n.NewID()
	}
	if err := n.Sockets.Add(t.Context(), s); err != nil {
		t.Fatalf("Add(%+v): %v", s, err)
	}
	return s
}

func (n SocketsNode) list(t *testing.T, q eureka.SocketQuery) eureka.Page[eureka.Socket] {
	t.Helper()
	page, err := n.Sockets.List(t.Context(), q)
	if err != nil {
		t.Fatalf("List(%+v): %v", q, err)
	}
	return page
}

func subscription(socketID, channelID, name string) eureka.Subscription {
	return eureka.Subscription{SocketID: socketID, ChannelID: channelID, Name: name, SubscribedAt: firstTime}
}

func socketsLifeCycle(t *testing.T, h SocketsHarness) {
	n := h.Nodes[0]
	want := n.add(t, eureka.Socket{
		User: "안나 é 🎉", Node: "n", Remote: "127.0.0.1:1", Origin: "https://a.example", Agent: "test", ConnectedAt: firstTime,
	})
	if _, err := n.Sockets.Subscribe(t.Context(), subscription(want.ID, "A", "a")); err != nil {
		t.Fatal(err)
	}
	want.Subscriptions = []eureka.Subscription{subscription(want.ID, "A", "a")}
	wantCode(t, "the same id again", n.Sockets.Add(t.Context(), eureka.Socket{ID: want.ID}), eureka.CodeConflict)
	for i, other := range h.Nodes {
		for _, q := range []eureka.SocketQuery{{ID: want.ID}, {User: want.User}, {Channel: "A"}, {}} {
			page := other.list(t, q)
			if diff := cmp.Diff([]eureka.Socket{want}, page.Items); diff != "" || page.Total != 1 {
				t.Errorf("node %d, %+v: total %d (-want +got):\n%s", i, q, page.Total, diff)
			}
		}
		if page := other.list(t, eureka.SocketQuery{User: "nobody"}); page.Total != 0 || len(page.Items) != 0 {
			t.Errorf("node %d found %+v", i, page)
		}
	}
	got, err := n.Sockets.Remove(t.Context(), want.ID)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("removed with %v (-want +got):\n%s", err, diff)
	}
	_, err = n.Sockets.Remove(t.Context(), want.ID)
	wantCode(t, "removing again", err, eureka.CodeNotFound)
	for i, other := range h.Nodes {
		if page := other.list(t, eureka.SocketQuery{}); page.Total != 0 {
			t.Errorf("node %d still lists %+v", i, page.Items)
		}
	}
	wantCode(t, "subscribing an ended socket", subscribeError(n.Sockets.Subscribe(t.Context(), subscription(want.ID, "A", "A"))), eureka.CodeNotFound)
}

func socketsRemovedOnce(t *testing.T, h SocketsHarness) {
	n := h.Nodes[0]
	s := n.add(t, eureka.Socket{ConnectedAt: firstTime})
	var winners atomic.Int64
	var running sync.WaitGroup
	for range 100 {
		running.Go(func() {
			_, err := n.Sockets.Remove(t.Context(), s.ID)
			if err == nil {
				winners.Add(1)
			} else if eureka.CodeOf(err) != eureka.CodeNotFound {
				t.Errorf("a loser got %v", err)
			}
		})
	}
	running.Wait()
	if winners.Load() != 1 {
		t.Errorf("%d callers got the socket", winners.Load())
	}
}

func socketsSubscriptions(t *testing.T, h SocketsHarness) {
	n := h.Nodes[0]
	s := n.add(t, eureka.Socket{ConnectedAt: firstTime})
	for _, sub := range []eureka.Subscription{
		subscription(s.ID, "B", "B"), subscription(s.ID, "A:x.y_z-1", "alias"), subscription(s.ID, "B", "renamed"),
	} {
		if _, err := n.Sockets.Subscribe(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
	}
	page := n.list(t, eureka.SocketQuery{ID: s.ID})
	want := []eureka.Subscription{subscription(s.ID, "A:x.y_z-1", "alias"), subscription(s.ID, "B", "renamed")}
	if diff := cmp.Diff(want, page.Items[0].Subscriptions); diff != "" {
		t.Errorf("subscriptions (-want +got):\n%s", diff)
	}
	if err := n.Sockets.Unsubscribe(t.Context(), s.ID, "B"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "unsubscribing again", n.Sockets.Unsubscribe(t.Context(), s.ID, "B"), eureka.CodeNotFound)
	wantCode(t, "of no socket", n.Sockets.Unsubscribe(t.Context(), n.NewID(), "B"), eureka.CodeNotFound)
	for _, bad := range []eureka.Subscription{subscription(s.ID, "a b", "A"), subscription(s.ID, "A", ""), subscription("", "A", "A")} {
		wantCode(t, fmt.Sprintf("%+v", bad), subscribeError(n.Sockets.Subscribe(t.Context(), bad)), eureka.CodeInvalid)
	}
	if page := n.list(t, eureka.SocketQuery{Channel: "B"}); page.Total != 0 {
		t.Errorf("still listed: %+v", page.Items)
	}
}

func socketsFieldLimits(t *testing.T, h SocketsHarness) {
	n := h.Nodes[0]
	fill := func(limit int) string { return strings.Repeat("x", limit) }
	full := n.add(t, eureka.Socket{
		User: fill(eureka.MaxUserLength), Remote: fill(eureka.MaxAgentLength), Origin: fill(eureka.MaxAgentLength), Agent: fill(eureka.MaxAgentLength),
	})
	longest := fill(eureka.MaxNameLength)
	if _, err := n.Sockets.Subscribe(t.Context(), subscription(full.ID, longest, longest)); err != nil {
		t.Errorf("the longest channel id: %v", err)
	}
	for _, s := range []eureka.Socket{
		{ID: n.NewID(), User: full.User + "x"}, {ID: n.NewID(), Remote: full.Remote + "x"}, {ID: n.NewID(), Origin: full.Origin + "x"},
		{ID: n.NewID(), Agent: full.Agent + "x"}, {ID: n.NewID(), User: "a\x00"}, {ID: n.NewID(), User: "\xff"}, {ID: ""},
		{ID: fill(eureka.MaxSocketIDLength + 1)},
	} {
		wantCode(t, fmt.Sprintf("%.40q %.40q", s.ID, s.User), n.Sockets.Add(t.Context(), s), eureka.CodeInvalid)
	}
}

func socketsExpiry(t *testing.T, h SocketsHarness) {
	n := h.Nodes[0]
	n.add(t, eureka.Socket{ConnectedAt: firstTime, ExpiresAt: firstTime + 1, User: "u"})
	live := n.add(t, eureka.Socket{ConnectedAt: firstTime, ExpiresAt: time.Now().Add(time.Hour).UnixMilli(), User: "u"})
	for i, other := range h.Nodes {
		for _, q := range []eureka.SocketQuery{{}, {User: "u"}} {
			if page := other.list(t, q); page.Total != 1 || len(page.Items) != 1 || page.Items[0].ID != live.ID {
				t.Errorf("node %d, %+v: %+v", i, q, page)
			}
		}
	}
}

// socketsListFromEveryNode: all nodes see the same list in the same order, by page number and by position.
func socketsListFromEveryNode(t *testing.T, h SocketsHarness) {
	var want []string
	const sockets = 25
	for i := range sockets {
		n := h.Nodes[i%len(h.Nodes)]
		s := n.add(t, eureka.Socket{ConnectedAt: firstTime + int64(i/3), User: fmt.Sprintf("u%d", i%2)})
		want = append(want, fmt.Sprintf("%d %s", s.ConnectedAt, s.ID))
	}
	slices.Sort(want)
	for i, n := range h.Nodes {
		for _, asc := range []bool{true, false} {
			expected := slices.Clone(want)
			if !asc {
				slices.Reverse(expected)
			}
			for _, byNumber := range []bool{true, false} {
				if diff := cmp.Diff(expected, walk(t, n, asc, byNumber, sockets)); diff != "" {
					t.Errorf("node %d, ascending %v, by number %v (-want +got):\n%s", i, asc, byNumber, diff)
				}
			}
		}
		if page := n.list(t, eureka.SocketQuery{User: "u1", Paging: eureka.Paging{Limit: -1}}); page.Total != sockets/2 || len(page.Items) != 0 {
			t.Errorf("node %d counts %d sockets of a user and lists %d", i, page.Total, len(page.Items))
		}
	}
}

func walk(t *testing.T, n SocketsNode, asc, byNumber bool, total int) []string {
	t.Helper()
	var got []string
	q := eureka.SocketQuery{Asc: asc, Paging: eureka.Paging{Limit: 7}}
	for range total {
		page := n.list(t, q)
		if page.Total != total {
			t.Errorf("total %d, want %d", page.Total, total)
		}
		for _, s := range page.Items {
			got = append(got, fmt.Sprintf("%d %s", s.ConnectedAt, s.ID))
		}
		if page.Next == "" {
			return got
		}
		if byNumber {
			q.Page++
		} else {
			q.After = page.Next
		}
	}
	t.Error("the list does not end")
	return got
}

func socketsPageWhileOthersComeAndGo(t *testing.T, h SocketsHarness) {
	stable := map[string]bool{}
	for i := range 60 {
		s := h.Nodes[i%len(h.Nodes)].add(t, eureka.Socket{ConnectedAt: firstTime + int64(i)})
		stable[s.ID] = true
	}
	stop := make(chan struct{})
	var churn sync.WaitGroup
	for i, n := range h.Nodes {
		churn.Go(func() {
			for at := firstTime; ; at++ {
				select {
				case <-stop:
					return
				default:
				}
				s := eureka.Socket{ID: n.NewID(), ConnectedAt: firstTime + (at*7+int64(i))%60}
				if err := n.Sockets.Add(t.Context(), s); err != nil {
					t.Error(err)
					return
				}
				if _, err := n.Sockets.Remove(t.Context(), s.ID); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for _, asc := range []bool{true, false} {
		seen := map[string]int{}
		q := eureka.SocketQuery{Asc: asc, Paging: eureka.Paging{Limit: 9}}
		for more := true; more; more = q.After != "" {
			page := h.Nodes[0].list(t, q)
			for _, s := range page.Items {
				seen[s.ID]++
			}
			q.After = page.Next
		}
		for id := range stable {
			if seen[id] != 1 {
				t.Errorf("ascending %v: a socket that was there all the time was listed %d times", asc, seen[id])
			}
		}
	}
	close(stop)
	churn.Wait()
}

func socketsCounts(t *testing.T, h SocketsHarness) {
	for i := range 10 {
		n := h.Nodes[i%len(h.Nodes)]
		s := n.add(t, eureka.Socket{})
		for _, channel := range []string{"A", fmt.Sprintf("B%d", i%2)} {
			if _, err := n.Sockets.Subscribe(t.Context(), subscription(s.ID, channel, channel)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, n := range h.Nodes {
		counter, ok := n.Sockets.(eureka.SubscriberCounter)
		if !ok {
			t.Skip("the engine does not count many channels in one call; the core asks for each")
		}
		got, err := counter.CountSubscribers(t.Context(), []string{"A", "B0", "B1", "C"})
		if err != nil || got["A"] != 10 || got["B0"] != 5 || got["B1"] != 5 || got["C"] != 0 {
			t.Errorf("node %d: %v, %v", i, got, err)
		}
	}
}

func socketsQueriesRefused(t *testing.T, h SocketsHarness) {
	for _, q := range []eureka.SocketQuery{
		{Channel: "a b"},
		{User: strings.Repeat("u", eureka.MaxUserLength+1)},
		{Paging: eureka.Paging{Page: -1}},
		{Paging: eureka.Paging{Limit: eureka.MaxLimit + 1}},
		{Paging: eureka.Paging{After: "made up"}},
	} {
		_, err := h.Nodes[0].Sockets.List(t.Context(), q)
		wantCode(t, fmt.Sprintf("%+v", q), err, eureka.CodeInvalid)
	}
}

func subscribeError(_ eureka.Subscribed, err error) error { return err }
