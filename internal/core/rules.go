package core

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"

	"eureka"
)

// checkRules compiles a channel's rules.
func (c *Core) checkRules(ch eureka.Channel) error {
	access := accessOf(ch)
	for _, r := range []struct {
		kind eureka.RuleKind
		text string
	}{
		{eureka.RuleFilter, ch.Filter}, {eureka.RuleTransform, ch.Transform}, {eureka.RuleSubscribe, access.Subscribe}, {eureka.RulePublish, access.Publish},
	} {
		if r.text == "" {
			continue
		}
		if err := c.rules.Check(r.kind, r.text); err != nil {
			return err
		}
	}
	return nil
}

func accessOf(ch eureka.Channel) eureka.Access {
	if ch.Access == nil {
		return eureka.Access{}
	}
	return *ch.Access
}

// mayListen applies the rule of a channel on who may subscribe. It sees no message.
func (c *Core) mayListen(who eureka.Identity, t target) error {
	if t.access.Subscribe == "" {
		return nil
	}
	run := c.rules.On(eureka.RuleSubject{
		Facts: eureka.Facts{TS: c.nowMillis(), Origin: t.model}, User: who.User, Claims: who.RuleClaims(), Channel: t.id,
	})
	return c.allowed(run, eureka.RuleSubscribe, t.access.Subscribe, t.id)
}

// mayPublish applies the rule of a channel on who may publish what.
func (c *Core) mayPublish(who eureka.Identity, t target, m eureka.Message) error {
	if t.access.Publish == "" {
		return nil
	}
	return c.allowed(c.rules.On(eureka.RuleSubject{
		Facts: m.Facts(), User: who.User, Claims: who.RuleClaims(), Channel: t.id,
	}), eureka.RulePublish, t.access.Publish, t.id)
}

// allowed is nil when a rule of access passes.
func (c *Core) allowed(run eureka.RuleRun, kind eureka.RuleKind, text, channelID string) error {
	passed, err := run.Passes(kind, text)
	if err != nil {
		c.failures.note(channelID, RuleFailure{Kind: kind, Message: eureka.MessageOf(err), At: c.nowMillis()})
	}
	if err != nil || !passed {
		return eureka.Errorf(eureka.CodeForbidden, "the channel's rule on who may %s does not allow it", kind)
	}
	return nil
}

// rewrite applies a channel's filter and transform to a message. It is as a channel that has the message shows it from then on: what a transform leaves out
// is not handed on to anything. ok is false when the message does not come to the channel, also because a rule failed on it.
func (c *Core) rewrite(run eureka.RuleRun, t target, m eureka.Message) (_ eureka.Message, ok bool) {
	if t.filter != "" {
		passed, err := run.Passes(eureka.RuleFilter, t.filter)
		if err != nil {
			c.failures.note(t.id, RuleFailure{Kind: eureka.RuleFilter, Message: eureka.MessageOf(err), At: c.nowMillis()})
		}
		if err != nil || !passed {
			return m, false
		}
	}
	if t.transform != "" {
		data, err := run.Transform(t.transform)
		if err != nil {
			c.failures.note(t.id, RuleFailure{Kind: eureka.RuleTransform, Message: eureka.MessageOf(err), At: c.nowMillis()})
			return m, false
		}
		m.Data = data
	}
	return m, true
}

// filterFor is the filter of somebody's subscription to a channel: what they ask for, and what their credential restricts them to, under whichever of
// its names they use.
func (c *Core) filterFor(who eureka.Identity, t target, name, asked string) (filter string, err error) {
	filters := who.Filters(t.id, t.alias, name)
	if asked == "" && len(filters) == 0 {
		return "", nil
	}
	if len(asked) > eureka.MaxRuleLength {
		return "", eureka.FieldError("filter", "is %d bytes long, the limit is %d", len(asked), eureka.MaxRuleLength)
	}
	restriction := ""
	if len(filters) > 0 {
		restriction, err = c.rules.Join(filters...)
	}
	if err != nil {
		c.log.Warn("the filter of a credential cannot be used", slog.String("user", who.User), slog.Any("error", err))
		return "", eureka.Errorf(eureka.CodeForbidden, "the credential's filter for this channel cannot be used: %s", eureka.MessageOf(err))
	}
	if asked == "" {
		return restriction, nil
	}
	return c.rules.Join(append(filters, asked)...)
}

