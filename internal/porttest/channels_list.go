package porttest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"eureka"
)

// sample makes n channels whose fields repeat and are partly empty, a second apart.
func sample(t *testing.T, c eureka.Channels, n int) []eureka.Channel {
	t.Helper()
	var all []eureka.Channel
	for i := range n {
		ch := eureka.Channel{
			ID: fmt.Sprintf("c%02d", (i*13)%n), Service: []string{"", "orders", "users"}[i%3], Presence: i%2 == 0,
			Name: []string{"한글", "beta", "", "alpha"}[i%4], CreatedAt: firstTime + int64(i/2)*1000, UpdatedAt: firstTime + int64(n-i)*1000,
		}
		if i%5 != 0 {
			ch.ModelType, ch.ModelID = fmt.Sprintf("model%d", i%2), []string{"", "1", "2"}[(i/2)%3]
		}
		if i%4 == 1 {
			ch.Alias = fmt.Sprintf("alias%02d", n-i)
		}
		all = append(all, create(t, c, ch))
	}
	return all
}

// sorted returns the ids of channels as a list by sort has them.
func sorted(channels []eureka.Channel, by eureka.Sort) []string {
	channels = slices.Clone(channels)
	slices.SortFunc(channels, func(a, b eureka.Channel) int {
		order := 0
		switch by.Field {
		case "alias":
			order = cmp.Compare(a.Alias, b.Alias)
		case "service":
			order = cmp.Compare(a.Service, b.Service)
		case "modelType":
			order = cmp.Compare(a.ModelType, b.ModelType)
		case "modelId":
			order = cmp.Compare(a.ModelID, b.ModelID)
		case "name":
			order = cmp.Compare(a.Name, b.Name)
		case "createdAt":
			order = cmp.Compare(a.CreatedAt, b.CreatedAt)
		case "updatedAt":
			order = cmp.Compare(a.UpdatedAt, b.UpdatedAt)
		}
		order = cmp.Or(order, cmp.Compare(a.ID, b.ID))
		if by.Desc {
			return -order
		}
		return order
	})
	return ids(channels)
}

func channelsNewestFirst(t *testing.T, h ChannelsHarness) {
	all := sample(t, h.first(), 14)
	newest := sorted(all, eureka.Sort{Field: "createdAt", Desc: true})
	wantIDs(t, "the zero query", list(t, h.first(), eureka.ChannelQuery{}), newest[:eureka.DefaultLimit]...)
	wantIDs(t, "limit 3", list(t, h.first(), eureka.ChannelQuery{Paging: eureka.Paging{Limit: 3}}), newest[:3]...)
	page := list(t, h.first(), eureka.ChannelQuery{Paging: eureka.Paging{Limit: eureka.MaxLimit}})
	wantIDs(t, "the largest limit", page, newest...)
	if page.Next != "" {
		t.Errorf("the only page has a next one: %q", page.Next)
	}
}

func channelsSortEachField(t *testing.T, h ChannelsHarness) {
	h.needs(t, ChannelsAnySort)
	all := sample(t, h.first(), 24)
	for _, field := range eureka.ChannelSortFields {
		for _, desc := range []bool{false, true} {
			by := eureka.Sort{Field: field, Desc: desc}
			want := sorted(all, by)
			page := list(t, h.first(), eureka.ChannelQuery{Sort: by, Paging: eureka.Paging{Limit: 100}})
			wantIDs(t, fmt.Sprintf("sort %+v", by), page, want...)
			got := pages(t, h.first(), eureka.ChannelQuery{Sort: by, Paging: eureka.Paging{Limit: 5}})
			if !slices.Equal(ids(got), want) {
				t.Errorf("sort %+v in pages: %q, want %q", by, ids(got), want)
			}
		}
	}
	_, err := h.first().List(t.Context(), eureka.ChannelQuery{Sort: eureka.Sort{Field: "id; DROP TABLE channels"}})
	wantCode(t, "sort by an unknown field", err, eureka.CodeInvalid)
}

