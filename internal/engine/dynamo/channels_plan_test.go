package dynamo

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"eureka"
)

// randomChannel has fields that repeat, so that queries select some of many.
func randomChannel(random *rand.Rand, i int) eureka.Channel {
	pick := func(s ...string) string { return s[random.IntN(len(s))] }
	ch := eureka.Channel{
		ID: fmt.Sprintf("c%03d", i), Service: pick("", "orders", "users", "日本"), Name: pick("", "Alpha beta", "ALPHA", "beta-two", "...", "é"),
		Desc: pick("", "some words", "other words here"), Presence: random.IntN(2) == 0, CreatedAt: random.Int64N(20) - 5, UpdatedAt: random.Int64N(3),
	}
	if random.IntN(3) > 0 {
		ch.ModelType, ch.ModelID = pick("order", "user", "x y"), pick("", "1", "2")
	}
	if random.IntN(4) == 0 {
		ch.Alias = fmt.Sprintf("alias.%d", i)
	}
	return ch
}

func randomQuery(random *rand.Rand, all []eureka.Channel) eureka.ChannelQuery {
	q := eureka.ChannelQuery{
		Sort:   eureka.Sort{Field: eureka.ChannelSortFields[random.IntN(len(eureka.ChannelSortFields))], Desc: random.IntN(2) == 0},
		Paging: eureka.Paging{Limit: random.IntN(12) - 1, Page: random.IntN(3)},
	}
	for range random.IntN(4) {
		field := eureka.ChannelFilterFields[random.IntN(len(eureka.ChannelFilterFields))]
		c := eureka.Condition{Field: field, Match: eureka.Match(random.IntN(5))}
		if c.Match >= eureka.Missing && c.Match <= eureka.Exists {
			q.Where = append(q.Where, c)
			continue
		}
		c.Match = eureka.AnyOf
		for range 1 + random.IntN(3) {
			value, _ := fieldText(field, all[random.IntN(len(all))])
			c.Values = append(c.Values, value)
		}
		q.Where = append(q.Where, c)
	}
	if random.IntN(3) == 0 {
		q.Text = []string{"a", "alpha", "beta two", "beta-tw", "word", "words some", "c01", "alias.1", "orders", "é", "日", "nothing"}[random.IntN(12)]
	}
	return q
}

// TestPlansAgree: whatever index a plan takes, the list is what looking at every channel gives.
func TestPlansAgree(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(11, 11))
	e := testEngine(t, endpoint(t), newTestTable(t), nil)
	var all []eureka.Channel
	for i := range 60 {
		all = append(all, mustCreate(t, e, randomChannel(random, i)))
	}
	everyone := func(yield func(eureka.Channel, error) bool) {
		for _, ch := range all {
			if !yield(ch, nil) {
				return
			}
		}
	}
	some := 0
	for range 400 {
		q := randomQuery(random, all)
		f, err := newChannelFilter(q)
		if err != nil {
			t.Fatal(err)
		}
		want, err := collect(everyone, f, q, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.Channels().List(t.Context(), q)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("%+v: %v (-want +got):\n%s", q, err, diff)
		}
		if got.Total > 0 && got.Total < len(all) {
			some++
		}
	}
	if some < 60 {
		t.Errorf("only %d queries select some and not all", some)
	}
}

