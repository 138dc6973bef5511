package wire

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"eureka"
)

// Kind is what an Event is about.
type Kind int

// The kinds of events. A binary message is a Fault: the protocol is text.
const (
	Text  Kind = iota + 1 // a complete, valid text message
	Ping                  // wants a pong with the same payload
	Pong                  // answers a ping
	Close                 // the peer closes, with Code and Reason
)

// Event is one thing a client sent. Payload is only valid during the call of emit.
type Event struct {
	Kind    Kind
	Payload []byte
	Code    eureka.CloseCode // of Close; CloseNoStatus when the frame had none
	Reason  string           // of Close
}

// Fault is a breach of the protocol; the connection must be closed with its code.
type Fault struct {
	Code   eureka.CloseCode
	Reason string // at most 123 bytes, fit for a close frame
}

// Error returns the code and the reason.
func (f *Fault) Error() string { return fmt.Sprintf("websocket fault %d: %s", f.Code, f.Reason) }

const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa

	finBit      = 0x80
	reserved    = 0x70
	maskBit     = 0x80
	controlBit  = 0x8
	maxControl  = 125
	maskBytes   = 4
	headerBytes = 14 // the longest header: two bytes, a 64-bit length, a mask
)

// Parser turns a client's byte stream into events. The zero value with MaxMessage set is ready. It is not safe for concurrent use.
type Parser struct {
	MaxMessage int // bytes of one text message, all fragments together
	MaxFrame   int // bytes of one of its frames; 0 means that MaxMessage alone limits them

	header     [headerBytes]byte
	headerHave int

	inFrame bool
	opcode  byte
	fin     bool
	mask    [4]byte
	maskPos int
	left    int // payload bytes of the current frame still to come

	control   []byte // payload of a control frame that did not arrive whole
	message   []byte // what has arrived of a message that did not arrive whole
	inMessage bool   // a fragmented message has begun
	checked   int    // bytes of message that are known to be valid UTF-8
}

// Idle reports whether the parser is between messages and holds no buffer.
func (p *Parser) Idle() bool {
	return !p.inFrame && !p.inMessage && p.headerHave == 0 && p.message == nil && p.control == nil
}

// Feed takes the next bytes, in whatever pieces they arrive, and calls emit for each event. It unmasks b in place. When
// emit returns false Feed stops and drops the rest. A Fault ends the stream: Feed must not be called again.
func (p *Parser) Feed(b []byte, emit func(Event) bool) *Fault {
	for {
		if !p.inFrame {
			n, complete, fault := p.readHeader(b)
			if fault != nil {
				return fault
			}
			b = b[n:]
			if !complete {
				return nil
			}
		}
		n := min(p.left, len(b))
		chunk := b[:n]
		b = b[n:]
		p.unmask(chunk)
		p.left -= n
		goOn, fault := p.payload(chunk, emit)
		if fault != nil || !goOn {
			return fault
		}
		if p.left > 0 || len(b) == 0 {
			return nil
		}
	}
}

// readHeader takes the bytes of a frame header and reports how many it used and whether the header is complete.
func (p *Parser) readHeader(b []byte) (used int, complete bool, fault *Fault) {
	for p.headerHave < 2 || p.headerHave < headerSize(p.header[1]) {
		if used == len(b) {
			return used, false, nil
		}
		p.header[p.headerHave] = b[used]
		p.headerHave++
		used++
		// The first two bytes tell most faults; a peer that sends no more must not be waited for.
		if p.headerHave == 2 {
			if fault := p.checkHeader(); fault != nil {
				return used, false, fault
			}
		}
		if p.headerHave >= 2 && p.headerHave == headerSize(p.header[1])-maskBytes {
			if fault := p.checkSize(); fault != nil {
				return used, false, fault
			}
		}
	}
	copy(p.mask[:], p.header[p.headerHave-maskBytes:p.headerHave])
	p.maskPos, p.inFrame, p.headerHave = 0, true, 0
	return used, true, nil
}

// checkSize reads the payload's length, as soon as it is there, and holds it against the limit.
func (p *Parser) checkSize() *Fault {
	size := uint64(p.header[1] & 0x7f)
	switch size {
	case 126:
		size = uint64(binary.BigEndian.Uint16(p.header[2:]))
	case 127:
		size = binary.BigEndian.Uint64(p.header[2:])
	}
	if p.opcode&controlBit == 0 && p.MaxFrame > 0 && size > uint64(p.MaxFrame) {
		return &Fault{eureka.CloseTooBig, fmt.Sprintf("a frame may have %d bytes", p.MaxFrame)}
	}
	if p.opcode&controlBit == 0 && size > uint64(max(p.MaxMessage-len(p.message), 0)) {
		return &Fault{eureka.CloseTooBig, fmt.Sprintf("a message may have %d bytes", p.MaxMessage)}
	}
	p.left = int(size)
	return nil
}

// headerSize is the length of a masked header whose second byte is given.
func headerSize(second byte) int {
	switch second & 0x7f {
	case 126:
		return 8
	case 127:
		return 14
	default:
		return 6
	}
}

