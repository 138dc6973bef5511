package natsengine

import (
	"slices"
	"testing"
	"time"

	"eureka"
)

// TestCrashBetweenTheTwoWrites leaves behind what a crash after the first write does, and looks at who gets the names when.
func TestCrashBetweenTheTwoWrites(t *testing.T) {
	s := startServer(t, t.TempDir())
	young, old := time.Duration(0), 2*claimGrace
	channel := func(id, alias string) record { return record{Channel: &eureka.Channel{ID: id, Alias: alias}} }
	pointer := func(id string) record { return record{AliasOf: id} }
	type write struct {
		name string
		r    record
	}
	tests := []struct {
		name   string
		left   []write
		age    time.Duration
		create eureka.Channel
		want   eureka.Code
	}{
		{"a young pointer to nothing is taken", []write{{"x", pointer("a")}}, young, eureka.Channel{ID: "b", Alias: "x"}, eureka.CodeConflict},
		{"an old pointer to nothing is free", []write{{"x", pointer("a")}}, old, eureka.Channel{ID: "b", Alias: "x"}, ""},
		{"and free as an id", []write{{"x", pointer("a")}}, old, eureka.Channel{ID: "x"}, ""},
		{"the id it points to is free at once", []write{{"x", pointer("a")}}, young, eureka.Channel{ID: "a"}, ""},
		{"an old pointer that counts is taken", []write{{"x", pointer("a")}, {"a", channel("a", "x")}}, old, eureka.Channel{ID: "b", Alias: "x"}, eureka.CodeConflict},
		{"and taken as an id", []write{{"x", pointer("a")}, {"a", channel("a", "x")}}, old, eureka.Channel{ID: "x"}, eureka.CodeConflict},
		{"an alias given up without being freed is free later", []write{{"x", pointer("a")}, {"a", channel("a", "y")}}, old, eureka.Channel{ID: "b", Alias: "x"}, ""},
		{"a channel whose pointer was lost keeps no name", []write{{"a", channel("a", "x")}}, young, eureka.Channel{ID: "b", Alias: "x"}, ""},
		{"a channel under its id is taken for ever", []write{{"a", channel("a", "")}}, old, eureka.Channel{ID: "a"}, eureka.CodeConflict},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			store := openStore(t, storeOptions{JS: dialJetStream(t, s), Namespace: namespace(t)})
			store.now = func() time.Time { return time.Now().Add(tt.age) }
			var last uint64
			for _, w := range tt.left {
				revision, err := store.bucket.write(t.Context(), w.name, w.r, 0)
				if err != nil {
					t.Fatal(err)
				}
				last = revision
			}
			if err := store.settle(t.Context(), last); err != nil {
				t.Fatal(err)
			}
			created, err := store.Create(t.Context(), tt.create)
			if eureka.CodeOf(err) != tt.want {
				t.Fatalf("Create(%+v): %v, want code %q", tt.create, err, tt.want)
			}
			if err != nil {
				return
			}
			for _, name := range []string{created.ID, created.Alias} {
				if got, err := store.Get(t.Context(), name); name != "" && (err != nil || got != created) {
					t.Errorf("Get(%s): %+v, %v; want %+v", name, got, err, created)
				}
			}
		})
	}
}

