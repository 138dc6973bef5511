package rule_test

import (
	"encoding/json"
	"testing"

	"eureka"
	"eureka/internal/rule"
)

// FuzzRule compiles and evaluates anything: nothing panics, and what is written anew from a filter gives the same result.
func FuzzRule(f *testing.F) {
	for _, text := range []string{`data.a == 1`, `data.a in ["x", 1.0] && event == "e"`, `data.l.exists(i, i > 1) // c`, `{"a": data}`, `"\n" + '"' == data.s`, `has(data.a.b)`, `b"\xff" == b""`} {
		f.Add(text, `{"a":1,"l":[1,2],"s":"x"}`)
	}
	f.Fuzz(func(t *testing.T, text, data string) {
		rules := rule.New(rule.Options{})
		subject := eureka.RuleSubject{Facts: eureka.Facts{Event: "e", Data: json.RawMessage(data)}}
		if out, err := rules.On(subject).Transform(text); err == nil && (!json.Valid(out) || len(out) > eureka.MaxFrameBytes) {
			t.Errorf("the result %q is no JSON value, or too long", out)
		}
		joined, err := rules.Join(text)
		if err != nil || len(text) > eureka.MaxRuleLength {
			return
		}
		want, wantErr := rules.On(subject).Passes(eureka.RuleSubscription, text)
		got, gotErr := rules.On(subject).Passes(eureka.RuleSubscription, joined)
		if want != got || (wantErr == nil) != (gotErr == nil) {
			t.Errorf("%q passes %v, %v; as %q it is %v, %v", text, want, wantErr, joined, got, gotErr)
		}
	})
}
