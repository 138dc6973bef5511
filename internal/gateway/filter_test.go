package gateway

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"eureka"
)

// events is a selector whose filters are the names of events: a message passes the filter that is its event. It finds bad uses.
type events struct {
	t   testing.TB
	set map[string]bool
}

func (e *events) Add(filter string) error {
	if filter == "bad" {
		return eureka.FieldError("filter", "is bad")
	}
	if e.set[filter] {
		e.t.Errorf("filter %q is added again", filter)
	}
	e.set[filter] = true
	return nil
}

func (e *events) Remove(filter string) {
	if !e.set[filter] {
		e.t.Errorf("filter %q is removed and was not there", filter)
	}
	delete(e.set, filter)
}

func (e *events) Select(f eureka.Facts, passes func(string)) {
	if e.set[f.Event] {
		passes(f.Event)
	}
}

// filtering returns a hub, and the selectors that it made.
func filtering(t testing.TB) (*Hub, *[]*events) {
	var made []*events
	return NewHub(HubOptions{NewSelector: func() Selector {
		made = append(made, &events{t: t, set: map[string]bool{}})
		return made[len(made)-1]
	}}), &made
}

// facts counts how often it is asked.
func facts(event string, asked *int) func() eureka.Facts {
	return func() eureka.Facts {
		*asked++
		return eureka.Facts{Event: event}
	}
}

func listen(t testing.TB, h *Hub, id, name, filter string) error {
	t.Helper()
	_, err := h.Subscribe(eureka.Subscription{SocketID: id, ChannelID: "A", Name: name, Filter: filter})
	return err
}

func TestFilters(t *testing.T) {
	h, made := filtering(t)
	all := addSocket(t, h, "all", "A/A")
	paid, alias, open := addSocket(t, h, "paid"), addSocket(t, h, "alias"), addSocket(t, h, "open")
	for _, s := range [][3]string{{"paid", "A", "paid"}, {"alias", "other", "paid"}, {"open", "A", "open"}} {
		if err := listen(t, h, s[0], s[1], s[2]); err != nil {
			t.Fatal(err)
		}
	}
	asked := 0
	matched, sent := h.Deliver("A", Broadcast{Body: body(t, "1"), Facts: facts("paid", &asked)})
	if matched != 3 || sent != 3 || asked != 1 {
		t.Errorf("matched %d, sent %d, asked for the facts %d times", matched, sent, asked)
	}
	if len(all.frames) != 1 || len(paid.frames) != 1 || len(alias.frames) != 1 || len(open.frames) != 0 || &all.frames[0][0] != &paid.frames[0][0] {
		t.Error("not the right ones got the frame, or they do not share it")
	}
	if !strings.Contains(string(alias.frames[0]), `"channel":"other"`) {
		t.Errorf("under another name: %s", alias.frames[0])
	}
	if matched, _ := h.Deliver("A", Broadcast{Body: body(t, "1")}); matched != 4 {
		t.Errorf("a frame that is not filtered is for %d", matched)
	}
	if n := h.Count("A", nil); n != 4 {
		t.Errorf("counted %d", n)
	}
	page, err := h.List(eureka.SocketQuery{ID: "alias"})
	if err != nil || page.Items[0].Subscriptions[0].Filter != "paid" {
		t.Errorf("listed %+v, %v", page, err)
	}
	if filter, ok := h.Filter("open", "A"); filter != "open" || !ok {
		t.Errorf("the filter is %q, %v", filter, ok)
	}
	if _, ok := h.Filter("open", "B"); ok {
		t.Error("there is a filter without a subscription")
	}
	for _, id := range []string{"paid", "alias", "open"} {
		if _, err := h.Remove(id); err != nil {
			t.Fatal(err)
		}
	}
	if _, sent := h.Deliver("A", Broadcast{Body: body(t, "1"), Facts: facts("paid", &asked)}); sent != 1 || asked != 1 {
		t.Errorf("without filters: sent %d, asked for the facts %d times", sent, asked)
	}
	if len(*made) != 1 || len((*made)[0].set) != 0 {
		t.Errorf("left in the selectors: %v", *made)
	}
}

