package dynamo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"eureka"
	"eureka/internal/awslocal"
)

// numbered are n items of one partition.
func numbered(partition string, n int) []item {
	items := make([]item, n)
	for i := range items {
		items[i] = key{partition, fmt.Sprintf("%04d", i)}.item()
		items[i]["n"] = number(int64(i))
	}
	return items
}

func sorts(t *testing.T, tb *table, q query) []string {
	t.Helper()
	got := []string{}
	for it, err := range tb.items(t.Context(), q) {
		if err != nil {
			t.Fatalf("%+v: %v", q, err)
		}
		got = append(got, it.text(KeySort))
	}
	return got
}

func TestQuery(t *testing.T) {
	t.Parallel()
	tb := &testEngine(t, endpoint(t), newTestTable(t), nil).table
	if err := tb.batchWrite(t.Context(), numbered("p", 30), nil); err != nil {
		t.Fatal(err)
	}
	if err := tb.batchWrite(t.Context(), numbered("other", 5), nil); err != nil {
		t.Fatal(err)
	}
	all := sorts(t, tb, query{partition: "p"})
	if len(all) != 30 {
		t.Fatalf("the partition has %q", all)
	}
	backwards := slices.Clone(all)
	slices.Reverse(backwards)
	even := query{filter: "n IN (:a, :b)", values: item{":a": number(4), ":b": number(22)}}
	for name, tt := range map[string]struct {
		q    query
		want []string
	}{
		"prefix":              {query{prefix: "001"}, all[10:20]},
		"between":             {query{from: "0003", to: "0007"}, all[3:8]},
		"from":                {query{from: "0025"}, all[25:]},
		"to":                  {query{to: "0002"}, all[:3]},
		"reverse":             {query{reverse: true}, backwards},
		"limit":               {query{limit: 7, consistent: true}, all[:7]},
		"after":               {query{after: "0026"}, all[27:]},
		"after what is not":   {query{after: "0026x"}, all[27:]},
		"after, reverse":      {query{after: "0002", reverse: true, limit: 9}, backwards[28:]},
		"after within prefix": {query{prefix: "001", after: "0017", limit: 1}, all[18:19]},
		"filter":              {even, []string{"0004", "0022"}},
		"filter and limit":    {query{filter: even.filter, values: even.values, limit: 3}, []string{"0004", "0022"}},
		"attributes":          {query{limit: 2, attributes: []string{KeySort}}, all[:2]},
		"nothing":             {query{prefix: "x"}, []string{}},
	} {
		tt.q.partition = "p"
		if got := sorts(t, tb, tt.q); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	if n, err := tb.count(t.Context(), query{partition: "p", prefix: "002"}); err != nil || n != 10 {
		t.Errorf("count: %d, %v", n, err)
	}
}

// TestPages: answers over 1 MB come in several pages and are whole.
func TestPages(t *testing.T) {
	t.Parallel()
	var read float64
	var mu sync.Mutex
	tb := &testEngine(t, endpoint(t), newTestTable(t), func(o *Options) {
		o.Meter = func(r, _ float64) {
			mu.Lock()
			defer mu.Unlock()
			read += r
		}
	}).table
	items := numbered("p", 12)
	for _, it := range items {
		it["x"] = text(strings.Repeat("x", 300<<10))
	}
	if err := tb.batchWrite(t.Context(), items, nil); err != nil {
		t.Fatal(err)
	}
	pages := 0
	for _, err := range tb.pages(t.Context(), query{partition: "p"}) {
		if pages++; err != nil {
			t.Fatal(err)
		}
	}
	if got := sorts(t, tb, query{partition: "p", limit: 11}); len(got) != 11 || pages < 3 {
		t.Errorf("%d items, and %d pages of all", len(got), pages)
	}
	read = 0
	if n, err := tb.count(t.Context(), query{partition: "p", consistent: true}); err != nil || n != 12 {
		t.Errorf("count: %d, %v", n, err)
	}
	if read < 12*300/4 {
		t.Errorf("%v units were metered for 3600 KB", read)
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	tb := &testEngine(t, endpoint(t), newTestTable(t), nil).table
	ctx := t.Context()
	k := key{"p", "s"}
	it := k.item()
	it["v"] = text("one")
	if err := tb.put(ctx, it, absent); err != nil {
		t.Fatal(err)
	}
	check := func(what string, err error) {
		t.Helper()
		refusal := refused(err)
		if refusal == nil || refusal.unsure || refusal.item.text("v") != "one" || eureka.CodeOf(err) != eureka.CodeConflict {
			t.Errorf("%s: %+v, %v", what, refusal, err)
		}
	}
	only := condition{expression: "v = :v", values: item{":v": text("two")}}
	check("put", tb.put(ctx, it, absent))
	_, err := tb.update(ctx, k, change{expression: "SET v = :v", only: "v <> :w", values: item{":v": text("three"), ":w": text("one")}})
	check("update", err)
	_, err = tb.remove(ctx, k, only)
	check("remove", err)
	err = tb.transact(ctx, step{put: key{"p", "new"}.item()}, step{remove: true, key: k, only: only})
	check("transact", err)
	if refused(err).step != 1 {
		t.Errorf("the step that failed is %d", refused(err).step)
	}
	if other, err := tb.get(ctx, key{"p", "new"}, true); err != nil || other != nil {
		t.Errorf("half of a transaction was done: %v, %v", other, err)
	}
	got, err := tb.update(ctx, k, change{expression: "ADD n :n", values: item{":n": number(2)}, returns: types.ReturnValueAllNew})
	if err != nil || got.number("n") != 2 || got.text("v") != "one" {
		t.Errorf("update: %v, %v", got, err)
	}
	if old, err := tb.remove(ctx, k, condition{}); err != nil || old.text("v") != "one" {
		t.Errorf("remove: %v, %v", old, err)
	}
	if old, err := tb.remove(ctx, k, condition{}); err != nil || old != nil {
		t.Errorf("remove again: %v, %v", old, err)
	}
	it["v"] = text(strings.Repeat("x", 401<<10))
	if err := tb.put(ctx, it, condition{}); eureka.CodeOf(err) != eureka.CodeTooLarge {
		t.Errorf("an item over 400 KB: %v", err)
	}
	if _, err := tb.update(ctx, k, change{expression: "nonsense"}); eureka.CodeOf(err) != eureka.CodeInternal || strings.Contains(eureka.MessageOf(err), "nonsense") {
		t.Errorf("a request that is wrong: %v", err)
	}
}

// TestFaults: whatever DynamoDB does to single requests, all is done in the end, and nothing twice.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string]awslocal.Faults{
		"throttled":        {Throttle: 0.3},
		"unprocessed":      {Unprocessed: 0.5},
		"cut":              {Cut: 0.3},
		"answers lost":     {Lose: 0.3},
		"everything":       {Throttle: 0.1, Unprocessed: 0.2, Cut: 0.1, Lose: 0.1, Jitter: 5 * time.Millisecond},
		"one at a time":    {Unprocessed: 0.97},
		"only the batches": {Throttle: 0.5, Operations: []string{"BatchWriteItem", "BatchGetItem"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := proxied(t, 7)
			tb := &testEngine(t, proxy.Endpoint, newTestTable(t), nil).table
			proxy.Set(faults)
			ctx := t.Context()
			items := numbered("p", 130)
			if err := tb.batchWrite(ctx, items, nil); err != nil {
				t.Fatal(err)
			}
			keys := make([]key, 0, 2*len(items)+1)
			for _, it := range items {
				keys = append(keys, it.key(), it.key())
			}
			found, err := tb.batchGet(ctx, append(keys, key{"p", "none"}), true)
			if err != nil || len(found) != len(items) || found[key{"p", "0129"}].number("n") != 129 {
				t.Errorf("batchGet gives %d items, %v", len(found), err)
			}
			for i := range 20 {
				k := key{"t", fmt.Sprint(i)}
				if err := tb.transact(ctx, step{put: k.item(), only: absent}, step{key: key{"t", "n"}, change: &change{
					expression: "ADD n :n", values: item{":n": number(1)},
				}}); err != nil {
					t.Errorf("transaction %d: %v", i, err)
				}
				unsure := false
				if err := tb.put(ctx, key{"u", fmt.Sprint(i)}.item(), absent); err != nil {
					refusal := refused(err)
					unsure = refusal != nil && refusal.unsure
					if !unsure {
						t.Errorf("put %d: %v", i, err)
					}
				}
				if got, err := tb.get(ctx, key{"u", fmt.Sprint(i)}, true); err != nil || got == nil {
					t.Errorf("put %d left nothing (unsure: %t): %v", i, unsure, err)
				}
			}
			if got, err := tb.get(ctx, key{"t", "n"}, true); err != nil || got.number("n") != 20 {
				t.Errorf("20 transactions counted %d, %v", got.number("n"), err)
			}
			var removes []key
			for _, it := range items {
				removes = append(removes, it.key())
			}
			if err := tb.batchWrite(ctx, numbered("q", 3), removes); err != nil {
				t.Fatal(err)
			}
			if left, other := sorts(t, tb, query{partition: "p"}), sorts(t, tb, query{partition: "q"}); len(left) != 0 || len(other) != 3 {
				t.Errorf("left %q and %q", left, other)
			}
			u := proxy.Usage()
			if u.Throttled+u.Cut+u.Lost+u.Unprocessed == 0 {
				t.Error("the proxy did nothing")
			}
		})
	}
}