func channelsPageNumbers(t *testing.T, h ChannelsHarness) {
	h.needs(t, ChannelsPageNumbers, ChannelsTotals)
	all := sample(t, h.first(), 23)
	want := sorted(all, eureka.Sort{Field: "createdAt", Desc: true})
	tests := []struct {
		page, limit int
		want        []string
		more        bool
	}{
		{0, 10, want[:10], true},
		{1, 10, want[10:20], true},
		{2, 10, want[20:], false},
		{3, 10, nil, false},
		{1000, 10, nil, false},
		{0, 0, want[:10], true},
		{0, 23, want, false},
		{0, 22, want[:22], true},
		{22, 1, want[22:], false},
		{0, -1, nil, false},
		{5, -1, nil, false},
	}
	for _, tt := range tests {
		what := fmt.Sprintf("page %d of %d", tt.page, tt.limit)
		page := list(t, h.first(), eureka.ChannelQuery{Paging: eureka.Paging{Page: tt.page, Limit: tt.limit}})
		wantIDs(t, what, page, tt.want...)
		if page.Total != len(all) {
			t.Errorf("%s: total %d, want %d", what, page.Total, len(all))
		}
		if (page.Next != "") != tt.more {
			t.Errorf("%s: next is %q", what, page.Next)
		}
		if tt.more {
			next := list(t, h.first(), eureka.ChannelQuery{Paging: eureka.Paging{Limit: 1, After: page.Next}})
			wantIDs(t, "after "+what, next, want[(tt.page)*len(tt.want)+len(tt.want)])
		}
	}
	for _, p := range []eureka.Paging{{Page: -1}, {Limit: -2}, {Limit: eureka.MaxLimit + 1}, {Page: 1001, Limit: 10}, {Page: 1 << 40}} {
		_, err := h.first().List(t.Context(), eureka.ChannelQuery{Paging: p})
		wantCode(t, fmt.Sprintf("paging %+v", p), err, eureka.CodeInvalid)
	}
}

func channelsPageAfter(t *testing.T, h ChannelsHarness) {
	all := sample(t, h.first(), 23)
	want := sorted(all, eureka.Sort{Field: "createdAt", Desc: true})
	for _, limit := range []int{1, 5, 22, 23, 24} {
		q := eureka.ChannelQuery{Paging: eureka.Paging{Limit: limit}}
		if got := ids(pages(t, h.first(), q)); !slices.Equal(got, want) {
			t.Errorf("pages of %d: %q, want %q", limit, got, want)
		}
	}
	q := eureka.ChannelQuery{Where: []eureka.Condition{{Field: "service", Values: []string{"orders"}}}, Paging: eureka.Paging{Limit: 3}}
	want = sorted(slices.DeleteFunc(slices.Clone(all), func(ch eureka.Channel) bool { return ch.Service != "orders" }), eureka.Sort{Field: "createdAt", Desc: true})
	if got := ids(pages(t, h.first(), q)); !slices.Equal(got, want) {
		t.Errorf("filtered pages: %q, want %q", got, want)
	}
	if _, cannot := h.Cannot[ChannelsTotals]; !cannot {
		first := list(t, h.first(), q)
		q.After = first.Next
		if second := list(t, h.first(), q); first.Total != len(want) || second.Total != len(want) {
			t.Errorf("totals %d and %d, want %d on every page", first.Total, second.Total, len(want))
		}
	}
}

func channelsPageAfterRefused(t *testing.T, h ChannelsHarness) {
	sample(t, h.first(), 5)
	next := list(t, h.first(), eureka.ChannelQuery{Paging: eureka.Paging{Limit: 2}}).Next
	if next == "" {
		t.Fatal("there is no next page")
	}
	for _, after := range []string{"x", "AAAA", "%", "' OR 1=1 --", "\x00", next + "%", next[1:], strings.Repeat("A", 1024), strings.Repeat("A", 1025)} {
		_, err := h.first().List(t.Context(), eureka.ChannelQuery{Paging: eureka.Paging{Limit: 2, After: after}})
		wantCode(t, fmt.Sprintf("after=%.40q", after), err, eureka.CodeInvalid)
	}
	_, err := h.first().List(t.Context(), eureka.ChannelQuery{Paging: eureka.Paging{Page: 1, After: next}})
	wantCode(t, "page and after", err, eureka.CodeInvalid)
	if _, cannot := h.Cannot[ChannelsAnySort]; cannot {
		return
	}
	for _, by := range []eureka.Sort{{Field: "createdAt"}, {Field: "name", Desc: true}, {Field: "id"}} {
		_, err := h.first().List(t.Context(), eureka.ChannelQuery{Sort: by, Paging: eureka.Paging{Limit: 2, After: next}})
		wantCode(t, fmt.Sprintf("a position of another sort than %+v", by), err, eureka.CodeInvalid)
	}
	same := eureka.ChannelQuery{Sort: eureka.Sort{Field: "createdAt", Desc: true}, Paging: eureka.Paging{Limit: 2, After: next}}
	if got := list(t, h.first(), same).Items; len(got) != 2 {
		t.Errorf("the default sort, named, does not go on: %q", ids(got))
	}
}

