package dynamo

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"eureka"
	"eureka/internal/awslocal"
)

var update = flag.Bool("update", false, "write what was measured into docs/adr/0010-one-table.md")

// capacityFile is held while the tables in docs/adr/0010 are read or written.
var capacityFile sync.Mutex

// capacityCase is one use case whose units are measured.
type capacityCase struct {
	name        string
	run         func() error
	read, write float64 // the most that it may consume
}

// measureCapacity runs the cases in their order, holds each against its bounds, and all against the table in docs/adr/0010 that has this title.
func measureCapacity(t *testing.T, title string, m *awslocal.Proxy, cases []capacityCase) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | read units | write units |\n|---|---|---|\n", title)
	for _, c := range cases {
		m.Reset()
		if err := c.run(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		read, write := m.Usage().ReadUnits, m.Usage().WriteUnits
		if read > c.read || write > c.write {
			t.Errorf("%s: %v read and %v write units, the most are %v and %v", c.name, read, write, c.read, c.write)
		}
		fmt.Fprintf(&b, "| %s | %v | %v |\n", c.name, read, write)
	}
	capacityFile.Lock()
	defer capacityFile.Unlock()
	const file = "../../../docs/adr/0010-one-table.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), b.String()) {
		return
	}
	if !*update {
		t.Errorf("docs/adr/0010 does not say what was measured (run with -update):\n%s", b.String())
		return
	}
	before, rest, found := strings.Cut(string(text), "| "+title+" |")
	if !found {
		before, rest = strings.TrimRight(before, "\n")+"\n\n", ""
	}
	for strings.Contains(rest, "\n") { // the old table's lines
		_, next, _ := strings.Cut(rest, "\n")
		if rest = next; !strings.HasPrefix(rest, "|") {
			break
		}
	}
	if err := os.WriteFile(file, []byte(before+b.String()+rest), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCapacityOfChannels measures a table of 100 channels of 0.4 KB with 29 words each.
func TestCapacityOfChannels(t *testing.T) {
	t.Parallel()
	m := proxied(t, 1)
	e := testEngine(t, m.Endpoint, newTestTable(t), nil)
	c := e.Channels()
	ctx := t.Context()
	sample := func(i int) eureka.Channel {
		return eureka.Channel{
			Service: []string{"orders", "users", "parcels", "payments", "offers"}[i%5], ModelType: []string{"order", "invoice"}[i/5%2], ModelID: fmt.Sprint(i),
			Name: fmt.Sprintf("Number%d", i), CreatedAt: 1_700_000_000_000 + int64(i), UpdatedAt: 1_700_000_000_000 + int64(i),
			Desc: "Says what becomes of one of them, from the basket to the door, for the shop's own pages and its partners, who show it to whoever bought it.",
		}
	}
	var last eureka.Channel
	for i := range 100 {
		last = mustCreate(t, e, sample(i))
	}
	list := func(q eureka.ChannelQuery, want, total int) func() error {
		return func() error {
			page, err := c.List(ctx, q)
			if err == nil && (len(page.Items) != want || page.Total != total) {
				err = fmt.Errorf("%d of %d channels, want %d of %d", len(page.Items), page.Total, want, total)
			}
			return err
		}
	}
	get := func(name string) func() error {
		return func() error {
			_, err := c.Get(ctx, name)
			return err
		}
	}
	is := func(field string, values ...string) eureka.Condition {
		return eureka.Condition{Field: field, Values: values}
	}
	measureCapacity(t, "channels", m, []capacityCase{
		{"find by id", get(last.ID), 1, 0},
		{"find by alias", get(last.Alias), 1, 0},
		{"find that a name is not declared", func() error {
			if _, err := c.Get(ctx, "nobody"); eureka.CodeOf(err) != eureka.CodeNotFound {
				return fmt.Errorf("found: %w", err)
			}
			return nil
		}, 1, 0},
		{"route: those of a service, model type and model id", list(eureka.ChannelQuery{Where: []eureka.Condition{is("service", "orders"), is("modelType", "order"), is("modelId", "10")}}, 1, 1), 1, 0},
		{"first page of 10", list(eureka.ChannelQuery{}, 10, 100), 3, 0},
		{"first page of 100", list(eureka.ChannelQuery{Paging: eureka.Paging{Limit: 100}}, 100, 100), 14, 0},
		{"page 8 of 10, by number", list(eureka.ChannelQuery{Paging: eureka.Paging{Page: 8}}, 10, 100), 14, 0},
		{"filter by service, 20 match", list(eureka.ChannelQuery{Where: []eureka.Condition{is("service", "orders")}}, 10, 20), 4, 0},
		{"filter by name, 1 matches", list(eureka.ChannelQuery{Where: []eureka.Condition{is("name", "Number7")}}, 1, 1), 2, 0},
		{"search for one word, 1 matches", list(eureka.ChannelQuery{Text: "number42"}, 1, 1), 2, 0},
		{"search for two words, 20 match", list(eureka.ChannelQuery{Text: "orders bask"}, 10, 20), 30, 0},
		{"search for a word of all 100", list(eureka.ChannelQuery{Text: "partners"}, 10, 100), 20, 0},
		{"sort by name, 100 channels", list(eureka.ChannelQuery{Sort: eureka.Sort{Field: "name"}}, 10, 100), 15, 0},
		{"create with a number", func() error {
			var err error
			last, err = c.Create(ctx, sample(200))
			return err
		}, 6, 45},
		{"change the name", func() error {
			last.Name = "Another"
			var err error
			last, err = c.Update(ctx, last)
			return err
		}, 2, 12},
		{"delete", func() error {
			_, err := c.Delete(ctx, last.ID, 1)
			return err
		}, 5, 45},
	})
}

func TestCapacityOfRequests(t *testing.T) {
	m := proxied(t, 1)
	r := testEngine(t, m.Endpoint, newTestTable(t), nil).Requests()
	ctx := t.Context()
	begin := func() error {
		_, err := r.Begin(ctx, "key")
		return err
	}
	measureCapacity(t, "requests with a key", m, []capacityCase{
		{"the first: claim, answer", func() error {
			if err := begin(); err != nil {
				return err
			}
			return r.Finish(ctx, "key", []byte(`{"channel":"1000001","delivered":0}`))
		}, 0, 2},
		{"repeated", begin, 0, 1},
	})
}

func TestCapacityOfCredentials(t *testing.T) {
	m := proxied(t, 1)
	clock := newTestClock()
	e := testEngine(t, m.Endpoint, newTestTable(t), clock.option)
	c, ctx := e.Credentials(), t.Context()
	for i := range 20 {
		if err := c.AddKey(ctx, testKey(fmt.Sprintf("key%02d", i))); err != nil {
			t.Fatal(err)
		}
	}
	refresh := func() error { return e.Keys().Refresh(ctx) }
	measureCapacity(t, "credentials", m, []capacityCase{
		{"check, every ten seconds of a busy function, 20 keys", refresh, 1, 0},
		{"check in between", refresh, 0, 0},
		{"add a key", func() error { return c.AddKey(ctx, testKey("another")) }, 0, 4},
		{"delete a key", func() error { return c.DeleteKey(ctx, "another") }, 0, 4},
		{"revoke a user", func() error { return c.Revoke(ctx, eureka.Revocation{User: "u", At: 1}) }, 0, 1},
	})
}
