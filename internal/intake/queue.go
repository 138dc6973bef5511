package intake

import (
	"cmp"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"eureka"
)

// attributePrefix stands before the names of a CloudEvent's attributes where its data is the message itself, as in CloudEvents' HTTP binding.
const attributePrefix = "ce-"

// MaxMessage is the largest body of a queue's message, in bytes: SQS's limit.
const MaxMessage = 1 << 20

// Message is one message of a queue.
type Message struct {
	ID         string // the queue's id of the message, the same when it is delivered again; "" for none, and events get no identity of it
	Body       string
	Attributes map[string]string // its attributes that are strings
}

// Queued reads the events of a queue's message: what Events reads, or one CloudEvent whose attributes are the message's (ce-id, ce-source, …) and whose
// data is its body. The envelope of an SNS topic around any of these is taken off. An event without an identity gets one of the message's, so that it is
// accepted once however often it is delivered, and by whichever way of the topic. CodeTooLarge over MaxMessage.
func Queued(m Message) ([]eureka.Event, error) {
	if len(m.Body) > MaxMessage && m.ID != "" {
		return nil, eureka.Errorf(eureka.CodeTooLarge, "the message has %d bytes, the limit is %d", len(m.Body), MaxMessage)
	}
	if !utf8.ValidString(m.Body) {
		return nil, eureka.FieldError("body", "is not valid UTF-8")
	}
	m = unwrap(m)
	if _, binary := m.Attributes[attributePrefix+"specversion"]; binary && !isCloud(m.contentType()) {
		return one(attributed(m))
	}
	events, err := Events([]byte(m.Body))
	for i := range events {
		if events[i].ID == "" && m.ID != "" {
			events[i].ID = "message-" + digest(m.ID, strconv.Itoa(i))
		}
	}
	return events, err
}

// unwrap takes off the envelope of an SNS topic; a message without one is returned as it is.
func unwrap(m Message) Message {
	var envelope struct {
		Type              string
		MessageID         string `json:"MessageId"`
		TopicArn          string
		Message           *string
		MessageAttributes map[string]struct{ Type, Value string }
	}
	if !strings.HasPrefix(strings.TrimSpace(m.Body), "{") || json.Unmarshal([]byte(m.Body), &envelope) != nil ||
		envelope.Type != "Notification" || envelope.Message == nil || envelope.MessageID == "" || envelope.TopicArn == "" {
		return m
	}
	// The topic's id, not the queue's: a topic that delivers twice makes two messages of the queue.
	inner := Message{ID: envelope.MessageID, Body: *envelope.Message, Attributes: map[string]string{}}
	for name, attribute := range envelope.MessageAttributes {
		if attribute.Type == "String" {
			inner.Attributes[name] = attribute.Value
		}
	}
	return inner
}

// contentType is what the message's attributes say of its body.
func (m Message) contentType() string {
	return cmp.Or(m.Attributes["content-type"], m.Attributes["Content-Type"])
}

// attributed reads a CloudEvent whose data is the message's body.
func attributed(m Message) (eureka.Event, error) {
	a := attributes{}
	for name, value := range m.Attributes {
		if attribute, cloud := strings.CutPrefix(name, attributePrefix); cloud {
			a[attribute] = value
		}
	}
	if kind := m.contentType(); a.text("datacontenttype") == "" && kind != "" {
		a["datacontenttype"] = kind
	}
	data, err := a.content("body", []byte(m.Body))
	if err != nil {
		return eureka.Event{}, err
	}
	return a.toEvent(data)
}