// channelsPageWhileWriting reads a list to its end while others create, change and delete channels around the ones that stay. Those
// must be there exactly once, whatever the sort.
func channelsPageWhileWriting(t *testing.T, h ChannelsHarness) {
	const kept = 60
	for i := range kept {
		create(t, h.first(), eureka.Channel{ID: fmt.Sprintf("kept-%03d", i), Name: strconv.Itoa(i % 3), CreatedAt: firstTime + int64(i%10)*1000})
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			c := h.Nodes[w%len(h.Nodes)]
			for n := 0; ctx.Err() == nil; n++ {
				// Ids and times in between, before and behind those that stay.
				ch, err := c.Create(ctx, eureka.Channel{
					ID: fmt.Sprintf("%s-%03d-%d", []string{"a", "kept", "z"}[n%3], (n*17)%kept, w), Name: strconv.Itoa(n % 4),
					CreatedAt: firstTime + int64(n%13-1)*1000,
				})
				if err == nil {
					_, err = c.Delete(ctx, ch.ID, firstTime)
				}
				if err != nil && ctx.Err() == nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	sorts := []eureka.Sort{{}}
	if _, cannot := h.Cannot[ChannelsAnySort]; !cannot {
		sorts = append(sorts, eureka.Sort{Field: "id"}, eureka.Sort{Field: "name", Desc: true}, eureka.Sort{Field: "updatedAt"})
	}
	for range 5 {
		for _, by := range sorts {
			seen := map[string]int{}
			for _, ch := range pages(t, h.first(), eureka.ChannelQuery{Sort: by, Paging: eureka.Paging{Limit: 7}}) {
				seen[ch.ID]++
			}
			for i := range kept {
				if id := fmt.Sprintf("kept-%03d", i); seen[id] != 1 {
					t.Errorf("sort %+v: %s is there %d times", by, id, seen[id])
				}
			}
		}
	}
	stop()
	wg.Wait()
}

func channelsFilters(t *testing.T, h ChannelsHarness) {
	c := h.first()
	create(t, c, eureka.Channel{ID: "a", Alias: "x", Service: "orders", ModelType: "order", ModelID: "7", Name: "One", Desc: "d", Presence: true, CreatedAt: 1, UpdatedAt: 5})
	create(t, c, eureka.Channel{ID: "b", Alias: "y", Service: "orders", ModelType: "order", Name: "Two", CreatedAt: 2, UpdatedAt: 6})
	create(t, c, eureka.Channel{ID: "c", Service: "users", Name: "one", Presence: true, CreatedAt: 3})
	create(t, c, eureka.Channel{ID: "d", Desc: "%", CreatedAt: 4, UpdatedAt: 5})
	is := func(field string, values ...string) eureka.Condition {
		return eureka.Condition{Field: field, Values: values}
	}
	missing := func(field string) eureka.Condition { return eureka.Condition{Field: field, Match: eureka.Missing} }
	exists := func(field string) eureka.Condition { return eureka.Condition{Field: field, Match: eureka.Exists} }
	tests := []struct {
		name  string
		where []eureka.Condition
		want  []string
	}{
		{"id", []eureka.Condition{is("id", "a")}, []string{"a"}},
		{"an id is not an alias", []eureka.Condition{is("id", "x")}, nil},
		{"ids", []eureka.Condition{is("id", "a", "c", "nobody", "a")}, []string{"a", "c"}},
		{"alias", []eureka.Condition{is("alias", "x", "y")}, []string{"a", "b"}},
		{"service", []eureka.Condition{is("service", "orders")}, []string{"a", "b"}},
		{"services", []eureka.Condition{is("service", "orders", "users")}, []string{"a", "b", "c"}},
		{"empty value", []eureka.Condition{is("service", "")}, []string{"d"}},
		{"model type", []eureka.Condition{is("modelType", "order")}, []string{"a", "b"}},
		{"model id", []eureka.Condition{is("modelId", "7")}, []string{"a"}},
		{"name in its case", []eureka.Condition{is("name", "One")}, []string{"a"}},
		{"no patterns", []eureka.Condition{is("name", "O%", "O*", "%")}, nil},
		{"desc", []eureka.Condition{is("desc", "%")}, []string{"d"}},
		{"presence", []eureka.Condition{is("presence", "true")}, []string{"a", "c"}},
		{"no presence", []eureka.Condition{is("presence", "false")}, []string{"b", "d"}},
		{"either", []eureka.Condition{is("presence", "false", "true")}, []string{"a", "b", "c", "d"}},
		{"created", []eureka.Condition{is("createdAt", "1", "3")}, []string{"a", "c"}},
		{"updated", []eureka.Condition{is("updatedAt", "5")}, []string{"a", "d"}},
		{"missing text", []eureka.Condition{missing("modelId")}, []string{"b", "c", "d"}},
		{"missing alias", []eureka.Condition{missing("alias")}, []string{"c", "d"}},
		{"missing number", []eureka.Condition{missing("updatedAt")}, []string{"c"}},
		{"missing flag", []eureka.Condition{missing("presence")}, []string{"b", "d"}},
		{"existing text", []eureka.Condition{exists("desc")}, []string{"a", "d"}},
		{"existing number", []eureka.Condition{exists("updatedAt")}, []string{"a", "b", "d"}},
		{"existing flag", []eureka.Condition{exists("presence")}, []string{"a", "c"}},
		{"all must hold", []eureka.Condition{is("service", "orders"), is("modelType", "order"), missing("modelId")}, []string{"b"}},
		{"the same field twice", []eureka.Condition{is("id", "a", "b"), is("id", "b", "c")}, []string{"b"}},
		{"hostile", []eureka.Condition{is("name", `' OR '1'='1`, `"; DROP TABLE channels; --`)}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			page := list(t, c, eureka.ChannelQuery{Where: tt.where})
			wantSet(t, tt.name, page, tt.want...)
			if _, cannot := h.Cannot[ChannelsTotals]; !cannot && page.Total != len(tt.want) {
				t.Errorf("total %d, want %d", page.Total, len(tt.want))
			}
		})
	}
}

func channelsFiltersRefused(t *testing.T, h ChannelsHarness) {
	many := make([]string, eureka.MaxQueryValues+1)
	for name, where := range map[string][]eureka.Condition{
		"unknown field":   {{Field: "id = 'a' --", Values: []string{"a"}}},
		"no field":        {{Values: []string{"a"}}},
		"not filterable":  {{Field: "revision", Values: []string{"1"}}},
		"no value":        {{Field: "id"}},
		"many values":     {{Field: "id", Values: many}},
		"many conditions": slices.Repeat([]eureka.Condition{{Field: "id", Values: []string{"a"}}}, eureka.MaxConditions+1),
		"not a number":    {{Field: "createdAt", Values: []string{"yesterday"}}},
		"not a flag":      {{Field: "presence", Values: []string{"maybe"}}},
		"control":         {{Field: "name", Values: []string{"\x00"}}},
		"not UTF-8":       {{Field: "name", Values: []string{"\xff"}}},
	} {
		_, err := h.first().List(t.Context(), eureka.ChannelQuery{Where: where})
		wantCode(t, name, err, eureka.CodeInvalid)
	}
	most := slices.Repeat([]eureka.Condition{{Field: "desc", Values: slices.Repeat([]string{"x"}, eureka.MaxQueryValues)}}, eureka.MaxConditions)
	if page := list(t, h.first(), eureka.ChannelQuery{Where: most}); len(page.Items) != 0 {
		t.Errorf("the largest query finds %q", ids(page.Items))
	}
}
