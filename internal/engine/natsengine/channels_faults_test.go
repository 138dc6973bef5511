package natsengine

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"eureka"
)

// changeLog remembers what OnChange was told.
type changeLog struct {
	mu      sync.Mutex
	changes []string
}

func (l *changeLog) add(before, after *eureka.Channel) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case before == nil:
		l.changes = append(l.changes, "+"+after.ID)
	case after == nil:
		l.changes = append(l.changes, "-"+before.ID)
	default:
		l.changes = append(l.changes, before.ID+":"+before.Name+">"+after.Name)
	}
}

func (l *changeLog) has(want ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Equal(l.changes, want)
}

func (l *changeLog) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes = nil
}

func mustCreate(t *testing.T, s *channelStore, ch eureka.Channel) eureka.Channel {
	t.Helper()
	created, err := s.Create(t.Context(), ch)
	if err != nil {
		t.Fatalf("Create(%+v): %v", ch, err)
	}
	return created
}

func listed(t *testing.T, s *channelStore) []string {
	t.Helper()
	page, err := s.List(t.Context(), eureka.ChannelQuery{Sort: eureka.Sort{Field: "id"}, Paging: eureka.Paging{Limit: eureka.MaxLimit}})
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, ch := range page.Items {
		names = append(names, ch.ID)
	}
	return names
}

func port(s *server.Server) int { return s.Addr().(*net.TCPAddr).Port }

func TestOnChangeTellsEveryNodeInOrder(t *testing.T) {
	s := startServer(t, t.TempDir())
	name := namespace(t)
	var logs [2]changeLog
	var stores [2]*channelStore
	for i := range stores {
		stores[i] = openStore(t, storeOptions{JS: dialJetStream(t, s), Namespace: name, OnChange: logs[i].add})
	}
	a := mustCreate(t, stores[0], eureka.Channel{ID: "a", Alias: "x", Name: "1"})
	mustCreate(t, stores[1], eureka.Channel{ID: "b", Service: "s", ModelType: "m"})
	a.Name, a.Alias = "2", "y"
	if _, err := stores[1].Update(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if _, err := stores[0].Delete(t.Context(), "b", 1); err != nil {
		t.Fatal(err)
	}
	for i := range logs {
		eventually(t, "all four changes are told, once and in order", func() bool { return logs[i].has("+a", "+b", "a:1>2", "-b") })
	}
	var late changeLog
	third := openStore(t, storeOptions{JS: dialJetStream(t, s), Namespace: name, OnChange: late.add})
	if got := listed(t, third); !slices.Equal(got, []string{"a"}) {
		t.Errorf("a new node lists %q", got)
	}
	mustCreate(t, third, eureka.Channel{ID: "c"})
	eventually(t, "the replay is not told", func() bool { return late.has("+c") })
}

// TestServerRestart stops NATS under two nodes and starts it again on the same state.
func TestServerRestart(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir)
	name := namespace(t)
	var log changeLog
	one := openStore(t, storeOptions{JS: dialJetStream(t, s), Namespace: name, OnChange: log.add})
	two := openStore(t, storeOptions{JS: dialJetStream(t, s), Namespace: name})
	kept := mustCreate(t, one, eureka.Channel{Alias: "kept"})
	gone := mustCreate(t, two, eureka.Channel{Alias: "gone"})
	if _, err := two.Delete(t.Context(), gone.ID, 1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the changes are told", func() bool { return log.has("+"+kept.ID, "+"+gone.ID, "-"+gone.ID) })
	log.clear()

	at := port(s)
	one.liveWait = 100 * time.Millisecond
	stopServer(s)
	eventually(t, "the store is not ready", func() bool { return eureka.CodeOf(one.ready()) == eureka.CodeUnavailable })
	started := time.Now()
	_, err := one.Create(t.Context(), eureka.Channel{ID: "away"})
	if eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("Create without NATS: %v", err)
	}
	if took := time.Since(started); took > testPatience {
		t.Errorf("Create without NATS took %v", took)
	}
	_, err = one.Delete(t.Context(), kept.ID, 1)
	if eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("Delete without NATS: %v", err)
	}
	if ch, err := one.Get(t.Context(), "kept"); err != nil || ch != kept {
		t.Errorf("Get without NATS: %+v, %v", ch, err)
	}
	if got := listed(t, one); !slices.Equal(got, []string{kept.ID}) {
		t.Errorf("List without NATS: %q", got)
	}

	startServerOn(t, dir, at)
	for _, store := range []*channelStore{one, two} {
		eventually(t, "the store is ready again", func() bool { return store.ready() == nil })
		if got := listed(t, store); !slices.Equal(got, []string{kept.ID}) {
			t.Errorf("List after the restart: %q", got)
		}
	}
	if ch, err := one.Get(t.Context(), "kept"); err != nil || ch != kept {
		t.Errorf("Get after the restart: %+v, %v", ch, err)
	}
	next := mustCreate(t, two, eureka.Channel{Alias: "gone"})
	if next.ID != strconv.Itoa(eureka.FirstChannelNumber+2) {
		t.Errorf("the number after the restart is %s", next.ID)
	}
	eventually(t, "the restart itself is not told", func() bool { return log.has("+" + next.ID) })
}

