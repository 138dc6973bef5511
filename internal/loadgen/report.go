package loadgen

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Report is what one run showed. Parts that the scenario does not have are nil.
type Report struct {
	Scenario Scenario `json:"scenario"`
	Protocol Protocol `json:"protocol"`
	URL      string   `json:"url"`
	Asked    Asked    `json:"asked"`

	Connects  *Connects  `json:"connects,omitempty"`
	Memory    *Memory    `json:"memory,omitempty"`
	Publishes *Publishes `json:"publishes,omitempty"`
	Delivery  *Delivery  `json:"delivery,omitempty"`
	Storm     *Stormed   `json:"storm,omitempty"`
	Cycles    []Cycle    `json:"cycles,omitempty"`
	Failures  []Failure  `json:"failures,omitempty"`
}

// Asked is what the run was asked to do.
type Asked struct {
	Sockets   int     `json:"sockets"`
	Channels  int     `json:"channels"`
	PerSocket int     `json:"channelsPerSocket"`
	Size      int     `json:"bytes"`
	Rate      float64 `json:"publishesPerSecond,omitempty"`
	InFlight  int     `json:"inFlight"`
}

// Connects is how connecting went: the handshake, and all that a subscription takes.
type Connects struct {
	Open      int64    `json:"open"`
	Refused   int64    `json:"refused"`
	Failed    int64    `json:"failed"`
	Seconds   float64  `json:"seconds"`
	PerSecond float64  `json:"perSecond"`
	CPUMicros float64  `json:"serverCpuMicrosEach,omitempty"`
	OwnMicros float64  `json:"generatorCpuMicrosEach"`
	Latency   *Latency `json:"latency,omitempty"`
}

// Memory is what idle sockets take. Kernel memory is of the whole machine, both ends of each connection when they are on it.
type Memory struct {
	BeforeBytes      int64   `json:"residentBeforeBytes,omitempty"`
	ConnectedBytes   int64   `json:"residentConnectedBytes,omitempty"` // as soon as all are open
	SettledBytes     int64   `json:"residentSettledBytes,omitempty"`   // after the wait
	PerSocket        float64 `json:"residentPerSocketBytes,omitempty"`
	PerSubscription  float64 `json:"residentPerSubscriptionBytes,omitempty"`
	KernelPerSocket  float64 `json:"kernelSlabPerSocketBytes"`
	SettledAfterSecs float64 `json:"settledAfterSeconds"`
	GeneratorPerSock float64 `json:"generatorBytesPerSocket,omitempty"`
	ClosedMeanwhile  int64   `json:"closedMeanwhile"`
	IdleCPUPerSecond float64 `json:"serverCpuShareWhileIdle,omitempty"` // of one core
}

// Publishes is how publishing went.
type Publishes struct {
	Accepted  int64    `json:"accepted"`
	Seconds   float64  `json:"seconds"`
	PerSecond float64  `json:"perSecond"`
	CPUMicros float64  `json:"serverCpuMicrosEach,omitempty"` // with the deliveries that each led to
	Latency   *Latency `json:"latency,omitempty"`             // from request to answer
}

// Delivery is what arrived. A message to a thousand subscribers is a thousand deliveries.
type Delivery struct {
	Expected   int64    `json:"expected"`
	Received   int64    `json:"received"`
	Lost       int64    `json:"lost"`
	Duplicates int64    `json:"duplicates"`
	OutOfOrder int64    `json:"outOfOrder"`
	Foreign    int64    `json:"foreign,omitempty"` // messages of somebody else on the same channel
	Closed     int64    `json:"socketsClosed"`
	Seconds    float64  `json:"seconds"`
	PerSecond  float64  `json:"perSecond"`
	Frames     int64    `json:"frames"`
	FrameBytes float64  `json:"bytesPerDelivery"` // on the wire, headers of frames included
	CPUMicros  float64  `json:"serverCpuMicrosEach,omitempty"`
	OwnMicros  float64  `json:"generatorCpuMicrosEach"`
	Latency    *Latency `json:"latency,omitempty"` // from when the message was due
}

// Stormed is how sockets came back that were all dropped at once.
type Stormed struct {
	Missed        int     `json:"missedEach"`
	OpenSeconds   float64 `json:"allOpenAfterSeconds"`
	CaughtSeconds float64 `json:"allCaughtUpAfterSeconds"`
	PerSecond     float64 `json:"socketsPerSecond"`
	Recovered     int64   `json:"recovered"`
	Unrecovered   int64   `json:"notRecovered"`
	PeakBytes     int64   `json:"residentPeakBytes,omitempty"`
	BeforeBytes   int64   `json:"residentBeforeBytes,omitempty"`
	CPUMicros     float64 `json:"serverCpuMicrosPerSocket,omitempty"`
}

// Cycle is one round of connecting and dropping all sockets.
type Cycle struct {
	PerSecond    float64 `json:"connectsPerSecond"`
	CPUMicros    float64 `json:"serverCpuMicrosEach,omitempty"`
	OpenBytes    int64   `json:"residentOpenBytes,omitempty"`
	DroppedBytes int64   `json:"residentDroppedBytes,omitempty"`
	SlabBytes    int64   `json:"kernelSlabDroppedBytes"`
}

