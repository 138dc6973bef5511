package rule_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"testing"

	"eureka"
	"eureka/internal/rule"
)

func BenchmarkCompile(b *testing.B) {
	rules := rule.New(rule.Options{CacheSize: 1})
	for i := range b.N {
		if err := rules.Check(eureka.RuleFilter, fmt.Sprintf(`data.userId == "user-%d" && data.total > 10`, i)); err != nil {
			b.Fatal(err)
		}
	}
}

var order = eureka.Facts{
	Event: "created", Origin: eureka.Origin{Service: "orders", ModelType: "order", ModelID: "7"},
	Data: json.RawMessage(`{"userId":"user-77","total":120.5,"status":"paid","items":[{"sku":"a","n":1},{"sku":"b","n":2}],"address":{"city":"Berlin","zip":"10115"}}`),
}

func BenchmarkPasses(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"equality", `data.userId == "user-77"`},
		{"conjunction", `event == "created" && data.total > 10 && data.status in ["paid", "shipped"]`},
		{"loop", `data.items.exists(i, i.sku == "b")`},
	} {
		b.Run(c.name, func(b *testing.B) {
			rules := rule.New(rule.Options{})
			run := rules.On(eureka.RuleSubject{Facts: order})
			for range b.N {
				if passed, err := run.Passes(eureka.RuleFilter, c.text); err != nil || !passed {
					b.Fatal(passed, err)
				}
			}
		})
	}
	b.Run("decode", func(b *testing.B) {
		rules := rule.New(rule.Options{})
		for range b.N {
			if passed, err := rules.On(eureka.RuleSubject{Facts: order}).Passes(eureka.RuleFilter, `data.total > 10`); err != nil || !passed {
				b.Fatal(passed, err)
			}
		}
	})
}

// BenchmarkSelect is one message against the filters of a channel.
func BenchmarkSelect(b *testing.B) {
	for _, c := range []struct {
		name, form string
		filters    int
	}{
		{"none", "", 0},
		{"equality/1", `data.userId == "user-%d"`, 1},
		{"equality/10000", `data.userId == "user-%d"`, 10_000},
		{"conjunction/10000", `data.userId == "user-%d" && data.total > 10`, 10_000},
		{"plain/10000", `data.userId != "user-%d"`, 10_000},
	} {
		b.Run(c.name, func(b *testing.B) {
			rules := rule.New(rule.Options{})
			set := rules.NewSet()
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for i := range c.filters {
				if err := set.Add(fmt.Sprintf(c.form, i)); err != nil {
					b.Fatal(err)
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			passed := 0
			b.ResetTimer()
			for range b.N {
				set.Select(order, func(string) { passed++ })
			}
			if c.filters > 0 {
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(c.filters), "B/filter")
			}
		})
	}
}
