//go:build linux

package main

import (
	"context"
	"fmt"
	"strconv"
	"syscall"

	"eureka/internal/loadgen"
)

// verdict is what became of a bar.
type verdict string

const (
	met    verdict = "met"
	missed verdict = "MISSED"
	stated verdict = "stated" // a figure without a bar
	left   verdict = "left out"
)

// row is one bar: what was measured of ours, of what it is compared with, and whether that is enough.
type row struct {
	Bar     string  `json:"bar"`
	What    string  `json:"what"`
	Ours    float64 `json:"ours"`
	Theirs  float64 `json:"theirs,omitempty"`
	Against string  `json:"against,omitempty"`
	Ratio   float64 `json:"ratio,omitempty"`
	AtMost  float64 `json:"atMost,omitempty"` // of the ratio or, without theirs, of ours
	Unit    string  `json:"unit"`
	Verdict verdict `json:"verdict"`
	Note    string  `json:"note,omitempty"`
}

// compared is a row whose bar is a ratio.
func compared(bar, what, unit string, ours, theirs float64, against string, atMost float64) row {
	r := row{Bar: bar, What: what, Unit: unit, Ours: ours, Theirs: theirs, Against: against, Ratio: ours / theirs, AtMost: atMost, Verdict: missed}
	if r.Ratio <= atMost {
		r.Verdict = met
	}
	return r
}

// bounded is a row whose bar is a figure.
func bounded(bar, what, unit string, ours, atMost float64) row {
	r := row{Bar: bar, What: what, Unit: unit, Ours: ours, AtMost: atMost, Verdict: missed}
	if ours <= atMost {
		r.Verdict = met
	}
	return r
}

func figure(bar, what, unit string, ours float64) row {
	return row{Bar: bar, What: what, Unit: unit, Ours: ours, Verdict: stated}
}

// barMeasurements are the bars, in the order in which they are measured.
var barMeasurements = []measurement{
	{"fanout", (*bench).barFanout},
	{"burst", (*bench).barBurst},
	{"rate", (*bench).barRate},
	{"latency", (*bench).barLatency},
	{"ping", (*bench).barPing},
	{"memory", (*bench).barMemory},
	{"tls", (*bench).barTLS},
	{"nodes", (*bench).barNodes},
	{"cycles", (*bench).barCycles},
	{"channels", (*bench).barChannels},
	{"subscriptions", (*bench).barSubscriptions},
	{"storm", (*bench).barStorm},
	{"publish", (*bench).barPublish},
	{"broadcast", (*bench).barBroadcast},
}

// The load of the bars.
const (
	barSubscribers = 10_000
	barRate        = 50 // publishes per second
	stormSockets   = 20_000
)

const cpuUnit = "CPU µs per delivery"

// barFanout is what a delivery costs when one message is under way.
func (b *bench) barFanout(ctx context.Context, f *figures) error {
	all, err := b.interleave(ctx, b.rivals(), "fanout", "--subscribers", strconv.Itoa(barSubscribers))
	if err != nil {
		return err
	}
	f.Bars = append(f.Bars,
		compared("fanout", "10,000 subscribers, one message under way", cpuUnit, all[eurekaName].cpu(), all[bareName].cpu(), bareName, 1.25),
		b.nothingLost("fanout", all[eurekaName]))
	f.Bars = append(f.Bars, b.againstCentrifugo("fanout", "the same", cpuUnit, all, results.cpu, 0.5))
	return nil
}

// barBurst has sixteen messages under way, which may be joined.
func (b *bench) barBurst(ctx context.Context, f *figures) error {
	all, err := b.interleave(ctx, b.rivals(), "fanout", "--subscribers", strconv.Itoa(barSubscribers), "--in-flight", "16")
	if err != nil {
		return err
	}
	r := compared("burst", "10,000 subscribers, 16 messages under way", cpuUnit, all[eurekaName].cpu(), all[bareName].cpu(), bareName, 1)
	r.AtMost, r.Verdict = 0, stated
	f.Bars = append(f.Bars, r, b.againstCentrifugo("burst", "the same", cpuUnit, all, results.cpu, 0))
	return nil
}

