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
	attrBefore = "pa" // epoch milliseconds when the offset before was taken
	attrFrom   = "sv" // service, model type and model id of its event, for filters; absent where earlier versions stored it
	attrOfType = "mt"
	attrOfID   = "mi"
)

// keptOver is how long a message stays in the table behind its end, for readers that have to know that it was there.
const keptOver = time.Hour

// stored is one offset of a history.
type stored struct {
	offset uint64
	seal   bool
	body   []byte
	origin eureka.Origin
	except []string
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
		offset: offset, seal: !it.has(attrBody), body: it.blob(attrBody), except: it.texts(attrExcept), at: it.number(attrStored),
		over: it.number(attrExpires), before: it.number(attrBefore),
		origin: eureka.Origin{Service: it.text(attrFrom), ModelType: it.text(attrOfType), ModelID: it.text(attrOfID)},
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
