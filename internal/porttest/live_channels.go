package porttest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"eureka"
)

// fanoutFollowsAlias: who subscribed to an undeclared name moves along to the channel that takes it as its alias, when it is created or later, and keeps
// the name; who listens to the channel already keeps that subscription alone.
func fanoutFollowsAlias(t *testing.T, h LiveHarness) {
	for name, take := range map[string]func(context.Context, eureka.Channels) error{
		"created": func(ctx context.Context, channels eureka.Channels) error {
			_, err := channels.Create(ctx, eureka.Channel{ID: "home-created", Alias: "name-created", CreatedAt: 1})
			return err
		},
		"updated": func(ctx context.Context, channels eureka.Channels) error {
			ch, err := channels.Create(ctx, eureka.Channel{ID: "home-updated", CreatedAt: 1})
			if err == nil {
				ch.Alias = "name-updated"
				_, err = channels.Update(ctx, ch)
			}
			return err
		},
	} {
		alias, home := "name-"+name, "home-"+name
		var movers, both []LiveSocket
		for _, n := range h.Nodes {
			one, two := n.Connect(t), n.Connect(t)
			n.subscribe(t, one, alias, alias)
			n.subscribe(t, two, alias, alias)
			n.subscribe(t, two, home, home)
			movers, both = append(movers, one), append(both, two)
		}
		settle(t, h, alias, movers...)
		if err := take(t.Context(), h.Nodes[0].Channels); err != nil {
			t.Fatal(err)
		}
		settle(t, h, home, movers...)
		for i, n := range h.Nodes {
			eventually(t, "nobody is left at the name", func() bool {
				return n.deliver(t, eureka.Message{ChannelID: alias, Data: json.RawMessage(`"settle-name"`), Counted: true}).Matched == 0
			})
			n.deliver(t, eureka.Message{ChannelID: home, Data: json.RawMessage(fmt.Sprintf(`"%s %d"`, name, i))})
		}
		for _, s := range movers {
			wantMessages(t, s, alias, len(h.Nodes))
		}
		for _, s := range both {
			wantMessages(t, s, home, len(h.Nodes))
		}
		for i, n := range h.Nodes {
			if err := n.Sockets.Unsubscribe(t.Context(), movers[i].ID(), home); err != nil {
				t.Errorf("%s: who has moved cannot unsubscribe: %v", name, err)
			}
			wantCode(t, "its subscription to the name", n.Sockets.Unsubscribe(t.Context(), both[i].ID(), alias), eureka.CodeNotFound)
		}
	}
}

func wantMessages(t *testing.T, s LiveSocket, name string, n int) {
	t.Helper()
	eventually(t, "all messages arrive", func() bool { return len(received(s)) >= n })
	for _, f := range received(s) {
		if !strings.HasPrefix(f, `{"channel":"`+name+`","action":"message"`) {
			t.Errorf("under %s it got %s", name, f)
		}
	}
	if got := received(s); len(got) != n {
		t.Errorf("it got %q, want %d messages", got, n)
	}
}

// fanoutDeleted: the subscribers of a channel that is deleted are told so, under the name that they use, and their subscriptions end. Who subscribes to the
// name afterwards is not meant.
func fanoutDeleted(t *testing.T, h LiveHarness) {
	first := h.Nodes[0]
	ch, err := first.Channels.Create(t.Context(), eureka.Channel{ID: "doomed", Alias: "the-doomed", CreatedAt: 1})
	if err != nil {
		t.Fatal(err)
	}
	var all []LiveSocket
	for _, n := range h.Nodes {
		byID, byAlias := n.Connect(t), n.Connect(t)
		n.subscribe(t, byID, ch.ID, ch.ID)
		n.subscribe(t, byAlias, ch.ID, ch.Alias)
		all = append(all, byID, byAlias)
	}
	settle(t, h, ch.ID, all...)
	if _, err := first.Channels.Delete(t.Context(), ch.ID, 5); err != nil {
		t.Fatal(err)
	}
	for i, s := range all {
		eventually(t, "a subscriber hears of the end", func() bool { return strings.Contains(strings.Join(received(s), ""), `"code":"gone"`) })
		name := []string{ch.ID, ch.Alias}[i%2]
		for _, f := range received(s) {
			if !strings.HasPrefix(f, `{"channel":"`+name+`","action":"error","error":{"code":"gone"`) {
				t.Errorf("socket %d got %s", i, f)
			}
		}
		n := h.Nodes[i/2]
		eventually(t, "its subscription has ended", func() bool {
			return eureka.CodeOf(n.Sockets.Unsubscribe(t.Context(), s.ID(), ch.ID)) == eureka.CodeNotFound
		})
	}
	late := first.Connect(t)
	first.subscribe(t, late, ch.ID, ch.ID)
	first.deliver(t, eureka.Message{ChannelID: ch.ID, Data: json.RawMessage(`"late"`)})
	wantMessages(t, late, ch.ID, 1)
	for _, s := range all {
		if strings.Contains(strings.Join(received(s), ""), "late") {
			t.Errorf("one whose subscription had ended got %q", received(s))
		}
	}
}
