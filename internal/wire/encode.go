package wire

import (
	"encoding/binary"
	"unicode/utf8"

	"eureka"
)

// AppendHeader appends the header of a complete, unmasked text frame whose payload has n bytes.
func AppendHeader(dst []byte, n int) []byte { return appendHeader(dst, opText, n) }

// HeaderSize is the length of what AppendHeader appends for n bytes.
func HeaderSize(n int) int {
	switch {
	case n <= maxControl:
		return 2
	case n <= 0xffff:
		return 4
	default:
		return 10
	}
}

// TextFrame returns a complete text frame around text.
func TextFrame(text []byte) []byte {
	b := make([]byte, 0, HeaderSize(len(text))+len(text))
	return append(AppendHeader(b, len(text)), text...)
}

// TextFrames returns a text message as frames of at most size bytes of text.
func TextFrames(text []byte, size int) []byte {
	b := make([]byte, 0, len(text)+(len(text)/size+1)*HeaderSize(size))
	opcode := byte(opText)
	for len(text) > size {
		b = appendHeader(b, opcode, size)
		b[len(b)-HeaderSize(size)] &^= finBit
		b = append(b, text[:size]...)
		text, opcode = text[size:], opContinuation
	}
	return append(appendHeader(b, opcode, len(text)), text...)
}

// PingFrame returns a ping without payload.
func PingFrame() []byte { return []byte{finBit | opPing, 0} }

// PongFrame returns the pong that answers a ping's payload of at most 125 bytes.
func PongFrame(payload []byte) []byte {
	payload = payload[:min(len(payload), maxControl)]
	b := make([]byte, 0, 2+len(payload))
	return append(appendHeader(b, opPong, len(payload)), payload...)
}

// CloseFrame returns a close frame. A code that may not be sent (1005, 1006) makes a frame without one; the reason is cut to
// the 123 bytes that fit, at a rune.
func CloseFrame(code eureka.CloseCode, reason string) []byte {
	if !mayBeSent(code) {
		return []byte{finBit | opClose, 0}
	}
	if len(reason) > maxControl-2 {
		reason = reason[:maxControl-2]
		for len(reason) > 0 && !utf8.ValidString(reason) {
			reason = reason[:len(reason)-1]
		}
	}
	b := make([]byte, 0, 4+len(reason))
	b = appendHeader(b, opClose, 2+len(reason))
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	return append(b, reason...)
}

func appendHeader(dst []byte, opcode byte, n int) []byte {
	dst = append(dst, finBit|opcode)
	switch HeaderSize(n) {
	case 2:
		return append(dst, byte(n)) //nolint:gosec // at most 125
	case 4:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(n)) //nolint:gosec // at most 65,535
	default:
		return binary.BigEndian.AppendUint64(append(dst, 127), uint64(n)) //nolint:gosec // a length
	}
}

// FrameEnd returns where the frame that holds the byte at off ends; b holds complete frames of a server, the first at 0.
func FrameEnd(b []byte, off int) int {
	end := 0
	for end <= off && end < len(b) {
		head := b[end:]
		switch size := int(head[1] & 0x7f); size {
		case 126:
			end += 4 + int(binary.BigEndian.Uint16(head[2:]))
		case 127:
			end += 10 + int(binary.BigEndian.Uint64(head[2:])) //nolint:gosec // a length that this package wrote
		default:
			end += 2 + size
		}
	}
	return end
}
