package intake

import (
	"encoding/json"
	"strings"
	"time"

	"eureka"
)

// isBridge reports whether an object has the shape that EventBridge gives its targets.
func (o object) isBridge() bool {
	_, kind := o["detail-type"]
	_, detail := o["detail"]
	return kind && detail
}

// bridge reads an event in the shape of EventBridge. A detail that is an event in the native form says itself where it goes. Any other is the data, and
// source is the service, detail-type the model's type or modelType.event. The identity is EventBridge's unless the detail brings one.
func bridge(fields object) (eureka.Event, error) {
	var id, source, kind, at string
	if err := fields.strings(map[string]*string{"id": &id, "source": &source, "detail-type": &kind, "time": &at}); err != nil {
		return eureka.Event{}, err
	}
	for _, required := range []struct{ field, value string }{{"detail-type", kind}, {"id", id}, {"source", source}} {
		if required.value == "" {
			return eureka.Event{}, eureka.FieldError(required.field, "is missing; an event of EventBridge has id, source, detail-type and detail")
		}
	}
	ev := eureka.Event{Service: source, ModelType: kind, Data: fields["detail"]}
	if model, what, cut := strings.Cut(kind, "."); cut {
		ev.ModelType, ev.Event = model, what
	}
	var detail object
	if json.Unmarshal(fields["detail"], &detail) == nil && detail.isNative() {
		var err error
		if ev, err = native(detail); err != nil {
			return eureka.Event{}, within("detail", err)
		}
	}
	if ev.ID == "" {
		ev.ID = "eb-" + digest(source, id)
	}
	if ev.TS == 0 && at != "" {
		moment, err := time.Parse(time.RFC3339Nano, at)
		if err != nil {
			return eureka.Event{}, eureka.FieldError("time", "must be a time of RFC 3339 since 1970")
		}
		if ev.TS, err = milliseconds("time", moment); err != nil {
			return eureka.Event{}, err
		}
	}
	return ev, ev.Validate()
}

// isNative reports whether an object says as an event in the native form where it goes.
func (o object) isNative() bool {
	_, channel := o["channelId"]
	_, service := o["service"]
	_, model := o["modelType"]
	_, data := o["data"]
	return data && (channel || service && model)
}

// within says of an error in what it was found.
func within(where string, err error) error {
	return eureka.WrapError(eureka.CodeOf(err), err, "%s: %s", where, eureka.MessageOf(err))
}
