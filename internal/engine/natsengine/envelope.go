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

// maxEnvelopeText is the length of the longest text of an envelope: a socket's id, or a name of an event's origin.
const maxEnvelopeText = max(eureka.MaxSocketIDLength, eureka.MaxServiceLength, eureka.MaxModelTypeLength, eureka.MaxModelIDLength)

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
	r := envelopeReader{rest: payload[1:]}
	for range r.number(eureka.MaxExcept) {
		id := r.text()
		if r.failed || id == "" {
			return envelope{}, malformed
		}
		e.except = append(e.except, id)
	}
	if payload[0] == envelopeOrigin {
		e.origin = eureka.Origin{Service: r.text(), ModelType: r.text(), ModelID: r.text()}
	}
	if r.failed || len(r.rest) == 0 || len(r.rest) > eureka.MaxFrameBytes {
		return envelope{}, malformed
	}
	e.body = r.rest
	return e, nil
}

// envelopeReader reads the parts of an envelope. Once it has failed, what it returns means nothing.
type envelopeReader struct {
	rest   []byte
	failed bool
}

func (r *envelopeReader) number(limit int) int {
	v, n := binary.Uvarint(r.rest)
	if r.failed || n <= 0 || v > uint64(limit) { //nolint:gosec // a constant
		r.failed = true
		return 0
	}
	r.rest = r.rest[n:]
	return int(v) //nolint:gosec // at most limit
}

func (r *envelopeReader) text() string {
	length := r.number(maxEnvelopeText)
	if r.failed || length > len(r.rest) {
		r.failed = true
		return ""
	}
	s := string(r.rest[:length])
	r.rest = r.rest[length:]
	return s
}
