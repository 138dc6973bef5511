package rule_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"eureka"
	"eureka/internal/rule"
)

func sample(data string) eureka.RuleSubject {
	return eureka.RuleSubject{
		Facts: eureka.Facts{Event: "created", Origin: eureka.Origin{Service: "orders", ModelType: "order", ModelID: "7"}, Data: json.RawMessage(data), TS: 1700000000000},
		User:  "ann", Channel: "1000001", Claims: json.RawMessage(`{"role":"admin","level":3}`),
	}
}

func TestBoolRules(t *testing.T) {
	rules := rule.New(rule.Options{})
	for _, c := range []struct {
		kind    eureka.RuleKind
		rule    string
		data    string
		want    bool
		missing bool
		fails   string
	}{
		{kind: eureka.RuleFilter, rule: `data.total > 10`, data: `{"total":10.5}`, want: true},
		{kind: eureka.RuleFilter, rule: `data.total > 10`, data: `{"total":11}`, want: true},
		{kind: eureka.RuleFilter, rule: `data.total == 1`, data: `{"total":1.0}`, want: true},
		{kind: eureka.RuleFilter, rule: `data.total == 1.0`, data: `{"total":1}`, want: true},
		{kind: eureka.RuleFilter, rule: `data.total == "1"`, data: `{"total":1}`, want: false},
		{kind: eureka.RuleFilter, rule: `data.total > 10`, data: `{}`, missing: true},
		{kind: eureka.RuleFilter, rule: `data.a.b == 1`, data: `{"a":{}}`, missing: true},
		{kind: eureka.RuleFilter, rule: `data.list[3] == 1`, data: `{"list":[1]}`, missing: true},
		{kind: eureka.RuleFilter, rule: `data.total > 10`, data: `{"total":"many"}`, fails: "values of types that do not go together"},
		{kind: eureka.RuleFilter, rule: `data.total`, data: `{"total":1}`, fails: "no bool"},
		{kind: eureka.RuleFilter, rule: `data.active`, data: `{"active":true}`, want: true},
		{kind: eureka.RuleFilter, rule: `1 / data.n == 1`, data: `{"n":0}`, fails: "division by zero"},
		{kind: eureka.RuleFilter, rule: `event == "created" && service == "orders" && modelType == "order" && modelId == "7" && ts > 0`, data: `null`, want: true},
		{kind: eureka.RuleFilter, rule: `data.items.exists(i, i.sku == "x")`, data: `{"items":[{"sku":"y"},{"sku":"x"}]}`, want: true},
		{kind: eureka.RuleFilter, rule: `data == null`, data: ``, want: true},
		{kind: eureka.RuleFilter, rule: `data.n > 0`, data: `{"n":1,"other":1e999}`, fails: "number"},
		{kind: eureka.RuleFilter, rule: `event == "created"`, data: `{"other":1e999}`, want: true},
		{kind: eureka.RuleSubscribe, rule: `claims.role == "admin" && user == "ann" && channel == "1000001" && claims.level >= 3`, want: true},
		{kind: eureka.RulePublish, rule: `claims.team == "x"`, missing: true},
	} {
		t.Run(c.rule+" "+c.data, func(t *testing.T) {
			result, missing, err := rules.Try(c.kind, c.rule, sample(c.data))
			passed, runErr := rules.On(sample(c.data)).Passes(c.kind, c.rule)
			if passed != c.want || (runErr != nil) != (c.fails != "") {
				t.Errorf("passes %v, %v", passed, runErr)
			}
			switch {
			case c.fails != "":
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("error %v, want one with %q", err, c.fails)
				}
			case err != nil:
				t.Error(err)
			case string(result) != fmt.Sprint(c.want) || (missing != "") != c.missing:
				t.Errorf("result %s, missing %q", result, missing)
			}
		})
	}
}

