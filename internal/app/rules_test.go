package app_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"eureka"
)

// TestRefreshChangesFilters: a new token whose filters for a channel differ ends that subscription with `gone`, one that a rule of access no longer lets
// in with `forbidden`, and the others stay. Subscribing again from the last cursor misses nothing that the new filter passes.
func TestRefreshChangesFilters(t *testing.T) {
	t.Parallel()
	n := guarded(t)
	n.admin(t, "POST", "/channels/news", `{"alias":"press:article","history":{}}`)
	n.admin(t, "POST", "/channels/staff", `{"access":{"subscribe":"claims.role == \"staff\""}}`)
	n.admin(t, "POST", "/channels/room", `{}`)
	publish := func(channel, data string) {
		t.Helper()
		n.admin(t, "POST", "/channels/"+channel+"/broadcast", `{"data":`+data+`}`)
	}
	refresh := func(change claims) string { return fmt.Sprintf(`{"action":"refresh","token":%q}`, token(change)) }
	first := claims{"role": "staff", "filters": claims{"news": "data.n == 1", "room": "data.n > 0"}}
	s := n.dial(t, "?channels=press:article,staff,room", bearer(token(first)))
	publish("news", `{"n":2,"at":"first"}`)
	publish("news", `{"n":1,"at":"first"}`)
	var seen struct{ ID string }
	if err := json.Unmarshal([]byte(s.await(`"n":1,"at":"first"`)), &seen); err != nil || seen.ID == "" {
		t.Fatalf("a message without a cursor: %v", err)
	}

	// The same filters, and others for a channel that it does not listen to, end nothing.
	s.ask(refresh(claims{"role": "staff", "filters": claims{"room": "data.n > 0", "news": "data.n == 1", "else": "false"}}), `"refreshed"`)
	publish("staff", `"still"`)
	s.await(`"data":"still"`)
	publish("news", `{"n":1,"at":"second"}`)
	s.await(`"n":1,"at":"second"`)

	s.ask(refresh(claims{"filters": claims{"news": "data.n == 2", "room": "data.n > 0"}}), `"refreshed"`)
	ended := s.next() + s.next()
	for _, want := range []string{
		`"channel":"press:article","error":{"code":"gone","message":"the new token has other filters for this channel; subscribe again, from your last cursor"`,
		`"channel":"staff","error":{"code":"forbidden"`,
	} {
		if !strings.Contains(ended, want) {
			t.Errorf("ended with %s, want …%s…", ended, want)
		}
	}
	for i := range 3 {
		publish("news", fmt.Sprintf(`{"n":%d,"at":"third"}`, i))
	}
	publish("staff", `"hidden"`)
	publish("room", `{"n":0}`)
	publish("room", `{"n":7}`)
	s.await(`"data":{"n":7}`) // nothing of the two that ended, and its own filter has stayed
	s.ask(`{"action":"subscribe","channel":"staff"}`, `"code":"forbidden"`)

	s.ask(fmt.Sprintf(`{"action":"subscribe","channel":"press:article","since":%q}`, seen.ID), `"subscribed"`)
	s.await(`"n":2,"at":"third"`)
	publish("news", `{"n":1,"at":"fourth"}`)
	publish("news", `{"n":2,"at":"fourth"}`)
	s.await(`"n":2,"at":"fourth"`)
}

// TestFailingRulesAreSeen: a rule of each kind that fails is counted, is in the log, and if it is the channel's in its lastError until the rule changes.
// It fails on the safe side: what it was asked about is not delivered, or not allowed.
func TestFailingRulesAreSeen(t *testing.T) {
	t.Parallel()
	n := guarded(t)
	counted := func(kind eureka.RuleKind) float64 {
		return n.metric(t, fmt.Sprintf("eureka_rule_errors_total{kind=%q}", kind), bearer(adminKey))
	}
	for _, kind := range eureka.RuleKinds() {
		if got := counted(kind); got != 0 {
			t.Errorf("%s is counted as %v before anything failed", kind, got)
		}
	}
	publisher := token(claims{"sub": "bob", "level": "low"})
	for i, tt := range []struct {
		kind eureka.RuleKind
		rule string // the members of a channel that has it
		fail func(t *testing.T, channel string)
	}{
		{eureka.RuleFilter, `"filter":"data.total > 10"`, func(t *testing.T, channel string) {
			if got := n.admin(t, "POST", "/channels/"+channel+"/broadcast", `{"data":{"total":"many"}}`); !strings.Contains(got, `"filtered":true`) {
				t.Error(got)
			}
		}},
		{eureka.RuleTransform, `"transform":"{\"sum\": data.total * 2}"`, func(t *testing.T, channel string) {
			if got := n.admin(t, "POST", "/events", `{"channelId":"`+channel+`","data":{}}`); strings.Contains(got, channel) {
				t.Error(got)
			}
		}},
		{eureka.RuleSubscribe, `"access":{"subscribe":"claims.level > 3"}`, func(t *testing.T, channel string) {
			n.dial(t, "", bearer(publisher)).ask(`{"action":"subscribe","channel":"`+channel+`"}`, `"code":"forbidden"`)
		}},
		{eureka.RulePublish, `"access":{"publish":"claims.level > 3"}`, func(t *testing.T, channel string) {
			n.dial(t, "", bearer(publisher)).ask(`{"action":"publish","channel":"`+channel+`","data":1}`, `"code":"forbidden"`)
		}},
	} {
		t.Run(string(tt.kind), func(t *testing.T) {
			channel := fmt.Sprintf("failing%d", i)
			n.admin(t, "POST", "/channels/"+channel, `{`+tt.rule+`}`)
			tt.fail(t, channel)
			if got := counted(tt.kind); got != 1 {
				t.Errorf("counted %v", got)
			}
			var view struct {
				LastError *struct{ Kind, Message string }
			}
			shown := n.admin(t, "GET", "/channels/"+channel, "")
			if err := json.Unmarshal([]byte(shown), &view); err != nil || view.LastError == nil || view.LastError.Kind != string(tt.kind) || view.LastError.Message == "" {
				t.Errorf("%v: %s", err, shown)
			}
			if shown = n.admin(t, "PUT", "/channels/"+channel, `{"filter":"","transform":"","access":{"subscribe":"","publish":""}}`); strings.Contains(shown, "lastError") {
				t.Errorf("after the rule changed: %s", shown)
			}
		})
	}
	t.Run("subscription", func(t *testing.T) {
		n.admin(t, "POST", "/channels/quiet", `{}`)
		s := n.dial(t, "", bearer(adminKey))
		s.ask(`{"action":"subscribe","channel":"quiet","filter":"data.total > 10"}`, `"subscribed"`)
		n.admin(t, "POST", "/channels/quiet/broadcast", `{"data":{"total":"many"}}`)
		n.admin(t, "POST", "/channels/quiet/broadcast", `{"data":{"total":11}}`)
		s.await(`{"total":11}`)
		if got := counted(eureka.RuleSubscription); got != 1 {
			t.Errorf("counted %v", got)
		}
	})
	if got := strings.Count(n.log.String(), "a rule failed"); got != len(eureka.RuleKinds()) {
		t.Errorf("the log has %d lines about %d failures", got, len(eureka.RuleKinds()))
	}
}
