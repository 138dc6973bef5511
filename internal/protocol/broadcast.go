package protocol

import (
	"bytes"
	"encoding/json"
	"strconv"

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
		if f, ok := cutFacts(body); ok {
			f.Origin = origin
			return f
		}
		m, err := ParseBody(body)
		if err != nil {
			return eureka.Facts{} // cannot be: MessageBody checked it
		}
		m.Origin = origin
		return m.Facts()
	}
}

// cutFacts finds the parts of a message's body where MessageBody and AppendID put them: every filtered message needs them, and reading all of its JSON for
// that costs more than most filters. ok is false for a body that it does not know, which ParseBody may know all the same.
func cutFacts(body []byte) (f eureka.Facts, ok bool) {
	rest, ok := bytes.CutPrefix(body, []byte(`"action":"message","event":"`))
	if !ok {
		return f, false
	}
	event, rest, ok := bytes.Cut(rest, []byte(`","data":`))
	if !ok || bytes.ContainsAny(event, `"\\`) {
		return f, false
	}
	// From the end: no text within the data can look like these, since quotes stand escaped in texts, and what is in an object or array ends with it.
	if at := bytes.LastIndex(rest, []byte(`,"id":"`)); at >= 0 && bytes.IndexByte(rest[at+7:], '"') == len(rest)-at-8 {
		rest = rest[:at]
	}
	at := bytes.LastIndex(rest, []byte(`,"ts":`))
	if at <= 0 {
		return f, false
	}
	ts, err := strconv.ParseUint(string(rest[at+6:]), 10, 63)
	return eureka.Facts{Event: string(event), Data: json.RawMessage(rest[:at]), TS: int64(ts)}, err == nil
}
