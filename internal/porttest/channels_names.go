package porttest

import (
	"strings"
	"testing"

	"eureka"
)

func channelsDefaultAlias(t *testing.T, h ChannelsHarness) {
	c := h.first()
	tests := []struct {
		name  string
		ch    eureka.Channel
		alias string
	}{
		{"service and model", eureka.Channel{ID: "a", Service: "s", ModelType: "m"}, "s:m"},
		{"with model id", eureka.Channel{ID: "b", Service: "s", ModelType: "m", ModelID: "7"}, "s:m:7"},
		{"taken", eureka.Channel{ID: "c", Service: "s", ModelType: "m"}, ""},
		{"taken by an id", eureka.Channel{ID: "d", Service: "own", ModelType: "id"}, ""},
		{"not well-formed", eureka.Channel{ID: "e", Service: "a b", ModelType: "m"}, ""},
		{"too long", eureka.Channel{ID: "f", Service: strings.Repeat("s", 128), ModelType: "m"}, ""},
		{"the id itself", eureka.Channel{ID: "x:y", Service: "x", ModelType: "y"}, ""},
		{"no model", eureka.Channel{ID: "g", Service: "s"}, ""},
		{"explicit", eureka.Channel{ID: "h", Alias: "mine", Service: "s2", ModelType: "m"}, "mine"},
	}
	create(t, c, eureka.Channel{ID: "own:id"})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := create(t, c, tt.ch)
			if got.Alias != tt.alias {
				t.Errorf("alias %q, want %q", got.Alias, tt.alias)
			}
			wantGet(t, c, tt.ch.ID, got)
			if tt.alias != "" {
				wantGet(t, c, tt.alias, got)
			}
		})
	}
	remove(t, c, "a")
	if got := create(t, c, eureka.Channel{ID: "i", Service: "s", ModelType: "m"}); got.Alias != "s:m" {
		t.Errorf("alias %q, want the one that a deleted channel freed", got.Alias)
	}
}

func channelsExplicitAlias(t *testing.T, h ChannelsHarness) {
	c := h.first()
	a := create(t, c, eureka.Channel{ID: "a", Alias: "x"})
	for _, node := range h.Nodes {
		_, err := node.Create(t.Context(), eureka.Channel{ID: "b", Alias: "x"})
		wantCode(t, "Create with a taken alias", err, eureka.CodeConflict)
	}
	_, err := c.Create(t.Context(), eureka.Channel{ID: "a", Alias: "y"})
	wantCode(t, "Create with a taken id", err, eureka.CodeConflict)
	wantGet(t, c, "x", a)
	wantNoChannel(t, c, "b", "y")
	create(t, c, eureka.Channel{ID: "b", Alias: "y"}) // neither refusal claimed anything
	_, err = c.Create(t.Context(), eureka.Channel{ID: "z", Alias: "z"})
	wantCode(t, "Create with an alias that is its id", err, eureka.CodeInvalid)
}

func channelsChangedAlias(t *testing.T, h ChannelsHarness) {
	c := h.first()
	a := create(t, c, eureka.Channel{ID: "a", Alias: "x"})
	b := create(t, c, eureka.Channel{ID: "b", Alias: "y"})

	a.Alias = "y"
	_, err := c.Update(t.Context(), a)
	wantCode(t, "Update to a taken alias", err, eureka.CodeConflict)
	a.Alias = "b"
	_, err = c.Update(t.Context(), a)
	wantCode(t, "Update to a taken id", err, eureka.CodeConflict)
	a.Alias = "x"
	wantGet(t, c, "x", a)
	wantGet(t, c, "y", b)

	a.Alias = "z"
	a = update(t, c, a)
	wantGet(t, c, "z", a)
	wantGet(t, c, "a", a)
	wantNoChannel(t, c, "x")
	b.Alias = "x" // freed by the other
	b = update(t, c, b)
	wantGet(t, c, "x", b)
	wantNoChannel(t, c, "y")

	a.Alias = ""
	a = update(t, c, a)
	wantGet(t, c, "a", a)
	wantNoChannel(t, c, "z")
	a.Name = "the alias stays away"
	if a = update(t, c, a); a.Alias != "" {
		t.Errorf("an update gave the alias %q", a.Alias)
	}
	create(t, c, eureka.Channel{ID: "z", Alias: "y"}) // a freed alias can be an id
	b.Name = "same alias"
	b = update(t, c, b)
	wantGet(t, c, "x", b)
}

func channelsIDAgainstAlias(t *testing.T, h ChannelsHarness) {
	c := h.first()
	a := create(t, c, eureka.Channel{ID: "a", Alias: "x"})
	_, err := c.Create(t.Context(), eureka.Channel{ID: "x"})
	wantCode(t, "Create with another's alias as id", err, eureka.CodeConflict)
	_, err = c.Create(t.Context(), eureka.Channel{ID: "b", Alias: "a"})
	wantCode(t, "Create with another's id as alias", err, eureka.CodeConflict)
	wantGet(t, c, "a", a)
	wantGet(t, c, "x", a)
	wantNoChannel(t, c, "b")
	remove(t, c, "a")
	x := create(t, c, eureka.Channel{ID: "x", Alias: "a"})
	wantGet(t, c, "a", x)
	wantGet(t, c, "x", x)
}