// Print writes the report for people.
func (r Report) Print(w io.Writer) error {
	var failed error
	line := func(format string, args ...any) {
		if _, err := fmt.Fprintf(w, format+"\n", args...); err != nil {
			failed = err
		}
	}
	line("%s, %s at %s: %s sockets, %s channels, %s each, %s bytes", r.Scenario, r.Protocol, r.URL, grouped(int64(r.Asked.Sockets)), grouped(int64(r.Asked.Channels)),
		grouped(int64(r.Asked.PerSocket)), grouped(int64(r.Asked.Size)))
	r.printConnects(line)
	r.printMemory(line)
	r.printDelivery(line)
	if s := r.Storm; s != nil {
		line("storm         all open again after %.2f s, all caught up after %.2f s (%s sockets/s), %d messages missed each", s.OpenSeconds, s.CaughtSeconds, grouped(int64(s.PerSecond)), s.Missed)
		line("              recovered %s, not recovered %s%s", grouped(s.Recovered), grouped(s.Unrecovered), micros("; server", s.CPUMicros, "socket"))
		if s.PeakBytes > 0 {
			line("              server memory %s before, %s at its peak", mebi(s.BeforeBytes), mebi(s.PeakBytes))
		}
	}
	for _, f := range r.Failures {
		line("failed        %s × %s (%s)", grouped(int64(f.Count)), f.Message, f.Code)
	}
	return failed
}

func (r Report) printConnects(line func(format string, args ...any)) {
	if c := r.Connects; c != nil {
		line("connects      %s open, %s refused, %s failed in %.2f s: %s/s%s", grouped(c.Open), grouped(c.Refused), grouped(c.Failed), c.Seconds, grouped(int64(c.PerSecond)),
			micros("; server", c.CPUMicros, "socket"))
		printLatency(line, "  handshake", c.Latency)
	}
	if len(r.Cycles) > 0 {
		line("cycle         connects/s  server CPU µs  memory open  memory dropped  kernel slab")
	}
	for i, c := range r.Cycles {
		line("  %-11d %10s  %13.1f  %11s  %14s  %11s", i+1, grouped(int64(c.PerSecond)), c.CPUMicros, mebi(c.OpenBytes), mebi(c.DroppedBytes), mebi(c.SlabBytes))
	}
}

func (r Report) printMemory(line func(format string, args ...any)) {
	m := r.Memory
	if m == nil {
		return
	}
	if m.BeforeBytes > 0 {
		line("memory        server %s before, %s connected, %s after %.0f s: %s per socket, %s per subscription", mebi(m.BeforeBytes), mebi(m.ConnectedBytes), mebi(m.SettledBytes),
			m.SettledAfterSecs, kibi(m.PerSocket), kibi(m.PerSubscription))
	}
	line("  kernel      %s of slab per socket, for all ends on this machine", kibi(m.KernelPerSocket))
	line("  generator   %s per socket", kibi(m.GeneratorPerSock))
	if m.ClosedMeanwhile > 0 {
		line("  closed      %s sockets ended meanwhile", grouped(m.ClosedMeanwhile))
	}
}

func (r Report) printDelivery(line func(format string, args ...any)) {
	if p := r.Publishes; p != nil {
		line("publishes     %s accepted in %.2f s: %s/s%s", grouped(p.Accepted), p.Seconds, grouped(int64(p.PerSecond)), micros("; server", p.CPUMicros, "publish"))
		printLatency(line, "  answer", p.Latency)
	}
	d := r.Delivery
	if d == nil {
		return
	}
	line("deliveries    %s of %s in %.2f s: %s/s%s%s", grouped(d.Received), grouped(d.Expected), d.Seconds, grouped(int64(d.PerSecond)), micros("; server", d.CPUMicros, "delivery"),
		micros("; generator", d.OwnMicros, "delivery"))
	line("  lost %s, duplicates %s, out of order %s, sockets closed %s; %.0f bytes each", grouped(d.Lost), grouped(d.Duplicates), grouped(d.OutOfOrder), grouped(d.Closed), d.FrameBytes)
	printLatency(line, "  latency", d.Latency)
	if d.Latency != nil {
		d.Latency.bars(line)
	}
}

func printLatency(line func(format string, args ...any), what string, l *Latency) {
	if l != nil {
		line("%-13s p50 %s, p90 %s, p99 %s, p99.9 %s, max %s", what, span(l.P50), span(l.P90), span(l.P99), span(l.P999), span(l.Max))
	}
}

func micros(whose string, value float64, each string) string {
	if value == 0 {
		return ""
	}
	return fmt.Sprintf("%s %.2f µs CPU per %s", whose, value, each)
}

func mebi(bytes int64) string {
	if bytes == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
}

func kibi(bytes float64) string { return fmt.Sprintf("%.2f KiB", bytes/(1<<10)) }

// grouped writes a number with a comma between thousands.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	sign := len(text) - len(strings.TrimPrefix(text, "-"))
	for at := len(text) - 3; at > sign; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

func perSecond(n int64, took time.Duration) float64 {
	if took <= 0 {
		return 0
	}
	return float64(n) / took.Seconds()
}

func microsEach(took time.Duration, n int64) float64 {
	if n <= 0 {
		return 0
	}
	return float64(took) / float64(time.Microsecond) / float64(n)
}