// RuleTrial is what a rule makes of a sample.
type RuleTrial struct {
	Valid   bool            `json:"valid" doc:"The rule compiles."`
	Error   string          `json:"error,omitempty" doc:"What is wrong with the rule, with line and column, or with the rule on this sample."`
	Result  json.RawMessage `json:"result,omitempty" doc:"The result on the sample: true or false, or of a transform any JSON value."`
	Missing string          `json:"missing,omitempty" doc:"A field that the rule asks for and the sample lacks: the rule does not pass."`
}

// CheckRule compiles a rule, and evaluates it on a sample if there is one. What is wrong with the rule is part of the answer and no error.
func (c *Core) CheckRule(_ context.Context, who eureka.Identity, kind eureka.RuleKind, text string, sample *eureka.RuleSubject) (RuleTrial, error) {
	if err := c.may(who, eureka.ScopeManage); err != nil {
		return RuleTrial{}, err
	}
	if !slices.Contains(eureka.RuleKinds(), kind) {
		return RuleTrial{}, eureka.FieldError("kind", "must be one of filter, transform, subscription, subscribe, publish")
	}
	err := c.rules.Check(kind, text)
	if err != nil && eureka.CodeOf(err) != eureka.CodeInvalid {
		return RuleTrial{}, err
	}
	trial := RuleTrial{Valid: err == nil}
	if err == nil && sample != nil {
		trial.Result, trial.Missing, err = c.rules.Try(kind, text, *sample)
	}
	if err != nil {
		trial.Error = eureka.MessageOf(err)
	}
	return trial, nil
}

// RuleFailure is the last failure of a rule.
type RuleFailure struct {
	Kind    eureka.RuleKind `json:"kind" doc:"Which rule: filter, transform, subscribe or publish."`
	Message string          `json:"message" doc:"What was wrong."`
	At      int64           `json:"at" doc:"Epoch milliseconds."`
}

// maxFailures is how many channels' last failures are remembered.
const maxFailures = 1000

// failures remembers the last failure on each channel, in the memory of this process alone: a failing rule must not cost a write per event.
type failures struct {
	mu   sync.Mutex
	last map[string]RuleFailure
}

func newFailures() *failures { return &failures{last: map[string]RuleFailure{}} }

func (f *failures) note(channelID string, failure RuleFailure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.last[channelID]; !known && len(f.last) >= maxFailures {
		for id := range f.last { // any
			delete(f.last, id)
			break
		}
	}
	f.last[channelID] = failure
}

func (f *failures) of(channelID string) *RuleFailure {
	f.mu.Lock()
	defer f.mu.Unlock()
	if failure, ok := f.last[channelID]; ok {
		return &failure
	}
	return nil
}

// forget is for a channel whose rules have changed.
func (f *failures) forget(channelID string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.last, channelID)
}

// noRules is a service without rules: none is accepted, and one that is there all the same fails.
type noRules struct{}

func errNoRules() error { return eureka.Errorf(eureka.CodeUnavailable, "rules are not available here") }

func (noRules) Check(eureka.RuleKind, string) error { return errNoRules() }
func (noRules) Join(...string) (string, error)      { return "", errNoRules() }
func (noRules) Try(eureka.RuleKind, string, eureka.RuleSubject) (json.RawMessage, string, error) {
	return nil, "", errNoRules()
}
func (noRules) On(eureka.RuleSubject) eureka.RuleRun         { return noRules{} }
func (noRules) Passes(eureka.RuleKind, string) (bool, error) { return false, errNoRules() }
func (noRules) Transform(string) (json.RawMessage, error)    { return nil, errNoRules() }
