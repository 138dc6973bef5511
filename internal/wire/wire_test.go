package wire_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"eureka"
	"eureka/internal/wire"
)

const limit = 1000

// frame builds a masked client frame; first is its first byte.
func frame(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := []byte{0x11, 0x22, 0x33, 0x44}
	b = append(b, mask...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i%4])
	}
	return b
}

// feed parses stream in pieces of the given size and returns what came of it, one line per event and one for the fault.
func feed(stream []byte, piece int) []string {
	p := wire.Parser{MaxMessage: limit}
	lines := []string{}
	ended := false
	for len(stream) > 0 && !ended {
		n := min(piece, len(stream))
		chunk := bytes.Clone(stream[:n])
		stream = stream[n:]
		fault := p.Feed(chunk, func(e wire.Event) bool {
			switch e.Kind {
			case wire.Text:
				lines = append(lines, fmt.Sprintf("text %q", e.Payload))
			case wire.Ping:
				lines = append(lines, fmt.Sprintf("ping %q", e.Payload))
			case wire.Pong:
				lines = append(lines, fmt.Sprintf("pong %q", e.Payload))
			case wire.Close:
				lines = append(lines, fmt.Sprintf("close %d %q", e.Code, e.Reason))
				ended = true
			}
			return true
		})
		if fault != nil {
			lines = append(lines, fmt.Sprintf("fault %d", fault.Code))
			ended = true
		}
	}
	return lines
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestParser(t *testing.T) {
	big := strings.Repeat("x", limit)
	for _, tt := range []struct {
		name   string
		stream []byte
		want   []string
	}{
		{"text", frame(0x81, "hello"), []string{`text "hello"`}},
		{"empty text", frame(0x81, ""), []string{`text ""`}},
		{"two", join(frame(0x81, "a"), frame(0x81, "b")), []string{`text "a"`, `text "b"`}},
		{"at the limit", frame(0x81, big), []string{fmt.Sprintf("text %q", big)}},
		{"over the limit", frame(0x81, big+"x"), []string{"fault 1009"}},
		{"over the limit in fragments", join(frame(0x01, big), frame(0x80, "x")), []string{"fault 1009"}},
		{"fragments", join(frame(0x01, "he"), frame(0x00, "ll"), frame(0x80, "o")), []string{`text "hello"`}},
		{"control between fragments", join(frame(0x01, "he"), frame(0x89, "p"), frame(0x8a, ""), frame(0x80, "llo")), []string{`ping "p"`, `pong ""`, `text "hello"`}},
		{"empty fragments", join(frame(0x01, ""), frame(0x00, ""), frame(0x80, "")), []string{`text ""`}},
		{"rune over fragments", join(frame(0x01, "\xed\x95"), frame(0x80, "\x9c")), []string{`text "한"`}},
		{"rune cut at the end", join(frame(0x01, "\xed\x95"), frame(0x80, "")), []string{"fault 1007"}},
		{"bad UTF-8", frame(0x81, "a\xff"), []string{"fault 1007"}},
		{"bad UTF-8 over fragments", join(frame(0x01, "\xed"), frame(0x80, "x")), []string{"fault 1007"}},
		{"surrogate", frame(0x81, "\xed\xa0\x80"), []string{"fault 1007"}},
		{"binary", frame(0x82, "a"), []string{"fault 1003"}},
		{"reserved bit", frame(0xc1, "a"), []string{"fault 1002"}},
		{"reserved opcode", frame(0x83, "a"), []string{"fault 1002"}},
		{"reserved control opcode", frame(0x8b, "a"), []string{"fault 1002"}},
		{"unmasked", []byte{0x81, 0x01, 'a'}, []string{"fault 1002"}},
		{"text inside a message", join(frame(0x01, "a"), frame(0x81, "b")), []string{"fault 1002"}},
		{"fragment of nothing", frame(0x80, "a"), []string{"fault 1002"}},
		{"fragmented ping", frame(0x09, "a"), []string{"fault 1002"}},
		{"long ping", frame(0x89, strings.Repeat("x", 126)), []string{"fault 1002"}},
		{"2^63 bytes", []byte{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, []string{"fault 1009"}},
		{"close", frame(0x88, "\x03\xe8bye"), []string{`close 1000 "bye"`}},
		{"close without a code", frame(0x88, ""), []string{`close 1005 ""`}},
		{"close with half a code", frame(0x88, "\x03"), []string{"fault 1002"}},
		{"close with 1005", frame(0x88, "\x03\xed"), []string{"fault 1002"}},
		{"close with 999", frame(0x88, "\x03\xe7"), []string{"fault 1002"}},
		{"close with 5000", frame(0x88, "\x13\x88"), []string{"fault 1002"}},
		{"close with 4500", frame(0x88, "\x11\x94"), []string{`close 4500 ""`}},
		{"close with a bad reason", frame(0x88, "\x03\xe8\xff"), []string{"fault 1007"}},
		{"behind a close", join(frame(0x88, ""), frame(0x81, "x")), []string{`close 1005 ""`}},
		{"half a header", []byte{0x81}, []string{}},
		{"half a frame", frame(0x81, "hello")[:8], []string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, piece := range []int{1, 2, 3, 7, len(tt.stream)} {
				if diff := cmp.Diff(tt.want, feed(tt.stream, piece)); diff != "" {
					t.Errorf("in pieces of %d (-want +got):\n%s", piece, diff)
				}
			}
		})
	}
}

// TestFaultBeforeTheEnd: a fault shows in the first bytes that prove it; the peer need not finish its frame.
func TestFaultBeforeTheEnd(t *testing.T) {
	for name, start := range map[string][]byte{
		"announced too big": frame(0x81, strings.Repeat("x", limit+1))[:8],
		"announced 2^63":    {0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0},
		"unmasked":          {0x81, 0x05},
		"bad UTF-8":         frame(0x81, "\xff"+strings.Repeat("x", 100))[:20],
	} {
		if got := feed(start, 1); len(got) != 1 || !strings.HasPrefix(got[0], "fault") {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestMaxFrame: a frame may be limited below what a message may have.
func TestMaxFrame(t *testing.T) {
	for size, want := range map[int]string{10: "text", 11: "fault 1009"} {
		for name, stream := range map[string][]byte{
			"one frame": frame(0x81, strings.Repeat("x", size)),
			"the last":  join(frame(0x01, "12345"), frame(0x80, strings.Repeat("x", size))),
			"a ping":    join(frame(0x89, strings.Repeat("x", 100)), frame(0x81, strings.Repeat("x", size))),
		} {
			p := wire.Parser{MaxMessage: limit, MaxFrame: 10}
			got := ""
			fault := p.Feed(stream, func(e wire.Event) bool {
				if e.Kind == wire.Text {
					got = "text"
				}
				return true
			})
			if fault != nil {
				got = fmt.Sprintf("fault %d", fault.Code)
			}
			if got != want {
				t.Errorf("%s of %d bytes: %q, want %q", name, size, got, want)
			}
		}
	}
}

// TestTextFrames: a client's parser joins what was split.
func TestTextFrames(t *testing.T) {
	for _, n := range []int{0, 1, 9, 10, 11, 20, 35} {
		text := strings.Repeat("ä", n)[:n]
		b := wire.TextFrames([]byte(text), 10)
		var got strings.Builder
		frames := 0
		for len(b) > 0 {
			size := int(b[1])
			last := len(b) == 2+size
			if first := frames == 0; (b[0]&0x80 != 0) != last || (b[0]&0xf == 1) != first || size > 10 {
				t.Errorf("%d bytes: frame %d begins with %x", n, frames, b[0])
			}
			got.Write(b[2 : 2+size])
			b = b[2+size:]
			frames++
		}
		if got.String() != text || frames != max((n+9)/10, 1) {
			t.Errorf("%d bytes: %q in %d frames", n, got.String(), frames)
		}
	}
}

func TestIdleParserHoldsNoBuffer(t *testing.T) {
	p := wire.Parser{MaxMessage: limit}
	emit := func(wire.Event) bool { return true }
	for _, part := range [][]byte{frame(0x81, "whole"), frame(0x01, "first"), frame(0x89, "ping"), frame(0x80, "last")} {
		for _, b := range part {
			if fault := p.Feed([]byte{b}, emit); fault != nil {
				t.Fatal(fault)
			}
		}
	}
	if !p.Idle() {
		t.Error("the parser keeps a buffer between messages")
	}
	whole := frame(0x81, strings.Repeat("x", 100))
	if n := testing.AllocsPerRun(100, func() { _ = p.Feed(bytes.Clone(whole), emit) }); n > 1 { // the clone is the one
		t.Errorf("a whole frame costs %v allocations", n-1)
	}
}

func TestEncode(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, eureka.MaxFrameBytes} {
		f := wire.TextFrame(bytes.Repeat([]byte{'x'}, n))
		if len(f) != n+wire.HeaderSize(n) || f[0] != 0x81 || f[1]&0x80 != 0 {
			t.Errorf("%d bytes: frame of %d, header % x", n, len(f), f[:2])
		}
	}
	if got := wire.CloseFrame(eureka.CloseAbnormal, "x"); len(got) != 2 {
		t.Errorf("1006 went on the wire: % x", got)
	}
	long := wire.CloseFrame(eureka.CloseRestart, strings.Repeat("한", 100))
	if len(long) > 127 || !utf8.Valid(long[4:]) {
		t.Errorf("a long reason makes %d bytes, valid UTF-8 %v", len(long), utf8.Valid(long[4:]))
	}
	if got := wire.PongFrame(make([]byte, 200)); len(got) != 127 {
		t.Errorf("a long pong has %d bytes", len(got))
	}
}

// FuzzSplit: whatever arrives, the parser never panics and the pieces it arrives in do not matter.
func FuzzSplit(f *testing.F) {
	f.Add(join(frame(0x01, "he"), frame(0x89, "p"), frame(0x80, "llo"), frame(0x88, "\x03\xe8")), 3)
	f.Add(frame(0x81, strings.Repeat("é", 300)), 7)
	f.Add([]byte{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, 1)
	f.Fuzz(func(t *testing.T, stream []byte, piece int) {
		whole := feed(stream, max(len(stream), 1))
		split := feed(stream, max(piece, 1)%64+1)
		if diff := cmp.Diff(whole, split); diff != "" {
			t.Errorf("whole and split differ (-whole +split):\n%s", diff)
		}
	})
}

func BenchmarkFeed(b *testing.B) {
	whole := frame(0x81, `{"action":"ping","data":"`+strings.Repeat("x", 128)+`"}`)
	p := wire.Parser{MaxMessage: eureka.MaxFrameBytes}
	buffer := make([]byte, len(whole))
	b.SetBytes(int64(len(whole)))
	b.ReportAllocs()
	for b.Loop() {
		copy(buffer, whole)
		if fault := p.Feed(buffer, func(wire.Event) bool { return true }); fault != nil {
			b.Fatal(fault)
		}
	}
}
