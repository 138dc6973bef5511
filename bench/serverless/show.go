package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// show prints what was measured.
func show(w io.Writer, f figures, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(f)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\n", args...) } // Flush says it
	if f.ZipBytes > 0 {
		line("functions' zip\t%.2f MB", float64(f.ZipBytes)/(1<<20))
	}
	for _, s := range f.Starts {
		line("GET /hello of the %s\tcold %.1f ms CPU\twarm %.1f ms", s.Program, s.ColdMs, s.WarmMs)
	}
	line("\none broadcast, a post takes %g ms", f.PostLatencyMs)
	line("subscribers\tway\treached\tDynamoDB requests\tread units\twrite units\tposts\tinvocations\tCPU ms\tper post\tbilled ms\tanswer ms\tlast post ms")
	for _, b := range f.Broadcasts {
		line("%d\t%s\t%.0f\t%.0f\t%.1f\t%.1f\t%.0f\t%.0f\t%.0f\t%.3f\t%.0f\t%.0f\t%.0f",
			b.Subscribers, b.Way, b.Reached, b.Requests, b.Reads, b.Writes, b.Posts, b.Invocations, b.CPU, b.CPUPerPost, b.Billed, b.AnswerMs, b.LastMs)
	}
	return t.Flush()
}
