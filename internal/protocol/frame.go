package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"eureka"
)

// Subprotocol is the WebSocket subprotocol that a client may offer to say that it speaks this protocol.
const Subprotocol = "eureka.v1"

// Limits of a client frame beyond eureka.MaxFrameBytes.
const (
	MaxDepth        = 64  // nested arrays and objects
	MaxRefLength    = 128 // bytes of ref as it stands in the frame
	MaxActionLength = 64  // bytes of action
)

// The actions a client may send. Those of later versions are known by name so that their error can say so.
const (
	ActionPing        = "ping"
	ActionPong        = "pong"
	ActionEcho        = "echo"
	ActionInfo        = "info"
	ActionSubscribe   = "subscribe"
	ActionUnsubscribe = "unsubscribe"
	ActionPublish     = "publish"
	ActionMessage     = "message" // the original's name of publish
	ActionPresence    = "presence"
	ActionHistory     = "history"
	ActionCall        = "call"
	ActionRefresh     = "refresh"
)

// The actions of replies.
const (
	ReplySubscribed   = "subscribed"
	ReplyUnsubscribed = "unsubscribed"
	ReplyPublished    = "published"
	ReplyRefreshed    = "refreshed"
)

// ClientFrame is one parsed frame from a client. Fields the frame does not have are zero; unknown fields are ignored,
// since the original's clients send some of their own.
type ClientFrame struct {
	Action  string
	Ref     json.RawMessage // a JSON string or number as the client sent it
	Channel string
	Event   string
	Data    json.RawMessage // compact; nil when absent
	NoEcho  bool            // "echo": false on publish: the sender does not get its own message
	Filter  json.RawMessage // nil when absent
	Since   json.RawMessage // nil when absent
	Limit   json.RawMessage // nil when absent
	Token   string
}

// SinceText is the cursor in since, "" when absent. CodeInvalid when it is no string.
func (f ClientFrame) SinceText() (string, error) {
	var since string
	if f.Since != nil && (f.Since[0] != '"' || json.Unmarshal(f.Since, &since) != nil) {
		return "", eureka.FieldError("since", "must be a string: the id of a message, or the cursor of a reply")
	}
	return since, nil
}

// FilterText is the rule in filter, "" when absent. CodeInvalid when it is no string, or an empty one.
func (f ClientFrame) FilterText() (string, error) {
	var filter string
	if f.Filter != nil && (f.Filter[0] != '"' || json.Unmarshal(f.Filter, &filter) != nil || filter == "") {
		return "", eureka.FieldError("filter", "must be a string with a rule, such as data.userId == \"ann\"")
	}
	return filter, nil
}

// LimitNumber is the number in limit, 0 when absent. CodeInvalid when it is none.
func (f ClientFrame) LimitNumber() (int, error) {
	if f.Limit == nil {
		return 0, nil
	}
	var limit int
	if json.Unmarshal(f.Limit, &limit) != nil || limit < 1 {
		return 0, eureka.FieldError("limit", "must be a number from 1")
	}
	return limit, nil
}

// Parse parses one client frame. The error is always an *eureka.Error of code invalid; the frame returned with it has
// the ref when that could be read, so that the error frame can carry it.
func Parse(text []byte) (ClientFrame, error) {
	var f ClientFrame
	if err := CheckDepth(text); err != nil {
		return f, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return f, notAnObject(err)
	}
	if fields == nil {
		return f, eureka.Errorf(eureka.CodeInvalid, `the frame is null; a frame is an object such as {"action":"ping"}`)
	}
	if ref, ok := fields["ref"]; ok && string(ref) != "null" {
		if err := checkRef(ref); err != nil {
			return f, err
		}
		f.Ref = ref
	}
	for _, s := range []struct {
		key string
		to  *string
	}{{"action", &f.Action}, {"channel", &f.Channel}, {"event", &f.Event}, {"token", &f.Token}} {
		if err := readString(fields, s.key, s.to); err != nil {
			return f, err
		}
	}
	if err := checkAction(f.Action); err != nil {
		return f, err
	}
	if echo, ok := fields["echo"]; ok && string(echo) != "null" {
		var yes bool
		if json.Unmarshal(echo, &yes) != nil {
			return f, eureka.FieldError("echo", "must be true or false")
		}
		f.NoEcho = !yes
	}
	f.Filter, f.Since, f.Limit = present(fields, "filter"), present(fields, "since"), present(fields, "limit")
	if data, ok := fields["data"]; ok {
		compact, err := Compact("data", data)
		if err != nil {
			return f, err
		}
		f.Data = compact
	}
	return f, nil
}

// CheckDepth returns a CodeInvalid error when arrays and objects nest deeper than MaxDepth. It looks at brackets outside
// strings only and accepts text that is not JSON.
func CheckDepth(text []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '[' || c == '{':
			if depth++; depth > MaxDepth {
				return eureka.Errorf(eureka.CodeInvalid, "the JSON is nested deeper than %d levels", MaxDepth)
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return nil
}

func notAnObject(err error) error {
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		return eureka.Errorf(eureka.CodeInvalid, `the frame is a JSON %s; a frame is an object such as {"action":"ping"}`, kind(wrongType.Value))
	}
	message := "the frame is not valid JSON"
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		message = fmt.Sprintf("the frame is not valid JSON (at byte %d)", syntax.Offset)
	}
	return &eureka.Error{Code: eureka.CodeInvalid, Message: message, Err: err}
}

// kind shortens encoding/json's description of a value ("number 12") to its type.
func kind(value string) string {
	for i := range len(value) {
		if value[i] == ' ' {
			return value[:i]
		}
	}
	return value
}

func checkRef(ref json.RawMessage) error {
	switch {
	case len(ref) > MaxRefLength:
		return eureka.FieldError("ref", "is %d bytes long, the limit is %d", len(ref), MaxRefLength)
	case ref[0] == '"' || ref[0] == '-' || (ref[0] >= '0' && ref[0] <= '9'):
		return nil
	default:
		return eureka.FieldError("ref", "must be a string or a number")
	}
}

func checkAction(action string) error {
	switch {
	case action == "":
		return eureka.FieldError("action", `is missing; a frame is an object such as {"action":"ping"}`)
	case len(action) > MaxActionLength:
		return eureka.FieldError("action", "is %d bytes long, the limit is %d", len(action), MaxActionLength)
	case !utf8.ValidString(action):
		return eureka.FieldError("action", "is not valid UTF-8")
	default:
		return nil
	}
}

func readString(fields map[string]json.RawMessage, key string, to *string) error {
	value, ok := fields[key]
	if !ok || string(value) == "null" {
		return nil
	}
	if value[0] != '"' || json.Unmarshal(value, to) != nil {
		return eureka.FieldError(key, "must be a string")
	}
	return nil
}

func present(fields map[string]json.RawMessage, key string) json.RawMessage {
	value, ok := fields[key]
	if !ok || string(value) == "null" {
		return nil
	}
	return value
}
