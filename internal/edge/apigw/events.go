package apigw

import (
	"context"
	"errors"
	"log/slog"

	"github.com/aws/aws-lambda-go/events"

	"eureka"
	"eureka/internal/core"
	"eureka/internal/intake"
)

// Router takes events; core.Core is one.
type Router interface {
	Route(ctx context.Context, who eureka.Identity, ev eureka.Event) (core.RouteResult, error)
}

// reporter is who reports events through the queue: the queue's policy decides who may put them there.
var reporter = eureka.Identity{Scopes: eureka.ScopePublish, Channels: []string{"*"}}

// Events is the role events: batches of the queue of events.
type Events struct {
	router Router
	batch  batch
}

// NewEvents returns the handler of the role.
func NewEvents(router Router, log *slog.Logger) (*Events, error) {
	if router == nil || log == nil {
		return nil, errors.New("apigw: an option is missing")
	}
	e := &Events{router: router}
	e.batch = batch{log: log, parallel: 1, do: e.route}
	return e, nil
}

// Invoke implements lambda.Handler.
func (e *Events) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	return invoke(ctx, payload, e.batch.run)
}

// route routes the events of one message, none if one of them cannot be read. What was routed before one failed is not repeated with it: each has
// an identity.
func (e *Events) route(ctx context.Context, m events.SQSMessage) error {
	message := intake.Message{ID: m.MessageId, Body: m.Body, Attributes: make(map[string]string, len(m.MessageAttributes))}
	for name, attribute := range m.MessageAttributes {
		if attribute.StringValue != nil {
			message.Attributes[name] = *attribute.StringValue
		}
	}
	reported, err := intake.Queued(message)
	if err != nil {
		return err
	}
	for _, ev := range reported {
		_, routeErr := e.router.Route(ctx, reporter, ev)
		err = errors.Join(err, routeErr)
	}
	return err
}
