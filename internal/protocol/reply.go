package protocol

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"eureka"
)

// Reply is the service's answer to one client frame.
type Reply struct {
	Action  string
	Ref     json.RawMessage // the client's ref as it sent it; nil for none
	Channel string          // "" for none
	Data    json.RawMessage // one valid JSON value; nil for none
}

// Encode returns the reply's frame.
func (r Reply) Encode() []byte {
	b := make([]byte, 0, len(r.Data)+len(r.Channel)+len(r.Ref)+64)
	b = append(b, `{"action":`...)
	b = appendString(b, r.Action)
	b = appendRef(b, r.Ref)
	if r.Channel != "" {
		b = append(b, `,"channel":`...)
		b = appendString(b, r.Channel)
	}
	if len(r.Data) > 0 {
		b = append(b, `,"data":`...)
		b = append(b, r.Data...)
	}
	return append(b, '}')
}

// EncodeError encodes an error frame. ref is the client's ref as it sent it (nil for none), channel "" for none.
// Foreign errors show no detail.
func EncodeError(ref []byte, channel string, err error) []byte {
	b := make([]byte, 0, 160)
	b = append(b, `{"action":"error"`...)
	b = appendRef(b, ref)
	if channel != "" {
		b = append(b, `,"channel":`...)
		b = appendString(b, channel)
	}
	b = append(b, `,"error":`...)
	b = appendError(b, err)
	return append(b, '}')
}

// EncodeBye encodes the frame that precedes every close the server starts; afterMS is how long a client should wait
// before it reconnects.
func EncodeBye(code eureka.CloseCode, reason string, afterMS int64) []byte {
	b := make([]byte, 0, 128)
	b = append(b, `{"action":"bye","data":{"code":`...)
	b = strconv.AppendUint(b, uint64(code), 10)
	b = append(b, `,"reason":`...)
	b = appendString(b, reason)
	b = append(b, `,"reconnect":`...)
	b = strconv.AppendBool(b, code.Reconnect())
	b = append(b, `,"after":`...)
	b = strconv.AppendInt(b, afterMS, 10)
	return append(b, '}', '}')
}

func appendError(b []byte, err error) []byte {
	b = append(b, `{"code":`...)
	b = appendString(b, string(eureka.CodeOf(err)))
	b = append(b, `,"message":`...)
	b = appendString(b, eureka.MessageOf(err))
	return append(b, '}')
}

func appendRef(b []byte, ref []byte) []byte {
	if len(ref) == 0 {
		return b
	}
	b = append(b, `,"ref":`...)
	return append(b, ref...)
}

// appendString appends s as a JSON string. The plain case, nearly every name and action, needs no allocation.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return appendQuoted(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

const hex = "0123456789abcdef"

// appendQuoted escapes what JSON demands, and replaces invalid UTF-8 by U+FFFD as encoding/json does; unlike
// encoding/json it leaves < > & alone, since a frame is never part of an HTML page.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\t':
			b = append(b, '\\', 't')
		case r < 0x20:
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&0xf])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
