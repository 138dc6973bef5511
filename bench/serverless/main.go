// Command serverless measures what one broadcast of the serverless mode takes, beside the original's way: both are functions of the simulator, on the same
// DynamoDB Local, with the same @connections and the same meters. `make bench-aws` runs it; docs/serverless.md says what the figures mean.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"eureka/internal/awslocal"
	"eureka/internal/deploy"
)

// figures is what a run measured.
type figures struct {
	PostLatencyMs float64     `json:"postLatencyMs"` // that is simulated
	ZipBytes      int         `json:"zipBytes,omitempty"`
	Starts        []start     `json:"starts,omitempty"`
	Broadcasts    []broadcast `json:"broadcasts"`
}

func main() {
	os.Exit(run())
}

func run() int {
	sizes := flag.String("sizes", "1000,10000", "numbers of subscribers, divided by commas")
	rounds := flag.Int("rounds", 3, "rounds of each measurement; the median counts")
	latency := flag.Duration("latency", 10*time.Millisecond, "what a post takes, in the simulated API Gateway")
	side := flag.Int("side", 16, "sockets that connect at a time")
	history := flag.Bool("history", true, "measure a channel with history too, which doubles the time that sockets need to connect")
	asJSON := flag.Bool("json", false, "print the figures as JSON")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := bench{rounds: *rounds, latency: *latency, side: *side, history: *history, progress: os.Stderr}
	err := b.parse(*sizes)
	var f figures
	if err == nil {
		f, err = b.run(ctx)
	}
	if err == nil {
		err = show(os.Stdout, f, *asJSON)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// bench is one run.
type bench struct {
	sizes    []int
	rounds   int
	latency  time.Duration
	side     int
	history  bool
	progress io.Writer

	dir            string
	dynamo, queues string // endpoints
}

func (b *bench) parse(sizes string) error {
	for word := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 1 {
			return fmt.Errorf("%q is no number of subscribers", word)
		}
		b.sizes = append(b.sizes, n)
	}
	if b.rounds < 1 || b.side < 1 || b.latency < 0 {
		return errors.New("rounds and side must be at least 1, the latency not below 0")
	}
	return nil
}

func (b *bench) run(ctx context.Context) (f figures, err error) {
	if b.dir, err = os.MkdirTemp("", "eureka-bench-"); err != nil {
		return f, err
	}
	defer func() { _ = os.RemoveAll(b.dir) }()
	b.say("starting DynamoDB Local and fauxqs")
	dynamodb, err := awslocal.StartDynamoDB(ctx)
	if err != nil {
		return f, fmt.Errorf("DynamoDB Local: %w; `make tools` installs it", err)
	}
	defer dynamodb.Stop()
	queues, err := awslocal.StartQueues(ctx)
	if err != nil {
		return f, fmt.Errorf("fauxqs: %w; `make tools` installs it", err)
	}
	defer queues.Stop()
	b.dynamo, b.queues = dynamodb.Endpoint, queues.Endpoint
	b.say("building")
	if err := b.build(ctx, "service", "./cmd/eureka-lambda"); err != nil {
		return f, err
	}
	if err := b.build(ctx, "original", "./bench/serverless/original"); err != nil {
		return f, err
	}
	if f.ZipBytes, err = zipSize(ctx); err != nil {
		return f, err
	}
	f.PostLatencyMs = float64(b.latency.Microseconds()) / 1000
	if f.Starts, err = b.starts(ctx); err != nil {
		return f, err
	}
	for _, n := range b.sizes {
		found, err := b.broadcasts(ctx, n)
		if err != nil {
			return f, fmt.Errorf("%d subscribers: %w", n, err)
		}
		f.Broadcasts = append(f.Broadcasts, found...)
		if err := show(b.progress, figures{PostLatencyMs: f.PostLatencyMs, Broadcasts: found}, false); err != nil {
			return f, err
		}
	}
	return f, nil
}

func (b *bench) program(name string) string { return filepath.Join(b.dir, name) }

// build builds a program as the functions are built.
func (b *bench) build(ctx context.Context, name, source string) error {
	command := exec.CommandContext(ctx, "go", append(append([]string{"build"}, deploy.BuildFlags()...), "-o", b.program(name), source)...) //nolint:gosec // fixed
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", source, err, out)
	}
	return nil
}

// zipSize is how large the upload of the functions is.
func zipSize(ctx context.Context) (int, error) {
	bootstrap, err := deploy.BuildBootstrap(ctx)
	if err != nil {
		return 0, err
	}
	zip, err := deploy.Zip(bootstrap)
	return len(zip), err
}

func (b *bench) say(format string, args ...any) {
	_, _ = fmt.Fprintf(b.progress, time.Now().Format("15:04:05 ")+format+"\n", args...) // progress that nobody sees is no reason to stop
}

// log is where the simulators warn.
func (b *bench) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(b.progress, &slog.HandlerOptions{Level: slog.LevelError}))
}
