package intake

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"eureka"
	"eureka/internal/protocol"
)

// MaxEvents is how many events one body may hold.
const MaxEvents = 1000

// timestampLayout is the original's ts, which is taken as UTC.
const timestampLayout = "2006-01-02 15:04:05"

// object is a JSON object whose fields are not read yet.
type object map[string]json.RawMessage

// Events reads one event or an array of them, each in the native form, as a structured CloudEvent or in the shape of EventBridge, and checks all of
// them: none is returned when one is wrong. The error names the index. CodeTooLarge over MaxEvents.
func Events(raw []byte) ([]eureka.Event, error) {
	if err := checkText(raw); err != nil {
		return nil, err
	}
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || raw[0] != '[' {
		fields, err := fieldsOf(raw)
		if err != nil {
			return nil, err
		}
		return one(event(fields))
	}
	items, err := array(raw)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return nil, eureka.FieldError("body", "has no event")
	}
	return each(items, event)
}

// checkText checks what every body must be before anything parses it.
func checkText(raw []byte) error {
	if !utf8.Valid(raw) {
		return eureka.FieldError("body", "is not valid UTF-8")
	}
	return protocol.CheckDepth(raw)
}

// array takes a JSON array apart. CodeTooLarge over MaxEvents.
func array(raw []byte) ([]json.RawMessage, error) {
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil || items == nil {
		if json.Valid(raw) {
			return nil, eureka.FieldError("body", "is not a JSON array")
		}
		return nil, eureka.FieldError("body", "is not valid JSON")
	}
	if len(items) > MaxEvents {
		return nil, eureka.Errorf(eureka.CodeTooLarge, "the body has %d events, the limit is %d", len(items), MaxEvents)
	}
	return items, nil
}

// each reads the objects of an array. The error names the index.
func each(items []json.RawMessage, read func(object) (eureka.Event, error)) ([]eureka.Event, error) {
	events := make([]eureka.Event, 0, len(items))
	for i, item := range items {
		fields, err := fieldsOf(item)
		if err != nil {
			return nil, within("event "+strconv.Itoa(i), err)
		}
		ev, err := read(fields)
		if err != nil {
			return nil, within("event "+strconv.Itoa(i), err)
		}
		events = append(events, ev)
	}
	return events, nil
}

func fieldsOf(raw []byte) (object, error) {
	var fields object
	err := json.Unmarshal(raw, &fields)
	switch {
	case len(bytes.TrimSpace(raw)) == 0:
		return nil, eureka.FieldError("body", "is empty; it must be an event or an array of events")
	case err != nil && !json.Valid(raw):
		return nil, eureka.FieldError("body", "is not valid JSON")
	case err != nil || fields == nil:
		return nil, eureka.FieldError("body", "is not a JSON object")
	}
	return fields, nil
}

func event(fields object) (eureka.Event, error) {
	switch _, cloud := fields["specversion"]; {
	case cloud:
		return structured(fields)
	case fields.isBridge():
		return bridge(fields)
	default:
		return native(fields)
	}
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
