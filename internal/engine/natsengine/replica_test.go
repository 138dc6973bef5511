package natsengine

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"eureka"
)

// shown returns everything that single reads can see.
func shown(r *replica) map[string]eureka.Channel {
	all := map[string]eureka.Channel{}
	r.names.Range(func(name, ch any) bool {
		all[name.(string)] = *ch.(*eureka.Channel)
		return true
	})
	return all
}

// expected derives from the keys of a bucket, by the rules in channels_claim.go, what single reads should see.
func expected(keys map[string]entry) map[string]eureka.Channel {
	records := map[string]record{}
	for name, e := range keys {
		r, _ := decodeRecord(name, e.value)
		records[name] = r
	}
	all := map[string]eureka.Channel{}
	for name, r := range records {
		if r.Channel == nil {
			continue
		}
		ch := *r.Channel
		ch.Revision = keys[name].revision
		if records[ch.Alias].AliasOf != name {
			ch.Alias = ""
		}
		all[name] = ch
		if ch.Alias != "" {
			all[ch.Alias] = ch
		}
	}
	return all
}

// TestReplicaShowsWhatTheKeysSay applies random changes, sane or not, in random batches, with replays of the same and of another bucket in
// between, and compares the map, the list and the told changes with what the keys say.
func TestReplicaShowsWhatTheKeysSay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, err := newReplica()
		if err != nil {
			t.Fatal(err)
		}
		defer r.close()
		var (
			keys     = map[string]entry{}
			told     = map[string]eureka.Channel{}
			revision uint64
			created  = time.Unix(1, 0)
			names    = rapid.SampledFrom([]string{"a", "b", "c", "d"})
			log      = slog.New(slog.DiscardHandler)
		)
		take := func(changes []change) {
			for _, c := range changes {
				if c.old != nil && told[c.old.ID] != *c.old || c.old == nil && told[c.new.ID] != (eureka.Channel{}) {
					t.Fatalf("change %+v > %+v, but the last one told was %+v", c.old, c.new, told)
				}
				if c.new != nil {
					told[c.new.ID] = *c.new
				} else {
					delete(told, c.old.ID)
				}
			}
			if err := r.flush(changes); err != nil {
				t.Fatal(err)
			}
		}
		write := func() entry {
			revision++
			e := entry{name: names.Draw(t, "name"), revision: revision}
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				e.op = jetstream.KeyValuePurge
				delete(keys, e.name)
				return e
			case 1:
				e.value, _ = json.Marshal(record{AliasOf: names.Draw(t, "target")})
			default:
				ch := eureka.Channel{ID: e.name, Name: fmt.Sprint(revision)}
				if alias := names.Draw(t, "alias"); alias != e.name {
					ch.Alias = alias
				}
				e.value, _ = json.Marshal(record{Channel: &ch})
			}
			keys[e.name] = e
			return e
		}
		r.begin(created)
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			var batch []jetstream.KeyValueEntry
			seen := rapid.IntRange(0, 3).Draw(t, "step") // 0 and 1: a replay, of another or of the same bucket
			for range rapid.IntRange(0, 6).Draw(t, "writes") {
				batch = append(batch, write())
			}
			if seen == 0 { // counting again may give the same revision to something else
				created = created.Add(time.Second)
				revision = 0
				renumbered := map[string]entry{}
				for _, name := range slices.Sorted(maps.Keys(keys)) {
					revision++
					renumbered[name] = entry{name: name, value: keys[name].value, revision: revision}
				}
				keys = renumbered
			}
			if seen < 2 {
				r.begin(created)
				batch = nil
				for _, e := range slices.SortedFunc(maps.Values(keys), func(a, b entry) int { return int(a.revision) - int(b.revision) }) {
					batch = append(batch, e)
				}
			}
			take(r.apply(batch, log))
			if seen < 2 {
				take(r.sweep())
			}
			want := expected(keys)
			if diff := cmp.Diff(want, shown(r)); diff != "" {
				t.Fatalf("single reads (-want +got):\n%s", diff)
			}
			maps.DeleteFunc(want, func(name string, ch eureka.Channel) bool { return name != ch.ID })
			if diff := cmp.Diff(want, told); diff != "" {
				t.Fatalf("told changes (-want +got):\n%s", diff)
			}
			page, err := r.list(t.Context(), eureka.ChannelQuery{Paging: eureka.Paging{Limit: 100}})
			if err != nil {
				t.Fatal(err)
			}
			rows := map[string]eureka.Channel{}
			for _, ch := range page.Items {
				rows[ch.ID] = ch
			}
			if diff := cmp.Diff(want, rows); diff != "" {
				t.Fatalf("list (-want +got):\n%s", diff)
			}
		}
	})
}

