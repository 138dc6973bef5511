package dynamo

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"eureka"
)

// Filters of tests. The long one has an item of its own.
const (
	evens = `data.n % 2 == 0`
	odds  = `data.n % 2 == 1`
	wrong = `data.n > "x"`
)

var long = `data.n == 1 || data.word in ["` + strings.Repeat("long", 20) + `"]`

// filtered subscribes with a filter.
func (s *scene) filtered(w *wire, channel, filter string, since eureka.Cursor) eureka.Subscribed {
	s.t.Helper()
	began, err := s.other.Sockets().Subscribe(s.t.Context(), eureka.Subscription{
		SocketID: w.id, ChannelID: channel, Name: channel, Filter: filter, Since: since,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return began
}

// orderEvent is a message whose data has a number for filters; its event is its name.
func orderEvent(channel string, n int, retention *eureka.Retention) eureka.Message {
	return eureka.Message{
		ChannelID: channel, Action: eureka.ActionMessage, Event: fmt.Sprint(n), Data: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)), Retention: retention, Counted: true,
		TS: 1000 + int64(n), Origin: eureka.Origin{Service: "shop", ModelType: "order", ModelID: fmt.Sprint(n)},
	}
}

func (s *scene) deliver(m eureka.Message) eureka.Delivery {
	s.t.Helper()
	d, err := s.other.Fanout().Deliver(s.t.Context(), m)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// events are the events of a socket's messages; with others, the actions of other frames.
func (s *scene) events(w *wire) string {
	s.t.Helper()
	var all []string
	for _, frame := range w.Frames() {
		var f struct{ Action, Event string }
		if err := json.Unmarshal([]byte(frame), &f); err != nil {
			s.t.Fatal(err)
		}
		if f.Action == eureka.ActionMessage {
			all = append(all, f.Event)
		} else {
			all = append(all, f.Action)
		}
	}
	return strings.Join(all, " ")
}

func (s *scene) wantEvents(what string, w *wire, want string) {
	s.t.Helper()
	if got := s.events(w); got != want {
		s.t.Errorf("%s: it has %q, want %q", what, got, want)
	}
}

// TestFiltersLive: each subscriber gets what passes its filter, with history and without, in one shard and in several; counted are those that get it.
func TestFiltersLive(t *testing.T) {
	t.Parallel()
	for _, retention := range []*eureka.Retention{nil, &testRetention} {
		for _, shards := range []int{1, 3} {
			t.Run(fmt.Sprintf("history=%t/shards=%d", retention != nil, shards), func(t *testing.T) {
				t.Parallel()
				s := newScene(t)
				subscribers := []struct {
					filter, want string
					w            *wire
				}{
					{"", "1 2 3 4 join", nil},
					{odds, "1 3 join", nil},
					{odds, "1 3 join", nil},
					{evens, "2 4 join", nil},
					{wrong, "join", nil},
					{long, "1 join", nil},
					{long, "1 join", nil},
					{`service == "shop" && modelType == "order" && modelId in ["2", "3"] && event == "3" && ts == 1003`, "3 join", nil},
				}
				if retention != nil {
					s.deliver(orderEvent("A", 0, retention))
				}
				for n := range subscribers {
					if n > 0 && n < shards {
						if err := s.other.grow(t.Context(), "A", n); err != nil {
							t.Fatal(err)
						}
					}
					subscribers[n].w = s.connect()
					s.filtered(subscribers[n].w, "A", subscribers[n].filter, eureka.Cursor{})
				}
				for n, matched := range []int{5, 2, 4, 2} {
					d := s.deliver(orderEvent("A", n+1, retention))
					if d.Cursor = (eureka.Cursor{}); shards == 1 && d != (eureka.Delivery{Matched: matched, Sent: matched}) || shards > 1 && d != (eureka.Delivery{Unknown: true}) {
						t.Errorf("message %d: %+v, want %d", n+1, d, matched)
					}
					s.work()
				}
				but := orderEvent("A", 6, retention)
				but.Except = []string{subscribers[0].w.id, subscribers[1].w.id, subscribers[3].w.id}
				if d := s.deliver(but); d.Matched != 0 {
					t.Errorf("all who pass are left out: %+v", d)
				}
				join := orderEvent("A", 5, retention)
				join.Action, join.Event = eureka.ActionJoin, ""
				if d := s.deliver(join); shards == 1 && d.Matched != len(subscribers) {
					t.Errorf("a join: %+v", d)
				}
				s.work()
				for _, sub := range subscribers {
					s.wantEvents(sub.filter, sub.w, sub.want)
				}
				if n := s.failed.Load(); n < 5 {
					t.Errorf("%d failures are reported", n)
				}
			})
		}
	}
}

// TestFilterEvaluatedOnce: a message asks the rules once for each distinct filter of a shard, also when it fails.
func TestFilterEvaluatedOnce(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for _, filter := range []string{odds, odds, odds, wrong, wrong, wrong} {
		s.filtered(s.connect(), "A", filter, eureka.Cursor{})
	}
	counting := &countingRules{Rules: s.rules}
	s.other.options.Rules = counting
	s.deliver(orderEvent("A", 1, nil))
	if counting.subjects != 1 || counting.evaluations != 2 {
		t.Errorf("%d subjects, %d evaluations", counting.subjects, counting.evaluations)
	}
	if n := s.failed.Load(); n != 1 {
		t.Errorf("%d failures are reported", n)
	}
}

type countingRules struct {
	eureka.Rules
	subjects, evaluations int
}

type countingRun struct {
	eureka.RuleRun
	of *countingRules
}

// On implements eureka.Rules.
func (c *countingRules) On(s eureka.RuleSubject) eureka.RuleRun {
	c.subjects++
	return countingRun{c.Rules.On(s), c}
}

// Passes implements eureka.RuleRun.
func (c countingRun) Passes(kind eureka.RuleKind, text string) (bool, error) {
	c.of.evaluations++
	return c.RuleRun.Passes(kind, text)
}

// TestFiltersOfReplay: a resume brings what passes, and live messages follow, which pass too; a resume of which nothing passes ends as well.
func TestFiltersOfReplay(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	since := s.deliver(orderEvent("A", 0, &testRetention)).Cursor
	for n := 1; n <= 5; n++ {
		s.deliver(orderEvent("A", n, &testRetention))
	}
	filters := map[string]string{
		"": "1 2 3 4 5 6 7", odds: "1 3 5 7", evens: "2 4 6", long: "1", `modelId == "7"`: "7", `modelId in ["3", "6"]`: "3 6", wrong: "", `data.n > 100`: "",
	}
	sockets := map[string]*wire{}
	for filter := range filters {
		sockets[filter] = s.connect()
		if began := s.filtered(sockets[filter], "A", filter, since); !began.Recovered || began.Cursor != since {
			t.Errorf("%s: %+v", filter, began)
		}
	}
	s.deliver(orderEvent("A", 6, &testRetention)) // nobody is live yet
	s.work()
	s.deliver(orderEvent("A", 7, &testRetention))
	for filter, want := range filters {
		s.wantEvents(filter, sockets[filter], want)
		if it := s.entry(sockets[filter], "A"); it == nil || it.has(attrReplay) {
			t.Errorf("%s: it is not live: %v", filter, it)
		}
	}
}

// entry is the item that deliveries read of a subscription in the first shard.
func (s *scene) entry(w *wire, channel string) item {
	s.t.Helper()
	for it, err := range s.other.table.items(s.t.Context(), query{partition: shardKey(channel, 0), consistent: true}) {
		if err != nil {
			s.t.Fatal(err)
		}
		if subscriberOf(it).socketID == w.id {
			return it
		}
	}
	return nil
}

// TestFilterOfHeldBack: a subscriber that did not take a message that passes gets it by a replay, and of those behind it what passes; one whose refusals
// come with messages that do not pass stays live.
func TestFilterOfHeldBack(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.deliver(orderEvent("A", 0, &testRetention))
	odd, even := s.connect(), s.connect()
	s.filtered(odd, "A", odds, eureka.Cursor{})
	s.filtered(even, "A", evens, eureka.Cursor{})
	s.wires.refuse(odd.id, eureka.CodeRateLimited)
	s.wires.refuse(even.id, eureka.CodeRateLimited)
	if d := s.deliver(orderEvent("A", 1, &testRetention)); d.Matched != 1 || d.Deferred != 1 {
		t.Errorf("%+v", d)
	}
	if s.entry(even, "A").has(attrReplay) || !s.entry(odd, "A").has(attrReplay) {
		t.Error("the wrong one is held back")
	}
	s.wires.refuse(even.id, "")
	for n := 2; n <= 4; n++ {
		s.deliver(orderEvent("A", n, &testRetention))
	}
	s.wires.refuse(odd.id, "")
	s.work()
	s.deliver(orderEvent("A", 5, &testRetention))
	s.wantEvents("held back", odd, "1 3 5")
	s.wantEvents("beside it", even, "2 4")
}

// TestFilterOfRedelivery: what a killed holder of a lease, or of a task, leaves is delivered by the filters again; tasks and messages of earlier versions, which
// say nothing of their origin, are filtered by the rest.
func TestFilterOfRedelivery(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.deliver(orderEvent("A", 0, &testRetention))
	odd, shop := s.connect(), s.connect()
	s.filtered(odd, "A", odds, eureka.Cursor{})
	s.filtered(shop, "A", `service == "shop"`, eureka.Cursor{})
	if l, err := s.mortal.acquire(t.Context(), "A", 0); err != nil || l == nil {
		t.Fatal(l, err)
	}
	for n := 1; n <= 3; n++ {
		if d := s.deliver(orderEvent("A", n, &testRetention)); d != (eureka.Delivery{Cursor: d.Cursor, Unknown: true}) {
			t.Errorf("left to a holder: %+v", d)
		}
	}
	s.clock.advance(leaseTime + 2*time.Second)
	s.work()
	s.wantEvents("behind the lease", odd, "1 3")
	s.wantEvents("behind the lease", shop, "1 2 3")

	if err := s.other.grow(t.Context(), "A", 1); err != nil {
		t.Fatal(err)
	}
	s.deliver(orderEvent("A", 5, nil))
	tasks := s.queue.take()
	if len(tasks) != 2 {
		t.Fatalf("%+v", tasks)
	}
	for _, task := range append(tasks, tasks...) { // twice, and then without an origin
		if err := s.other.Work(t.Context(), task); err != nil {
			t.Error(err)
		}
		task.Service, task.ModelType, task.ModelID = "", "", ""
		if err := s.other.Work(t.Context(), task); err != nil {
			t.Error(err)
		}
	}
	s.wantEvents("of tasks", odd, "1 3 5 5 5 5")
	s.wantEvents("of tasks", shop, "1 2 3 5 5")
}

// TestFilterReplaced: lists show the filter, long or short; a new subscribe takes its place, or removes it; the end of the socket returns it.
func TestFilterReplaced(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	w := s.connect()
	listed := func(e *Engine) string {
		page, err := e.Sockets().List(t.Context(), eureka.SocketQuery{Channel: "A"})
		if err != nil || len(page.Items) != 1 || len(page.Items[0].Subscriptions) != 1 {
			t.Fatalf("%+v, %v", page, err)
		}
		return page.Items[0].Subscriptions[0].Filter
	}
	for n, filter := range []string{odds, long, evens, "", long} {
		s.filtered(w, "A", filter, eureka.Cursor{})
		for _, e := range []*Engine{s.other, s.mortal} { // the second has to read what is long
			if got := listed(e); got != filter {
				t.Errorf("after %d changes it is %q, want %q", n, got, filter)
			}
		}
	}
	s.deliver(orderEvent("A", 1, nil))
	s.deliver(orderEvent("A", 2, nil))
	s.wantEvents("in the end", w, "1")
	gone, err := s.mortal.Sockets().Remove(t.Context(), w.id)
	if err != nil || len(gone.Subscriptions) != 1 || gone.Subscriptions[0].Filter != long {
		t.Errorf("%+v, %v", gone, err)
	}
	s.wantNothing("in the end", w.id, "A")
}

// TestFilterMoves: a subscription that follows its channel keeps its filter, whichever engine moves it.
func TestFilterMoves(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	odd, one := s.connect(), s.connect()
	s.filtered(odd, "name", odds, eureka.Cursor{})
	s.filtered(one, "name", long, eureka.Cursor{})
	if _, err := s.other.Channels().Create(t.Context(), eureka.Channel{ID: "home", Alias: "name", CreatedAt: 1}); err != nil {
		t.Fatal(err)
	}
	for _, task := range s.queue.take() {
		if err := s.mortal.Work(t.Context(), task); err != nil {
			t.Error(err)
		}
	}
	for n := 1; n <= 3; n++ {
		s.deliver(orderEvent("home", n, nil))
	}
	s.wantEvents("short", odd, "1 3")
	s.wantEvents("long", one, "1")
}

// TestWithoutRules: a service that cannot evaluate filters takes none, and whoever has one from before gets nothing rather than everything.
func TestWithoutRules(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	w := s.connect()
	s.filtered(w, "A", odds, eureka.Cursor{})
	s.other.options.Rules = nil
	_, err := s.other.Sockets().Subscribe(t.Context(), eureka.Subscription{SocketID: w.id, ChannelID: "B", Name: "B", Filter: odds})
	if eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("a subscription with a filter: %v", err)
	}
	s.mustSubscribe(w, "B", eureka.Cursor{})
	s.deliver(orderEvent("A", 1, nil))
	s.deliver(orderEvent("B", 2, nil))
	s.wantEvents("in the end", w, "2")
}

