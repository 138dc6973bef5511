package natsengine

import (
	"cmp"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
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
func expected(keys map[string]kvEntry) map[string]eureka.Channel {
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

// bucketModel is a bucket with a replica that follows it.
type bucketModel struct {
	keys     map[string]kvEntry
	revision uint64
	created  time.Time
	replica  *replica
	told     map[string]eureka.Channel // what the told changes add up to
}

var modelNames = rapid.SampledFrom([]string{"a", "b", "c", "d"})

// write changes a random key, sanely or not, and returns the change.
func (m *bucketModel) write(t *rapid.T) kvEntry {
	m.revision++
	e := kvEntry{name: modelNames.Draw(t, "name"), revision: m.revision}
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		e.op = jetstream.KeyValuePurge
		delete(m.keys, e.name)
		return e
	case 1:
		e.value, _ = json.Marshal(record{AliasOf: modelNames.Draw(t, "target")})
	default:
		ch := eureka.Channel{ID: e.name, Name: strconv.FormatUint(m.revision, 10)}
		if alias := modelNames.Draw(t, "alias"); alias != e.name {
			ch.Alias = alias
		}
		e.value, _ = json.Marshal(record{Channel: &ch})
	}
	m.keys[e.name] = e
	return e
}

// replace makes the bucket another one with the same content, in which the same revisions mean something else.
func (m *bucketModel) replace() {
	m.created = m.created.Add(time.Second)
	m.revision = 0
	for _, name := range slices.Sorted(maps.Keys(m.keys)) {
		m.revision++
		m.keys[name] = kvEntry{name: name, value: m.keys[name].value, revision: m.revision}
	}
}

// content returns the living keys in the order of their revisions, as a replay has them.
func (m *bucketModel) content() []jetstream.KeyValueEntry {
	var all []jetstream.KeyValueEntry
	for _, e := range m.keys {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b jetstream.KeyValueEntry) int { return cmp.Compare(a.Revision(), b.Revision()) })
	return all
}

// take checks that changes go on from the ones told before, and puts them into the lists.
func (m *bucketModel) take(t *rapid.T, changes []change) {
	for _, c := range changes {
		if c.old != nil && m.told[c.old.ID] != *c.old || c.old == nil && m.told[c.new.ID] != (eureka.Channel{}) {
			t.Fatalf("change %+v > %+v, but the ones told before add up to %+v", c.old, c.new, m.told)
		}
		if c.new != nil {
			m.told[c.new.ID] = *c.new
		} else {
			delete(m.told, c.old.ID)
		}
	}
	if err := m.replica.flush(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
}

func (m *bucketModel) check(t *rapid.T) {
	want := expected(m.keys)
	if diff := gocmp.Diff(want, shown(m.replica)); diff != "" {
		t.Fatalf("single reads (-want +got):\n%s", diff)
	}
	maps.DeleteFunc(want, func(name string, ch eureka.Channel) bool { return name != ch.ID })
	if diff := gocmp.Diff(want, m.told); diff != "" {
		t.Fatalf("told changes (-want +got):\n%s", diff)
	}
	page, err := m.replica.list(t.Context(), eureka.ChannelQuery{Paging: eureka.Paging{Limit: 100}})
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]eureka.Channel{}
	for _, ch := range page.Items {
		rows[ch.ID] = ch
	}
	if diff := gocmp.Diff(want, rows); diff != "" {
		t.Fatalf("list (-want +got):\n%s", diff)
	}
}

// TestReplicaShowsWhatTheKeysSay applies random changes in random batches, with replays of the same and of another bucket in
// between, and compares the map, the list and the told changes with what the keys say.
func TestReplicaShowsWhatTheKeysSay(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	rapid.Check(t, func(t *rapid.T) {
		r, err := newReplica(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer r.close()
		m := &bucketModel{keys: map[string]kvEntry{}, told: map[string]eureka.Channel{}, created: time.Unix(1, 0), replica: r}
		r.begin(m.created)
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			var batch []jetstream.KeyValueEntry
			for range rapid.IntRange(0, 6).Draw(t, "writes") {
				batch = append(batch, m.write(t))
			}
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0: // the changes above were missed, and the bucket was replaced
				m.replace()
				r.begin(m.created)
				m.take(t, r.apply(m.content(), log))
				m.take(t, r.sweep())
			case 1: // they were missed
				r.begin(m.created)
				m.take(t, r.apply(m.content(), log))
				m.take(t, r.sweep())
			default:
				m.take(t, r.apply(batch, log))
			}
			m.check(t)
		}
	})
}

// TestBrokenTableIsBuiltAgain takes the list's database away.
func TestBrokenTableIsBuiltAgain(t *testing.T) {
	r := newTestReplica(t)
	a, b := &eureka.Channel{ID: "a", Name: "one"}, &eureka.Channel{ID: "b", Name: "two"}
	r.views["a"], r.views["b"] = a, b
	if err := r.flush(t.Context(), []change{{new: a}}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.table.conn.ExecContext(t.Context(), "DROP TABLE words"); err != nil {
		t.Fatal(err)
	}
	if err := r.flush(t.Context(), []change{{new: b}}); err == nil {
		t.Fatal("a write to a missing table succeeded")
	}
	if err := r.flush(t.Context(), nil); err != nil {
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
	r, err := newReplica(t.Context())
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
	if err := r.flush(f.Context(), []change{{new: &eureka.Channel{ID: "a", Name: "some words", Desc: "한글 é 🚀"}}}); err != nil {
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
		if err := r.flush(t.Context(), []change{{old: r.views["a"], new: ch}}); err != nil {
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
