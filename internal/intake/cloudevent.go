package intake

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"mime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/binding/spec"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"eureka"
	"eureka/internal/protocol"
)

// specVersion is the version of CloudEvents that is read.
const specVersion = cloudevents.CloudEventsVersionV1

// texts are the attributes that are read, all of them strings: those of CloudEvents itself, and the extension attributes that say where an event goes.
var texts = []string{"id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "service", "modeltype", "modelid", "event", "channelid"}

// attributes are what a CloudEvent says beside its data, by name: strings, numbers and booleans.
type attributes map[string]any

// structured reads a CloudEvent in its JSON form. The SDK's own reader of that form panics on a data_base64 that is no string, and takes the last of two
// attributes of one name in one order and refuses them in the other; so the object is taken apart here, and the SDK judges what is in it.
func structured(fields object) (eureka.Event, error) {
	data, encoded := fields["data"], fields["data_base64"]
	a := attributes{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if name == "data" || name == "data_base64" || string(fields[name]) == "null" {
			continue
		}
		value, err := scalar(name, fields[name])
		if err != nil {
			return eureka.Event{}, err
		}
		a[name] = value
	}
	if len(encoded) == 0 || string(encoded) == "null" {
		if len(data) == 0 {
			data = json.RawMessage("null") // a CloudEvent needs no data, a message has some
		}
		return a.toEvent(data)
	}
	var text string
	if len(data) > 0 || json.Unmarshal(encoded, &text) != nil {
		return eureka.Event{}, eureka.FieldError("data_base64", "must be a string, and stand alone")
	}
	content, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return eureka.Event{}, eureka.FieldError("data_base64", "is not base64")
	}
	if data, err = a.content("data_base64", content); err != nil {
		return eureka.Event{}, err
	}
	return a.toEvent(data)
}

// scalar is an attribute's value: text, or for extensions of others also a boolean or an integer of 32 bits.
func scalar(name string, raw json.RawMessage) (any, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text, nil
	}
	if name == "specversion" || slices.Contains(texts, name) {
		return nil, eureka.FieldError(name, "must be a string")
	}
	var number int32
	if json.Unmarshal(raw, &number) == nil {
		return number, nil
	}
	var truth bool
	if json.Unmarshal(raw, &truth) == nil {
		return truth, nil
	}
	return nil, eureka.FieldError(name, "must be a string, a boolean or an integer of 32 bits, as attributes of a CloudEvent are")
}

// text is an attribute that is a string, "" when it is not there.
func (a attributes) text(name string) string {
	text, _ := a[name].(string)
	return text
}

// content makes a JSON value of data that came as bytes: JSON as it stands, text as a string. None is null.
func (a attributes) content(field string, content []byte) (json.RawMessage, error) {
	if len(content) == 0 {
		return json.RawMessage("null"), nil
	}
	given := a.text("datacontenttype")
	kind, _, err := mime.ParseMediaType(given)
	if given == "" || (err == nil && isJSON(kind)) {
		if !json.Valid(content) {
			return nil, eureka.FieldError(field, "is not valid JSON; say what it is with datacontenttype")
		}
		return bytes.TrimSpace(content), protocol.CheckDepth(content)
	}
	if !utf8.Valid(content) {
		return nil, eureka.FieldError(field, "is neither JSON nor text")
	}
	return json.Marshal(string(content))
}

func isJSON(kind string) bool {
	return kind == "application/json" || kind == "text/json" || strings.HasSuffix(kind, "+json")
}

// check has the SDK judge the attributes: their names, their values and what must be there.
func (a attributes) check() (*cloudevents.EventContextV1, error) {
	for _, required := range []string{"id", "source", "type"} {
		if a.text(required) == "" {
			return nil, eureka.FieldError(required, "is missing; a CloudEvent has specversion, id, source and type")
		}
	}
	if a.text("specversion") != specVersion {
		return nil, eureka.FieldError("specversion", "must be %q", specVersion)
	}
	into := &cloudevents.EventContextV1{}
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if err := spec.V1.SetAttribute(into, name, a[name]); err != nil {
			return nil, badAttribute(name, err)
		}
	}
	if found := into.Validate(); len(found) > 0 {
		name := slices.Min(slices.Collect(maps.Keys(found)))
		return nil, badAttribute(name, found[name])
	}
	return into, nil
}

func badAttribute(name string, err error) error {
	if name == "time" {
		return eureka.FieldError("time", "must be a time of RFC 3339 since 1970")
	}
	if !utf8.ValidString(name) || len(name) > eureka.MaxNameLength {
		name = "attribute"
	}
	return &eureka.Error{Code: eureka.CodeInvalid, Field: name, Message: name + ": is no attribute as CloudEvents 1.0 has them", Err: errors.Unwrap(err)}
}

func (a attributes) toEvent(data json.RawMessage) (eureka.Event, error) {
	said, err := a.check()
	if err != nil {
		return eureka.Event{}, err
	}
	extension := func(name string) string {
		text, _ := said.Extensions[name].(string)
		return text
	}
	ev := eureka.Event{
		ID: cloudID(a.text("source"), a.text("id")), ChannelID: extension("channelid"), Service: extension("service"), ModelType: extension("modeltype"),
		ModelID: extension("modelid"), Event: extension("event"), Data: data,
	}
	if ev.ModelID == "" {
		ev.ModelID = said.GetSubject()
	}
	switch kind := said.GetType(); {
	case ev.Service == "" && ev.ModelType == "" && ev.ChannelID == "":
		parts := strings.Split(kind, ".")
		if len(parts) < 2 || len(parts) > 3 {
			return eureka.Event{}, eureka.FieldError("type",
				"must be service.modelType or service.modelType.event; for any other type say where it goes with the attributes service and modeltype, or channelid")
		}
		ev.Service, ev.ModelType = parts[0], parts[1]
		if len(parts) == 3 && ev.Event == "" {
			ev.Event = parts[2]
		}
	case ev.Event == "":
		ev.Event = kind
	}
	if said.Time != nil {
		if ev.TS, err = milliseconds("time", said.Time.Time); err != nil {
			return eureka.Event{}, err
		}
	}
	return ev, ev.Validate()
}

// milliseconds is a moment since 1970 as an event has it.
func milliseconds(field string, at time.Time) (int64, error) {
	if at.UnixMilli() < 0 {
		return 0, eureka.FieldError(field, "must be a time of RFC 3339 since 1970")
	}
	return at.UnixMilli(), nil
}

// cloudID is the identity of a CloudEvent: its source and its id together.
func cloudID(source, id string) string { return "ce-" + digest(source, id) }

// digest is short enough for an event's id, and different for different parts.
func digest(parts ...string) string {
	var text []byte
	for _, part := range parts {
		text = binary.BigEndian.AppendUint32(text, uint32(len(part))) //nolint:gosec // a body is far shorter
		text = append(text, part...)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}
