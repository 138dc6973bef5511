package protocol

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"eureka"
)

// What frames have beside a message's body, at the most.
const (
	// messageOverhead is what AppendMessage and AppendID add: braces, the channel key and the longest name, a cursor.
	messageOverhead = len(`{"channel":"",}`) + eureka.MaxNameLength + len(`,"id":"xxxxxxxx.9223372036854775807"`)
	// historyOverhead is what a reply has that brings this message alone.
	historyOverhead = eureka.MaxFrameBytes - HistoryRoom + len(`{"id":"xxxxxxxx.9223372036854775807","event":"","ts":0},`) - len(`"action":"message"`)
	frameOverhead   = max(messageOverhead, historyOverhead)
)

// MessageBody encodes everything of a message frame but its channel name: the part that is the same for every subscriber.
// It is what travels between nodes. CodeInvalid when Data is not one JSON value, CodeTooLarge when a frame with it, be it the message's own or a
// history reply, would be over eureka.MaxFrameBytes with the longest name.
func MessageBody(m eureka.Message) ([]byte, error) {
	data := m.Data
	if len(data) > 0 && !json.Valid(data) {
		return nil, eureka.FieldError("data", "is not valid JSON")
	}
	b := make([]byte, 0, len(data)+len(m.Event)+64)
	b = append(b, `"action":`...)
	b = appendString(b, m.Action)
	if m.Event != "" {
		b = append(b, `,"event":`...)
		b = appendString(b, m.Event)
	}
	if len(data) > 0 {
		b = append(b, `,"data":`...)
		b = append(b, data...)
	}
	if m.TS != 0 {
		b = append(b, `,"ts":`...)
		b = strconv.AppendInt(b, m.TS, 10)
	}
	if len(b)+frameOverhead > eureka.MaxFrameBytes {
		return nil, eureka.Errorf(eureka.CodeTooLarge, "the message makes a frame of %d bytes, the limit is %d",
			len(b)+frameOverhead, eureka.MaxFrameBytes)
	}
	return b, nil
}

// AppendID appends a message's cursor to its body and returns it.
func AppendID(body []byte, id string) []byte {
	body = append(body, `,"id":`...)
	return appendString(body, id)
}

// ParseBody reads what MessageBody made, back into a message without its channel. CodeInvalid for anything else.
func ParseBody(body []byte) (eureka.Message, error) {
	text := make([]byte, 0, len(body)+2)
	text = append(append(append(text, '{'), body...), '}')
	var m struct {
		Action string          `json:"action"`
		Event  string          `json:"event"`
		Data   json.RawMessage `json:"data"`
		TS     int64           `json:"ts"`
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return eureka.Message{}, eureka.WrapError(eureka.CodeInvalid, err, "the message is malformed")
	}
	return eureka.Message{Action: m.Action, Event: m.Event, Data: m.Data, TS: m.TS}, nil
}

// ErrorBody encodes an error frame without its channel name, for delivery to every subscriber of a channel.
// Foreign errors show no detail.
func ErrorBody(err error) []byte {
	b := make([]byte, 0, 128)
	b = append(b, `"action":"error","error":`...)
	return appendError(b, err)
}

// AppendMessage appends the frame {"channel":name, …body…} to dst and returns it. body comes from MessageBody or
// ErrorBody; an empty name leaves the channel out (a message sent to a socket rather than a channel).
func AppendMessage(dst []byte, name string, body []byte) []byte {
	dst = append(dst, '{')
	if name != "" {
		dst = append(dst, `"channel":`...)
		dst = appendString(dst, name)
		dst = append(dst, ',')
	}
	dst = append(dst, body...)
	return append(dst, '}')
}

// Compact returns data without insignificant white space. CodeInvalid when it is not one JSON value or nested deeper
// than MaxDepth, or not UTF-8.
func Compact(field string, data []byte) (json.RawMessage, error) {
	if err := CheckDepth(data); err != nil {
		return nil, err
	}
	// encoding/json lets it through, and a text frame that is not UTF-8 would cost every subscriber its connection.
	if !utf8.Valid(data) {
		return nil, eureka.FieldError(field, "is not valid UTF-8")
	}
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		return nil, &eureka.Error{Code: eureka.CodeInvalid, Field: field, Message: field + ": is not valid JSON", Err: err}
	}
	return b.Bytes(), nil
}
