package porttest

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"eureka"
)

// Filters is the conformance suite of the filters of subscriptions, live, on resumes and on channels with and without history. The harness's engines
// evaluate them with package rule.
func Filters(t *testing.T, newHarness func(t *testing.T) LiveHarness) {
	t.Helper()
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, h LiveHarness)
	}{
		{"Live", filtersLive},
		{"Replaced", filtersReplaced},
		{"Resume", filtersResume},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, newHarness(t)) })
	}
}

// filtered are filters and the numbers of those of twelve messages that pass them: odd ones are ann's and even ones bob's, each third comes from an order,
// and the last one passes all filters.
var filtered = []struct {
	filter string
	want   []int
}{
	{"", []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}},
	{`data.user in ["ann", "end"]`, []int{1, 3, 5, 7, 9, 11, 12}},
	{`data.user in ["ann", "end"]`, []int{1, 3, 5, 7, 9, 11, 12}}, // the same for another socket
	{`data.user == "bob" || data.user == "end"`, []int{2, 4, 6, 8, 10, 12}},
	{`service == "orders" && modelType == "order" && modelId == "7"`, []int{1, 4, 7, 10, 12}},
	{`event == "12"`, []int{12}},
	{`data.n > 1`, []int{12}}, // fails on the others
	{`data.missing == 1 || data.user == "end"`, []int{12}},
}

const filteredMessages = 12

// filteredMessage is the message of a number from 1.
func filteredMessage(number int) eureka.Message {
	m := eureka.Message{Data: json.RawMessage(`{"user":"bob","n":"text"}`)}
	switch {
	case number == filteredMessages:
		m.Data = json.RawMessage(`{"user":"end","n":5}`)
	case number%2 == 1:
		m.Data = json.RawMessage(`{"user":"ann","n":"text"}`)
	}
	if number%3 == 1 || number == filteredMessages {
		m.Origin = eureka.Origin{Service: "orders", ModelType: "order", ModelID: "7"}
	}
	return m
}

func filtersLive(t *testing.T, h LiveHarness) {
	sockets := map[LiveSocket][]int{}
	var first []LiveSocket
	for _, n := range h.Nodes {
		for i, f := range filtered {
			s := n.Connect(t)
			sub := subscription(s.ID(), "1000001", "1000001")
			sub.Filter = f.filter
			if _, err := n.Sockets.Subscribe(t.Context(), sub); err != nil {
				t.Fatal(err)
			}
			sockets[s] = f.want
			if i == 0 {
				first = append(first, s)
			}
		}
	}
	settle(t, h, "1000001", first...)
	k := &keeper{LiveHarness: h, channel: "1000001"}
	for number := 1; number <= filteredMessages; number++ {
		m := filteredMessage(number)
		m.ChannelID, m.Event = k.channel, fmt.Sprint(number)
		k.Nodes[0].deliver(t, m) // one publisher, whose order holds
	}
	// What is no message is not filtered.
	if _, err := h.Nodes[0].Fanout.Deliver(t.Context(), eureka.Message{ChannelID: k.channel, Action: eureka.ActionJoin, Data: json.RawMessage(`{"id":"x"}`)}); err != nil {
		t.Fatal(err)
	}
	for s, want := range sockets {
		eventually(t, "the join arrives", func() bool {
			got := frames(t, s)
			return len(got) > 0 && got[len(got)-1].Action == eureka.ActionJoin
		})
		var got []int
		for _, f := range frames(t, s) {
			var n int
			if _, err := fmt.Sscan(f.Event, &n); err == nil {
				got = append(got, n)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("a socket got %v, want %v", got, want)
		}
	}
}

// filtersReplaced: subscribing again replaces the filter, and lists show it.
func filtersReplaced(t *testing.T, h LiveHarness) {
	n := h.Nodes[0]
	s := n.Connect(t)
	for round, filter := range []string{`data == 1`, `data == 2`, ""} {
		sub := subscription(s.ID(), "1000001", "1000001")
		sub.Filter = filter
		if _, err := n.Sockets.Subscribe(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
		for _, other := range h.Nodes {
			eventually(t, "lists show the filter", func() bool {
				page, err := other.Sockets.List(t.Context(), eureka.SocketQuery{ID: s.ID()})
				return err == nil && len(page.Items) == 1 && len(page.Items[0].Subscriptions) == 1 && page.Items[0].Subscriptions[0].Filter == filter
			})
		}
		// What passes comes last: once it is there, the other was left out.
		numbers := []string{"2", "1"}
		if filter != `data == 1` {
			numbers = []string{"1", "2"}
		}
		for _, number := range numbers {
			n.deliver(t, eureka.Message{ChannelID: "1000001", Event: "number", Data: json.RawMessage(number)})
		}
		want := []int{1, 2, 4}[round]
		eventually(t, "what passes arrives", func() bool { return len(s.Frames()) >= want })
	}
	got := s.Frames()
	for i, data := range []string{"1", "2", "1", "2"} {
		var f struct{ Data json.RawMessage }
		if i >= len(got) || json.Unmarshal([]byte(got[i]), &f) != nil || string(f.Data) != data {
			t.Errorf("frames %q, want data 1, 2, 1, 2", got)
			break
		}
	}
	if len(got) != 4 {
		t.Errorf("%d frames: %q", len(got), got)
	}
}

// filtersResume: what a filter leaves out is no hole. A socket resumes from the last message it saw and gets the rest that passes, then live ones.
func filtersResume(t *testing.T, h LiveHarness) {
	k := h.retain(t, "A", 100, 10*time.Minute)
	live := map[LiveSocket][]int{}
	for i, f := range filtered {
		n := h.Nodes[i%len(h.Nodes)]
		s := n.Connect(t)
		sub := subscription(s.ID(), k.channel, k.channel)
		sub.Filter = f.filter
		if _, err := n.Sockets.Subscribe(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
		live[s] = f.want
	}
	const missed = 3
	half := filteredMessages / 2
	for number := 1; number <= half; number++ {
		k.publishMessage(t, filteredMessage(number))
	}
	resumed := map[LiveSocket][]int{}
	for i, f := range filtered {
		n := h.Nodes[i%len(h.Nodes)]
		s := n.Connect(t)
		sub := k.since(s, k.cursors[missed-1], k.channel)
		sub.Filter = f.filter
		got, err := n.Sockets.Subscribe(t.Context(), sub)
		if err != nil || !got.Recovered || got.Cursor != sub.Since {
			t.Fatalf("resumed with %q: %+v, %v", f.filter, got, err)
		}
		for _, number := range f.want {
			if number > missed {
				resumed[s] = append(resumed[s], number)
			}
		}
	}
	for number := half + 1; number <= filteredMessages; number++ {
		k.publishMessage(t, filteredMessage(number))
	}
	for s, want := range live {
		k.wantFrames(t, "live", s, want)
	}
	for s, want := range resumed {
		k.wantFrames(t, "resumed", s, want)
	}
	// History keeps what filters ask for.
	for i, n := range h.Nodes {
		page := n.newest(t, k.channel, filteredMessages)
		for j, m := range page.Messages {
			if want := filteredMessage(j + 1); m.Origin != want.Origin {
				t.Errorf("node %d: message %d comes from %+v, want %+v", i, j+1, m.Origin, want.Origin)
			}
		}
	}
}
