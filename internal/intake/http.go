package intake

import (
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"eureka"
)

// cloudHeader stands before the names of a CloudEvent's attributes in the headers of HTTP and NATS, in the spelling of package http.
const cloudHeader = "Ce-"

// HTTP reads the events of a request's body as its headers name its form: one CloudEvent in binary, structured or batch mode, or, as JSON, what Events reads
// or the notification of an SNS topic around it. The sender's right to report them is not checked here.
func HTTP(header http.Header, body []byte) ([]eureka.Event, error) {
	given := header.Get("Content-Type")
	kind, _, err := mime.ParseMediaType(given)
	switch {
	case len(header.Values(cloudHeader+"Specversion")) > 0 && !isCloud(given):
		return one(binaryMode(header, body))
	case given == "":
	case err != nil:
		return nil, eureka.FieldError("Content-Type", "cannot be read; send application/json")
	case kind == "application/cloudevents-batch+json":
		return cloudBatch(body)
	case kind == "application/cloudevents+json":
		return cloudOne(body)
	case isCloud(kind):
		return nil, eureka.FieldError("Content-Type", "is a format of CloudEvents that is not read here; send application/cloudevents+json")
	case isJSON(kind), kind == "application/x-www-form-urlencoded", kind == "text/plain": // curl's own, and that of SNS
	default:
		return nil, eureka.FieldError("Content-Type", "is not JSON; send application/json, or the headers of a CloudEvent in binary mode (ce-specversion)")
	}
	return Queued(Message{Body: string(body)})
}

// isCloud reports whether a content type is that of whole CloudEvents. It decides the mode: the attributes may stand in headers as well.
func isCloud(kind string) bool {
	const whole = "application/cloudevents"
	return len(kind) >= len(whole) && strings.EqualFold(kind[:len(whole)], whole)
}

// HeaderValue is an attribute's value as a header of HTTP or NATS has it: percent-encoded, where its sender does so.
func HeaderValue(text string) string {
	if decoded, err := url.PathUnescape(text); err == nil {
		return decoded
	}
	return text // senders that encode nothing are taken as they are
}

// binaryMode reads a CloudEvent whose attributes are headers and whose data is the body.
func binaryMode(header http.Header, body []byte) (eureka.Event, error) {
	a := attributes{}
	for name, values := range header {
		attribute, cloud := strings.CutPrefix(name, cloudHeader)
		if !cloud || len(values) == 0 {
			continue
		}
		value := HeaderValue(values[0])
		if len(values) > 1 || !utf8.ValidString(value) {
			return eureka.Event{}, eureka.FieldError("ce-"+strings.ToLower(attribute), "must be there once, as UTF-8 with the rest percent-encoded")
		}
		a[strings.ToLower(attribute)] = value
	}
	if kind := header.Get("Content-Type"); kind != "" {
		a["datacontenttype"] = kind
	}
	data, err := a.content("body", body)
	if err != nil {
		return eureka.Event{}, err
	}
	return a.toEvent(data)
}

// cloudOne reads one CloudEvent in structured mode.
func cloudOne(body []byte) ([]eureka.Event, error) {
	if err := checkText(body); err != nil {
		return nil, err
	}
	fields, err := fieldsOf(body)
	if err != nil {
		return nil, err
	}
	return one(structured(fields))
}

// cloudBatch reads an array of CloudEvents; an empty one is an empty batch, which CloudEvents allow.
func cloudBatch(body []byte) ([]eureka.Event, error) {
	if err := checkText(body); err != nil {
		return nil, err
	}
	items, err := array(body)
	if err != nil || len(items) == 0 {
		return nil, err
	}
	return each(items, structured)
}

func one(ev eureka.Event, err error) ([]eureka.Event, error) {
	if err != nil {
		return nil, err
	}
	return []eureka.Event{ev}, nil
}