// TestTextsOfFilters: a long text is written once for all who have it, again when they would outlive it, and not at all in place of another text with its
// name; one that is lost passes nothing.
func TestTextsOfFilters(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	first := s.connect()
	s.filtered(first, "A", long, eureka.Cursor{})
	text := func() item {
		it, err := s.other.table.get(t.Context(), filterKey(nameOfFilter(long)), true)
		if err != nil {
			t.Fatal(err)
		}
		return it
	}
	if it := s.entry(first, "A"); text().text(attrPasses) != long || len(it.blob(attrPasses)) != filterName {
		t.Errorf("%v, %v", text(), it)
	}
	written := text().number(KeyTTL)
	for _, e := range []*Engine{s.other, s.mortal} {
		w := s.connect()
		if _, err := e.Sockets().Subscribe(t.Context(), eureka.Subscription{SocketID: w.id, ChannelID: "A", Name: "A", Filter: long}); err != nil {
			t.Fatal(err)
		}
	}
	if text().number(KeyTTL) != written {
		t.Error("it was written again")
	}
	s.clock.advance(filterSpare + time.Minute)
	late := s.connect()
	s.filtered(late, "A", long, eureka.Cursor{})
	if ends := s.entry(late, "A").number(KeyTTL); text().number(KeyTTL) < ends {
		t.Errorf("a text up to %d of a socket up to %d", text().number(KeyTTL), ends)
	}

	another := strings.ReplaceAll(long, "1", "2")
	it := filterKey(nameOfFilter(another)).item()
	it[attrPasses], it[KeyTTL] = text()[attrPasses], number(s.clock.now().Add(100*time.Hour).Unix())
	if err := s.other.table.put(t.Context(), it, condition{}); err != nil {
		t.Fatal(err)
	}
	w := s.connect()
	s.filtered(w, "A", another, eureka.Cursor{})
	s.other.texts = knownTexts{}
	s.deliver(orderEvent("A", 1, nil))
	s.deliver(orderEvent("A", 2, nil))
	s.wantEvents("whose text's name is taken", w, "2")

	if _, err := s.other.table.remove(t.Context(), filterKey(nameOfFilter(long)), condition{}); err != nil {
		t.Fatal(err)
	}
	s.other.texts = knownTexts{}
	s.deliver(orderEvent("A", 1, nil))
	s.wantEvents("whose text is lost", late, "1")
}

