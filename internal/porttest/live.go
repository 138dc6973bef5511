package porttest

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"eureka"
)

// LiveSocket is a connected client whose frames a suite can read.
type LiveSocket interface {
	ID() string
	Frames() []string                 // what it has received so far, in order
	Closed() (eureka.CloseCode, bool) // how its connection ended, if it did
}

// LiveNode is one node's, or function's, view of everything that reaches sockets.
type LiveNode struct {
	Sockets  eureka.Sockets
	Fanout   eureka.Fanout
	Sender   eureka.Sender
	Connect  func(t *testing.T) LiveSocket // connects a client to this node and adds its socket
	Channels eureka.Channels

	History eureka.History // what the suite of that needs beside
}

// LiveHarness is one fresh service.
type LiveHarness struct {
	Nodes []LiveNode // at least one
	// AtOnce says that a subscription holds for what any node publishes from then on; without it, for the same node's messages.
	AtOnce bool
	// Long is how many messages History stores where many are needed; 0 means 5,000.
	Long int
	// Remote says that each call takes the engine many requests over a network: the suites repeat less then.
	Remote bool
	// Holes says that answers get lost on the way, after which more messages may be counted than there are.
	Holes bool
}

// times is how often something is repeated: n times, or a fifth of them where each takes long.
func (h LiveHarness) times(n int) int {
	if h.Remote {
		return n / 5
	}
	return n
}

// Fanout is the conformance suite of eureka.Fanout.
func Fanout(t *testing.T, newHarness func(t *testing.T) LiveHarness) {
	t.Helper()
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, h LiveHarness)
	}{
		{"EverySubscriberOnEveryNode", fanoutEverySubscriber},
		{"OrderPerPublisher", fanoutOrder},
		{"SubscribeThenPublish", fanoutSubscribeThenPublish},
		{"NothingAfterUnsubscribe", fanoutNothingAfterUnsubscribe},
		{"ConcurrentInterest", fanoutConcurrentInterest},
		{"Sizes", fanoutSizes},
		{"Refused", fanoutRefused},
		{"FollowsAlias", fanoutFollowsAlias},
		{"Deleted", fanoutDeleted},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, newHarness(t)) })
	}
}

// Sender is the conformance suite of eureka.Sender.
func Sender(t *testing.T, newHarness func(t *testing.T) LiveHarness) {
	t.Helper()
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, h LiveHarness)
	}{
		{"SendFromEveryNode", senderSend},
		{"CloseFromEveryNode", senderClose},
		{"Gone", senderGone},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, newHarness(t)) })
	}
}

func (n LiveNode) subscribe(t *testing.T, s LiveSocket, channelID, name string) {
	t.Helper()
	if _, err := n.Sockets.Subscribe(t.Context(), subscription(s.ID(), channelID, name)); err != nil {
		t.Fatal(err)
	}
}

