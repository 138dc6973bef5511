package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"eureka"
	"eureka/internal/mock"
)

// MockFields are what a client says of a mock, its id aside.
type MockFields struct {
	ChannelID string          `json:"channelId,omitempty" doc:"A channel to deliver to beside those of the service and model."`
	Service   string          `json:"service,omitempty" example:"orders-api" doc:"The service that seems to report; needed without channelId."`
	ModelType string          `json:"modelType,omitempty" example:"order" doc:"The kind of model; needed without channelId."`
	ModelID   string          `json:"modelId,omitempty" example:"{{seq}}" doc:"The model that it happens to; a template."`
	Event     string          `json:"event,omitempty" doc:"What happens; a template. message by default."`
	Data      json.RawMessage `json:"data" doc:"Any JSON value whose strings may be templates, in the language of Go's text/template, such as {{int 1 9}}. A string that is one action alone becomes the value of that."`
	Rate      float64         `json:"rate,omitempty" doc:"Events per second, 0.01 to 1000; 1 by default."`
}

// MockBody is a new mock.
type MockBody struct {
	ID string `json:"id,omitempty" doc:"An id of one's own; without it one is made."`
	MockFields
}

// RunBody says how to play a mock.
type RunBody struct {
	Rate  float64 `json:"rate,omitempty" doc:"Events per second; the mock's by default."`
	Count int     `json:"count,omitempty" doc:"Events after which it ends."`
	For   string  `json:"for,omitempty" example:"30s" doc:"Time after which it ends, up to 1h; 1m by default, with a count 1h."`
}

// MockPath names a mock.
type MockPath struct {
	ID string `path:"id" doc:"The mock's id."`
}

type createMock struct{ Body MockBody }

type replaceMock struct {
	MockPath
	Body MockFields
}

type runMock struct {
	MockPath
	Body *RunBody `doc:"May be empty."`
}

type runPath struct {
	MockPath
	Run string `path:"run" doc:"The run's id."`
}

func (b MockFields) mock(id string) eureka.Mock {
	return eureka.Mock{
		ID: id, ChannelID: b.ChannelID, Service: b.Service, ModelType: b.ModelType, ModelID: b.ModelID, Event: b.Event, Data: b.Data, Rate: b.Rate,
	}
}

func (a *api) mockOperations(h huma.API) {
	create := operation("create-mock", http.MethodPost, "/mocks", "mocks", "Keep a mock")
	create.DefaultStatus = http.StatusOK
	create.Errors = append(create.Errors, http.StatusConflict, http.StatusRequestEntityTooLarge)
	handle(h, create, playing(a, func(ctx context.Context, p *mock.Player, in *createMock) (mock.View, error) {
		return p.Create(ctx, who(ctx), in.Body.mock(in.Body.ID))
	}))
	handle(h, operation("list-mocks", http.MethodGet, "/mocks", "mocks", "List the mocks"), playing(a, func(ctx context.Context, p *mock.Player, _ *struct{}) (All[mock.View], error) {
		views, err := p.List(ctx, who(ctx))
		return All[mock.View]{List: views}, err
	}))
	handle(h, operation("show-mock", http.MethodGet, "/mocks/{id}", "mocks", "Read a mock, with a sample of what it makes"), playing(a, func(ctx context.Context, p *mock.Player, in *MockPath) (mock.View, error) {
		return p.Show(ctx, who(ctx), in.ID)
	}))
	replace := operation("replace-mock", http.MethodPut, "/mocks/{id}", "mocks", "Replace a mock")
	replace.Errors = append(replace.Errors, http.StatusRequestEntityTooLarge)
	handle(h, replace, playing(a, func(ctx context.Context, p *mock.Player, in *replaceMock) (mock.View, error) {
		return p.Replace(ctx, who(ctx), in.Body.mock(in.ID))
	}))
	remove := operation("delete-mock", http.MethodDelete, "/mocks/{id}", "mocks", "Delete a mock and stop its runs")
	remove.DefaultStatus = http.StatusNoContent
	huma.Register(h, remove, func(ctx context.Context, in *MockPath) (*struct{}, error) {
		p, err := a.player()
		if err == nil {
			err = p.Delete(ctx, who(ctx), in.ID)
		}
		if err != nil {
			return nil, details(ctx, err)
		}
		return nil, nil
	})
	run := operation("run-mock", http.MethodPost, "/mocks/{id}/run", "mocks", "Begin to play a mock")
	run.DefaultStatus = http.StatusOK
	run.Errors = append(run.Errors, http.StatusConflict)
	handle(h, run, playing(a, func(ctx context.Context, p *mock.Player, in *runMock) (mock.Run, error) {
		r, err := in.request()
		if err != nil {
			return mock.Run{}, err
		}
		return p.Run(ctx, who(ctx), r)
	}))
	handle(h, operation("list-runs", http.MethodGet, "/mocks/{id}/runs", "mocks", "List a mock's runs on this node, the newest first"), playing(a, func(ctx context.Context, p *mock.Player, in *MockPath) (All[mock.Run], error) {
		runs, err := p.Runs(ctx, who(ctx), in.ID)
		return All[mock.Run]{List: runs}, err
	}))
	stop := operation("stop-run", http.MethodDelete, "/mocks/{id}/runs/{run}", "mocks", "Stop a run")
	stop.DefaultStatus = http.StatusOK
	handle(h, stop, playing(a, func(ctx context.Context, p *mock.Player, in *runPath) (mock.Run, error) {
		return p.Stop(ctx, who(ctx), in.ID, in.Run)
	}))
}

func (in *runMock) request() (mock.Request, error) {
	r := mock.Request{Mock: in.ID}
	if in.Body == nil {
		return r, nil
	}
	r.Rate, r.Count = in.Body.Rate, in.Body.Count
	if in.Body.For != "" {
		var err error
		if r.Time, err = time.ParseDuration(in.Body.For); err != nil || r.Time <= 0 {
			return r, eureka.FieldError("for", "must be a duration such as 30s or 5m")
		}
	}
	return r, nil
}

// player is who plays mocks; CodeForbidden where there is nobody.
func (a *api) player() (*mock.Player, error) {
	if a.options.Mocks == nil {
		return nil, eureka.Errorf(eureka.CodeForbidden, "%s", a.options.NoMocks)
	}
	return a.options.Mocks, nil
}

func playing[I, O any](a *api, f func(context.Context, *mock.Player, *I) (O, error)) func(context.Context, *I) (O, error) {
	return func(ctx context.Context, in *I) (O, error) {
		p, err := a.player()
		if err != nil {
			var none O
			return none, err
		}
		return f(ctx, p, in)
	}
}
