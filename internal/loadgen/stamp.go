package loadgen

import (
	"bytes"
	"time"
)

// marker stands in front of every stamp. No service has a reason to change it on its way.
const marker = `"eub":"`

// A stamp is hexadecimal digits of fixed length: when the message was due, and which one it is.
const (
	stampTime    = 16 // nanoseconds since 1970
	stampChannel = 8
	stampLane    = 4
	stampSeq     = 8
	stampLen     = stampTime + stampChannel + stampLane + stampSeq
)

// minSize is the size of the smallest message: a JSON object with a stamp.
const minSize = len(`{`+marker+`","p":""}`) + stampLen

// stamp is what a message says about itself.
type stamp struct {
	at      int64  // nanoseconds
	channel uint32 // number of its channel
	lane    uint16 // which of the publishers sent it
	seq     uint32 // how many that one sent to the channel before it
}

// message appends a message's data of a given size.
func (s stamp) message(b []byte, size int) []byte {
	b = append(append(b, '{'), marker...)
	b = digits(b, uint64(s.at), stampTime) //nolint:gosec // read back the same way
	b = digits(b, uint64(s.channel), stampChannel)
	b = digits(b, uint64(s.lane), stampLane)
	b = digits(b, uint64(s.seq), stampSeq)
	b = append(b, `","p":"`...)
	for range size - minSize {
		b = append(b, 'x')
	}
	return append(b, `"}`...)
}

// FirstMessage is the data of a message that every socket of a generator takes for the first one of its channel. It is for a message that
// somebody else publishes to several generators of one machine; size is in bytes, 53 at the least.
func FirstMessage(size int) []byte {
	return stamp{at: time.Now().UnixNano()}.message(nil, max(size, minSize))
}

// eachStamp calls f for every stamp of a payload, which may hold several messages, and returns how many there are.
func eachStamp(payload []byte, f func(stamp)) (n int) {
	for {
		at := bytes.Index(payload, []byte(marker))
		if at < 0 {
			return n
		}
		payload = payload[at+len(marker):]
		if s, ok := parseStamp(payload); ok {
			f(s)
			n++
		}
	}
}

func parseStamp(b []byte) (s stamp, ok bool) {
	if len(b) < stampLen {
		return s, false
	}
	var fields [4]uint64
	for i, width := range [...]int{stampTime, stampChannel, stampLane, stampSeq} {
		if fields[i], ok = number(b[:width]); !ok {
			return s, false
		}
		b = b[width:]
	}
	return stamp{int64(fields[0]), uint32(fields[1]), uint16(fields[2]), uint32(fields[3])}, true //nolint:gosec // as many digits as each holds
}

// values are what hexadecimal digits stand for; above 15 for other bytes.
var values = func() (v [256]byte) {
	for i := range v {
		v[i] = 0xff
	}
	for i, c := range []byte("0123456789abcdef") {
		v[c] = byte(i)
	}
	return v
}()

func number(b []byte) (n uint64, ok bool) {
	for _, c := range b {
		v := values[c]
		if v > 15 {
			return 0, false
		}
		n = n<<4 | uint64(v)
	}
	return n, true
}

func digits(b []byte, n uint64, width int) []byte {
	var text [16]byte
	for i := range 8 {
		text[15-2*i] = "0123456789abcdef"[n>>(8*i)&15]
		text[14-2*i] = "0123456789abcdef"[n>>(8*i+4)&15]
	}
	return append(b, text[16-width:]...)
}

// maskedText appends a client's text frame; the mask is zero, which RFC 6455 allows and costs nothing.
func maskedText(b, payload []byte) []byte {
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x81, 0x80|byte(n))
	case n < 1<<16:
		b = append(b, 0x81, 0x80|126, byte(n>>8), byte(n)) //nolint:gosec // taken apart
	default:
		b = append(b, 0x81, 0x80|127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n)) //nolint:gosec // taken apart
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

// handshakeKey is the sample of RFC 6455.
const handshakeKey = "dGhlIHNhbXBsZSBub25jZQ=="