// TestLateWriter lets a writer come back after its claim was taken over: the name stays with the new owner, on a node that saw it
// all and on one that starts later.
func TestLateWriter(t *testing.T) {
	s := startServer(t, t.TempDir())
	name := namespace(t)
	store := openStore(t, storeOptions{JS: dialJetStream(t, s), Namespace: name})
	ctx := t.Context()
	if _, err := store.claim(ctx, "alias", "x", record{AliasOf: "late"}); err != nil {
		t.Fatal(err)
	}
	store.now = func() time.Time { return time.Now().Add(2 * claimGrace) }
	owner := mustCreate(t, store, eureka.Channel{ID: "owner", Alias: "x"})
	revision, err := store.claim(ctx, "id", "late", record{Channel: &eureka.Channel{ID: "late", Alias: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.settle(ctx, revision); err != nil {
		t.Fatal(err)
	}
	for _, node := range []*channelStore{store, openStore(t, storeOptions{JS: dialJetStream(t, s), Namespace: name})} {
		if got, err := node.Get(ctx, "x"); err != nil || got != owner {
			t.Errorf("Get(x): %+v, %v; want %+v", got, err, owner)
		}
		late, err := node.Get(ctx, "late")
		if err != nil || late.Alias != "" {
			t.Errorf("Get(late): %+v, %v; want it without the alias", late, err)
		}
		page, err := node.List(ctx, eureka.ChannelQuery{Where: []eureka.Condition{{Field: "alias", Values: []string{"x"}}}})
		if err != nil || len(page.Items) != 1 || page.Items[0] != owner {
			t.Errorf("List: %+v, %v", page, err)
		}
	}
	late, err := store.Get(ctx, "late")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Delete(ctx, "late", 1); err != nil { // it must not take the owner's alias along
		t.Fatal(err)
	}
	mustCreate(t, store, eureka.Channel{}) // by then the replica has all that Delete wrote
	if got, err := store.Get(ctx, "x"); err != nil || got != owner {
		t.Errorf("Get(x) after the late one was deleted: %+v, %v", got, err)
	}
	late.Name = "again"
	if _, err := store.Update(ctx, late); eureka.CodeOf(err) != eureka.CodeNotFound {
		t.Errorf("Update of the deleted one: %v", err)
	}
}

// TestRefusedUpdateGivesItsAliasBack lets an update lose against one that its node has not seen yet.
func TestRefusedUpdateGivesItsAliasBack(t *testing.T) {
	s := startServer(t, t.TempDir())
	name := namespace(t)
	store := openStore(t, storeOptions{JS: dialJetStream(t, s), Namespace: name})
	behind := openStore(t, storeOptions{JS: dialJetStream(t, s), Namespace: name})
	ctx := t.Context()
	ch := mustCreate(t, store, eureka.Channel{ID: "a", Alias: "x"})
	if err := behind.settle(ctx, ch.Revision); err != nil {
		t.Fatal(err)
	}
	behind.cancel()
	<-behind.done
	winner := ch
	winner.Name = "winner"
	winner, err := store.Update(ctx, winner)
	if err != nil {
		t.Fatal(err)
	}
	ch.Alias = "y"
	if _, err := behind.update(ctx, ch); eureka.CodeOf(err) != eureka.CodeConflict {
		t.Errorf("the late update: %v", err)
	}
	mustCreate(t, store, eureka.Channel{ID: "b", Alias: "y"})
	for _, name := range []string{"a", "x"} {
		if got, err := store.Get(ctx, name); err != nil || got != winner {
			t.Errorf("Get(%s): %+v, %v; want %+v", name, got, err, winner)
		}
	}
}

// TestForeignKeys puts into the bucket what this code never writes: it is left alone and blocks nothing but its own name.
func TestForeignKeys(t *testing.T) {
	s := startServer(t, t.TempDir())
	store := openStore(t, storeOptions{JS: dialJetStream(t, s), Namespace: namespace(t)})
	ctx := t.Context()
	kv, err := store.bucket.js.KeyValue(ctx, store.bucket.name)
	if err != nil {
		t.Fatal(err)
	}
	var last uint64
	for key, value := range map[string]string{
		"name.broken": "{", "name.empty": "", "name.other": `{"channel":{"id":"another"}}`, "name.self": `{"aliasOf":"self"}`,
		"name.both": `{"channel":{"id":"both"},"aliasOf":"x"}`, "name.bad": `{"channel":{"id":"bad","name":"\u0000"}}`,
		"name.a.b": "{}", "name.=zz": "{}", "other": "{}", "name": "1",
	} {
		if last, err = kv.PutString(ctx, key, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.settle(ctx, last); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, store, eureka.Channel{ID: "a", Alias: "x"})
	if got := listed(t, store); !slices.Equal(got, []string{"a"}) {
		t.Errorf("List: %q", got)
	}
	for _, name := range []string{"broken", "empty", "other", "self", "both", "bad"} {
		if _, err := store.Get(ctx, name); eureka.CodeOf(err) != eureka.CodeNotFound {
			t.Errorf("Get(%s): %v", name, err)
		}
		if _, err := store.Create(ctx, eureka.Channel{ID: name}); eureka.CodeOf(err) != eureka.CodeConflict {
			t.Errorf("Create(%s): %v", name, err)
		}
		if _, err := store.Delete(ctx, name, 1); eureka.CodeOf(err) != eureka.CodeNotFound {
			t.Errorf("Delete(%s): %v", name, err)
		}
	}
	if store.ready() != nil {
		t.Errorf("ready: %v", store.ready())
	}
}

// TestDeletionsDoNotStay looks at what a deleted channel leaves in the bucket: two markers that expire.
func TestDeletionsDoNotStay(t *testing.T) {
	s := startServer(t, t.TempDir())
	store := openStore(t, storeOptions{JS: dialJetStream(t, s), Namespace: namespace(t)})
	ctx := t.Context()
	mustCreate(t, store, eureka.Channel{ID: "a", Alias: "x"})
	if _, err := store.Delete(ctx, "a", 1); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "x"} {
		m, err := store.bucket.stream.GetLastMsgForSubject(ctx, store.bucket.subject(name))
		if err != nil {
			t.Fatal(err)
		}
		if m.Header.Get("Nats-TTL") != markerTTL.String() || len(m.Data) != 0 {
			t.Errorf("%s leaves %v %q", name, m.Header, m.Data)
		}
	}
	// What comes later is applied later: with another channel gone, all of the first one is.
	mustCreate(t, store, eureka.Channel{ID: "b"})
	if _, err := store.Delete(ctx, "b", 1); err != nil {
		t.Fatal(err)
	}
	store.cancel()
	<-store.done
	var rows, words int
	for query, n := range map[string]*int{"SELECT count(*) FROM channels": &rows, "SELECT count(*) FROM words": &words} {
		if err := store.replica.table.conn.QueryRowContext(ctx, query).Scan(n); err != nil {
			t.Fatal(err)
		}
	}
	if rows != 0 || words != 0 || len(store.replica.table.rows) != 0 {
		t.Errorf("the table keeps %d rows, %d words and %v", rows, words, store.replica.table.rows)
	}
	if len(store.replica.keys) != 0 || len(store.replica.views) != 0 {
		t.Errorf("the replica keeps %v %v", store.replica.keys, store.replica.views)
	}
}
