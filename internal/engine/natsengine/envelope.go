package natsengine

import (
	"encoding/binary"

	"eureka"
)

// The first byte of a message between nodes. Nodes ignore versions they do not know.
const (
	envelopePlain  = 1
	envelopeOrigin = 2 // has the service and the model of an event
)

// envelope is what nodes send each other of a message: its body, and what is not for clients.
type envelope struct {
	body   []byte
	except []string
	origin eureka.Origin
}

// encode makes the payload of a live message: version, number of excepted sockets, each with its length, in the second version the origin likewise, and
// the body.
func (e envelope) encode() ([]byte, error) {
	if len(e.except) > eureka.MaxExcept {
		return nil, eureka.FieldError("except", "has %d sockets, the limit is %d", len(e.except), eureka.MaxExcept)
	}
	size := 1 + 4*binary.MaxVarintLen16 + len(e.body) + len(e.origin.Service) + len(e.origin.ModelType) + len(e.origin.ModelID)
	for _, id := range e.except {
		if id == "" || len(id) > eureka.MaxSocketIDLength {
			return nil, eureka.FieldError("except", "has an entry that is not a socket id")
		}
		size += 2 + len(id)
	}
	b := make([]byte, 0, size)
	version := byte(envelopePlain)
	if e.origin != (eureka.Origin{}) {
		version = envelopeOrigin
	}
	b = append(b, version)
	b = binary.AppendUvarint(b, uint64(len(e.except)))
	for _, id := range e.except {
		b = appendText(b, id)
	}
	if version == envelopeOrigin {
		b = appendText(appendText(appendText(b, e.origin.Service), e.origin.ModelType), e.origin.ModelID)
	}
	return append(b, e.body...), nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decodeEnvelope reads what encode made, from any peer: every length is checked. The body is a part of payload.
func decodeEnvelope(payload []byte) (envelope, error) {
	malformed := eureka.Errorf(eureka.CodeInvalid, "the message between nodes is malformed")
	if len(payload) < 2 || (payload[0] != envelopePlain && payload[0] != envelopeOrigin) {
		return envelope{}, malformed
	}
	var e envelope
	rest := payload[1:]
	number := func(limit uint64) (int, bool) {
		v, n := binary.Uvarint(rest)
		if n <= 0 || v > limit {
			return 0, false
		}
		rest = rest[n:]
		return int(v), true //nolint:gosec // at most limit
	}
	text := func(limit uint64) (string, bool) {
		length, ok := number(limit)
		if !ok || length > len(rest) {
			return "", false
		}
		s := string(rest[:length])
		rest = rest[length:]
		return s, true
	}
	count, ok := number(eureka.MaxExcept)
	if !ok {
		return envelope{}, malformed
	}
	for range count {
		id, ok := text(eureka.MaxSocketIDLength)
		if !ok || id == "" {
			return envelope{}, malformed
		}
		e.except = append(e.except, id)
	}
	if payload[0] == envelopeOrigin {
		var ok1, ok2, ok3 bool
		e.origin.Service, ok1 = text(eureka.MaxServiceLength)
		e.origin.ModelType, ok2 = text(eureka.MaxModelTypeLength)
		e.origin.ModelID, ok3 = text(eureka.MaxModelIDLength)
		if !ok1 || !ok2 || !ok3 {
			return envelope{}, malformed
		}
	}
	if len(rest) == 0 || len(rest) > eureka.MaxFrameBytes {
		return envelope{}, malformed
	}
	e.body = rest
	return e, nil
}