// TestMaximalFilter: the longest filter is stored, listed and evaluated.
func TestMaximalFilter(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	filter := `data.n == 1 || data.word == "`
	filter += strings.Repeat("x", eureka.MaxFilterLength-len(filter)-1) + `"`
	if err := s.rules.Check(eureka.RuleSubscription, filter); err != nil {
		t.Fatal(err)
	}
	w := s.connect()
	s.filtered(w, "A", filter, eureka.Cursor{})
	s.deliver(orderEvent("A", 1, nil))
	s.deliver(orderEvent("A", 2, nil))
	s.wantEvents("in the end", w, "1")
	_, err := s.other.Sockets().Subscribe(t.Context(), eureka.Subscription{SocketID: w.id, ChannelID: "A", Name: "A", Filter: filter + " "})
	var invalid *eureka.Error
	if !errors.As(err, &invalid) || invalid.Field != "filter" {
		t.Errorf("over the limit: %v", err)
	}
}

// slowRules take their time for each evaluation, by the scene's clock.
type slowRules struct {
	eureka.Rules
	evaluated func()
}

type slowRun struct {
	eureka.RuleRun
	of *slowRules
}

// On implements eureka.Rules.
func (r *slowRules) On(s eureka.RuleSubject) eureka.RuleRun { return slowRun{r.Rules.On(s), r} }

