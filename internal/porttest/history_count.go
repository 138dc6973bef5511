package porttest

import (
	"testing"
	"time"

	"eureka"
)

// historyCount: every node tells how many messages channels retain, without those that are over the size, expired or forgotten.
func historyCount(t *testing.T, h LiveHarness) {
	if _, ok := h.Nodes[0].History.(eureka.MessageCounter); !ok {
		t.Skip("the engine does not count messages")
	}
	many, short, none := h.retain(t, "A", 7, time.Minute), h.retain(t, "B", 10, 2*time.Second), h.retain(t, "C", 10, time.Minute)
	plain := eureka.Channel{ID: "plain"}
	create(t, h.Nodes[0].Channels, plain)
	channels := []eureka.Channel{{ID: "A", History: &many.retention}, {ID: "B", History: &short.retention}, {ID: "C", History: &none.retention}, plain}
	want := func(what string, a, b int) {
		t.Helper()
		for i, n := range h.Nodes {
			counter, _ := n.History.(eureka.MessageCounter)
			got, err := counter.CountMessages(t.Context(), channels)
			if err != nil {
				t.Fatal(err)
			}
			wrong := got["A"] != a || got["B"] != b
			if h.Holes {
				wrong = got["A"] < a || got["A"] > many.retention.Size || got["B"] < b || got["B"] > short.retention.Size
			}
			if _, there := got["plain"]; there || wrong || got["C"] != 0 || len(got) != 3 {
				t.Errorf("%s, node %d: counted %v, want %d and %d", what, i, got, a, b)
			}
		}
	}
	want("nothing was published", 0, 0)
	many.publish(t, 1)
	want("one message", 1, 0)
	many.publish(t, 6)
	want("as many as it retains", 7, 0)
	many.publish(t, 15)
	want("more than it retains", 7, 0)
	short.publish(t, 4)
	counter, _ := h.Nodes[0].History.(eureka.MessageCounter)
	eventually(t, "the expired ones are not counted", func() bool {
		got, err := counter.CountMessages(t.Context(), channels)
		return err == nil && got["B"] == 0
	})
	want("of a silent channel", 7, 0)
	if err := h.Nodes[0].History.Forget(t.Context(), "A"); err != nil {
		t.Fatal(err)
	}
	want("forgotten", 0, 0)
	many.publish(t, 2)
	want("and published again", 2, 0)
}
