package intake

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"eureka"
)

// MaxEvents is how many events one body may hold.
const MaxEvents = 1000

// timestampLayout is the original's ts, which is taken as UTC.
const timestampLayout = "2006-01-02 15:04:05"

// object is a JSON object whose fields are not read yet.
type object map[string]json.RawMessage

// Events reads one event or an array of them, each in the native form or as a structured CloudEvent, and checks all of them. The error names the
// index. CodeTooLarge over MaxEvents.
func Events(raw []byte) ([]eureka.Event, error) {
	raw = bytes.TrimSpace(raw)
	items := []json.RawMessage{raw}
	array := len(raw) > 0 && raw[0] == '['
	if array {
		items = nil
		if err := json.Unmarshal(raw, &items); err != nil {
			return nil, eureka.FieldError("body", "is not valid JSON")
		}
	}
	switch {
	case len(items) == 0:
		return nil, eureka.FieldError("body", "has no event")
	case len(items) > MaxEvents:
		return nil, eureka.Errorf(eureka.CodeTooLarge, "the body has %d events, the limit is %d", len(items), MaxEvents)
	}
	events := make([]eureka.Event, 0, len(items))
	for i, item := range items {
		ev, err := event(item)
		if err != nil {
			if array {
				err = eureka.WrapError(eureka.CodeOf(err), err, "event %d: %s", i, eureka.MessageOf(err))
			}
			return nil, err
		}
		events = append(events, ev)
	}
	return events, nil
}

func event(raw json.RawMessage) (eureka.Event, error) {
	var fields object
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return eureka.Event{}, eureka.FieldError("body", "is not a JSON object")
	}
	if _, cloud := fields["specversion"]; cloud {
		return structured(fields)
	}
	return native(fields)
}

// native reads an event with the original's field names.
func native(fields object) (eureka.Event, error) {
	ev := eureka.Event{Data: fields["data"]}
	if err := fields.strings(map[string]*string{
		"id": &ev.ID, "channelId": &ev.ChannelID, "service": &ev.Service, "modelType": &ev.ModelType, "modelId": &ev.ModelID, "event": &ev.Event,
	}); err != nil {
		return eureka.Event{}, err
	}
	ts, err := timestamp(fields["ts"])
	if err != nil {
		return eureka.Event{}, err
	}
	ev.TS = ts
	delete(fields, "ts")
	delete(fields, "data")
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		return eureka.Event{}, eureka.FieldError(key, "is no field of an event")
	}
	if len(ev.Data) == 0 {
		return eureka.Event{}, eureka.FieldError("data", "is missing")
	}
	return ev, ev.Validate()
}

// strings reads fields that must be strings, and removes them; null and absence leave their target alone.
func (o object) strings(to map[string]*string) error {
	for _, key := range slices.Sorted(maps.Keys(to)) {
		value, ok := o[key]
		delete(o, key)
		if !ok || string(value) == "null" {
			continue
		}
		if json.Unmarshal(value, to[key]) != nil {
			return eureka.FieldError(key, "must be a string")
		}
	}
	return nil
}

func timestamp(raw json.RawMessage) (int64, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return 0, nil
	}
	var ms int64
	if json.Unmarshal(raw, &ms) == nil && ms >= 0 {
		return ms, nil
	}
	var written string
	if json.Unmarshal(raw, &written) == nil {
		if at, err := time.Parse(timestampLayout, written); err == nil && at.UnixMilli() >= 0 {
			return at.UnixMilli(), nil
		}
	}
	return 0, eureka.FieldError("ts", "must be epoch milliseconds or YYYY-MM-DD HH:mm:ss")
}
