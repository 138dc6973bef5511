package dynamo

import (
	"fmt"
	"strconv"
	"time"

	"eureka"
	"eureka/internal/protocol"
)

// Attributes of a message. One without a body is a seal: its offset stays without a message for ever.
const (
	attrBody   = "b"
	attrExcept = "ex"
	attrStored = "at" // epoch milliseconds
	attrFrom   = "og" // service, model type and model id, of an event's message
	attrBefore = "pa" // epoch milliseconds when the offset before was taken
)

// keptOver is how long a message stays in the table behind its end, for readers that have to know that it was there.
const keptOver = time.Hour

// stored is one offset of a history.
type stored struct {
	offset uint64
	seal   bool
	body   []byte
	except []string
	origin eureka.Origin
	at     int64
	over   int64 // epoch milliseconds
	before int64
}

func messagesKey(channelID, epoch string) string { return "h#" + hash(channelID) + "#" + epoch }

func offsetText(offset uint64) string { return fmt.Sprintf("%016x", offset) }

func messageKey(channelID, epoch string, offset uint64) key {
	return key{messagesKey(channelID, epoch), offsetText(offset)}
}

func storedOf(it item) stored {
	offset, err := strconv.ParseUint(it.text(KeySort), 16, 63)
	if err != nil {
		offset = 0 // of an item that this package did not write
	}
	return stored{
		offset: offset, seal: !it.has(attrBody), body: it.blob(attrBody), except: it.texts(attrExcept), at: it.number(attrStored), origin: readOrigin(it),
		over: it.number(attrExpires), before: it.number(attrBefore),
	}
}

// gone reports whether readers may not see the message any more.
func (s stored) gone(r runtime, now int64) bool {
	return !s.seal && (s.over <= now || (r.limit > 0 && s.at+r.limit <= now) || s.offset < r.lowest())
}

func (s stored) retained(r runtime) (eureka.Retained, error) {
	m, err := protocol.ParseBody(s.body)
	if err != nil {
		return eureka.Retained{}, eureka.WrapError(eureka.CodeInternal, err, "a stored message cannot be read")
	}
	return eureka.Retained{Cursor: r.cursor(s.offset), Action: m.Action, Event: m.Event, Data: m.Data, TS: m.TS, Origin: s.origin}, nil
}

// writeOrigin notes where a message's event comes from.
func writeOrigin(it item, o eureka.Origin) {
	if o != (eureka.Origin{}) {
		it[attrFrom] = texts([]string{o.Service, o.ModelType, o.ModelID})
	}
}

func readOrigin(it item) eureka.Origin {
	if parts := it.texts(attrFrom); len(parts) == 3 {
		return eureka.Origin{Service: parts[0], ModelType: parts[1], ModelID: parts[2]}
	}
	return eureka.Origin{}
}
