package httpapi

import (
	"cmp"
	"context"
	"net/http"
	"reflect"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"eureka"
	"eureka/internal/core"
	"eureka/internal/intake"
	"eureka/internal/problem"
)

// Paths of what services report.
const (
	eventsPath = "/events"
	snsPath    = "/events/sns"
)

// snsHeader is on each request of an SNS topic and says what it is.
const snsHeader = "X-Amz-Sns-Message-Type"

// Tally counts what became of reported events: accepted, refused for good, or failed for now.
type Tally struct{ Accepted, Refused, Failed int }

// Add counts one more event by the error that it met; nil is accepted.
func (t *Tally) Add(err error) {
	switch code := eureka.CodeOf(err); {
	case err == nil:
		t.Accepted++
	case code.Outcome().Retry, code == eureka.CodeInternal:
		t.Failed++
	default:
		t.Refused++
	}
}

type reportEvents struct {
	Key     string `header:"Idempotency-Key" maxLength:"255" doc:"The same key within five minutes reports once and gets the same answer. With several events each one's id does the same."`
	RawBody []byte

	header http.Header
}

// Resolve implements huma.Resolver: how the body is to be read stands in the headers.
func (in *reportEvents) Resolve(ctx huma.Context) []error {
	in.header = http.Header{}
	ctx.EachHeader(in.header.Add)
	return nil
}

func (a *api) reportOperations(h huma.API) {
	op := operation("report-events", http.MethodPost, eventsPath, "events", "Report one event, or an array of them")
	op.Description = "Native events, events in the shape of EventBridge, the notification of an SNS topic, or CloudEvents 1.0 in structured, batch or, with headers ce-*, binary mode. " +
		"When one of several cannot be read none is taken. When one that can be read is not taken the others are; `results` of the error says of each, in their order, what became of it, and all may be sent again: those with an id count once."
	op.DefaultStatus = http.StatusOK
	op.Errors = append(op.Errors, http.StatusConflict, http.StatusRequestEntityTooLarge)
	op.SkipValidateBody = true // one object or an array: its own decoder names the index and the field at fault
	event := h.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[EventBody](), true, "EventBody")
	cloud := h.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[CloudEventBody](), true, "CloudEventBody")
	either := &huma.Schema{OneOf: []*huma.Schema{event, cloud}}
	op.RequestBody = &huma.RequestBody{}
	handle(h, op, a.reportEvents)
	// huma has a raw body required and without a form; here a CloudEvent in binary mode may have none.
	*op.RequestBody = huma.RequestBody{Content: map[string]*huma.MediaType{
		"application/json":                   {Schema: &huma.Schema{OneOf: []*huma.Schema{event, cloud, {Type: huma.TypeArray, Items: either}}}},
		"application/cloudevents+json":       {Schema: cloud},
		"application/cloudevents-batch+json": {Schema: &huma.Schema{Type: huma.TypeArray, Items: cloud}},
	}}
	h.OpenAPI().AddOperation(&huma.Operation{
		OperationID: "sns", Method: http.MethodPost, Path: snsPath, Tags: []string{"events"}, Security: []map[string][]string{{}},
		Summary: "Where an SNS topic delivers over HTTPS (setting sns_topics; self-hosted). Its signature is its credential",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"text/plain": {Schema: &huma.Schema{Type: huma.TypeString, Description: "What SNS sends, not raw."}},
		}},
		Responses: map[string]*huma.Response{
			"200": {Description: "The subscription was confirmed, or the events of the notification were taken."},
			"400": {Description: "It cannot be read."}, "403": {Description: "The topic is not allowed, or the signature, its certificate or its time is not right."},
			"503": {Description: "It could not be taken now; SNS tries again."},
		},
	})
}

// reportEvents takes events in their order. One that is not taken keeps none of the others back.
func (a *api) reportEvents(ctx context.Context, in *reportEvents) (Accepted, error) {
	if err := core.CheckKey("Idempotency-Key", in.Key); err != nil {
		return Accepted{}, err
	}
	events, err := intake.HTTP(in.header, in.RawBody)
	if err != nil {
		a.count(Tally{Refused: 1})
		return Accepted{}, err
	}
	out, results, first, tally := Accepted{Channels: []string{}}, make([]problem.Result, 0, len(events)), error(nil), Tally{}
	for i, ev := range events {
		key := ""
		if in.Key != "" {
			key = strconv.Itoa(i) + " " + in.Key
		}
		taken, err := a.core.RouteKeyed(ctx, who(ctx), ev, key)
		tally.Add(err)
		results = append(results, problem.ResultOf(taken.Channels, err))
		if err != nil {
			// What may succeed later comes first: the caller should send all of it again.
			if first == nil || cmp.Compare(later(err), later(first)) > 0 {
				first = err
			}
			continue
		}
		for _, id := range taken.Channels {
			if !slices.Contains(out.Channels, id) {
				out.Channels = append(out.Channels, id)
			}
		}
	}
	out.Accepted = tally.Accepted
	a.count(tally)
	if first == nil {
		return out, nil
	}
	noteError(ctx, first)
	details := problem.Of(eureka.WrapError(eureka.CodeOf(first), first, "%d of %d events were taken: %s", out.Accepted, len(events), eureka.MessageOf(first)))
	if len(events) > 1 {
		details.Results = results
	}
	return out, details
}

// later is 1 for an error that the same request may not meet again.
func later(err error) int {
	if eureka.CodeOf(err).Outcome().Retry {
		return 1
	}
	return 0
}

func (a *api) count(t Tally) {
	if a.options.Reported != nil {
		a.options.Reported(t)
	}
}

// toSNS sends what a topic delivers to the path of its own, wherever its subscription points.
func (a *api) toSNS(r *http.Request) *http.Request {
	if a.options.SNS == nil || r.Method != http.MethodPost || r.URL.Path != eventsPath || r.Header.Get(snsHeader) == "" {
		return r
	}
	r = r.Clone(r.Context())
	r.URL.Path, r.URL.RawPath = snsPath, ""
	return r
}

// ownForms reports whether a path decides by itself what its body may be.
func ownForms(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Path == eventsPath }
