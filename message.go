package eureka

import "encoding/json"

// Limits of a message.
const (
	MaxFrameBytes  = 128 << 10 // one text frame, in either direction: API Gateway's limit, kept in every mode
	MaxEventLength = 128       // bytes of an event's name
	MaxExcept      = 1000      // sockets that one message may leave out
	MaxKeyLength   = 255       // bytes of an idempotency key
)

// Limits of rules, in bytes of their text.
const (
	MaxRuleLength   = 4096                  // one rule as somebody wrote it
	MaxFilterLength = 2*MaxRuleLength + 512 // the canonical text of a subscription's two
)

// DefaultEvent is the event name of a message whose publisher gave none.
const DefaultEvent = "message"

// The actions of frames that a channel's subscribers receive.
const (
	ActionMessage = "message"
	ActionJoin    = "join"
	ActionLeave   = "leave"
)

// Event is what a microservice reports. It is routed to the channels of its service and model.
type Event struct {
	ID        string // the publisher's identity of the event, "" when it gave none
	ChannelID string // a channel id or alias to deliver to directly, beside routing; "" for routing alone
	Service   string
	ModelType string
	ModelID   string
	Event     string // what happened, such as "create"; "" means DefaultEvent
	Data      json.RawMessage
	TS        int64 // epoch milliseconds; 0 means the time of acceptance
}

// Validate checks the fields and returns a CodeInvalid error that names the first at fault.
func (e Event) Validate() error {
	if e.ChannelID == "" && (e.Service == "" || e.ModelType == "") {
		return Errorf(CodeInvalid, "an event needs service and modelType, or a channelId")
	}
	if e.ChannelID != "" {
		if err := CheckName("channelId", e.ChannelID); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		field, value string
		maximum      int
	}{
		{"id", e.ID, MaxNameLength},
		{"service", e.Service, MaxServiceLength},
		{"modelType", e.ModelType, MaxModelTypeLength},
		{"modelId", e.ModelID, MaxModelIDLength},
	} {
		if err := checkText(f.field, f.value, f.maximum); err != nil {
			return err
		}
	}
	return CheckEvent(e.Event)
}

// CheckEvent checks an event name: at most MaxEventLength bytes of UTF-8 without control characters; empty is allowed.
func CheckEvent(event string) error { return checkText("event", event, MaxEventLength) }

// CheckUser checks a user name against [MaxUserLength]: UTF-8 without control characters; empty is allowed.
func CheckUser(user string) error { return checkText("user", user, MaxUserLength) }

// Message is an event as it stands on one channel: what subscribers receive.
type Message struct {
	ChannelID string          // where it is delivered
	Action    string          // ActionMessage, ActionJoin or ActionLeave
	Event     string          // the publisher's event name; "" on join and leave
	Data      json.RawMessage // one valid, compact JSON value
	TS        int64           // epoch milliseconds
	Except    []string        // socket ids that do not receive it
	Key       string          // what makes it the same message when it is delivered again, "" for none; at most MaxKeyLength bytes
	Retention *Retention      // what its channel retains; nil: nothing
	Counted   bool            // the caller wants the numbers of Delivery; without it an engine may leave them zero
	Origin
}

// Origin is the service and the model of the event behind a message, for the filters of subscriptions; all are empty for a message that was published on
// its channel directly.
type Origin struct{ Service, ModelType, ModelID string }

// Delivery says what became of a message at the time it was accepted.
type Delivery struct {
	Cursor   Cursor // its position, on a channel with history
	Matched  int    // subscribers of the channel that were to get it
	Sent     int    // sockets it was handed to
	Gone     int    // sockets that had ended
	Deferred int    // sockets that will get it later, by a retry or a worker; none of them is in Sent
	// Unknown says that workers do the delivering, so that nobody knows the numbers yet: they are zero. Somebody listens, or did a moment ago.
	Unknown bool
}

// Facts are what the filters of subscriptions see of a message.
type Facts struct {
	Event string
	Data  json.RawMessage
	TS    int64 // epoch milliseconds
	Origin
}

// Facts returns what filters see of the message.
func (m Message) Facts() Facts {
	return Facts{Event: m.Event, Data: m.Data, TS: m.TS, Origin: m.Origin}
}
