package loadgen

import (
	"fmt"
	"math/bits"
	"strings"
	"time"
)

// subBits is the precision of a histogram: a bucket is a 32nd of a power of two wide, about 3 percent of its value.
const subBits = 5

// histogram counts durations, from a nanosecond to centuries, in constant memory.
type histogram struct {
	counts [(64 - subBits) << subBits]uint64
	n      uint64
	max    time.Duration
	sum    float64 // nanoseconds
}

// add counts one duration; a negative one, of a clock that was set back, counts as none.
func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucketOf(uint64(d))]++
	h.n++
	h.sum += float64(d)
	h.max = max(h.max, d)
}

func bucketOf(v uint64) int {
	shift := max(bits.Len64(v)-subBits-1, 0)
	return shift<<subBits + int(v>>shift) //nolint:gosec // at most 2^(subBits+1)
}

// upper is the largest duration of a bucket.
func upper(bucket int) time.Duration {
	shift := max(bucket>>subBits-1, 0)
	return time.Duration((bucket-shift<<subBits+1)<<shift - 1)
}

// percentile is the duration that a share, 0 to 1, of all does not exceed.
func (h *histogram) percentile(share float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	want := max(uint64(share*float64(h.n)+0.9999999), 1)
	var seen uint64
	for i, c := range h.counts {
		if seen += c; seen >= want {
			return min(upper(i), h.max)
		}
	}
	return h.max
}

// Latency sums durations up; all in milliseconds.
type Latency struct {
	Count  uint64     `json:"count"`
	Mean   float64    `json:"meanMs"`
	P50    float64    `json:"p50Ms"`
	P90    float64    `json:"p90Ms"`
	P99    float64    `json:"p99Ms"`
	P999   float64    `json:"p999Ms"`
	Max    float64    `json:"maxMs"`
	Ranges []Interval `json:"histogram,omitempty"`
}

// Interval is how many durations lie up to UpTo, and above that of the interval before.
type Interval struct {
	UpTo  float64 `json:"upToMs"`
	Count uint64  `json:"count"`
}

// latency is nil when nothing was counted.
func (h *histogram) latency() *Latency {
	if h.n == 0 {
		return nil
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	l := &Latency{
		Count: h.n, Mean: h.sum / float64(h.n) / float64(time.Millisecond), P50: ms(h.percentile(0.5)), P90: ms(h.percentile(0.9)), P99: ms(h.percentile(0.99)),
		P999: ms(h.percentile(0.999)), Max: ms(h.max),
	}
	for _, i := range h.intervals() {
		l.Ranges = append(l.Ranges, Interval{ms(i.upTo), i.n})
	}
	return l
}

type interval struct {
	upTo time.Duration
	n    uint64
}

// intervals are the counts at 1, 2 and 5 of each power of ten, without those in front of the first and behind the last.
func (h *histogram) intervals() (list []interval) {
	var edges []time.Duration
	for power := time.Microsecond; power <= 1000*time.Second; power *= 10 {
		edges = append(edges, power, 2*power, 5*power)
	}
	at := 0
	for i, c := range h.counts {
		if c == 0 {
			continue
		}
		for at < len(edges)-1 && upper(i) > edges[at] {
			at++
			if len(list) > 0 {
				list = append(list, interval{edges[at], 0})
			}
		}
		if len(list) == 0 {
			list = append(list, interval{edges[at], 0})
		}
		list[len(list)-1].n += c
	}
	return list
}

const barWidth = 40

// bars draws a histogram, one line for each interval.
func (l *Latency) bars(line func(format string, args ...any)) {
	var most uint64
	for _, i := range l.Ranges {
		most = max(most, i.Count)
	}
	for _, i := range l.Ranges {
		bar := strings.Repeat("█", int(i.Count*barWidth/most)) //nolint:gosec // at most barWidth
		if bar == "" && i.Count > 0 {
			bar = "▏"
		}
		line("  up to %8s  %-*s %5.1f %%", span(i.UpTo), barWidth, bar, 100*float64(i.Count)/float64(l.Count))
	}
}

// span writes milliseconds for people.
func span(ms float64) string {
	switch {
	case ms < 1:
		return fmt.Sprintf("%.0f µs", ms*1000)
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	default:
		return fmt.Sprintf("%.2f s", ms/1000)
	}
}

// merge adds what another has counted.
func (h *histogram) merge(other *histogram) {
	for i, c := range other.counts {
		h.counts[i] += c
	}
	h.n += other.n
	h.sum += other.sum
	h.max = max(h.max, other.max)
}