func (n LiveNode) deliver(t *testing.T, m eureka.Message) eureka.Delivery {
	t.Helper()
	m.Action = eureka.ActionMessage
	d, err := n.Fanout.Deliver(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// settle waits until a message from each node has reached the socket: interest in a channel takes its time between nodes.
func settle(t *testing.T, h LiveHarness, channelID string, sockets ...LiveSocket) {
	t.Helper()
	for i, n := range h.Nodes {
		mark := fmt.Sprintf(`"settle-%d"`, i)
		for _, s := range sockets {
			eventually(t, "node "+fmt.Sprint(i)+" reaches every subscriber", func() bool {
				if strings.Contains(strings.Join(s.Frames(), "\n"), mark) {
					return true
				}
				n.deliver(t, eureka.Message{ChannelID: channelID, Data: json.RawMessage(mark)})
				return false
			})
		}
	}
}

// received returns the frames of a socket but those of settle.
func received(s LiveSocket) []string {
	var frames []string
	for _, f := range s.Frames() {
		if !strings.Contains(f, `"settle-`) {
			frames = append(frames, f)
		}
	}
	return frames
}

func fanoutEverySubscriber(t *testing.T, h LiveHarness) {
	var all []LiveSocket
	for _, n := range h.Nodes {
		byID, byAlias, other := n.Connect(t), n.Connect(t), n.Connect(t)
		n.subscribe(t, byID, "1000001", "1000001")
		n.subscribe(t, byAlias, "1000001", "orders-api:order")
		n.subscribe(t, other, "1000002", "1000002")
		all = append(all, byID, byAlias, other)
	}
	settle(t, h, "1000001", all[0], all[len(all)-2])
	settle(t, h, "1000002", all[2], all[len(all)-1])
	excepted := all[0]
	for i, n := range h.Nodes {
		d := n.deliver(t, eureka.Message{
			ChannelID: "1000001", Event: "create", Data: json.RawMessage(fmt.Sprint(i)), TS: 7, Except: []string{excepted.ID()}, Counted: true,
		})
		if want := 2*len(h.Nodes) - 1; d.Matched != want || d.Sent != want {
			t.Errorf("node %d counts %+v, want %d", i, d, want)
		}
		n.deliver(t, eureka.Message{ChannelID: "nobody-listens", Data: json.RawMessage(`1`), Counted: true})
		n.deliver(t, eureka.Message{ChannelID: "1000002", Data: json.RawMessage(`"end"`)})
	}
	for i, s := range all {
		name, want := []string{"1000001", "orders-api:order", "1000002"}[i%3], len(h.Nodes)
		if s == excepted {
			want = 0
		}
		eventually(t, fmt.Sprintf("socket %d has its messages", i), func() bool { return len(received(s)) >= want })
		for _, f := range received(s) {
			if !strings.HasPrefix(f, `{"channel":"`+name+`",`) || strings.Contains(f, "nobody") {
				t.Errorf("socket %d got %s", i, f)
			}
		}
		if got := len(received(s)); got != want {
			t.Errorf("socket %d got %d messages, want %d", i, got, want)
		}
	}
	if got := received(all[1]); !strings.Contains(got[0], `"action":"message","event":"create","data":`) || !strings.Contains(got[0], `"ts":7`) {
		t.Errorf("the frame is %s", got[0])
	}
}

// fanoutOrder: what each publisher sends on a channel arrives in its order, at every subscriber, once.
func fanoutOrder(t *testing.T, h LiveHarness) {
	var all []LiveSocket
	for _, n := range h.Nodes {
		s := n.Connect(t)
		n.subscribe(t, s, "A", "A")
		all = append(all, s)
	}
	settle(t, h, "A", all...)
	each := h.times(500)
	publishers := 2 * len(h.Nodes)
	var running sync.WaitGroup
	for p := range publishers {
		running.Go(func() {
			for i := range each {
				_, err := h.Nodes[p%len(h.Nodes)].Fanout.Deliver(t.Context(), eureka.Message{
					ChannelID: "A", Action: eureka.ActionMessage, Data: json.RawMessage(fmt.Sprintf(`[%d,%d]`, p, i)),
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	for i, s := range all {
		eventually(t, fmt.Sprintf("socket %d has all messages", i), func() bool { return len(received(s)) >= publishers*each })
		expected := make([]int, publishers)
		for _, f := range received(s) {
			var frame struct{ Data [2]int }
			if err := json.Unmarshal([]byte(f), &frame); err != nil {
				t.Fatalf("%v: %s", err, f)
			}
			if p := frame.Data[0]; frame.Data[1] != expected[p] {
				t.Fatalf("socket %d: publisher %d's message %d came when %d was due", i, p, frame.Data[1], expected[p])
			}
			expected[frame.Data[0]]++
		}
	}
}

// fanoutSubscribeThenPublish: a message published after Subscribe returned is never missed.
func fanoutSubscribeThenPublish(t *testing.T, h LiveHarness) {
	n, publisher := h.Nodes[0], h.Nodes[0]
	if h.AtOnce {
		publisher = h.Nodes[len(h.Nodes)-1]
	}
	s := n.Connect(t)
	for i := range 100 {
		channel := fmt.Sprintf("fresh-%d", i)
		n.subscribe(t, s, channel, channel)
		publisher.deliver(t, eureka.Message{ChannelID: channel, Data: json.RawMessage(`1`)})
	}
	eventually(t, "every message arrives", func() bool { return len(s.Frames()) == 100 })
}

func fanoutNothingAfterUnsubscribe(t *testing.T, h LiveHarness) {
	n := h.Nodes[0]
	leaver, stayer := n.Connect(t), n.Connect(t)
	n.subscribe(t, leaver, "A", "A")
	n.subscribe(t, stayer, "A", "A")
	settle(t, h, "A", leaver, stayer)
	if err := n.Sockets.Unsubscribe(t.Context(), leaver.ID(), "A"); err != nil {
		t.Fatal(err)
	}
	before := len(received(leaver))
	n.deliver(t, eureka.Message{ChannelID: "A", Data: json.RawMessage(`"after"`)})
	eventually(t, "the other one has it", func() bool { return strings.Contains(strings.Join(received(stayer), ""), "after") })
	if got := received(leaver)[before:]; strings.Contains(strings.Join(got, ""), "after") {
		t.Errorf("after its unsubscribe it got %v", got)
	}
}

// fanoutConcurrentInterest: whatever comes and goes on a channel at the same time, who is subscribed in the end gets messages.
func fanoutConcurrentInterest(t *testing.T, h LiveHarness) {
	n := h.Nodes[0]
	var running sync.WaitGroup
	for range 20 {
		s := n.Connect(t)
		running.Go(func() {
			for range h.times(50) {
				if _, err := n.Sockets.Subscribe(t.Context(), subscription(s.ID(), "A", "A")); err != nil {
					t.Error(err)
				}
				if err := n.Sockets.Unsubscribe(t.Context(), s.ID(), "A"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	keeper := n.Connect(t)
	n.subscribe(t, keeper, "A", "A")
	running.Wait()
	n.deliver(t, eureka.Message{ChannelID: "A", Data: json.RawMessage(`"kept"`)})
	eventually(t, "the one that stayed has it", func() bool { return strings.Contains(strings.Join(keeper.Frames(), ""), "kept") })
}

func fanoutSizes(t *testing.T, h LiveHarness) {
	n := h.Nodes[0]
	s := n.Connect(t)
	n.subscribe(t, s, "A", "A")
	// The limit is on the longest frame that may carry the message, so a little room is left.
	large := json.RawMessage(`"` + strings.Repeat("x", eureka.MaxFrameBytes-512) + `"`)
	n.deliver(t, eureka.Message{ChannelID: "A", Data: large})
	eventually(t, "the largest frame arrives whole", func() bool {
		frames := s.Frames()
		return len(frames) == 1 && len(frames[0]) > len(large)
	})
	tooLarge := json.RawMessage(`"` + strings.Repeat("x", eureka.MaxFrameBytes) + `"`)
	_, err := n.Fanout.Deliver(t.Context(), eureka.Message{ChannelID: "A", Action: eureka.ActionMessage, Data: tooLarge})
	wantCode(t, "one over the limit", err, eureka.CodeTooLarge)
}

func fanoutRefused(t *testing.T, h LiveHarness) {
	for name, m := range map[string]eureka.Message{
		"no channel":      {Data: json.RawMessage(`1`)},
		"bad channel":     {ChannelID: "a b", Data: json.RawMessage(`1`)},
		"broken data":     {ChannelID: "A", Data: json.RawMessage(`{`)},
		"too many except": {ChannelID: "A", Data: json.RawMessage(`1`), Except: make([]string, eureka.MaxExcept+1)},
	} {
		m.Action = eureka.ActionMessage
		_, err := h.Nodes[0].Fanout.Deliver(t.Context(), m)
		wantCode(t, name, err, eureka.CodeInvalid)
	}
}

func senderSend(t *testing.T, h LiveHarness) {
	for i, holder := range h.Nodes {
		s := holder.Connect(t)
		for j, n := range h.Nodes {
			if err := n.Sender.Send(t.Context(), s.ID(), []byte(fmt.Sprintf(`"from %d é"`, j))); err != nil {
				t.Errorf("node %d to a socket of node %d: %v", j, i, err)
			}
		}
		eventually(t, "all frames arrive", func() bool { return len(s.Frames()) == len(h.Nodes) })
		wantCode(t, "too large", h.Nodes[0].Sender.Send(t.Context(), s.ID(), make([]byte, eureka.MaxFrameBytes+1)), eureka.CodeTooLarge)
	}
}

func senderClose(t *testing.T, h LiveHarness) {
	for i, holder := range h.Nodes {
		for j, n := range h.Nodes {
			s := holder.Connect(t)
			if err := n.Sender.Close(t.Context(), s.ID(), eureka.CloseKicked, "out"); err != nil {
				t.Errorf("node %d, a socket of node %d: %v", j, i, err)
			}
			eventually(t, "the socket is closed", func() bool {
				code, closed := s.Closed()
				return closed && code == eureka.CloseKicked
			})
			if frames := s.Frames(); len(frames) != 1 || !strings.Contains(frames[0], `"bye"`) {
				t.Errorf("before its end it got %v", frames)
			}
		}
	}
}

func senderGone(t *testing.T, h LiveHarness) {
	s := h.Nodes[0].Connect(t)
	if _, err := h.Nodes[0].Sockets.Remove(t.Context(), s.ID()); err != nil {
		t.Fatal(err)
	}
	for i, n := range h.Nodes {
		for _, id := range []string{s.ID(), "", "x", "zzzzzzzz0123456789abcdef", strings.Repeat("x", 1000), "no such socket"} {
			wantCode(t, fmt.Sprintf("node %d, send to %.30q", i, id), n.Sender.Send(t.Context(), id, []byte(`1`)), eureka.CodeGone)
			wantCode(t, fmt.Sprintf("node %d, close of %.30q", i, id), n.Sender.Close(t.Context(), id, eureka.CloseKicked, ""), eureka.CodeGone)
		}
	}
}
