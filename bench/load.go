//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"eureka/internal/loadgen"
)

// The contenders.
const (
	eurekaName     = "eureka"
	bareName       = "bare"
	centrifugoName = "centrifugo"
)

// serverCore and loadCore are where contenders and generators run; they are the same on a machine with one core.
const (
	serverCore = 0
	loadCore   = 1
)

// unlimited are settings of the service for loads that come from one place at once.
var unlimited = []string{"--connects-per-second", "0", "--connects-per-second-per-user", "0", "--max-sockets-per-user", "0"}

// centrifugoKey is the key of its HTTP API; it listens on loopback.
const centrifugoKey = "bench"

// contend starts a contender, which is fresh for each round: nothing of the last one is left in it.
func (b *bench) contend(ctx context.Context, name string, args ...string) (*server, error) {
	switch name {
	case bareName:
		return start(ctx, name, b.bare, func(address string) []string { return []string{address} })
	case centrifugoName:
		b.servers++
		file := filepath.Join(b.dir, fmt.Sprintf("centrifugo%d.json", b.servers))
		var failed error
		s, err := start(ctx, name, b.centrifugo, func(address string) []string {
			failed = configureCentrifugo(file, address)
			return []string{"--config", file}
		})
		return s, errors.Join(failed, err)
	default:
		s, err := b.serve(ctx, append(append([]string{}, unlimited...), args...)...)
		if err != nil {
			return nil, err
		}
		return s, ready(ctx, s)
	}
}

// configureCentrifugo writes a configuration that is its defaults but for who may do what, and for the number of channels of a client.
func configureCentrifugo(file, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	text, err := json.Marshal(map[string]any{
		"http_server": map[string]any{"address": host, "port": port},
		"http_api":    map[string]any{"key": centrifugoKey},
		"log":         map[string]any{"level": "error"},
		"client":      map[string]any{"insecure": true, "allowed_origins": []string{"*"}, "channel_limit": 1000},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

// load runs `eureka bench` against a contender, on the other core, and returns its report. Losses are part of the report and no error.
func (b *bench) load(ctx context.Context, s *server, scenario string, args ...string) (loadgen.Report, error) {
	var report loadgen.Report
	g, err := b.generator(ctx, s, scenario, args...)
	if err != nil {
		return report, err
	}
	err = g.command.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && g.out.Len() > 0 && exit.ExitCode() == exitGap {
		err = nil
	}
	if err != nil {
		return report, fmt.Errorf("eureka bench %s at %s: %w\n%s", scenario, s.name, err, g.log.Bytes())
	}
	return report, json.Unmarshal(g.out.Bytes(), &report)
}

// exitGap is the exit code of a run that lost messages.
const exitGap = 9

// generator is a running `eureka bench`.
type generator struct {
	command  *exec.Cmd
	out, log bytes.Buffer
}

// generator starts one; the caller waits for it.
func (b *bench) generator(ctx context.Context, s *server, scenario string, args ...string) (*generator, error) {
	all := []string{"bench", "--json", "--quiet", "--url", "http://" + s.address, "--protocol", s.name, "--pid", strconv.Itoa(s.command.Process.Pid)}
	if s.name == centrifugoName {
		all = append(all, "--api-key", centrifugoKey)
	}
	if s.token != "" {
		all = append(all, "--token", s.token, "--api-key", s.adminKey)
	}
	g := &generator{command: exec.CommandContext(ctx, b.eureka, append(append(all, scenario), args...)...)} //nolint:gosec // a binary that was just built
	g.command.Stdout, g.command.Stderr = &g.out, &g.log
	g.command.Cancel = func() error { return g.command.Process.Signal(syscall.SIGINT) }
	return g, startOn(loadCore, g.command)
}

// results are the reports of one contender's rounds.
type results []loadgen.Report

// of is the median of a figure.
func (r results) of(figure func(loadgen.Report) float64) float64 {
	values := make([]float64, 0, len(r))
	for _, report := range r {
		values = append(values, figure(report))
	}
	return median(values)
}

func (r results) cpu() float64 {
	return r.of(func(r loadgen.Report) float64 { return r.Delivery.CPUMicros })
}

func (r results) rate() float64 {
	return r.of(func(r loadgen.Report) float64 { return r.Delivery.PerSecond })
}

func (r results) p99() float64 {
	return r.of(func(r loadgen.Report) float64 {
		if r.Delivery.Latency == nil {
			return 0
		}
		return r.Delivery.Latency.P99
	})
}

// lost is what was lost, doubled or out of order in all rounds.
func (r results) lost() (n int64) {
	for _, report := range r {
		n += report.Delivery.Lost + report.Delivery.Duplicates + report.Delivery.OutOfOrder
	}
	return n
}

// interleave lets contenders take turns, so that a change of the machine's speed hits all, and returns their reports by name.
func (b *bench) interleave(ctx context.Context, contenders []string, scenario string, args ...string) (map[string]results, error) {
	all := map[string]results{}
	for round := range b.rounds {
		for _, name := range contenders {
			b.say("%s %v: %s, round %d of %d", scenario, args, name, round+1, b.rounds)
			s, err := b.contend(ctx, name)
			if err != nil {
				return nil, err
			}
			report, err := b.load(ctx, s, scenario, append(args, "--for", b.span.String())...)
			if err := errors.Join(err, s.stop()); err != nil {
				return nil, err
			}
			all[name] = append(all[name], report)
		}
	}
	return all, nil
}

// sideBySide is interleave for two.
func (b *bench) sideBySide(ctx context.Context, pair []string, scenario string, args ...string) (first, second results, err error) {
	all, err := b.interleave(ctx, pair, scenario, args...)
	return all[pair[0]], all[pair[1]], err
}

// rivals are the contenders of a run: Centrifugo where there is one.
func (b *bench) rivals() []string {
	if b.centrifugo == "" {
		return []string{eurekaName, bareName}
	}
	return []string{eurekaName, bareName, centrifugoName}
}

// seconds writes a duration for a flag.
func seconds(n int) string { return (time.Duration(n) * time.Second).String() }