// TestRetriesEnd: what never works ends after a bounded number of tries, or with the caller's time, as CodeUnavailable.
func TestRetriesEnd(t *testing.T) {
	t.Parallel()
	proxy := proxied(t, 1)
	tb := &testEngine(t, proxy.Endpoint, newTestTable(t), nil).table
	proxy.Set(awslocal.Faults{Throttle: 1})
	if _, err := tb.get(t.Context(), key{"p", "s"}, true); eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("always throttled: %v", err)
	}
	if n := proxy.Usage().Throttled; n != maxTries {
		t.Errorf("%d tries, want %d: the SDK's and ours multiply, or there are none", n, maxTries)
	}
	proxy.Reset()
	proxy.Set(awslocal.Faults{Cut: 1})
	if err := tb.put(t.Context(), key{"p", "s"}.item(), condition{}); eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("always cut: %v", err)
	}
	if n := proxy.Usage().Cut; n != maxTries {
		t.Errorf("%d tries, want %d", n, maxTries)
	}
	proxy.Set(awslocal.Faults{Latency: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := tb.get(ctx, key{"p", "s"}, true); eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("no answer in time: %v", err)
	}
	tb.tryTime = 20 * time.Millisecond
	if _, err := tb.get(t.Context(), key{"p", "s"}, true); eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("a connection that hangs: %v", err)
	}
	proxy.Stop()
	if _, err := tb.get(t.Context(), key{"p", "s"}, true); eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("nobody there: %v", err)
	}
}
