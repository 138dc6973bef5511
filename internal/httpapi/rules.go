package httpapi

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"eureka"
	"eureka/internal/core"
)

// Access is what a client says of who may use a channel. It replaces what was there before.
type Access struct {
	Subscribe *string `json:"subscribe,omitempty"`
	Publish   *string `json:"publish,omitempty"`
}

// Schema implements huma.SchemaProvider: huma cannot make an object that may be null by itself.
func (Access) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{
		Type: huma.TypeObject, Nullable: true, AdditionalProperties: false,
		Properties: map[string]*huma.Schema{
			"subscribe": {Type: huma.TypeString, Nullable: true, Description: "Who may listen, such as claims.role == \"editor\"; absent for everybody."},
			"publish":   {Type: huma.TypeString, Nullable: true, Description: "Who may publish what, such as data.author == user; absent for everybody."},
		},
	}
	s.PrecomputeMessages()
	return s
}

func (a *Access) rules() *eureka.Access {
	if a == nil {
		return nil
	}
	return &eureka.Access{Subscribe: text(a.Subscribe), Publish: text(a.Publish)}
}

type checkRule struct {
	Body struct {
		Kind   string     `json:"kind" enum:"filter,transform,subscription,subscribe,publish" doc:"What the rule is for: filter, transform and subscription see a message; subscribe and publish see user, claims and channel as well."`
		Rule   string     `json:"rule" example:"data.total > 100" doc:"The rule, in CEL."`
		Sample *RuleInput `json:"sample,omitempty" doc:"What to evaluate it on; without it the rule is only compiled."`
	}
}

// RuleInput is a message, and somebody, to try a rule on.
type RuleInput struct {
	Event     string         `json:"event,omitempty" doc:"What happened; message by default."`
	Data      any            `json:"data,omitempty" doc:"Any JSON value."`
	Service   string         `json:"service,omitempty"`
	ModelType string         `json:"modelType,omitempty"`
	ModelID   string         `json:"modelId,omitempty"`
	TS        int64          `json:"ts,omitempty" doc:"Epoch milliseconds."`
	User      string         `json:"user,omitempty"`
	Claims    map[string]any `json:"claims,omitempty"`
	Channel   string         `json:"channel,omitempty"`
}

func (a *api) ruleOperations(h huma.API) {
	op := operation("check-rule", http.MethodPost, "/rules/check", "channels", "Try a rule on a sample")
	op.DefaultStatus = http.StatusOK
	handle(h, op, func(ctx context.Context, in *checkRule) (core.RuleTrial, error) {
		kind, s := eureka.RuleKind(in.Body.Kind), in.Body.Sample
		if s == nil {
			return a.core.CheckRule(ctx, who(ctx), kind, in.Body.Rule, nil)
		}
		data, err := json.Marshal(s.Data)
		if err != nil {
			return core.RuleTrial{}, err
		}
		claims, err := json.Marshal(s.Claims)
		if err != nil {
			return core.RuleTrial{}, err
		}
		if s.Claims == nil {
			claims = []byte(`{}`)
		}
		if s.Event == "" {
			s.Event = eureka.DefaultEvent
		}
		return a.core.CheckRule(ctx, who(ctx), kind, in.Body.Rule, &eureka.RuleSubject{
			Facts: eureka.Facts{
				Event: s.Event, Data: data, TS: s.TS, Origin: eureka.Origin{Service: s.Service, ModelType: s.ModelType, ModelID: s.ModelID},
			},
			User: s.User, Claims: claims, Channel: s.Channel,
		})
	})
}
