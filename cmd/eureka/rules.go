package main

import (
	"encoding/json"

	"eureka"
)

type rulesCmd struct {
	Check checkRuleCmd `cmd:"" help:"Compile a rule, and evaluate it on a sample when there is one."`
}

type checkRuleCmd struct {
	Rule   string  `arg:"" help:"The rule, in CEL, such as 'data.total > 100'."`
	Kind   string  `help:"What it is for: ${enum}." enum:"filter,transform,subscription,subscribe,publish" default:"filter"`
	Data   *string `help:"Data of the sample, as JSON." placeholder:"JSON"`
	Event  string  `help:"Event of the sample."`
	User   string  `help:"Who asks, for rules of access."`
	Claims *string `help:"Claims of who asks, as JSON." placeholder:"JSON"`
}

// Run tries a rule. One that does not compile, or fails on the sample, is an error.
func (c *checkRuleCmd) Run(s *session) error {
	service, err := s.client()
	if err != nil {
		return err
	}
	request := map[string]any{"kind": c.Kind, "rule": c.Rule}
	sample := map[string]any{}
	for key, text := range map[string]*string{"data": c.Data, "claims": c.Claims} {
		if text == nil {
			continue
		}
		if !json.Valid([]byte(*text)) {
			return eureka.FieldError(key, "is not valid JSON")
		}
		sample[key] = json.RawMessage(*text)
	}
	for key, text := range map[string]string{"event": c.Event, "user": c.User} {
		if text != "" {
			sample[key] = text
		}
	}
	if len(sample) > 0 {
		request["sample"] = sample
	}
	trial, err := service.CheckRule(s.ctx, request)
	switch {
	case err != nil:
		return s.interrupted(err)
	case s.json:
		err = s.printJSON(trial)
	case trial.Error == "":
		err = s.table([][]string{{"valid", "true"}, {"result", string(trial.Result)}, {"missing", trial.Missing}})
	}
	if err == nil && trial.Error != "" {
		return eureka.Errorf(eureka.CodeInvalid, "%s", trial.Error)
	}
	return err
}
