package core_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"eureka"
	"eureka/internal/core"
)

// ruled is a service with one socket per identity.
type ruled struct {
	*runner
	t *testing.T
}

func newRuled(t *testing.T) ruled { return ruled{newRunner(t, ""), t} }

func (r ruled) create(ch eureka.Channel) {
	r.t.Helper()
	if _, err := r.core.CreateChannel(r.t.Context(), eureka.Everyone(""), ch); err != nil {
		r.t.Fatal(err)
	}
}

func (r ruled) connect(name string, who eureka.Identity) {
	r.t.Helper()
	if _, err := r.core.Connect(r.t.Context(), core.ConnectRequest{SocketID: node + name, Identity: who}); err != nil {
		r.t.Fatal(err)
	}
}

// ask sends a frame and returns its replies.
func (r ruled) ask(name string, who eureka.Identity, frame string) string {
	var text []string
	for _, f := range r.core.Frame(r.t.Context(), core.FrameRequest{SocketID: node + name, Identity: who, Text: []byte(frame)}).Frames {
		text = append(text, string(f))
	}
	return strings.Join(text, "\n")
}

func (r ruled) wants(what, got, part string) {
	r.t.Helper()
	if !strings.Contains(got, part) {
		r.t.Errorf("%s: %s, want …%s…", what, got, part)
	}
}

func (r ruled) filterOf(name string) string {
	r.t.Helper()
	s, err := r.core.Socket(r.t.Context(), eureka.Everyone(""), node+name)
	if err != nil || len(s.Subscriptions) != 1 {
		r.t.Fatalf("%+v, %v", s, err)
	}
	return s.Subscriptions[0].Filter
}

func withClaims(user, raw string, filters ...eureka.ClaimFilter) eureka.Identity {
	id := eureka.Everyone(user)
	id.Claims = &eureka.Claims{Raw: json.RawMessage(raw), Filters: filters}
	return id
}

