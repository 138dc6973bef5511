//go:build linux

// Command bench measures the self-hosted service beside the bare send loop, each a child process pinned to one core, with
// the clients on the other cores. `make bench` runs it; docs say what the figures mean. Absolute figures differ between
// machines and runs: the ratio within one run is what counts.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// figures is what one run measured; durations in microseconds.
type figures struct {
	StartMillis         float64    `json:"startToFirstConnectionMs,omitempty"`
	ResidentPerSocketKB float64    `json:"residentPerIdleSocketKB,omitempty"`
	IdleSockets         int        `json:"idleSockets,omitempty"`
	Publish             []publish  `json:"publish,omitempty"`
	Deliveries          []delivery `json:"deliveries,omitempty"`
	History             []stored   `json:"history,omitempty"`
	Resumes             []resume   `json:"resumes,omitempty"`
	Channels            []channels `json:"channels,omitempty"`
	Growth              []grown    `json:"growth,omitempty"`
	Pings               []pinged   `json:"pings,omitempty"`
	Bars                []row      `json:"bars,omitempty"`
}

type publish struct {
	InFlight  int     `json:"inFlight"`
	PerSecond float64 `json:"perSecond"`
	CPUMicros float64 `json:"cpuMicrosPerPublish"`
}

type delivery struct {
	Subscribers int     `json:"subscribers"`
	InFlight    int     `json:"inFlight"`
	PerSecond   float64 `json:"perSecond"`
	CPUMicros   float64 `json:"cpuMicrosPerDelivery"`
	BarePerSec  float64 `json:"barePerSecond"`
	BareMicros  float64 `json:"bareCpuMicrosPerDelivery"`
	Ratio       float64 `json:"cpuRatioToBare"`
}

func main() {
	os.Exit(run())
}

func run() int {
	asJSON := flag.Bool("json", false, "print the figures as JSON")
	rounds := flag.Int("rounds", 3, "rounds of each delivery measurement; the median counts")
	span := flag.Duration("for", 5*time.Second, "how long each delivery measurement publishes")
	publishes := flag.Int("publishes", 20000, "publishes of each publish measurement")
	idle := flag.Int("idle", 10000, "sockets of the memory measurement")
	resumes := flag.Int("resumes", 1000, "sockets that resume at once in each round")
	declared := flag.Int("channels", 2000, "channels of the measurement of what history takes")
	bars := flag.Bool("bars", false, "measure the bars of the socket layer: ours beside the bare loop and Centrifugo, with pass or fail; exit code 3 when one is missed")
	centrifugo := flag.String("centrifugo", "", "binary of Centrifugo, for the bars; without it those rows are left out")
	large := flag.Int("large", 100000, "sockets of the bar on memory")
	huge := flag.Int("huge", 250000, "sockets of the bar on the largest broadcast")
	only := flag.String("only", "", "what to measure, of "+strings.Join(names(measurements), ",")+"; of the bars: "+strings.Join(names(barMeasurements), ",")+"; all by default")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := bench{
		rounds: *rounds, span: *span, publishes: *publishes, idle: *idle, resumes: *resumes, declared: *declared, progress: os.Stderr,
		centrifugo: *centrifugo, large: *large, huge: *huge,
	}
	what := measurements
	if *bars {
		what = barMeasurements
	}
	f, err := b.run(ctx, what, *only)
	// What was measured before a failure is not lost with it.
	if err := errors.Join(err, show(os.Stdout, f, *asJSON)); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	if slices.ContainsFunc(f.Bars, func(r row) bool { return r.Verdict == missed }) {
		return exitMissed
	}
	return 0
}

// exitMissed is the exit code of a run in which a bar was missed.
const exitMissed = 3

// measurement is one thing to measure.
type measurement struct {
	name string
	run  func(b *bench, ctx context.Context, f *figures) error
}

// measurements are what there is to measure, in the order in which it is done.
var measurements = []measurement{
	{"start", (*bench).measureStart},
	{"memory", (*bench).measureMemory},
	{"publish", (*bench).measurePublish},
	{"fanout", (*bench).measureFanout},
	{"history", (*bench).measureHistory},
	{"resume", (*bench).measureResume},
	{"channels", (*bench).measureChannels},
	{"growth", (*bench).measureGrowth},
}

func names(list []measurement) (names []string) {
	for _, m := range list {
		names = append(names, m.name)
	}
	return names
}

