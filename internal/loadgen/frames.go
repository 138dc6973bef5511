package loadgen

import "encoding/binary"

// The opcodes of RFC 6455 that a server sends.
const (
	opContinuation = 0
	opText         = 1
	opBinary       = 2
	opClose        = 8
	opPing         = 9
	opPong         = 10
)

// maxFrame is the largest frame taken from a service, in bytes; one that announces more is garbage.
const maxFrame = 16 << 20

// frame is a frame of a server, which masks nothing. payload is part of what was read and valid until the next read.
type frame struct {
	opcode  byte
	payload []byte
}

// nextFrame takes the first frame from b. size is its whole length; 0 when more bytes are needed, below 0 when b is no frame of a server.
func nextFrame(b []byte) (f frame, size int) {
	if len(b) < 2 {
		return f, 0
	}
	if b[0]&0x70 != 0 || b[1]&0x80 != 0 {
		return f, -1
	}
	head, length := 2, uint64(b[1])
	switch length {
	case 126:
		if len(b) < 4 {
			return f, 0
		}
		head, length = 4, uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if len(b) < 10 {
			return f, 0
		}
		head, length = 10, binary.BigEndian.Uint64(b[2:])
	}
	if length > maxFrame {
		return f, -1
	}
	size = head + int(length)
	if len(b) < size {
		return f, 0
	}
	return frame{opcode: b[0] & 0xf, payload: b[head:size]}, size
}
