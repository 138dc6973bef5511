// Package problem writes errors as HTTP answers: RFC 9457 application/problem+json with the error's code. It is the one
// place that does, so that a refused handshake and a refused API call look the same. It never logs and never shows
// the text of a foreign error.
package problem

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"eureka"
)

// ContentType of every error answer.
const ContentType = "application/problem+json"

// retryAfterSeconds is what a client is asked to wait before it repeats a request that may succeed later.
const retryAfterSeconds = 1

// Challenge is the header WWW-Authenticate of each answer that asks for a credential.
const Challenge = `Bearer realm="eureka"`

// Details is the body of an error answer. It is an error itself, so that frameworks can carry it.
type Details struct {
	Type   string      `json:"type" doc:"Always about:blank: the code tells the kinds apart."`
	Title  string      `json:"title" doc:"The text of the HTTP status."`
	Status int         `json:"status" doc:"The HTTP status."`
	Code   eureka.Code `json:"code" doc:"The kind of error: what programs switch on."`
	Detail string      `json:"detail" doc:"What went wrong, in a sentence for people."`
	Field  string      `json:"field,omitempty" doc:"The field, parameter or header at fault."`
	Retry  bool        `json:"retry" doc:"Whether the same request may succeed later."`
	// Results has one entry for each thing in a request that had several, in their order.
	Results []Result `json:"results,omitempty" doc:"What became of each of several events, in their order."`
}

// Result is what became of one of several things in a request.
type Result struct {
	Accepted bool        `json:"accepted"`
	Channels []string    `json:"channels,omitempty" doc:"Ids of the channels it was delivered on."`
	Code     eureka.Code `json:"code,omitempty" doc:"The kind of error."`
	Detail   string      `json:"detail,omitempty" doc:"What went wrong."`
	Retry    bool        `json:"retry,omitempty" doc:"Whether it may succeed later."`
}

// ResultOf describes what became of one of several things; a nil error is accepted.
func ResultOf(channels []string, err error) Result {
	if err == nil {
		return Result{Accepted: true, Channels: channels}
	}
	code := eureka.CodeOf(err)
	return Result{Code: code, Detail: eureka.MessageOf(err), Retry: code.Outcome().Retry}
}

// Of describes an error for a client. Details in its chain are returned as they are.
func Of(err error) *Details {
	var described *Details
	if errors.As(err, &described) {
		return described
	}
	code := eureka.CodeOf(err)
	outcome := code.Outcome()
	d := &Details{
		Type: "about:blank", Title: http.StatusText(outcome.HTTPStatus), Status: outcome.HTTPStatus,
		Code: code, Detail: eureka.MessageOf(err), Retry: outcome.Retry,
	}
	var e *eureka.Error
	if errors.As(err, &e) {
		d.Field = e.Field
	}
	return d
}

// Error returns the detail.
func (d *Details) Error() string { return d.Detail }

// GetStatus returns the HTTP status.
func (d *Details) GetStatus() int { return d.Status }

// ContentType replaces the JSON content type of a framework by that of errors.
func (d *Details) ContentType(string) string { return ContentType }

// Write answers a request with an error.
func Write(w http.ResponseWriter, err error) { Of(err).Write(w) }

// Write answers a request with the details.
func (d *Details) Write(w http.ResponseWriter) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // the answer is for people too, and never HTML
	_ = encoder.Encode(d)        // strings, numbers and a bool always encode
	w.Header().Set("Content-Type", ContentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if d.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", Challenge)
	}
	if d.Retry {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfterSeconds))
	}
	w.WriteHeader(d.Status)
	_, _ = w.Write(body.Bytes()) // a client that went away cannot be told
}
