package dynamo

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"eureka"
)

// moveSteps is more than the writes of a change, or of a task, of these tests.
const moveSteps = 14

// TestCrashOfAlias: whoever is killed while a channel takes a name, its subscribers are where messages for it go, and are there once.
func TestCrashOfAlias(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for k := range moveSteps {
		name, id := fmt.Sprintf("name-%d", k), fmt.Sprintf("home-%d", k)
		w := s.connect()
		s.mustSubscribe(w, name, eureka.Cursor{})
		killed := s.kill(k, func(ctx context.Context) error {
			_, err := s.mortal.Channels().Create(ctx, eureka.Channel{ID: id, Alias: name, CreatedAt: 1})
			return err
		})
		for _, task := range s.queue.take() { // its worker is killed too, and it is given again
			s.kill(k, func(ctx context.Context) error { return s.mortal.Work(ctx, task) })
			if err := s.other.Work(t.Context(), task); err != nil {
				t.Error(err)
			}
		}
		s.work()
		to := name
		if ch, err := s.other.Channels().Get(t.Context(), name); err == nil {
			to = ch.ID
		} else if eureka.CodeOf(err) != eureka.CodeNotFound || !killed {
			t.Errorf("behind %d writes: %v", k, err)
		}
		for _, channel := range []string{name, id} {
			n, err := s.other.countSubscribers(t.Context(), channel)
			if want := map[bool]int{true: 1}[channel == to]; err != nil || n != want {
				t.Errorf("behind %d writes %s has %d subscribers, want %d; %v", k, channel, n, want, err)
			}
		}
		s.broadcast(to, "one")
		s.want(fmt.Sprintf("behind %d writes", k), w, "one")
		if frame := strings.Join(w.Frames(), ""); !strings.HasPrefix(frame, `{"channel":"`+name+`"`) {
			t.Errorf("behind %d writes it is called %s", k, frame)
		}
	}
}

// TestCrashOfDelete: whoever is killed while a channel is deleted, its subscribers are told and gone if it is.
func TestCrashOfDelete(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for k := range moveSteps {
		id := fmt.Sprintf("doomed-%d", k)
		if _, err := s.other.Channels().Create(t.Context(), eureka.Channel{ID: id, CreatedAt: 1}); err != nil {
			t.Fatal(err)
		}
		w := s.connect()
		s.mustSubscribe(w, id, eureka.Cursor{})
		s.clock.advance(time.Second)
		s.kill(k, func(ctx context.Context) error {
			_, err := s.mortal.Channels().Delete(ctx, id, 2)
			return err
		})
		for _, task := range s.queue.take() {
			s.kill(k, func(ctx context.Context) error { return s.mortal.Work(ctx, task) })
			if err := s.other.Work(t.Context(), task); err != nil {
				t.Error(err)
			}
		}
		s.work()
		_, err := s.other.Channels().Get(t.Context(), id)
		deleted := eureka.CodeOf(err) == eureka.CodeNotFound
		n, err := s.other.countSubscribers(t.Context(), id)
		if want := map[bool]int{false: 1}[deleted]; err != nil || n != want {
			t.Errorf("behind %d writes, deleted: %t: %d subscribers, %v", k, deleted, n, err)
		}
		if told := strings.Contains(strings.Join(w.Frames(), ""), `"code":"gone"`); told != deleted {
			t.Errorf("behind %d writes, deleted: %t: it got %q", k, deleted, w.Frames())
		}
	}
}

// TestChangeBetweenTheStepsOfSubscribe: a channel that takes the name, or is deleted, while a subscribe to it is under way leaves no subscription behind
// that gets nothing.
func TestChangeBetweenTheStepsOfSubscribe(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	all := (*sockets)(s.other)
	prepare := func(w *wire, channel string) writing {
		prepared, err := all.prepare(t.Context(), runtime{shards: 1}, eureka.Subscription{SocketID: w.id, ChannelID: channel, Name: channel})
		if err != nil {
			t.Fatal(err)
		}
		return prepared
	}
	w := s.connect()
	prepared := prepare(w, "name")
	if _, err := s.other.Channels().Create(t.Context(), eureka.Channel{ID: "home", Alias: "name", CreatedAt: 1}); err != nil {
		t.Fatal(err)
	}
	if done, err := all.writeOnce(t.Context(), &prepared); err != nil || !done || prepared.home != "home" {
		t.Errorf("%t, %v, home %q", done, err, prepared.home)
	}
	s.mustSubscribe(w, "name", eureka.Cursor{}) // as core would not, since it knows by now
	s.broadcast("home", "one")
	s.want("whose name was taken", w, "one")

	late := s.connect()
	prepared = prepare(late, "home")
	s.clock.advance(time.Second)
	if _, err := s.other.Channels().Delete(t.Context(), "home", 2); err != nil {
		t.Fatal(err)
	}
	if _, err := all.writeOnce(t.Context(), &prepared); eureka.CodeOf(err) != eureka.CodeNotFound {
		t.Errorf("a subscribe to a channel that was deleted meanwhile: %v", err)
	}
	s.work()
	if n, err := s.other.countSubscribers(t.Context(), "home"); err != nil || n != 0 {
		t.Errorf("%d subscribers are left, %v", n, err)
	}
	s.clock.advance(time.Second)
	s.mustSubscribe(late, "home", eureka.Cursor{}) // of the undeclared name
	s.work()
	s.broadcast("home", "two")
	s.want("who came behind the deletion", late, "two")
}

// TestMoveOfShards: the subscribers of every shard follow.
func TestMoveOfShards(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	first := s.connect()
	s.mustSubscribe(first, "name", eureka.Cursor{})
	for n := 1; n < 4; n++ {
		if err := s.other.grow(t.Context(), "name", n); err != nil {
			t.Fatal(err)
		}
	}
	all := []*wire{first}
	for range 12 {
		w := s.connect()
		s.mustSubscribe(w, "name", eureka.Cursor{})
		all = append(all, w)
	}
	if _, err := s.other.Channels().Create(t.Context(), eureka.Channel{ID: "home", Alias: "name", CreatedAt: 1}); err != nil {
		t.Fatal(err)
	}
	s.work()
	s.broadcast("home", "one")
	s.work()
	for _, w := range all {
		s.want("moved", w, "one")
	}
}