// Passes implements eureka.RuleRun.
func (r slowRun) Passes(kind eureka.RuleKind, text string) (bool, error) {
	r.of.evaluated()
	return r.RuleRun.Passes(kind, text)
}

// TestSlowFilters: however long the filters of a shard take, for longer than a lease too, what waits there is delivered, once, and in batches that come to
// their ends.
func TestSlowFilters(t *testing.T) {
	t.Parallel()
	for _, each := range []time.Duration{time.Second, leaseTime / 4} {
		t.Run(each.String(), func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.deliver(orderEvent("A", 0, &testRetention))
			var all []*wire
			for n := range 6 {
				all = append(all, s.connect())
				s.filtered(all[n], "A", fmt.Sprintf("data.n %% 2 == %d", n), eureka.Cursor{})
			}
			l, err := s.mortal.acquire(t.Context(), "A", 0)
			if err != nil || l == nil {
				t.Fatal(l, err)
			}
			for n := 1; n <= 8; n++ {
				s.deliver(orderEvent("A", n, &testRetention))
			}
			s.clock.advance(leaseTime + 2*time.Second)
			evaluated := 0
			s.other.options.Rules = &slowRules{s.rules, func() {
				s.clock.advance(each)
				if l, err := s.mortal.acquire(t.Context(), "A", 0); err != nil || l != nil {
					t.Errorf("the lease is lost: %v", err)
				}
				evaluated++
				if frames := len(all[0].Frames()) + len(all[1].Frames()); frames < (evaluated-1)/len(all) {
					t.Errorf("%d frames after %d evaluations", frames, evaluated)
				}
			}}
			s.work()
			s.wantEvents("even", all[0], "2 4 6 8")
			s.wantEvents("odd", all[1], "1 3 5 7")
			s.wantEvents("none", all[2], "")
		})
	}
}
