package natsengine

import (
	"encoding/binary"

	"eureka"
)

// envelopeVersion is the first byte of a message between nodes. Nodes ignore versions they do not know.
const envelopeVersion = 1

// encodeEnvelope makes the payload of a live message: version, number of excepted sockets, each with its length, and the body.
func encodeEnvelope(body []byte, except []string) ([]byte, error) {
	if len(except) > eureka.MaxExcept {
		return nil, eureka.FieldError("except", "has %d sockets, the limit is %d", len(except), eureka.MaxExcept)
	}
	size := 1 + binary.MaxVarintLen16 + len(body)
	for _, id := range except {
		if id == "" || len(id) > eureka.MaxSocketIDLength {
			return nil, eureka.FieldError("except", "has an entry that is not a socket id")
		}
		size += 2 + len(id)
	}
	b := make([]byte, 0, size)
	b = append(b, envelopeVersion)
	b = binary.AppendUvarint(b, uint64(len(except)))
	for _, id := range except {
		b = binary.AppendUvarint(b, uint64(len(id)))
		b = append(b, id...)
	}
	return append(b, body...), nil
}

// decodeEnvelope reads what encodeEnvelope made, from any peer: every length is checked. body is a part of payload.
func decodeEnvelope(payload []byte) (body []byte, except []string, err error) {
	malformed := eureka.Errorf(eureka.CodeInvalid, "the message between nodes is malformed")
	if len(payload) < 2 || payload[0] != envelopeVersion {
		return nil, nil, malformed
	}
	rest := payload[1:]
	number := func(limit uint64) (int, bool) {
		v, n := binary.Uvarint(rest)
		if n <= 0 || v > limit {
			return 0, false
		}
		rest = rest[n:]
		return int(v), true //nolint:gosec // at most limit
	}
	count, ok := number(eureka.MaxExcept)
	if !ok {
		return nil, nil, malformed
	}
	for range count {
		length, ok := number(eureka.MaxSocketIDLength)
		if !ok || length == 0 || length > len(rest) {
			return nil, nil, malformed
		}
		except = append(except, string(rest[:length]))
		rest = rest[length:]
	}
	if len(rest) == 0 || len(rest) > eureka.MaxFrameBytes {
		return nil, nil, malformed
	}
	return rest, except, nil
}
