package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"eureka/internal/loadgen"
)

// TestBench: a report for people and one for programs, and progress that can be left out.
func TestBench(t *testing.T) {
	address, _ := service(t)
	environ := []string{"EUREKA_URL=http://" + address}
	r := run(t, environ, "bench", "fanout", "--subscribers", "20", "--messages", "10", "--quiet")
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("%+v", r)
	}
	for _, want := range []string{"connects      20 open, 0 refused, 0 failed", "publishes     10 accepted", "deliveries    200 of 200", "lost 0, duplicates 0, out of order 0", "p99.9", "█"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in\n%s", want, r.stdout)
		}
	}
	r = run(t, environ, "--json", "bench", "storm", "--sockets", "20", "--missed", "3", "--quiet")
	var report loadgen.Report
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || r.code != 0 || report.Storm == nil || report.Storm.Recovered != 20 || report.Delivery.Lost != 0 {
		t.Errorf("%v, %+v", err, r)
	}
	r = run(t, environ, "bench", "idle", "--sockets", "7", "--settle", "1200ms")
	if r.code != 0 || !strings.Contains(r.stderr, "1s  7 of 7 sockets open\n") {
		t.Errorf("%+v", r)
	}
}

// TestBenchIsInterrupted: it ends at once and still says what it has seen.
func TestBenchIsInterrupted(t *testing.T) {
	address, _ := service(t)
	b := start([]string{"EUREKA_URL=http://" + address}, "bench", "fanout", "--for", "1h")
	b.await(t, &b.stderr, "delivered")
	b.signals <- os.Interrupt
	if code := b.end(t); code != exitInterrupted || !strings.Contains(b.stdout.String(), "deliveries  ") {
		t.Errorf("ended with %d: %s%s", code, b.stdout.String(), b.stderr.String())
	}
}

// TestBenchLosesSockets: a service that goes away in the middle is an error.
func TestBenchLosesSockets(t *testing.T) {
	address, stop := service(t, "--drain-timeout", "1ms")
	b := start([]string{"EUREKA_URL=http://" + address}, "bench", "idle", "--sockets", "30", "--settle", "1h", "--json")
	b.await(t, &b.stderr, "30 of 30 sockets open")
	stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !strings.Contains(b.stderr.String(), "30 refused, failed or ended"); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("it does not notice: %s", b.stderr.String())
		}
	}
	b.signals <- os.Interrupt
	b.end(t)
	var report loadgen.Report
	if err := json.Unmarshal([]byte(b.stdout.String()), &report); err != nil || report.Memory.ClosedMeanwhile != 30 {
		t.Errorf("%v, %s", err, b.stdout.String())
	}
}