func (p *Parser) checkHeader() *Fault {
	first, second := p.header[0], p.header[1]
	p.fin, p.opcode = first&finBit != 0, first&0xf
	switch {
	case first&reserved != 0:
		return &Fault{eureka.CloseProtocol, "reserved bits are set"}
	case second&maskBit == 0:
		return &Fault{eureka.CloseProtocol, "a client's frames must be masked"}
	case p.opcode == opBinary:
		return &Fault{eureka.CloseUnsupported, "messages are text"}
	case p.opcode == opClose || p.opcode == opPing || p.opcode == opPong:
		if !p.fin || second&0x7f > maxControl {
			return &Fault{eureka.CloseProtocol, "a control frame is fragmented or over 125 bytes"}
		}
	case p.opcode == opText:
		if p.inMessage {
			return &Fault{eureka.CloseProtocol, "a message began inside another"}
		}
	case p.opcode == opContinuation:
		if !p.inMessage {
			return &Fault{eureka.CloseProtocol, "a fragment belongs to no message"}
		}
	default:
		return &Fault{eureka.CloseProtocol, "the opcode is reserved"}
	}
	return nil
}

func (p *Parser) payload(chunk []byte, emit func(Event) bool) (bool, *Fault) {
	if p.opcode&controlBit != 0 {
		return p.controlPayload(chunk, emit)
	}
	ends := p.left == 0
	if ends {
		p.inFrame = false
	}
	if ends && p.fin && len(p.message) == 0 {
		// The whole message is in the reader's buffer.
		p.inMessage = false
		if !utf8.Valid(chunk) {
			return false, invalidUTF8()
		}
		return emit(Event{Kind: Text, Payload: chunk}), nil
	}
	p.message = append(p.message, chunk...)
	last := ends && p.fin
	n, ok := validPrefix(p.message[p.checked:], last)
	if !ok {
		return false, invalidUTF8()
	}
	p.checked += n
	if ends {
		p.inMessage = !p.fin
	}
	if !last {
		return true, nil
	}
	message := p.message
	p.message, p.checked = nil, 0
	return emit(Event{Kind: Text, Payload: message}), nil
}

func (p *Parser) controlPayload(chunk []byte, emit func(Event) bool) (bool, *Fault) {
	if p.left > 0 || p.control != nil {
		p.control = append(p.control, chunk...)
		chunk = p.control
	}
	if p.left > 0 {
		return true, nil
	}
	p.inFrame, p.control = false, nil
	switch p.opcode {
	case opPing:
		return emit(Event{Kind: Ping, Payload: chunk}), nil
	case opPong:
		return emit(Event{Kind: Pong, Payload: chunk}), nil
	default:
		event, fault := closeEvent(chunk)
		if fault != nil {
			return false, fault
		}
		emit(event)
		return false, nil // nothing counts behind a close frame
	}
}

func closeEvent(payload []byte) (Event, *Fault) {
	if len(payload) == 0 {
		return Event{Kind: Close, Code: eureka.CloseNoStatus}, nil
	}
	if len(payload) == 1 {
		return Event{}, &Fault{eureka.CloseProtocol, "a close frame has half a code"}
	}
	code := eureka.CloseCode(binary.BigEndian.Uint16(payload))
	if !mayBeSent(code) {
		return Event{}, &Fault{eureka.CloseProtocol, "the close code may not be sent"}
	}
	if !utf8.Valid(payload[2:]) {
		return Event{}, invalidUTF8()
	}
	return Event{Kind: Close, Code: code, Reason: string(payload[2:])}, nil
}

// mayBeSent says which close codes a peer may send: RFC 6455 section 7.4 and the registry behind it.
func mayBeSent(code eureka.CloseCode) bool {
	switch {
	case code >= 3000 && code <= 4999:
		return true
	case code < 1000 || code > 1014:
		return false
	default:
		return code != 1004 && code != eureka.CloseNoStatus && code != eureka.CloseAbnormal
	}
}

func invalidUTF8() *Fault { return &Fault{eureka.CloseInvalidUTF8, "the text is not valid UTF-8"} }

// validPrefix checks the part of b that has arrived. It returns how many bytes are settled; without last an unfinished rune at
// the end may still become valid.
func validPrefix(b []byte, last bool) (int, bool) {
	end := len(b)
	if !last {
		for i := end - 1; i >= max(end-utf8.UTFMax+1, 0); i-- {
			if utf8.RuneStart(b[i]) {
				if !utf8.FullRune(b[i:]) {
					end = i
				}
				break
			}
		}
	}
	return end, utf8.Valid(b[:end])
}

// unmask applies the frame's mask to the next payload bytes in place.
func (p *Parser) unmask(b []byte) {
	key := p.mask
	if p.maskPos != 0 {
		for i := range key {
			key[i] = p.mask[(p.maskPos+i)&3]
		}
	}
	p.maskPos = (p.maskPos + len(b)) & 3
	key32 := binary.LittleEndian.Uint32(key[:])
	key64 := uint64(key32)<<32 | uint64(key32)
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^key64)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= key[i&3]
	}
}