// TestServerLosesItsState starts NATS again with nothing: the channels are gone, on every node and for good, and new ones work.
func TestServerLosesItsState(t *testing.T) {
	s := startServer(t, t.TempDir())
	name := namespace(t)
	var log changeLog
	one := openStore(t, storeOptions{JS: dialJetStream(t, s), Namespace: name, OnChange: log.add})
	two := openStore(t, storeOptions{JS: dialJetStream(t, s), Namespace: name})
	for i := range 5 {
		mustCreate(t, one, eureka.Channel{ID: fmt.Sprintf("old-%d", i), Alias: fmt.Sprintf("alias-%d", i)})
	}
	mustCreate(t, one, eureka.Channel{ID: "same", Alias: "alias", Name: "before"})
	eventually(t, "the other node has all", func() bool { return len(listed(t, two)) == 6 })
	log.clear()

	at := port(s)
	stopServer(s)
	startServerOn(t, t.TempDir(), at)
	// A write right away must not be answered from what the replica knew of the old bucket.
	var created eureka.Channel
	eventually(t, "channels can be created again", func() bool {
		var err error
		created, err = two.Create(t.Context(), eureka.Channel{ID: "same", Name: "after"})
		return err == nil
	})
	if ch, err := two.Get(t.Context(), "same"); err != nil || ch != created {
		t.Errorf("Get right after Create: %+v, %v; want %+v", ch, err, created)
	}
	for _, store := range []*channelStore{one, two} {
		eventually(t, "only the new channel is there", func() bool { return slices.Equal(listed(t, store), []string{"same"}) })
		for _, name := range []string{"old-0", "alias-0", "alias"} {
			if _, err := store.Get(t.Context(), name); eureka.CodeOf(err) != eureka.CodeNotFound {
				t.Errorf("Get(%s): %v", name, err)
			}
		}
	}
	if ch := mustCreate(t, one, eureka.Channel{Alias: "alias-0"}); ch.ID != strconv.Itoa(eureka.FirstChannelNumber) {
		t.Errorf("the first number is %s", ch.ID)
	}
	eventually(t, "the losses are told", func() bool {
		log.mu.Lock()
		defer log.mu.Unlock()
		return slices.Contains(log.changes, "-old-4") && slices.Contains(log.changes, "-old-0")
	})
}

// TestBucketReplaced takes the bucket and the count away under a connected node.
func TestBucketReplaced(t *testing.T) {
	s := startServer(t, t.TempDir())
	name := namespace(t)
	js := dialJetStream(t, s)
	store := openStore(t, storeOptions{JS: js, Namespace: name, tick: 10 * time.Millisecond})
	mustCreate(t, store, eureka.Channel{ID: "old"})
	number := mustCreate(t, store, eureka.Channel{})
	for _, stream := range []string{name + "_numbers", "KV_" + name + "_channels"} {
		if err := js.DeleteStream(t.Context(), stream); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the old channels are gone", func() bool { return len(listed(t, store)) == 0 })
	eventually(t, "numbers are given again", func() bool {
		ch, err := store.Create(t.Context(), eureka.Channel{})
		return err == nil && ch.ID == number.ID
	})
}

func TestLostCountGoesOnBehindTheHighestNumber(t *testing.T) {
	s := startServer(t, t.TempDir())
	name := namespace(t)
	js := dialJetStream(t, s)
	store := openStore(t, storeOptions{JS: js, Namespace: name})
	mustCreate(t, store, eureka.Channel{ID: "1000500"})
	mustCreate(t, store, eureka.Channel{ID: "20261124000000"})
	if err := js.DeleteStream(t.Context(), name+"_numbers"); err != nil {
		t.Fatal(err)
	}
	if ch := mustCreate(t, store, eureka.Channel{}); ch.ID != "1000501" {
		t.Errorf("the number after the loss is %s", ch.ID)
	}
}

func TestOpenWithoutNATS(t *testing.T) {
	s := startServer(t, t.TempDir())
	js := dialJetStream(t, s)
	stopServer(s)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := newChannelStore(ctx, storeOptions{JS: js, Namespace: namespace(t)}); eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("newChannelStore without NATS: %v", err)
	}
}

func TestClosedStoreAnswers(t *testing.T) {
	s := startServer(t, t.TempDir())
	store := openStore(t, storeOptions{JS: dialJetStream(t, s), Namespace: namespace(t)})
	mustCreate(t, store, eureka.Channel{ID: "a"})
	store.close()
	if eureka.CodeOf(store.ready()) != eureka.CodeUnavailable {
		t.Errorf("a closed store is ready: %v", store.ready())
	}
	if _, err := store.List(t.Context(), eureka.ChannelQuery{}); eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("List: %v", err)
	}
	if _, err := store.Create(t.Context(), eureka.Channel{}); eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("Create: %v", err)
	}
}

// TestLastRevisionIsGone opens a store on a bucket whose last change has expired, alone and behind one that stays.
func TestLastRevisionIsGone(t *testing.T) {
	s := startServer(t, t.TempDir())
	name := namespace(t)
	js := dialJetStream(t, s)
	first := openStore(t, storeOptions{JS: js, Namespace: name})
	expire := func(id string) {
		if err := first.bucket.stream.Purge(t.Context(), jetstream.WithPurgeSubject(first.bucket.subject(id))); err != nil {
			t.Fatal(err)
		}
	}
	for _, kept := range [][]string{{}, {"kept"}} {
		for _, id := range kept {
			mustCreate(t, first, eureka.Channel{ID: id})
		}
		mustCreate(t, first, eureka.Channel{ID: "a"})
		if _, err := first.Delete(t.Context(), "a", 1); err != nil {
			t.Fatal(err)
		}
		expire("a")
		late := openStore(t, storeOptions{JS: js, Namespace: name, tick: 10 * time.Millisecond})
		if got := listed(t, late); !slices.Equal(got, kept) {
			t.Errorf("List: %q, want %q", got, kept)
		}
		ch := mustCreate(t, late, eureka.Channel{ID: "b"})
		if got, err := late.Get(t.Context(), "b"); err != nil || got != ch {
			t.Errorf("Get: %+v, %v; want %+v", got, err, ch)
		}
		if _, err := late.Delete(t.Context(), "b", 1); err != nil {
			t.Fatal(err)
		}
	}
}