func TestRulesThatDoNotCompile(t *testing.T) {
	rules := rule.New(rule.Options{})
	nested := "data.a.exists(a, data.b.exists(b, data.c.exists(c, data.d.exists(d, a == b && c == d))))"
	for _, c := range []struct {
		kind eureka.RuleKind
		rule string
		want string
	}{
		{eureka.RuleFilter, "data.total >", "line 1:13:"},
		{eureka.RuleFilter, "true &&\n  foo == 1", "line 2:3: undeclared reference to 'foo'"},
		{eureka.RuleFilter, `event + 1 == "x"`, "line 1:7: found no matching overload"},
		{eureka.RuleFilter, `"text"`, "must be a bool and is of type string"},
		{eureka.RuleFilter, "", "is empty"},
		{eureka.RuleFilter, "user == 'ann'", "undeclared reference to 'user'"},
		{eureka.RuleFilter, "true || " + strings.Repeat("x", eureka.MaxRuleLength), "the limit is 4096"},
		{eureka.RuleFilter, nested, "may cost too much"},
		{eureka.RuleFilter, strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200), "line 1:"},
		{eureka.RuleFilter, `event.matches("(a{1000}){1000}")`, "line 1:"},
		{eureka.RuleFilter, `event.matches("(")`, "line 1:"},
		{eureka.RuleFilter, "\x00", "line 1:1"},
		{eureka.RuleTransform, "{'a': }", "line 1:7"},
	} {
		t.Run(c.rule[:min(len(c.rule), 40)], func(t *testing.T) {
			err := rules.Check(c.kind, c.rule)
			if eureka.CodeOf(err) != eureka.CodeInvalid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestTransforms(t *testing.T) {
	rules := rule.New(rule.Options{})
	data := `{"id":9007199254740993,"name":"<é>","n":1.5,"list":[1,{"b":2,"a":[null,true]}],"big":18446744073709551615,"s":"` + strings.Repeat("x", 20_000) + `"}`
	for _, c := range []struct{ rule, want, fails string }{
		{rule: `{"status": data.n, "id": data.id}`, want: `{"id":9007199254740993,"status":1.5}`},
		{rule: `data.list`, want: `[1,{"a":[null,true],"b":2}]`},
		{rule: `data.big`, want: `18446744073709551615`},
		{rule: `data.name + "&"`, want: `"<é>&"`},
		{rule: `data.list.filter(x, type(x) == int).map(x, x * 2)`, want: `[2]`},
		{rule: `null`, want: `null`},
		{rule: `b"abc"`, want: `"YWJj"`},
		{rule: `timestamp("2026-01-02T03:04:05Z")`, want: `"2026-01-02T03:04:05Z"`},
		{rule: `duration("1.5s")`, want: `"1.5s"`},
		{rule: `{"gone": data.gone}`, fails: "no such key: gone"},
		{rule: `data.n / 0.0`, fails: "infinite"},
		{rule: `0.0 / 0.0`, fails: "infinite or none"},
		{rule: `{1: 2}`, fails: "key that is no string"},
		{rule: `int`, fails: "JSON cannot say"},
		{rule: `[` + strings.Repeat("data.s,", 20) + `data.s]`, fails: "limit of 131072"},
		{rule: `[1,2,3,4,5,6,7,8,9,10]` + strings.Repeat(".map(x, [x, x])", 12), fails: ""},
	} {
		t.Run(c.rule[:min(len(c.rule), 60)], func(t *testing.T) {
			got, err := rules.On(sample(data)).Transform(c.rule)
			if c.want != "" && (err != nil || string(got) != c.want) {
				t.Errorf("%s, %v; want %s", got, err, c.want)
			}
			if c.want == "" && (eureka.CodeOf(err) != eureka.CodeInvalid || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("error %v, want one with %q", err, c.fails)
			}
		})
	}
}

// What looks endless ends, at creation or at its bounds.
func TestBounds(t *testing.T) {
	rules := rule.New(rule.Options{})
	numbers := "[" + strings.Repeat("1,", 2000) + "1]"
	for _, c := range []struct{ name, rule string }{
		{"loops in loops", `data.a.all(x, data.a.all(y, x == y))`},
		{"doubled lists", `1 in ([data.a]` + strings.Repeat(".map(x, x + x)", 40) + `)[0]`},
		{"doubled maps", `[data.a]` + strings.Repeat(`.map(x, {"a": x, "b": x})`, 14) + ` == [data.a]`},
		{"many loops", `[data.a]` + strings.Repeat(`.map(x, [x, x])`, 40) + ` == []`},
		{"doubled strings", `[data.s]` + strings.Repeat(`.map(x, x + x)`, 40) + ` == ["1"]`},
		{"long searches", strings.Repeat(`data.s.contains("y") || `, 100) + `false`},
		{"regular expressions", strings.Repeat(`data.s.matches("(x+x+)+y") || `, 100) + `false`},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := `{"a":` + numbers + `,"s":"` + strings.Repeat("x", 100_000) + `"}`
			passed, err := rules.On(sample(data)).Passes(eureka.RuleFilter, c.rule)
			if passed || eureka.CodeOf(err) != eureka.CodeInvalid {
				t.Errorf("passed %v, error %v", passed, err)
			}
			t.Log(err)
		})
	}
}

func TestJoin(t *testing.T) {
	rules := rule.New(rule.Options{})
	for _, c := range []struct{ client, credential, want string }{
		{"", "", ""},
		{`data.x=="a"`, "", `data.x == "a"`},
		{"", `data.x  ==  "a" // mine`, `data.x == "a"`},
		{`true || true // `, `data.x == 'a' // `, `data.x == "a" && (true || true)`},
		{`data.x == "a"`, `data.x=="a"`, `data.x == "a"`},
		{`data.l.exists(i, i == 1)`, `has(data.l)`, `has(data.l) && data.l.exists(i, i == 1)`},
	} {
		got, err := rules.Join(c.credential, c.client)
		if err != nil || got != c.want {
			t.Errorf("join %q and %q: %q, %v; want %q", c.client, c.credential, got, err, c.want)
		}
	}
	for _, bad := range []string{`true) || (true`, `true // "` + "\n" + `)`, `"`, strings.Repeat(" ", 5000) + "true"} {
		if got, err := rules.Join(bad, "data.x == 1"); eureka.CodeOf(err) != eureka.CodeInvalid {
			t.Errorf("client %q gave %q, %v", bad, got, err)
		}
		if got, err := rules.Join("data.x == 1", bad); eureka.CodeOf(err) != eureka.CodeInvalid {
			t.Errorf("credential %q gave %q, %v", bad, got, err)
		}
	}
}

// Many rules at once, of which many are the same, more than the cache holds.
func TestBurst(t *testing.T) {
	rules := rule.New(rule.Options{CacheSize: 20})
	var group sync.WaitGroup
	var wrong atomic.Int64
	for worker := range 8 {
		group.Go(func() {
			for i := range 250 {
				text := fmt.Sprintf(`data.n == %d || data.m > %d`, i%50, worker*(i%3))
				passed, err := rules.On(sample(fmt.Sprintf(`{"n":%d,"m":-1}`, i%50))).Passes(eureka.RuleFilter, text)
				if err != nil || !passed {
					wrong.Add(1)
				}
			}
		})
	}
	group.Wait()
	if wrong.Load() > 0 {
		t.Errorf("%d rules went wrong", wrong.Load())
	}
}

// 10,000 different rules of every kind, compiled by many at once and far more than the cache keeps: each is right the first time and after it was
// dropped, those that do not compile are told apart, and what was dropped is not held on to.
func TestBurstOfDifferentRules(t *testing.T) {
	const count, kept, workers = 10_000, 500, 8
	rules := rule.New(rule.Options{CacheSize: kept})
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	var group sync.WaitGroup
	var wrong atomic.Int64
	burst := func(from, to int) {
		for worker := range workers {
			group.Go(func() {
				for i := from + worker; i < to; i += workers {
					if err := oneOfMany(rules, i); err != nil && wrong.Add(1) < 5 {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
	}
	burst(0, 2*kept) // the cache is full
	before := heap()
	burst(2*kept, count)
	// 9,000 rules of at least 2 KB each would be 18 MB.
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("%d rules more are %d bytes more", count-2*kept, grown)
	}
	burst(0, kept) // those dropped first
	if wrong.Load() > 0 {
		t.Errorf("%d rules went wrong", wrong.Load())
	}
	runtime.KeepAlive(rules)
}

// oneOfMany compiles and evaluates rule number i, which is right for its number alone.
func oneOfMany(rules *rule.Rules, i int) error {
	kinds := eureka.RuleKinds()
	kind, data := kinds[i%len(kinds)], fmt.Sprintf(`{"n":%d}`, i)
	if i%7 == 0 {
		if err := rules.Check(kind, fmt.Sprintf(`%d ==`, i)); eureka.CodeOf(err) != eureka.CodeInvalid || !strings.Contains(err.Error(), "line 1:") {
			return fmt.Errorf("%s %d does not compile, and the error is %w", kind, i, err)
		}
		return nil
	}
	if kind == eureka.RuleTransform {
		got, err := rules.On(sample(data)).Transform(fmt.Sprintf(`{"n": data.n, "rule": %d}`, i))
		if want := fmt.Sprintf(`{"n":%d,"rule":%d}`, i, i); err != nil || string(got) != want {
			return fmt.Errorf("%s %d made %s, %w", kind, i, got, err)
		}
		return nil
	}
	text := fmt.Sprintf(`data.n == %d`, i)
	if kind == eureka.RuleSubscribe { // it sees no message
		text = fmt.Sprintf(`claims.level + %d == %d`, i, i+3)
	}
	for _, c := range []struct {
		text string
		want bool
	}{{text, true}, {"!(" + text + ")", false}} {
		if passed, err := rules.On(sample(data)).Passes(kind, c.text); err != nil || passed != c.want {
			return fmt.Errorf("%s %s passed %v, %w", kind, c.text, passed, err)
		}
	}
	return nil
}

func TestFailuresAreCounted(t *testing.T) {
	counts := map[eureka.RuleKind]int{}
	rules := rule.New(rule.Options{Failed: func(kind eureka.RuleKind) { counts[kind]++ }})
	set := rules.NewSet()
	for _, filter := range []string{`data.n > 1`, `data.n == "x" && data.n > 1`, `data.missing == 1 || data.other`} {
		if err := set.Add(filter); err != nil {
			t.Fatal(err)
		}
	}
	set.Select(sample(`{"n":"x"}`).Facts, func(filter string) { t.Errorf("%s passed", filter) })
	if counts[eureka.RuleSubscription] != 2 {
		t.Errorf("counted %v; the first two fail, the third only lacks fields", counts)
	}
	if _, err := rules.On(sample(`{}`)).Transform(`data.gone`); err == nil || counts[eureka.RuleTransform] != 1 {
		t.Errorf("a transform that lacks a field: %v, counted %v", err, counts)
	}
}

// TestTheLogIsNotFlooded: each failure is counted, and the log has five lines at once and one in ten seconds, whichever rules fail.
func TestTheLogIsNotFlooded(t *testing.T) {
	var log bytes.Buffer
	counted, now := 0, time.UnixMilli(1700000000000)
	rules := rule.New(rule.Options{
		Failed: func(eureka.RuleKind) { counted++ }, Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return now },
	})
	for _, at := range []struct {
		later time.Duration
		lines int // in all
	}{{0, 5}, {9 * time.Second, 5}, {2 * time.Second, 6}, {time.Hour, 11}} {
		now = now.Add(at.later)
		for i := range 100 {
			text := fmt.Sprintf(`data.n > %d`, i)
			if passed, err := rules.On(sample(`{"n":"x"}`)).Passes(eureka.RuleFilter, text); passed || err == nil {
				t.Fatalf("passed %v, %v", passed, err)
			}
		}
		if lines := strings.Count(log.String(), "a rule failed"); lines != at.lines {
			t.Errorf("%d lines %s later, want %d", lines, at.later, at.lines)
		}
	}
	if counted != 400 {
		t.Errorf("%d failures are counted", counted)
	}
}
