package loadgen

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPercentiles compares with the sorted values: a bucket is about 3 percent wide.
func TestPercentiles(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h, first, second histogram
	var all []time.Duration
	for i := range 20_000 {
		d := time.Duration(random.ExpFloat64() * float64(time.Duration(1)<<random.IntN(40)))
		all = append(all, d)
		h.add(d)
		if i%2 == 0 {
			first.add(d)
		} else {
			second.add(d)
		}
	}
	slices.Sort(all)
	first.merge(&second)
	if first != h {
		t.Error("what was merged differs from what was counted at once")
	}
	for _, share := range []float64{0.0001, 0.1, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[max(int(share*float64(len(all))+0.9999999)-1, 0)]
		got := h.percentile(share)
		if got < want || float64(got) > float64(want)*1.0323+1 {
			t.Errorf("%v: %s, want %s", share, got, want)
		}
	}
	if h.percentile(1) != all[len(all)-1] || h.max != all[len(all)-1] {
		t.Errorf("the largest is %s, want %s", h.percentile(1), all[len(all)-1])
	}
}

func TestBuckets(t *testing.T) {
	for _, v := range []uint64{0, 1, 31, 32, 33, 63, 64, 65, 1000, 1 << 40, 1<<63 - 1} {
		b := bucketOf(v)
		if u := uint64(upper(b)); u < v || (b > 0 && uint64(upper(b-1)) >= v) {
			t.Errorf("%d is in the bucket up to %d, behind the one up to %d", v, u, upper(b-1))
		}
	}
	var h histogram
	if h.add(-time.Second); h.percentile(0.5) != 0 || h.n != 1 {
		t.Error("a clock that was set back is not counted as 0")
	}
}

func TestLatencyForPeople(t *testing.T) {
	var h histogram
	if h.latency() != nil {
		t.Error("there is a latency of nothing")
	}
	for range 99 {
		h.add(1500 * time.Microsecond)
	}
	h.add(30 * time.Millisecond)
	l := h.latency()
	if l.Count != 100 || l.P50 < 1.5 || l.P50 > 1.55 || l.P99 > 1.55 || l.P999 != 30 || l.Max != 30 {
		t.Errorf("%+v", l)
	}
	want := []Interval{{2, 99}, {5, 0}, {10, 0}, {20, 0}, {50, 1}}
	if !slices.Equal(l.Ranges, want) {
		t.Errorf("intervals %+v", l.Ranges)
	}
	var text strings.Builder
	l.bars(func(format string, args ...any) { writef(&text, format, args...) })
	if lines := strings.Split(text.String(), "\n"); !strings.Contains(lines[0], strings.Repeat("█", barWidth)+"  99.0 %") || !strings.Contains(lines[4], "50 ms  ▏") {
		t.Errorf("drawn as\n%s", text.String())
	}
	for ms, want := range map[float64]string{0.0105: "10 µs", 0.5: "500 µs", 1.234: "1.23 ms", 56.7: "57 ms", 1234: "1.23 s"} {
		if got := span(ms); got != want && !(ms == 0.0105 && got == "11 µs") {
			t.Errorf("%v ms is %s, want %s", ms, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567", 12: "12"} {
		if got := grouped(n); got != want {
			t.Errorf("%d is written %s", n, got)
		}
	}
}