// TestBrokenTableIsBuiltAgain takes the list's database away.
func TestBrokenTableIsBuiltAgain(t *testing.T) {
	r := newTestReplica(t)
	a, b := &eureka.Channel{ID: "a", Name: "one"}, &eureka.Channel{ID: "b", Name: "two"}
	r.views["a"], r.views["b"] = a, b
	if err := r.flush([]change{{new: a}}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.table.conn.ExecContext(t.Context(), "DROP TABLE words"); err != nil {
		t.Fatal(err)
	}
	if err := r.flush([]change{{new: b}}); err == nil {
		t.Fatal("a write to a missing table succeeded")
	}
	if err := r.flush(nil); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"one": "a", "two": "b"} {
		page, err := r.list(t.Context(), eureka.ChannelQuery{Text: text})
		if err != nil || len(page.Items) != 1 || page.Items[0].ID != want {
			t.Errorf("list of %q: %+v, %v", text, page.Items, err)
		}
	}
}

func newTestReplica(t testing.TB) *replica {
	t.Helper()
	r, err := newReplica()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	r.begin(time.Unix(1, 0))
	return r
}

func TestCursorFitsItsLimit(t *testing.T) {
	ch := eureka.Channel{ID: strings.Repeat("a", eureka.MaxNameLength), Name: strings.Repeat("한", eureka.MaxLabelLength/3)}
	if next := nextCursor(eureka.Sort{Field: "name", Desc: true}, ch); (eureka.ChannelQuery{Paging: eureka.Paging{After: next}}).Validate() != nil {
		t.Errorf("a position of %d bytes is refused", len(next))
	}
}

func FuzzCursor(f *testing.F) {
	for _, field := range eureka.ChannelSortFields {
		f.Add(field, true, nextCursor(eureka.Sort{Field: field, Desc: true}, eureka.Channel{ID: "a", Name: "n", CreatedAt: 5}))
	}
	f.Add("id", false, "AAAA")
	f.Add("createdAt", false, "Y3JlYXRlZEF0OmFzYwAwNQBh")
	r := newTestReplica(f)
	f.Fuzz(func(t *testing.T, field string, desc bool, after string) {
		sort := eureka.Sort{Field: field, Desc: desc}
		q := eureka.ChannelQuery{Sort: sort, Paging: eureka.Paging{After: after}}
		if q.Validate() != nil || field == "" {
			return
		}
		c, err := parseCursor(sort, after)
		if err != nil {
			if eureka.CodeOf(err) != eureka.CodeInvalid {
				t.Fatalf("parseCursor: %v", err)
			}
			return
		}
		if _, err := r.list(t.Context(), q); err != nil {
			t.Fatalf("list after %+v: %v", c, err)
		}
		if other, err := parseCursor(eureka.Sort{Field: field, Desc: !desc}, after); after != "" && err == nil {
			t.Fatalf("%q is a position of two sorts: %+v and %+v", after, c, other)
		}
	})
}

func FuzzWords(f *testing.F) {
	for _, s := range []string{`"`, `a"b`, "name:x", "NEAR(a b)", "a* OR b", "한글 é", "\xff", "\x00", "🚀", "--", "\u200b", "a\u0301 \u0301"} {
		f.Add(s)
	}
	r := newTestReplica(f)
	if err := r.flush([]change{{new: &eureka.Channel{ID: "a", Name: "some words", Desc: "한글 é 🚀"}}}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words, some := matchWords(text)
		if some == (words == "") {
			t.Fatalf("matchWords(%q) = %q, %v", text, words, some)
		}
		if !some {
			return
		}
		stmt, err := r.table.prepare(t.Context(), "SELECT count(*) FROM words WHERE words MATCH ?")
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if err := stmt.QueryRowContext(t.Context(), words).Scan(&n); err != nil {
			t.Fatalf("matchWords(%q) = %q: %v", text, words, err)
		}
	})
}

// FuzzStoredText stores a text and searches for its own words: a channel is always found by what it says.
func FuzzStoredText(f *testing.F) {
	for _, s := range []string{"Purchase Orders", "한글 채널", "Cafe\u0301", "🚀 go", "a-b_c.d", "ǅ ß İ", "١٢٣", "𝔘𝔫𝔦", "ﬁ"} {
		f.Add(s)
	}
	r := newTestReplica(f)
	f.Fuzz(func(t *testing.T, text string) {
		ch := &eureka.Channel{ID: "a", Name: text}
		q := eureka.ChannelQuery{Text: text}
		if ch.Validate() != nil || q.Validate() != nil {
			return
		}
		if err := r.flush([]change{{old: r.views["a"], new: ch}}); err != nil {
			t.Fatal(err)
		}
		r.views["a"] = ch
		_, some := matchWords(text)
		page, err := r.list(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if some && len(page.Items) != 1 {
			t.Fatalf("%q does not find itself", text)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add("a", []byte(`{"channel":{"id":"a","alias":"b"}}`))
	f.Add("b", []byte(`{"aliasOf":"a"}`))
	f.Add("", []byte(`null`))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		r, err := decodeRecord(name, data)
		switch {
		case err != nil && r != record{}:
			t.Fatalf("a record beside the error: %+v", r)
		case err == nil && (r.Channel == nil) == (r.AliasOf == ""):
			t.Fatalf("decodeRecord(%q, %q) = %+v", name, data, r)
		case err == nil && r.Channel != nil && (r.Channel.ID != name || r.Channel.Validate() != nil):
			t.Fatalf("decodeRecord(%q, %q) = %+v", name, data, *r.Channel)
		}
	})
}
