package natsengine_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"eureka"
	"eureka/internal/engine/natsengine"
)

func TestCursorsAfterARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	state := func(sync bool, boot string, clean bool) func(string) string {
		return func(epoch string) string {
			return fmt.Sprintf(`{"epoch":%q,"boot":%q,"clean":%v,"sync":%v}`, epoch, boot, clean, sync)
		}
	}
	e, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	retain(t, "A", retention, e)
	last := mustStore(t, e, "A", "1", retention)
	for _, tt := range []struct {
		name  string
		spoil func(epoch string) string
		kept  bool
	}{
		{"stopped", nil, true},
		{"killed, the machine went on", state(false, natsengine.Boot(), false), true},
		{"the machine went down, each message was synced", state(true, "another boot", false), true},
		{"stopped, then the machine went down", state(false, "another boot", true), true},
		{"the machine went down", state(false, "another boot", false), false},
		{"it is not known which boot", state(false, "", false), false},
		{"half written", func(epoch string) string { return `{"epoch":"` + epoch }, false},
		{"empty", func(string) string { return "" }, false},
		{"no epoch", func(string) string { return "{}" }, false},
	} {
		if err := e.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, natsengine.EpochFile)
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), `"clean":true`) {
			t.Fatalf("%s, %v", text, err)
		}
		if tt.spoil != nil {
			var was struct{ Epoch string }
			if err := json.Unmarshal(text, &was); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(tt.spoil(was.Epoch)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if e, err = open(dir); err != nil {
			t.Fatal(err)
		}
		if text, err = os.ReadFile(path); err != nil || !strings.Contains(string(text), `"clean":false`) {
			t.Errorf("%s: while it runs: %s, %v", tt.name, text, err)
		}
		page, err := e.History().After(t.Context(), "A", last, 10)
		if kept := err == nil; kept != tt.kept || (err != nil && eureka.CodeOf(err) != eureka.CodeGap) {
			t.Errorf("%s: %+v, %v", tt.name, page, err)
		}
		newest, err := e.History().Newest(t.Context(), "A", 10)
		if err != nil || len(newest.Messages) != 1 || newest.Cursor.Offset != last.Offset {
			t.Errorf("%s: the newest are %+v, %v", tt.name, newest, err)
		}
		last = newest.Cursor
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestAnchorsDoNotCount: the entries without a message that silent channels get are no messages, wherever they stand.
func TestAnchorsDoNotCount(t *testing.T) {
	t.Parallel()
	e, err := open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &eureka.Retention{Size: 4, TTL: eureka.Duration(2 * time.Second)}
	retain(t, "A", r, e)
	newest := func(limit int) eureka.HistoryPage {
		page, err := e.History().Newest(t.Context(), "A", limit)
		if err != nil {
			t.Fatal(err)
		}
		return page
	}
	begin := newest(1).Cursor
	mustStore(t, e, "A", "1", r)
	second := mustStore(t, e, "A", "2", r)
	eventually(t, "the silent channel is anchored", func() bool { return newest(1).Cursor.Offset > second.Offset })
	if _, err := e.History().After(t.Context(), "A", second, 1); err != nil {
		t.Error(err)
	}
	// From here on the messages live long, so that the rest does not race with their end.
	r = &eureka.Retention{Size: 4, TTL: eureka.Duration(time.Minute)}
	mustStore(t, e, "A", "3", r)
	fourth := mustStore(t, e, "A", "4", r)
	page, err := e.History().After(t.Context(), "A", second, 1)
	if err != nil || len(page.Messages) != 1 || page.Messages[0].Event != "3" || !page.More {
		t.Errorf("across an anchor: %+v, %v", page, err)
	}
	if _, err := e.History().After(t.Context(), "A", fourth, 1); err != nil {
		t.Error(err)
	}
	eventually(t, "the first has expired", func() bool {
		_, err := e.History().After(t.Context(), "A", begin, 1)
		return eureka.CodeOf(err) == eureka.CodeGap
	})
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