// barRate offers more than one call per delivery can do. The bare loop's figure is that of one message under way: it is its best.
func (b *bench) barRate(ctx context.Context, f *figures) error {
	ours, bare := results{}, results{}
	var rivals results
	for range b.rounds {
		one, err := b.once(ctx, eurekaName, "fanout", "--subscribers", strconv.Itoa(barSubscribers), "--rate", strconv.Itoa(barRate), "--in-flight", "4", "--for", b.span.String(), "--wait", "30s")
		if err != nil {
			return err
		}
		other, err := b.once(ctx, bareName, "fanout", "--subscribers", strconv.Itoa(barSubscribers), "--for", b.span.String())
		if err != nil {
			return err
		}
		ours, bare = append(ours, one), append(bare, other)
		if b.centrifugo == "" {
			continue
		}
		third, err := b.once(ctx, centrifugoName, "fanout", "--subscribers", strconv.Itoa(barSubscribers), "--rate", strconv.Itoa(barRate), "--in-flight", "4", "--for", b.span.String(), "--wait", "30s")
		if err != nil {
			return err
		}
		rivals = append(rivals, third)
	}
	f.Bars = append(f.Bars,
		compared("rate", "10,000 subscribers, 50 publishes/s offered", cpuUnit, ours.cpu(), bare.cpu(), bareName+", one under way", 0.5),
		b.nothingLost("rate", ours),
		figure("rate", "deliveries kept up with", "per second", ours.rate()),
		figure("rate", "p99 latency", "ms", ours.p99()),
		b.againstCentrifugo("rate", "the same", cpuUnit, map[string]results{eurekaName: ours, centrifugoName: rivals}, results.cpu, 0))
	return nil
}

// barLatency offers half of what the bare loop can do at most.
func (b *bench) barLatency(ctx context.Context, f *figures) error {
	full, err := b.once(ctx, bareName, "fanout", "--subscribers", strconv.Itoa(barSubscribers), "--for", b.span.String())
	if err != nil {
		return err
	}
	rate := full.Delivery.PerSecond / barSubscribers / 2
	all, err := b.interleave(ctx, b.rivals(), "fanout", "--subscribers", strconv.Itoa(barSubscribers), "--rate", fmt.Sprintf("%.2f", rate))
	if err != nil {
		return err
	}
	r := compared("latency", fmt.Sprintf("10,000 subscribers, %.1f publishes/s (half of the bare loop's saturation), p99", rate), "ms", all[eurekaName].p99(), all[bareName].p99(), bareName, 1.25)
	f.Bars = append(f.Bars, r, b.nothingLost("latency", all[eurekaName]), b.againstCentrifugo("latency", "the same", "ms", all, results.p99, 0))
	return nil
}

// once runs a scenario against a fresh contender.
func (b *bench) once(ctx context.Context, name, scenario string, args ...string) (loadgen.Report, error) {
	b.say("%s %v: %s", scenario, args, name)
	s, err := b.contend(ctx, name)
	if err != nil {
		return loadgen.Report{}, err
	}
	report, err := b.load(ctx, s, scenario, args...)
	if stopErr := s.stop(); err == nil {
		err = stopErr
	}
	return report, err
}

// nothingLost is the row on what was lost, doubled or out of order.
func (b *bench) nothingLost(bar string, r results) row {
	return bounded(bar, "lost, doubled or out of order", "messages", float64(r.lost()), 0)
}

// againstCentrifugo compares with Centrifugo, where it is there. A bar of 0 is none.
func (b *bench) againstCentrifugo(bar, what, unit string, all map[string]results, of func(results) float64, atMost float64) row {
	if len(all[centrifugoName]) == 0 {
		return row{Bar: bar, What: what, Unit: unit, Against: centrifugoName, AtMost: atMost, Ours: of(all[eurekaName]), Verdict: left, Note: "no --centrifugo PATH"}
	}
	r := compared(bar, what, unit, of(all[eurekaName]), of(all[centrifugoName]), centrifugoName, atMost)
	if atMost == 0 {
		r.Verdict = stated
	}
	return r
}

// processFiles is how many sockets one process may hold here, with some descriptors to spare.
func processFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1000
	}
	const spare = 500
	return int(min(limit.Max, 1<<30)) - spare
}

// affordable is n, or as many sockets as one process may hold, with a note that says so.
func affordable(n int) (sockets int, note string) {
	most := processFiles()
	if n <= most {
		return n, ""
	}
	return most, fmt.Sprintf("%d instead of %d sockets: one process may open no more files here", most, n)
}

// showBars prints the bars.
func showBars(line func(format string, args ...any), rows []row) {
	if len(rows) == 0 {
		return
	}
	line("\nbar\twhat\tours\ttheirs\tratio\tat most\tunit\t\n")
	number := func(v float64) string {
		switch {
		case v == 0:
			return "-"
		case v >= 1000:
			return strconv.FormatFloat(v, 'f', 0, 64)
		default:
			return strconv.FormatFloat(v, 'f', 2, 64)
		}
	}
	for _, r := range rows {
		theirs := number(r.Theirs)
		if r.Against != "" {
			theirs += " (" + r.Against + ")"
		}
		ours := number(r.Ours)
		if ours == "-" {
			ours = "0"
		}
		line("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Bar, r.What, ours, theirs, number(r.Ratio), number(r.AtMost), r.Unit, r.Verdict)
	}
	for _, r := range rows {
		if r.Note != "" {
			line("%s: %s\n", r.Bar, r.Note)
		}
	}
}
