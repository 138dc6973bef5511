//go:build linux

package main

import (
	"context"
	"fmt"
	"strconv"
)

// grown is what a delivery costs at one point of a series.
type grown struct {
	By        string  `json:"by"` // what grows
	Value     int     `json:"value"`
	CPUMicros float64 `json:"cpuMicrosPerDelivery"`
	PerSecond float64 `json:"deliveriesPerSecond"`
	P50       float64 `json:"p50Ms"`
	P99       float64 `json:"p99Ms"`
	Lost      int64   `json:"lost"`
}

// series are what grows, with the load around it.
var series = []struct {
	by       string
	scenario string
	values   []int
	args     func(value int) []string
}{
	{"subscribers", "fanout", []int{1, 100, 1000, 10_000}, func(v int) []string { return []string{"--subscribers", strconv.Itoa(v)} }},
	{"bytes", "fanout", []int{128, 1024, 8192, 65_536}, func(v int) []string { return []string{"--subscribers", "1000", "--size", strconv.Itoa(v)} }},
	{"publishes/s to 1,000", "fanout", []int{10, 100, 500, 1000}, func(v int) []string {
		return []string{"--subscribers", "1000", "--rate", strconv.Itoa(v), "--in-flight", "16"}
	}},
	{"under way", "fanout", []int{1, 4, 16, 64}, func(v int) []string {
		return []string{"--subscribers", "1000", "--in-flight", strconv.Itoa(v)}
	}},
	{"channels", "channels", []int{10, 1000, 10_000}, func(v int) []string {
		return []string{"--sockets", "10000", "--channels", strconv.Itoa(v), "--settle", "0s"}
	}},
}

// measureGrowth shows how the cost of a delivery grows with subscribers, size, rate and channels, each by itself.
func (b *bench) measureGrowth(ctx context.Context, f *figures) error {
	for _, s := range series {
		for _, value := range s.values {
			args := append(s.args(value), "--for", b.span.String(), "--wait", "30s")
			report, err := b.once(ctx, eurekaName, s.scenario, args...)
			if err != nil {
				return err
			}
			g := grown{By: s.by, Value: value, CPUMicros: report.Delivery.CPUMicros, PerSecond: report.Delivery.PerSecond, Lost: report.Delivery.Lost}
			if l := report.Delivery.Latency; l != nil {
				g.P50, g.P99 = l.P50, l.P99
			}
			f.Growth = append(f.Growth, g)
		}
	}
	return nil
}

func showGrowth(line func(format string, args ...any), list []grown) {
	by := ""
	for _, g := range list {
		if g.By != by {
			by = g.By
			line("\n%s\tCPU µs per delivery\tdeliveries/s\tp50 ms\tp99 ms\tlost\n", by)
		}
		line("%d\t%.2f\t%.0f\t%s\t%s\t%d\n", g.Value, g.CPUMicros, g.PerSecond, fmt.Sprintf("%.2f", g.P50), fmt.Sprintf("%.2f", g.P99), g.Lost)
	}
}
