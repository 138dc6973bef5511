package protocol

import (
	"encoding/json"
	"strconv"

	"eureka"
)

// HistoryRoom is how many bytes of entries, each with a comma, fit a history reply with the longest ref and channel name. It holds any one message
// that MessageBody takes.
const HistoryRoom = eureka.MaxFrameBytes - MaxRefLength - eureka.MaxNameLength -
	len(`{"action":"history","ref":,"channel":"","data":{"list":[],"cursor":"xxxxxxxx.9223372036854775807","more":false}}`)

// HistoryEntry encodes one message of a history reply. data is one valid JSON value.
func HistoryEntry(id, event string, data json.RawMessage, ts int64) []byte {
	b := make([]byte, 0, len(data)+len(event)+96)
	b = append(b, `{"id":`...)
	b = appendString(b, id)
	b = append(b, `,"event":`...)
	b = appendString(b, event)
	if len(data) > 0 {
		b = append(b, `,"data":`...)
		b = append(b, data...)
	}
	b = append(b, `,"ts":`...)
	b = strconv.AppendInt(b, ts, 10)
	return append(b, '}')
}

// HistoryData encodes the data of a history reply; entries come from HistoryEntry.
func HistoryData(entries [][]byte, cursor string, more bool) json.RawMessage {
	size := len(cursor) + 48
	for _, e := range entries {
		size += len(e) + 1
	}
	b := make([]byte, 0, size)
	b = append(b, `{"list":[`...)
	for i, e := range entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, e...)
	}
	b = append(b, `],"cursor":`...)
	b = appendString(b, cursor)
	b = append(b, `,"more":`...)
	return append(strconv.AppendBool(b, more), '}')
}