// TestRequestsOfQueries: what DynamoDB is asked for each kind of query. Routing is one query.
func TestRequestsOfQueries(t *testing.T) {
	t.Parallel()
	proxy := proxied(t, 1)
	e := testEngine(t, proxy.Endpoint, newTestTable(t), nil)
	for i := range 60 {
		mustCreate(t, e, eureka.Channel{
			ID: fmt.Sprintf("c%d", i), Alias: fmt.Sprintf("alias%d", i), Service: fmt.Sprintf("s%d", i%2), ModelType: "m", Name: fmt.Sprintf("rare%d common", i),
			CreatedAt: int64(i),
		})
	}
	is := func(field string, values ...string) eureka.Condition {
		return eureka.Condition{Field: field, Values: values}
	}
	missing := eureka.Condition{Field: "modelId", Match: eureka.Missing}
	for name, tt := range map[string]struct {
		q     eureka.ChannelQuery
		calls map[string]int
		total int
	}{
		"routing":          {eureka.ChannelQuery{Where: []eureka.Condition{is("service", "s1"), is("modelType", "m"), missing}, Sort: eureka.Sort{Field: "id"}}, map[string]int{"Query": 1}, 30},
		"routing, a model": {eureka.ChannelQuery{Where: []eureka.Condition{is("service", "s1"), is("modelType", "m"), is("modelId", "7")}}, map[string]int{"Query": 1}, 0},
		"newest":           {eureka.ChannelQuery{}, map[string]int{"Query": 2}, 60},
		"the total":        {eureka.ChannelQuery{Paging: eureka.Paging{Limit: -1}}, map[string]int{"Query": 1}, 60},
		"ids":              {eureka.ChannelQuery{Where: []eureka.Condition{is("id", "c1", "c2", "none")}}, map[string]int{"BatchGetItem": 1}, 2},
		"alias":            {eureka.ChannelQuery{Where: []eureka.Condition{is("alias", "alias7")}}, map[string]int{"BatchGetItem": 1}, 1},
		"a rare word":      {eureka.ChannelQuery{Text: "rare17"}, map[string]int{"Query": 1, "BatchGetItem": 1}, 1},
		"a name":           {eureka.ChannelQuery{Where: []eureka.Condition{is("name", "rare17 common")}}, map[string]int{"Query": 1, "BatchGetItem": 1}, 1},
		"a common word":    {eureka.ChannelQuery{Text: "common"}, map[string]int{"Query": 4}, 60}, // of the word, the count twice, all
		"a time":           {eureka.ChannelQuery{Where: []eureka.Condition{is("createdAt", "3", "4")}}, map[string]int{"Query": 2}, 2},
		"a service":        {eureka.ChannelQuery{Where: []eureka.Condition{is("service", "s0")}}, map[string]int{"Query": 1}, 30},
		"no index":         {eureka.ChannelQuery{Where: []eureka.Condition{is("presence", "false")}}, map[string]int{"Query": 2}, 60},
		"no word":          {eureka.ChannelQuery{Text: "?!"}, map[string]int{}, 0},
	} {
		proxy.Reset()
		page, err := e.Channels().List(t.Context(), tt.q)
		if err != nil || page.Total != tt.total {
			t.Errorf("%s: %d channels, %v; want %d", name, page.Total, err, tt.total)
		}
		if got := proxy.Usage().Calls; !maps.Equal(got, tt.calls) {
			t.Errorf("%s: %v, want %v", name, got, tt.calls)
		}
	}
}

// TestUnselective: what would have to look at too much is refused before it is paid for where that is known, and otherwise at the limit; a word of
// too many is no index.
func TestUnselective(t *testing.T) {
	t.Parallel()
	proxy := proxied(t, 1)
	name := newTestTable(t)
	e, direct := testEngine(t, proxy.Endpoint, name, nil), testEngine(t, endpoint(t), name, nil)
	e.limits = listLimits{examined: 300, wordEntries: 30}
	want := mustCreate(t, e, eureka.Channel{ID: "c", Name: "common word"})
	var many []item
	for i := range e.limits.wordEntries {
		it := wordKey("common", fmt.Sprintf("gone%d", i)).item()
		it[attrRevision] = number(1)
		many = append(many, it)
	}
	model, _ := modelKey(eureka.Channel{Service: "crowd"})
	for i := range e.limits.examined + 1 {
		many = append(many, key{model.pk, fmt.Sprintf("%s%06d", model.sk, i)}.item())
	}
	err := each(t.Context(), 8, slices.Collect(slices.Chunk(many, maxBatchWrite)), func(ctx context.Context, items []item) error {
		return direct.table.batchWrite(ctx, items, nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	proxy.Reset()
	page, err := e.Channels().List(t.Context(), eureka.ChannelQuery{Text: "common"})
	if err != nil || len(page.Items) != 1 || page.Items[0] != want {
		t.Errorf("%+v, %v", page, err)
	}
	if n := proxy.Usage().Calls["BatchGetItem"]; n != 0 {
		t.Errorf("%d batches of candidates were fetched", n)
	}
	page, err = e.Channels().List(t.Context(), eureka.ChannelQuery{Text: "word common"})
	if err != nil || len(page.Items) != 1 {
		t.Errorf("with a rare word beside it: %+v, %v", page, err)
	}
	crowd := eureka.ChannelQuery{Where: []eureka.Condition{{Field: "service", Values: []string{"crowd"}}}}
	if _, err := e.Channels().List(t.Context(), crowd); eureka.CodeOf(err) != eureka.CodeInvalid {
		t.Errorf("a service of too many: %v", err)
	}
	if err := e.table.transact(t.Context(), step{key: countKey("x"), change: countChange(int64(e.limits.examined))}); err != nil {
		t.Fatal(err)
	}
	proxy.Reset()
	for _, q := range []eureka.ChannelQuery{{Sort: eureka.Sort{Field: "name"}}, {Text: "word", Where: []eureka.Condition{{Field: "presence", Match: eureka.Missing}}}} {
		_, err := e.Channels().List(t.Context(), q)
		if tooMany := eureka.CodeOf(err) == eureka.CodeInvalid; tooMany != (q.Text == "") {
			t.Errorf("%+v: %v", q, err)
		}
	}
	if units := proxy.Usage().ReadUnits; units > 4 {
		t.Errorf("a refusal cost %v units", units)
	}
	if page, err := e.Channels().List(t.Context(), eureka.ChannelQuery{}); err != nil || len(page.Items) != 1 {
		t.Errorf("the plain list: %+v, %v", page, err)
	}
}
