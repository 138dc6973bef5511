package core_test

import (
	"net/url"
	"strings"
	"testing"

	"eureka"
	"eureka/internal/core"
)

// TestConnectReportedTwice: the same handshake again is answered the same and changes nothing; another one with the id of a socket is refused.
func TestConnectReportedTwice(t *testing.T) {
	r := newRunner(t, "core maxage")
	if _, err := r.core.CreateChannel(t.Context(), eureka.Everyone(""), eureka.Channel{ID: "hall", Presence: true}); err != nil {
		t.Fatal(err)
	}
	at := start.UnixMilli() - 300
	first := core.ConnectRequest{
		SocketID: node + "1", Identity: eureka.Everyone("ann"), Remote: "192.0.2.1", Origin: "https://a.example", Agent: "a", ConnectedAt: at,
		Query: url.Values{"channels": {"hall,no channel"}, "info": {""}},
	}
	connect := func(change func(*core.ConnectRequest)) (core.ConnectResult, error) {
		again := first
		change(&again)
		return r.core.Connect(t.Context(), again)
	}
	same := func(*core.ConnectRequest) {}
	one, err := connect(same)
	if err != nil || one.Again || one.ExpiresAt != at+3_600_000 || !strings.Contains(string(one.Frames[1]), `"connectedAt":1699999999700`) {
		t.Fatalf("%s, %+v: %v", one.Frames, one, err)
	}
	if got := r.spy.taken(); len(got) != 1 || !strings.Contains(got[0], "join") {
		t.Errorf("the first: %q", got)
	}
	two, err := connect(same)
	if err != nil || !two.Again || two.ExpiresAt != one.ExpiresAt || len(two.Frames) != 2 || string(two.Frames[1]) != string(one.Frames[1]) {
		t.Errorf("again: %s, %+v: %v", two.Frames, two, err)
	}
	if got := r.spy.taken(); len(got) != 0 {
		t.Errorf("again: %q", got)
	}
	for name, change := range map[string]func(*core.ConnectRequest){
		"later":            func(c *core.ConnectRequest) { c.ConnectedAt++ },
		"from elsewhere":   func(c *core.ConnectRequest) { c.Remote = "192.0.2.2" },
		"of another user":  func(c *core.ConnectRequest) { c.Identity = eureka.Everyone("eve") },
		"of another page":  func(c *core.ConnectRequest) { c.Origin = "https://b.example" },
		"of another agent": func(c *core.ConnectRequest) { c.Agent = "b" },
		"without a time":   func(c *core.ConnectRequest) { c.ConnectedAt = 0 },
	} {
		if _, err := connect(change); eureka.CodeOf(err) != eureka.CodeConflict {
			t.Errorf("%s: %v", name, err)
		}
	}
	socket, err := r.core.Socket(t.Context(), eureka.Everyone(""), first.SocketID)
	if err != nil || len(socket.Subscriptions) != 1 || socket.ConnectedAt != at || socket.User != "ann" {
		t.Errorf("%+v: %v", socket, err)
	}
	if err := r.core.Disconnect(t.Context(), first.SocketID, eureka.CloseNormal, ""); err != nil {
		t.Fatal(err)
	}
	if three, err := connect(same); err != nil || three.Again {
		t.Errorf("behind its end: %+v, %v", three, err)
	}
}
