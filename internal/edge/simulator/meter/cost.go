package meter

import (
	"bytes"
	_ "embed" // the prices
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

//go:embed prices.json
var pricesJSON []byte

// Month is how long the month of a bill is.
const Month = 730 * time.Hour

// Prices is a price table.
type Prices struct {
	Region   string  `json:"region"`
	Currency string  `json:"currency"`
	Date     string  `json:"date"` // when the prices were noted
	Note     string  `json:"note"`
	Prices   []Price `json:"prices"`
}

// Price is what Per of a counter cost.
type Price struct {
	Counter Counter `json:"counter"`
	What    string  `json:"what"`
	Price   float64 `json:"price"`
	Per     float64 `json:"per"`
}

// List returns the price table of prices.json.
func List() (Prices, error) {
	decoder := json.NewDecoder(bytes.NewReader(pricesJSON))
	decoder.DisallowUnknownFields()
	var p Prices
	if err := decoder.Decode(&p); err != nil {
		return Prices{}, fmt.Errorf("prices.json: %w", err)
	}
	for _, line := range p.Prices {
		if line.Per <= 0 || line.Price < 0 || line.Counter == "" {
			return Prices{}, fmt.Errorf("prices.json: the line of %q is wrong", line.What)
		}
	}
	return p, nil
}

// Line is one line of a bill.
type Line struct {
	Counter Counter `json:"counter"`
	What    string  `json:"what"`
	Used    float64 `json:"used"`
	Cost    float64 `json:"cost"`      // of what was used
	Month   float64 `json:"costMonth"` // if it went on like that for a month
}

// Report is a reading with its price.
type Report struct {
	Seconds  float64             `json:"seconds"` // how long it was counted
	Counts   map[Counter]float64 `json:"counts"`
	Peaks    map[Counter]float64 `json:"peaks"`
	Region   string              `json:"region"`
	Currency string              `json:"currency"`
	Prices   string              `json:"pricesOf"` // the date of the price table
	Note     string              `json:"note"`
	Lines    []Line              `json:"lines"`
	Cost     float64             `json:"cost"`      // of what was used
	Month    float64             `json:"costMonth"` // if it went on like that for a month
}

// Bill prices a reading.
func Bill(r Reading, p Prices) Report {
	report := Report{
		Seconds: r.Elapsed.Seconds(), Counts: r.Counts, Peaks: r.Peaks,
		Region: p.Region, Currency: p.Currency, Prices: p.Date, Note: p.Note, Lines: []Line{},
	}
	months := 0.0
	if r.Elapsed > 0 {
		months = Month.Seconds() / r.Elapsed.Seconds()
	}
	for _, price := range p.Prices {
		used := r.Counts[price.Counter]
		cost := used / price.Per * price.Price
		report.Lines = append(report.Lines, Line{price.Counter, price.What, used, cost, cost * months})
		report.Cost += cost
		report.Month += cost * months
	}
	return report
}

// Print writes a report to be read.
func (r Report) Print(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	elapsed := (time.Duration(r.Seconds * float64(time.Second))).Round(100 * time.Millisecond)
	_, _ = fmt.Fprintf(out, "counted for %s\n", elapsed) // the error of Flush tells
	keys := make([]Counter, 0, len(r.Counts)+len(r.Peaks))
	for c := range r.Counts {
		keys = append(keys, c)
	}
	for c := range r.Peaks {
		keys = append(keys, c)
	}
	slices.Sort(keys)
	for _, c := range keys {
		name, value := string(c), r.Counts[c]
		if peak, ok := r.Peaks[c]; ok {
			name, value = strings.ReplaceAll(name, "/", " of ")+", highest", peak
		}
		if _, part, ok := strings.Cut(name, "/"); ok {
			name = "  " + part
		}
		_, _ = fmt.Fprintf(out, "  %s\t%s\n", name, number(value))
	}
	_, _ = fmt.Fprintf(out, "\ncost in %s at the prices of %s, %s\tused\tcost\ta month like that\n", r.Currency, r.Region, r.Prices)
	for _, line := range r.Lines {
		if line.Used > 0 {
			_, _ = fmt.Fprintf(out, "  %s\t%s\t%.6f\t%.2f\n", line.What, number(line.Used), line.Cost, line.Month)
		}
	}
	_, _ = fmt.Fprintf(out, "  together\t\t%.6f\t%.2f\n", r.Cost, r.Month)
	if err := out.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, r.Note)
	return err
}

// number writes a count without a fraction that says nothing.
func number(v float64) string {
	switch {
	case v == float64(int64(v)):
		return fmt.Sprintf("%d", int64(v))
	case v < 0.01:
		return fmt.Sprintf("%.3g", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
