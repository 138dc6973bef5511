package loadgen

import (
	"encoding/json"
	"math"
	"testing"
)

func TestStamps(t *testing.T) {
	for _, size := range []int{minSize, minSize + 1, 128, 4096} {
		want := stamp{at: math.MaxInt64 - 1, channel: 1<<32 - 1, lane: 1023, seq: 77}
		data := want.message(nil, size)
		if len(data) != size || !json.Valid(data) {
			t.Errorf("%d bytes instead of %d: %s", len(data), size, data)
		}
		var got []stamp
		joined := append(append([]byte(`{"push":{"pub":{"data":`), data...), "}}}\n"...)
		joined = append(append(joined, joined...), marker+"short"...)
		if n := eachStamp(joined, func(s stamp) { got = append(got, s) }); n != 2 || len(got) != 2 || got[0] != want || got[1] != want {
			t.Errorf("%d stamps: %+v", n, got)
		}
	}
	if n := eachStamp([]byte(`{"a":`+marker+`zz00000000000000000000000000000000000000"}`), func(stamp) {}); n != 0 {
		t.Error("no digits were taken for a stamp")
	}
}

func FuzzStamp(f *testing.F) {
	f.Add([]byte(`{"data":` + string(stamp{at: 1, channel: 2, lane: 3, seq: 4}.message(nil, 60)) + `}`))
	f.Add([]byte(marker))
	f.Fuzz(func(t *testing.T, payload []byte) {
		eachStamp(payload, func(s stamp) {
			eachStamp(s.message(nil, minSize), func(again stamp) {
				if again != s {
					t.Errorf("%+v became %+v", s, again)
				}
			})
		})
	})
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte{0x81, 2, 'h', 'i', 0x8a, 0})
	f.Add([]byte{0x81, 126, 0, 1, 'x'})
	f.Add([]byte{0x81, 127, 0x80, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			frame, size := nextFrame(b)
			if size > len(b) || len(frame.payload) > max(size, 0) {
				t.Fatalf("a frame of %d bytes with %d of payload in %d", size, len(frame.payload), len(b))
			}
			if size <= 0 {
				return
			}
			b = b[size:]
		}
	})
}

func TestFrames(t *testing.T) {
	long := make([]byte, 70_000)
	for name, tt := range map[string]struct {
		in            []byte
		opcode        byte
		payload, size int
	}{
		"nothing":           {nil, 0, 0, 0},
		"half a header":     {[]byte{0x81}, 0, 0, 0},
		"short":             {[]byte{0x81, 1, 'x', 0x81}, opText, 1, 3},
		"empty ping":        {[]byte{0x89, 0}, opPing, 0, 2},
		"payload missing":   {[]byte{0x81, 3, 'x'}, 0, 0, 0},
		"medium":            {append([]byte{0x81, 126, 1, 0}, long[:256]...), opText, 256, 260},
		"medium, no length": {[]byte{0x81, 126, 1}, 0, 0, 0},
		"long":              {append([]byte{0x82, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70}, long...), opBinary, 70_000, 70_010},
		"long, no length":   {[]byte{0x81, 127, 0, 0, 0, 0, 0, 0, 0}, 0, 0, 0},
		"masked":            {[]byte{0x81, 0x81, 0, 0, 0, 0, 'x'}, 0, 0, -1},
		"reserved bit":      {[]byte{0xc1, 0}, 0, 0, -1},
		"2^63 bytes":        {[]byte{0x81, 127, 0x80, 0, 0, 0, 0, 0, 0, 0}, 0, 0, -1},
	} {
		f, size := nextFrame(tt.in)
		if size != tt.size || f.opcode != tt.opcode || len(f.payload) != tt.payload {
			t.Errorf("%s: opcode %d, %d bytes of payload, size %d", name, f.opcode, len(f.payload), size)
		}
	}
}

func TestFramesAreReadInPlace(t *testing.T) {
	in := append([]byte{0x81, 126, 0, 200}, stamp{seq: 1}.message(nil, 200)...)
	if n := testing.AllocsPerRun(100, func() {
		f, _ := nextFrame(in)
		eachStamp(f.payload, func(stamp) {})
	}); n > 0 {
		t.Errorf("%v allocations for a frame", n)
	}
}

func TestTracks(t *testing.T) {
	for name, tt := range map[string]struct {
		seqs []uint32
		want []verdict
	}{
		"in order":       {[]uint32{0, 1, 2}, []verdict{inOrder, inOrder, inOrder}},
		"a hole":         {[]uint32{0, 2}, []verdict{inOrder, skipped}},
		"a late one":     {[]uint32{0, 2, 1, 3}, []verdict{inOrder, skipped, late, inOrder}},
		"twice":          {[]uint32{0, 0, 1, 0}, []verdict{inOrder, duplicated, inOrder, duplicated}},
		"a late double":  {[]uint32{2, 0, 0}, []verdict{skipped, late, duplicated}},
		"a large hole":   {[]uint32{0, 200, 199, 0}, []verdict{inOrder, skipped, late, duplicated}},
		"64 behind":      {[]uint32{64, 1, 0}, []verdict{skipped, late, duplicated}},
		"a hole of 63":   {[]uint32{0, 63, 0, 1}, []verdict{inOrder, skipped, duplicated, late}},
		"a hole of 64":   {[]uint32{0, 64, 1}, []verdict{inOrder, skipped, late}},
		"begins at five": {[]uint32{5, 6}, []verdict{skipped, inOrder}},
	} {
		var k track
		for i, seq := range tt.seqs {
			if got := k.take(seq); got != tt.want[i] {
				t.Errorf("%s: %d is %d, want %d", name, seq, got, tt.want[i])
			}
		}
	}
}
