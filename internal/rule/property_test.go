package rule_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"eureka"
	"eureka/internal/rule"
)

// scalars are literals that events and filters share, among them numbers that are equal although they are written in different ways.
var scalars = []string{
	`"1"`, `1`, `1.0`, `0`, `-0.0`, `2.5`, `true`, `false`, `null`, `""`, `"a"`, `"b"`, `9007199254740993`, `9007199254740992`, `9007199254740992.0`, `-1`,
	`18446744073709551615`, `1e3`, `1000`,
}

// celLiteral writes a scalar as the language does.
func celLiteral(s string) string {
	if s == "18446744073709551615" {
		return s + "u"
	}
	return s
}

// paths are fields that some events have, as scalars, objects or not at all.
var paths = []string{`data.a`, `data["a"]`, `data.b`, `data.o.a`, `data.o.b`, `data.o["a"]`, `event`, `service`, `data`, `modelId`}

func drawAtom(t *rapid.T) string {
	path := rapid.SampledFrom(paths).Draw(t, "path")
	literal := func() string { return celLiteral(rapid.SampledFrom(scalars).Draw(t, "literal")) }
	if !strings.HasPrefix(path, "data") {
		literal = func() string { return rapid.SampledFrom([]string{`"1"`, `""`, `"a"`, `"b"`}).Draw(t, "text") }
	}
	switch rapid.IntRange(0, 9).Draw(t, "form") {
	case 0, 1:
		return path + " == " + literal()
	case 2:
		return literal() + " == " + path
	case 3, 4:
		return path + " in [" + literal() + ", " + literal() + ", " + literal() + "]"
	case 5:
		return "(" + path + " == " + literal() + " || " + path + " == " + literal() + ")"
	case 6:
		return path + " != " + literal()
	case 7:
		return "has(data.a)"
	case 8:
		return "data.n > " + rapid.SampledFrom([]string{"1", "1.5", "0"}).Draw(t, "bound")
	default:
		return "!(" + path + " == " + literal() + ")"
	}
}

func drawFilter(t *rapid.T) string {
	atoms := rapid.SliceOfN(rapid.Custom(drawAtom), 1, 4).Draw(t, "atoms")
	filter := atoms[0]
	for _, atom := range atoms[1:] {
		filter += rapid.SampledFrom([]string{" && ", " && ", " || "}).Draw(t, "operator") + atom
	}
	return filter
}

func drawData(t *rapid.T) string {
	member := func(name string) string {
		switch rapid.IntRange(0, 6).Draw(t, name) {
		case 0:
			return ""
		case 1:
			return fmt.Sprintf("%q:[1,2]", name)
		default:
			return fmt.Sprintf("%q:%s", name, rapid.SampledFrom(scalars).Draw(t, "value"))
		}
	}
	object := func(names ...string) string {
		var members []string
		for _, name := range names {
			if m := member(name); m != "" {
				members = append(members, m)
			}
		}
		return strings.Join(members, ",")
	}
	switch rapid.IntRange(0, 8).Draw(t, "data") {
	case 0:
		return rapid.SampledFrom(scalars).Draw(t, "scalar")
	case 1:
		return "[" + rapid.SampledFrom(scalars).Draw(t, "element") + "]"
	default:
		outer := object("a", "b", "n")
		inner := `"o":{` + object("a", "b") + "}"
		if rapid.Bool().Draw(t, "flat") {
			inner = `"o":` + rapid.SampledFrom(scalars).Draw(t, "o")
		}
		return "{" + strings.TrimPrefix(outer+","+inner, ",") + "}"
	}
}

func drawFacts(t *rapid.T) eureka.Facts {
	text := rapid.SampledFrom([]string{"1", "", "a", "b"})
	return eureka.Facts{
		Event: text.Draw(t, "event"), Origin: eureka.Origin{Service: text.Draw(t, "service"), ModelID: text.Draw(t, "modelId")},
		Data: json.RawMessage(drawData(t)), TS: 1,
	}
}

// A set passes what each of its filters passes when it is asked alone, while filters come and go.
func TestSetEqualsPlainEvaluation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := rule.New(rule.Options{})
		set := rules.NewSet()
		var have []string
		for range rapid.IntRange(1, 12).Draw(t, "filters") {
			filter := drawFilter(t)
			if slices.Contains(have, filter) || rules.Check(eureka.RuleSubscription, filter) != nil {
				continue // some compare what the types forbid
			}
			if err := set.Add(filter); err != nil {
				t.Fatalf("add %s: %v", filter, err)
			}
			have = append(have, filter)
			if len(have) > 1 && rapid.IntRange(0, 4).Draw(t, "remove") == 0 {
				at := rapid.IntRange(0, len(have)-1).Draw(t, "at")
				set.Remove(have[at])
				have = slices.Delete(have, at, at+1)
			}
		}
		for range rapid.IntRange(1, 6).Draw(t, "events") {
			facts := drawFacts(t)
			var want, got []string
			for _, filter := range have {
				// A run of its own each, so that nothing is shared.
				if passed, err := rules.On(eureka.RuleSubject{Facts: facts}).Passes(eureka.RuleSubscription, filter); passed && err == nil {
					want = append(want, filter)
				}
			}
			set.Select(facts, func(filter string) { got = append(got, filter) })
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(want, got) {
				t.Fatalf("event %+v data %s\nfilters %q\npassed %q\nwant   %q", facts, facts.Data, have, got, want)
			}
		}
	})
}

// A joined filter passes what both pass, whatever either text tries.
func TestJoinPassesWhatBothPass(t *testing.T) {
	tricks := []string{"", " // ", " // )", "\n// \" ' )\n", " //\r"}
	rapid.Check(t, func(t *rapid.T) {
		rules := rule.New(rule.Options{})
		client := drawFilter(t) + rapid.SampledFrom(tricks).Draw(t, "client's end")
		credential := drawFilter(t) + rapid.SampledFrom(tricks).Draw(t, "credential's end")
		joined, err := rules.Join(credential, client)
		if rules.Check(eureka.RuleSubscription, client) != nil || rules.Check(eureka.RuleSubscription, credential) != nil {
			if err == nil {
				t.Fatalf("joined %q and %q, of which one is wrong: %q", client, credential, joined)
			}
			return
		}
		if err != nil {
			t.Fatalf("join %q and %q: %v", client, credential, err)
		}
		facts := drawFacts(t)
		pass := func(filter string) bool {
			passed, err := rules.On(eureka.RuleSubject{Facts: facts}).Passes(eureka.RuleSubscription, filter)
			return passed && err == nil
		}
		if want, got := pass(client) && pass(credential), pass(joined); want != got {
			t.Fatalf("data %s\nclient %q\ncredential %q\njoined %q: %v, want %v", facts.Data, client, credential, joined, got, want)
		}
	})
}
