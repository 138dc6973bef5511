package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"eureka/internal/awslocal"
)

// TestSmall: a small run measures every way, and the service needs less than the original's way.
func TestSmall(t *testing.T) {
	const n = 50
	t.Chdir("../..")
	b := bench{rounds: 1, side: 8, history: true, progress: t.Output()}
	if err := b.parse("50"); err != nil {
		t.Fatal(err)
	}
	f, err := b.run(t.Context())
	if errors.Is(err, awslocal.ErrNotInstalled) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if f.ZipBytes < 1<<20 || len(f.Starts) != 2 || f.Starts[0].ColdMs <= f.Starts[0].WarmMs {
		t.Errorf("zip and starts: %d, %+v", f.ZipBytes, f.Starts)
	}
	if len(f.Broadcasts) != 3 {
		t.Fatalf("%+v", f.Broadcasts)
	}
	plain, first, stored := f.Broadcasts[0], f.Broadcasts[1], f.Broadcasts[2]
	for _, way := range f.Broadcasts {
		if way.Subscribers != n || way.Reached != n || way.Posts != n || way.CPU <= 0 || way.LastMs <= 0 || way.AnswerMs <= 0 || way.Invocations != 1 {
			t.Errorf("%+v", way)
		}
	}
	// One request for the recipients of a page, not one for each.
	if plain.Requests > 10 || plain.Reads > 10 || stored.Requests > 20 || stored.Writes == 0 || first.Requests < n || first.Reads < n/2 {
		t.Errorf("%+v", f.Broadcasts)
	}
	shown(t, f)
}

func shown(t *testing.T, f figures) {
	t.Helper()
	var table, asJSON bytes.Buffer
	if err := errors.Join(show(&table, f, false), show(&asJSON, f, true)); err != nil {
		t.Fatal(err)
	}
	var again figures
	if err := json.Unmarshal(asJSON.Bytes(), &again); err != nil || len(again.Broadcasts) != 3 || strings.Count(table.String(), "\n50 ") != 3 {
		t.Errorf("%v\n%s\n%s", err, table.String(), asJSON.String())
	}
}

// TestParse: what is asked for is checked before anything is started.
func TestParse(t *testing.T) {
	for text, ok := range map[string]bool{"": false, "0": false, "-1": false, "many": false, "10,": false, "10": true, "10, 200": true} {
		b := bench{rounds: 1, side: 1}
		if err := b.parse(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := (&bench{rounds: 0, side: 1}).parse("10"); err == nil {
		t.Error("no rounds")
	}
}
