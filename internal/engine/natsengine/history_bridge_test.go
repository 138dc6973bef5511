package natsengine_test

import (
	"testing"
	"time"

	"eureka"
)

// TestResumeAcrossASilence: a position from before a channel fell silent is good as long as the messages behind it are there, also when what
// bridged the silence is gone, and when the process that made the bridge ended before it stored its message.
func TestResumeAcrossASilence(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close(t.Context()) }()
	r := &eureka.Retention{Size: 100, TTL: eureka.Duration(time.Hour)}
	retain(t, "A", r, e)
	begin, err := e.History().Newest(t.Context(), "A", 1)
	if err != nil || begin.Cursor.Offset == 0 {
		t.Fatalf("%+v, %v", begin, err)
	}
	positions := []eureka.Cursor{begin.Cursor} // behind 0, 1, 2 messages
	for stored, event := range []string{"1", "2", "3"} {
		if event == "3" {
			if err := e.Bridge(t.Context(), "A"); err != nil {
				t.Fatal(err)
			}
			if err := e.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if e, err = open(dir); err != nil {
				t.Fatal(err)
			}
		}
		positions = append(positions, mustStore(t, e, "A", event, r))
		if bridges, err := e.EndBridges(t.Context(), "A"); err != nil || bridges != 1 {
			t.Fatalf("%d bridges ended, %v", bridges, err)
		}
		for seen, since := range positions {
			page, err := e.History().After(t.Context(), "A", since, 10)
			if err != nil || len(page.Messages) != stored+1-seen {
				t.Errorf("behind message %s, since message %d: %+v, %v", event, seen, page, err)
			}
		}
		if err := e.Anchor(t.Context(), "A"); err != nil {
			t.Fatal(err)
		}
	}
}