func TestRefusedFilters(t *testing.T) {
	h := NewHub(HubOptions{})
	addSocket(t, h, "a")
	if err := listen(t, h, "a", "A", "x"); eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("a hub without selectors: %v", err)
	}
	h, _ = filtering(t)
	a := addSocket(t, h, "a")
	if err := listen(t, h, "a", "A", "bad"); eureka.CodeOf(err) != eureka.CodeInvalid || h.Count("A", nil) != 0 {
		t.Errorf("a filter that the selector refuses: %v, %d listen", err, h.Count("A", nil))
	}
	if err := listen(t, h, "a", "A", "paid"); err != nil {
		t.Fatal(err)
	}
	if err := listen(t, h, "a", "B", "bad"); eureka.CodeOf(err) != eureka.CodeInvalid {
		t.Errorf("replaced by one that the selector refuses: %v", err)
	}
	asked := 0
	h.Deliver("A", Broadcast{Body: body(t, "1"), Facts: facts("paid", &asked)})
	if len(a.frames) != 1 || !strings.Contains(string(a.frames[0]), `"channel":"A"`) {
		t.Errorf("the subscription did not stay as it was: %q", a.frames)
	}
}

func TestAPausedFilterIsSilent(t *testing.T) {
	h, _ := filtering(t)
	a := addSocket(t, h, "a")
	if _, err := h.SubscribePaused(eureka.Subscription{SocketID: "a", ChannelID: "A", Name: "A", Filter: "paid"}, 7); err != nil {
		t.Fatal(err)
	}
	asked := 0
	paid := Broadcast{Body: body(t, "1"), Facts: facts("paid", &asked)}
	if matched, _ := h.Deliver("A", paid); matched != 0 {
		t.Errorf("in its pause it matched")
	}
	if taken, err := h.Replay("a", "A", 7, nil, true); !taken || err != nil {
		t.Fatal(taken, err)
	}
	if matched, _ := h.Deliver("A", paid); matched != 1 || len(a.frames) != 1 {
		t.Errorf("behind its pause: matched %d, %q", matched, a.frames)
	}
	if left, gained := h.Move("A", "B"); left != 1 || gained != 1 {
		t.Errorf("left %d, gained %d", left, gained)
	}
	if filter, _ := h.Filter("a", "B"); filter != "paid" {
		t.Errorf("after a move the filter is %q", filter)
	}
}

// TestFiltersAgainstAModel runs random subscriptions and compares who gets a message with a plain model.
func TestFiltersAgainstAModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	h, made := filtering(t)
	model := map[string]string{} // socket → filter
	recorders := map[string]*recorder{}
	for i := range 20 {
		id := fmt.Sprint("s", i)
		recorders[id] = addSocket(t, h, id)
	}
	ids := slices.Sorted(maps.Keys(recorders))
	for range 5000 {
		id, filter := ids[r.IntN(len(ids))], []string{"", "x", "y", "z"}[r.IntN(4)]
		_, there := model[id]
		switch r.IntN(3) {
		case 0:
			if err := listen(t, h, id, fmt.Sprint("n", r.IntN(2)), filter); err != nil {
				t.Fatal(err)
			}
			model[id] = filter
		case 1:
			if err := h.Unsubscribe(id, "A"); (err == nil) != there {
				t.Fatal(err)
			}
			delete(model, id)
		case 2:
			var want, got []string
			for _, id := range ids {
				recorders[id].frames = nil
				if f, ok := model[id]; ok && (f == "" || f == filter) {
					want = append(want, id)
				}
			}
			asked := 0
			h.Deliver("A", Broadcast{Body: []byte("{}"), Facts: facts(filter, &asked)})
			for _, id := range ids {
				if len(recorders[id].frames) == 1 {
					got = append(got, id)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatal(diff)
			}
		}
	}
	for _, id := range ids {
		_, _ = h.Remove(id) // each is there
	}
	for _, e := range *made {
		if len(e.set) != 0 {
			t.Errorf("left in a selector: %v", e.set)
		}
	}
}

// BenchmarkDeliverFiltered shows that groups whose filter does not pass cost nothing: the time does not grow with their number.
func BenchmarkDeliverFiltered(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h, _ := filtering(b)
			for i := range n {
				id := fmt.Sprint("s", i)
				addSocket(b, h, id).full = true
				if err := listen(b, h, id, "A", id); err != nil {
					b.Fatal(err)
				}
			}
			text, asked := body(b, "1"), 0
			for b.Loop() {
				h.Deliver("A", Broadcast{Body: text, Facts: facts("s1", &asked)})
			}
		})
	}
}