// run makes the measurements that are asked for, a comma list; all of them when it is empty.
func (b *bench) run(ctx context.Context, list []measurement, only string) (f figures, err error) {
	asked := names(list)
	if only != "" {
		asked = strings.Split(only, ",")
	}
	for _, name := range asked {
		if !slices.Contains(names(list), name) {
			return f, fmt.Errorf("there is no measurement %q, only %s", name, strings.Join(names(list), ", "))
		}
	}
	if err := raiseDescriptors(); err != nil {
		return f, err
	}
	dir, err := os.MkdirTemp("", "eureka-bench-")
	if err != nil {
		return f, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b.dir = dir
	b.say("building")
	if b.eureka, err = build(ctx, dir, "./cmd/eureka"); err != nil {
		return f, err
	}
	if b.bare, err = build(ctx, dir, "./bench/bare"); err != nil {
		return f, err
	}
	for _, m := range list {
		if !slices.Contains(asked, m.name) {
			continue
		}
		if err := m.run(b, ctx, &f); err != nil {
			return f, fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return f, nil
}

func (b *bench) measureStart(ctx context.Context, f *figures) (err error) {
	f.StartMillis, err = b.startTime(ctx)
	return err
}

func (b *bench) measureMemory(ctx context.Context, f *figures) (err error) {
	f.IdleSockets = b.idle
	f.ResidentPerSocketKB, err = b.memory(ctx)
	return err
}

func (b *bench) measurePublish(ctx context.Context, f *figures) error {
	for _, inFlight := range []int{1, 32} {
		p, err := b.publishRate(ctx, inFlight)
		if err != nil {
			return err
		}
		f.Publish = append(f.Publish, p)
	}
	return nil
}

func (b *bench) measureFanout(ctx context.Context, f *figures) error {
	for _, subscribers := range []int{1000, 10000} {
		for _, inFlight := range []int{1, 16} {
			ours, bare, err := b.sideBySide(ctx, []string{eurekaName, bareName}, "fanout", "--subscribers", strconv.Itoa(subscribers), "--in-flight", strconv.Itoa(inFlight))
			if err != nil {
				return err
			}
			d := delivery{
				Subscribers: subscribers, InFlight: inFlight, PerSecond: ours.rate(), CPUMicros: ours.cpu(), BarePerSec: bare.rate(), BareMicros: bare.cpu(),
			}
			d.Ratio = d.CPUMicros / d.BareMicros
			f.Deliveries = append(f.Deliveries, d)
		}
	}
	return nil
}

// serve starts the service with a data directory of its own.
func (b *bench) serve(ctx context.Context, args ...string) (*server, error) {
	b.servers++
	return b.serveOn(ctx, filepath.Join(b.dir, fmt.Sprintf("data%d", b.servers)), args...)
}

// serveOn starts the service on a data directory.
func (b *bench) serveOn(ctx context.Context, data string, args ...string) (*server, error) {
	return start(ctx, "eureka", b.eureka, func(address string) []string {
		return append([]string{"serve", "--listen", address, "--data-dir", data, "--log-level", "warn"}, args...)
	})
}

func (b *bench) say(format string, args ...any) {
	_, _ = fmt.Fprintf(b.progress, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

func show(w io.Writer, f figures, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(f)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format, args...) }
	if f.StartMillis > 0 {
		line("start to first connection\t%.0f ms\n", f.StartMillis)
	}
	if f.IdleSockets > 0 {
		line("resident memory per idle subscribed socket\t%.2f KB\t(%d sockets)\n", f.ResidentPerSocketKB, f.IdleSockets)
	}
	for _, p := range f.Publish {
		line("publishes to one subscriber, %d in flight\t%.0f/s\t%.1f µs CPU each\n", p.InFlight, p.PerSecond, p.CPUMicros)
	}
	if len(f.Deliveries) > 0 {
		line("\nsubscribers\tin flight\tdeliveries/s\tCPU µs\tbare loop/s\tCPU µs\tratio\n")
	}
	for _, d := range f.Deliveries {
		line("%d\t%d\t%.0f\t%.2f\t%.0f\t%.2f\t%.2f\n", d.Subscribers, d.InFlight, d.PerSecond, d.CPUMicros, d.BarePerSec, d.BareMicros, d.Ratio)
	}
	showHistory(line, f)
	showGrowth(line, f.Growth)
	showPings(line, f.Pings)
	showBars(line, f.Bars)
	return t.Flush()
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// wantDescriptors is enough for both contenders' sockets at this end.
const wantDescriptors = 1 << 17

// raiseDescriptors raises the limit of open files as far as it may: beyond the hard limit only with the right to.
func raiseDescriptors() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	more := syscall.Rlimit{Cur: max(limit.Max, wantDescriptors), Max: max(limit.Max, wantDescriptors)}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &more) == nil {
		return nil
	}
	limit.Cur = limit.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}
