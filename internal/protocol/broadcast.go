package protocol

import (
	"bytes"

	"eureka"
)

// Broadcast is one message on its way to the subscribers of a channel: encoded once, whatever names they know the channel by.
type Broadcast struct {
	Body   []byte   // of MessageBody or ErrorBody
	Except []string // ids of sockets that do not get it
	// Facts are what the filters of subscriptions are asked about. It is called once at most, and only when there are filters. nil is for
	// frames that are not filtered: join, leave and errors.
	Facts func() eureka.Facts
}

// FactsOf returns what filters are asked about a body that MessageBody made, with or without a cursor; nil for join and leave, which are not filtered.
func FactsOf(body []byte, origin eureka.Origin) func() eureka.Facts {
	if !bytes.HasPrefix(body, []byte(`"action":"message"`)) {
		return nil
	}
	return func() eureka.Facts {
		m, err := ParseBody(body)
		if err != nil {
			return eureka.Facts{} // cannot be: MessageBody checked it
		}
		m.Origin = origin
		return m.Facts()
	}
}