// What a transform leaves out is neither delivered nor retained, on the way of a publish as on that of an event.
func TestTransformRedacts(t *testing.T) {
	r := newRuled(t)
	r.create(eureka.Channel{
		ID: "A", Service: "orders", ModelType: "order", History: &eureka.Retention{},
		Filter: `data.total > 10`, Transform: `{"id": data.id, "status": data.status}`,
	})
	all := eureka.Everyone("")
	for _, data := range []string{`{"id":1,"status":"paid","total":11,"card":"secret"}`, `{"id":2,"status":"paid","total":1,"card":"secret"}`} {
		if _, err := r.core.Route(t.Context(), all, eureka.Event{Service: "orders", ModelType: "order", Data: json.RawMessage(data)}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.core.Publish(t.Context(), all, core.PublishRequest{Channel: "A", Data: json.RawMessage(data), Key: data[6:7]}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := r.core.History(t.Context(), all, core.HistoryRequest{Channel: "A"})
	if err != nil || len(got.List) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, m := range got.List {
		if string(m.Data) != `{"id":1,"status":"paid"}` {
			t.Errorf("history has %s", m.Data)
		}
	}
	if told := strings.Join(r.spy.taken(), "\n"); strings.Contains(told, "secret") || !strings.Contains(told, "paid") {
		t.Errorf("the engine was told %s", told)
	}
	// A failing rule delivers nothing and is seen on the channel.
	result, err := r.core.Publish(t.Context(), all, core.PublishRequest{Channel: "A", Data: json.RawMessage(`{"total":12}`)})
	if err != nil || !result.Filtered {
		t.Errorf("%+v, %v", result, err)
	}
	view, err := r.core.Channel(t.Context(), all, "A")
	if err != nil || view.LastError == nil || view.LastError.Kind != eureka.RuleTransform || !strings.Contains(view.LastError.Message, "missing") {
		t.Errorf("%+v, %v", view.LastError, err)
	}
	if view, err = r.core.UpdateChannel(t.Context(), all, "A", core.ChannelPatch{Transform: new(string)}); err != nil || view.LastError != nil {
		t.Errorf("after the rule changed: %+v, %v", view.LastError, err)
	}
}

// The text of a failure quotes what a rule stumbled over, which may be just what a transform is there to leave out: it is for those who manage channels.
func TestFailuresAreNotForSubscribers(t *testing.T) {
	r := newRuled(t)
	r.create(eureka.Channel{ID: "A", Transform: `{"name": data.names[data.card]}`})
	if result, err := r.core.Publish(t.Context(), eureka.Everyone(""), core.PublishRequest{Channel: "A", Data: json.RawMessage(`{"names":{},"card":"secret"}`)}); err != nil || !result.Filtered {
		t.Fatalf("%+v, %v", result, err)
	}
	for scopes, want := range map[eureka.Scope]bool{eureka.ScopeManage: true, eureka.ScopeSubscribe: false, eureka.ScopeSubscribe | eureka.ScopePublish: false} {
		view, err := r.core.Channel(t.Context(), eureka.Identity{Scopes: scopes, Channels: []string{"A"}}, "A")
		if err != nil || view.ID != "A" || (view.LastError != nil) != want {
			t.Errorf("with the scope %s: %+v, %v", scopes, view.LastError, err)
		}
		if want && !strings.Contains(view.LastError.Message, "secret") {
			t.Errorf("the failure quotes nothing, and shows nothing here: %s", view.LastError.Message)
		}
	}
}

func TestRulesOfAccess(t *testing.T) {
	r := newRuled(t)
	r.create(eureka.Channel{ID: "A", History: &eureka.Retention{}, Access: &eureka.Access{
		Subscribe: `claims.role in ["editor", "reader"]`, Publish: `claims.role == "editor" && data.author == user`,
	}})
	reader, editor := withClaims("bob", `{"role":"reader"}`), withClaims("ann", `{"role":"editor"}`)
	r.connect("s1", reader)
	const forbidden = `"code":"forbidden"`
	r.wants("nobody subscribes", r.ask("s1", eureka.Everyone("eve"), `{"action":"subscribe","channel":"A"}`), forbidden)
	r.wants("nobody reads history", r.ask("s1", eureka.Everyone("eve"), `{"action":"history","channel":"A"}`), forbidden)
	tooMany := eureka.Everyone("eve")
	tooMany.Claims = &eureka.Claims{}
	r.wants("claims that were not kept", r.ask("s1", tooMany, `{"action":"subscribe","channel":"A"}`), forbidden)
	r.wants("a reader subscribes", r.ask("s1", reader, `{"action":"subscribe","channel":"A"}`), "subscribed")
	r.wants("a reader publishes", r.ask("s1", reader, `{"action":"publish","channel":"A","data":{"author":"bob"}}`), forbidden)
	r.wants("another author", r.ask("s1", editor, `{"action":"publish","channel":"A","data":{"author":"bob"}}`), forbidden)
	r.wants("an editor publishes", r.ask("s1", editor, `{"action":"publish","channel":"A","data":{"author":"ann"}}`), `"published"`)
	if _, err := r.core.Route(t.Context(), reader, eureka.Event{ChannelID: "A", Data: json.RawMessage(`{}`)}); eureka.CodeOf(err) != eureka.CodeForbidden {
		t.Errorf("an event for the channel: %v", err)
	}
}

// An event goes past the channels whose rule does not let its reporter publish, and past those whose rule fails; the others have it, and the answer names
// them alone.
func TestEventsSkipWhatRefusesThem(t *testing.T) {
	r := newRuled(t)
	for _, ch := range []eureka.Channel{
		{ID: "all"},
		{ID: "editors", Access: &eureka.Access{Publish: `claims.role == "editor" && data.total < 10`}},
		{ID: "failing", Access: &eureka.Access{Publish: `data.total.size() > 1`}},
		{ID: "large", Filter: `data.total > 10`},
	} {
		ch.Service, ch.ModelType = "orders", "order"
		r.create(ch)
	}
	for _, tt := range []struct {
		who   eureka.Identity
		total string
		want  []string
	}{
		{withClaims("bob", `{"role":"reader"}`), "9", []string{"all"}},
		{withClaims("ann", `{"role":"editor"}`), "9", []string{"all", "editors"}},
		{withClaims("ann", `{"role":"editor"}`), "11", []string{"all", "large"}},
		{eureka.Everyone(""), "11", []string{"all", "large"}},
	} {
		ev := eureka.Event{Service: "orders", ModelType: "order", Data: json.RawMessage(`{"total":` + tt.total + `}`)}
		result, err := r.core.Route(t.Context(), tt.who, ev)
		slices.Sort(result.Channels)
		if err != nil || !slices.Equal(result.Channels, tt.want) {
			t.Errorf("%s of %q goes to %q, %v; want %q", tt.total, tt.who.User, result.Channels, err, tt.want)
		}
		told := strings.Join(r.spy.taken(), "\n")
		for _, id := range []string{"editors", "failing", "large"} {
			if strings.Contains(told, "= "+id+" ") != slices.Contains(tt.want, id) {
				t.Errorf("%s of %q: the engine was told %s", tt.total, tt.who.User, told)
			}
		}
		// The one that the event names is not left out in silence.
		ev.ChannelID = "failing"
		if result, err = r.core.Route(t.Context(), tt.who, ev); eureka.CodeOf(err) != eureka.CodeForbidden || len(r.spy.taken()) > 0 {
			t.Errorf("named: %+v, %v", result, err)
		}
	}
	view, err := r.core.Channel(t.Context(), eureka.Everyone(""), "failing")
	if err != nil || view.LastError == nil || view.LastError.Kind != eureka.RulePublish {
		t.Errorf("%+v, %v", view, err)
	}
}

// The filters of a token hold under every name of a channel, for subscriptions and for history.
func TestFiltersOfTokens(t *testing.T) {
	r := newRuled(t)
	r.create(eureka.Channel{ID: "A", Alias: "orders:order", History: &eureka.Retention{}})
	const own = `data.userId == "ann"`
	for i, pattern := range []string{"A", "orders:*"} {
		who := withClaims("ann", `{}`, eureka.ClaimFilter{Pattern: pattern, Filter: own + " // )"})
		for j, name := range []string{"A", "orders:order"} {
			socket := string(rune('a'+i)) + string(rune('a'+j))
			r.connect(socket, who)
			r.wants("subscribe", r.ask(socket, who, `{"action":"subscribe","channel":"`+name+`"}`), "subscribed")
			if got := r.filterOf(socket); got != own {
				t.Errorf("%s as %s: %q", pattern, name, got)
			}
			r.wants("subscribe", r.ask(socket, who, `{"action":"subscribe","channel":"`+name+`","filter":"data.total > 1 || true // "}`), "subscribed")
			if got := r.filterOf(socket); got != own+` && (data.total > 1 || true)` {
				t.Errorf("%s as %s with the client's: %q", pattern, name, got)
			}
		}
	}
	for _, user := range []string{"ann", "bob", "ann"} {
		if _, err := r.core.Publish(t.Context(), eureka.Everyone(""), core.PublishRequest{Channel: "A", Data: json.RawMessage(`{"userId":"` + user + `"}`)}); err != nil {
			t.Fatal(err)
		}
	}
	who := withClaims("ann", `{}`, eureka.ClaimFilter{Pattern: "orders:order", Filter: own})
	got, err := r.core.History(t.Context(), who, core.HistoryRequest{Channel: "A"})
	if err != nil || len(got.List) != 2 || got.List[1].ID != got.Cursor {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err = r.core.History(t.Context(), who, core.HistoryRequest{Channel: "A", Filter: "false"}); err != nil || len(got.List) != 0 || got.Cursor == "" {
		t.Errorf("%+v, %v", got, err)
	}
	broken := withClaims("ann", `{}`, eureka.ClaimFilter{Pattern: "*", Filter: "data.x ="})
	r.connect("broken", broken)
	r.wants("a token's filter that does not compile", r.ask("broken", broken, `{"action":"subscribe","channel":"A"}`), `"code":"forbidden"`)
}

func TestRulesAreCheckedWhenTheyAreWritten(t *testing.T) {
	r := newRuled(t)
	all := eureka.Everyone("")
	_, err := r.core.CreateChannel(t.Context(), all, eureka.Channel{ID: "A", Filter: "data.total >"})
	if eureka.CodeOf(err) != eureka.CodeInvalid || !strings.Contains(err.Error(), "filter: line 1:13") {
		t.Errorf("create: %v", err)
	}
	r.create(eureka.Channel{ID: "A"})
	bad := "user =="
	_, err = r.core.UpdateChannel(t.Context(), all, "A", core.ChannelPatch{Access: &core.AccessPatch{Publish: &bad}})
	if eureka.CodeOf(err) != eureka.CodeInvalid || !strings.Contains(err.Error(), "access.publish: line 1:8") {
		t.Errorf("update: %v", err)
	}
	trial, err := r.core.CheckRule(t.Context(), all, eureka.RuleTransform, `data.n * 2`, &eureka.RuleSubject{Facts: eureka.Facts{Data: json.RawMessage(`{"n":21}`)}})
	if err != nil || !trial.Valid || string(trial.Result) != "42" {
		t.Errorf("%+v, %v", trial, err)
	}
}
