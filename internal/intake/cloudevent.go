package intake

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"mime"
	"strings"
	"time"
	"unicode/utf8"

	"eureka"
)

// specVersion is the version of CloudEvents that is read.
const specVersion = "1.0"

// attributes are what a CloudEvent says beside its data. Names are CloudEvents' own; service, modeltype, modelid, event and channelid are
// extension attributes.
type attributes struct {
	version, id, source, kind, subject, time, contentType string

	service, modelType, modelID, event, channelID string
}

func (a *attributes) fields() map[string]*string {
	return map[string]*string{
		"specversion": &a.version, "id": &a.id, "source": &a.source, "type": &a.kind, "subject": &a.subject, "time": &a.time,
		"datacontenttype": &a.contentType, "service": &a.service, "modeltype": &a.modelType, "modelid": &a.modelID, "event": &a.event,
		"channelid": &a.channelID,
	}
}

// structured reads a CloudEvent in its JSON form. Extension attributes of others are ignored, as CloudEvents has it.
func structured(fields object) (eureka.Event, error) {
	data, encoded := fields["data"], fields["data_base64"]
	var a attributes
	if err := fields.strings(a.fields()); err != nil {
		return eureka.Event{}, err
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

// content makes a JSON value of data that came as bytes: JSON as it stands, text as a string.
func (a *attributes) content(field string, content []byte) (json.RawMessage, error) {
	kind, _, err := mime.ParseMediaType(a.contentType)
	if a.contentType == "" || (err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json"))) {
		if !json.Valid(content) {
			return nil, eureka.FieldError(field, "is not valid JSON; say what it is with datacontenttype")
		}
		return content, nil
	}
	if !utf8.Valid(content) {
		return nil, eureka.FieldError(field, "is neither JSON nor text")
	}
	return json.Marshal(string(content))
}

func (a *attributes) toEvent(data json.RawMessage) (eureka.Event, error) {
	for _, required := range []struct{ field, value string }{{"id", a.id}, {"source", a.source}, {"type", a.kind}} {
		if required.value == "" {
			return eureka.Event{}, eureka.FieldError(required.field, "is missing; a CloudEvent has specversion, id, source and type")
		}
	}
	if a.version != specVersion {
		return eureka.Event{}, eureka.FieldError("specversion", "must be %q", specVersion)
	}
	ev := eureka.Event{
		ID: cloudID(a.source, a.id), ChannelID: a.channelID, Service: a.service, ModelType: a.modelType, ModelID: a.modelID, Event: a.event, Data: data,
	}
	if ev.ModelID == "" {
		ev.ModelID = a.subject
	}
	switch {
	case a.service == "" && a.modelType == "" && a.channelID == "":
		parts := strings.Split(a.kind, ".")
		if len(parts) < 2 || len(parts) > 3 {
			return eureka.Event{}, eureka.FieldError("type",
				"must be service.modelType or service.modelType.event; for any other type say where it goes with the attributes service and modeltype, or channelid")
		}
		ev.Service, ev.ModelType = parts[0], parts[1]
		if len(parts) == 3 && ev.Event == "" {
			ev.Event = parts[2]
		}
	case ev.Event == "":
		ev.Event = a.kind
	}
	if a.time != "" {
		at, err := time.Parse(time.RFC3339Nano, a.time)
		if err != nil || at.UnixMilli() < 0 {
			return eureka.Event{}, eureka.FieldError("time", "must be a time of RFC 3339 since 1970")
		}
		ev.TS = at.UnixMilli()
	}
	return ev, ev.Validate()
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
