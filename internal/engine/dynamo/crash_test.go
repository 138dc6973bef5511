package dynamo

import (
	"context"
	"fmt"
	"testing"
	"time"

	"eureka"
)

// maxSteps is more writes than any operation here makes.
const maxSteps = 60

// killedAnywhere runs one operation of an engine that is killed behind its first write, its second and so on, until it gets through. Each time begin prepares
// a new channel and returns the operation, and what has to hold afterwards.
func killedAnywhere(t *testing.T, begin func(s *scene, channel string) (operation func(ctx context.Context) error, after func(what string))) {
	t.Helper()
	t.Parallel()
	s := newScene(t)
	for k := range maxSteps {
		operation, after := begin(s, fmt.Sprintf("channel-%d", k))
		killed := s.kill(k, operation)
		after(fmt.Sprintf("killed behind %d writes", k))
		if t.Failed() {
			return
		}
		if !killed {
			if k == 0 {
				t.Error("the operation writes nothing")
			}
			return
		}
	}
	t.Errorf("it makes more than %d writes", maxSteps)
}

func TestCrashOfAdd(t *testing.T) {
	killedAnywhere(t, func(s *scene, channel string) (func(ctx context.Context) error, func(string)) {
		w := s.wires.open(channel)
		add := func(ctx context.Context) error {
			return s.mortal.Sockets().Add(ctx, eureka.Socket{ID: w.id, ConnectedAt: 1, ExpiresAt: s.clock.now().Add(time.Hour).UnixMilli()})
		}
		return add, func(what string) {
			page, err := s.other.Sockets().List(t.Context(), eureka.SocketQuery{ID: w.id})
			if err != nil || page.Total > 1 {
				t.Errorf("%s: %+v, %v", what, page, err)
			}
			// The handshake failed, or was good: either way its end cleans up.
			if _, err := s.other.Sockets().Remove(t.Context(), w.id); err != nil && eureka.CodeOf(err) != eureka.CodeNotFound {
				t.Errorf("%s: %v", what, err)
			}
			s.wantNothing(what, w.id)
		}
	})
}

func TestCrashOfSubscribe(t *testing.T) {
	for _, replaces := range []bool{false, true} {
		t.Run(fmt.Sprintf("replaces %v", replaces), func(t *testing.T) {
			killedAnywhere(t, func(s *scene, channel string) (func(ctx context.Context) error, func(string)) {
				again, left := s.connect(), s.connect()
				if replaces {
					s.mustSubscribe(again, channel, eureka.Cursor{})
					s.mustSubscribe(left, channel, eureka.Cursor{})
				}
				subscribe := func(context.Context) error {
					_, err := s.subscribe(s.mortal, left, channel, eureka.Cursor{})
					if err == nil {
						_, err = s.subscribe(s.mortal, again, channel, eureka.Cursor{})
					}
					return err
				}
				return subscribe, func(what string) {
					s.mustSubscribe(again, channel, eureka.Cursor{})
					s.broadcast(channel, "one")
					s.want(what+", subscribed again", again, "one")
					if _, err := s.other.Sockets().Remove(t.Context(), left.id); err != nil {
						t.Error(err)
					}
					s.wantNothing(what, left.id, channel)
					if err := s.other.Sockets().Unsubscribe(t.Context(), again.id, channel); err != nil {
						t.Error(err)
					}
					s.broadcast(channel, "two")
					s.want(what+", unsubscribed", again, "one")
				}
			})
		})
	}
}

func TestCrashOfUnsubscribe(t *testing.T) {
	killedAnywhere(t, func(s *scene, channel string) (func(ctx context.Context) error, func(string)) {
		w := s.connect()
		s.mustSubscribe(w, channel, eureka.Cursor{})
		unsubscribe := func(ctx context.Context) error { return s.mortal.Sockets().Unsubscribe(ctx, w.id, channel) }
		return unsubscribe, func(what string) {
			err := s.other.Sockets().Unsubscribe(t.Context(), w.id, channel)
			if err != nil && eureka.CodeOf(err) != eureka.CodeNotFound {
				t.Errorf("%s: %v", what, err)
			}
			s.broadcast(channel, "one")
			s.want(what, w)
			if _, err := s.other.Sockets().Remove(t.Context(), w.id); err != nil {
				t.Error(err)
			}
			s.wantNothing(what, w.id, channel)
		}
	})
}

// TestCrashOfRemove: whoever comes next, another remover or the sweep, finishes it and alone gets the socket.
func TestCrashOfRemove(t *testing.T) {
	for _, by := range []string{"another call", "the sweep"} {
		t.Run(by, func(t *testing.T) {
			killedAnywhere(t, func(s *scene, channel string) (func(ctx context.Context) error, func(string)) {
				w := s.connect()
				s.mustSubscribe(w, channel, eureka.Cursor{})
				s.mustSubscribe(w, channel+"-other", eureka.Cursor{})
				got := 0
				remove := func(ctx context.Context) error {
					_, err := s.mortal.Sockets().Remove(ctx, w.id)
					if err == nil {
						got++
					}
					return err
				}
				return remove, func(what string) {
					s.clock.advance(removeLease + time.Second)
					again := func(ctx context.Context, id string) error {
						_, err := s.other.Sockets().Remove(ctx, id)
						switch eureka.CodeOf(err) {
						case "":
							got++
						case eureka.CodeNotFound:
							err = nil
						}
						return err
					}
					if by == "the sweep" {
						// A kill before the first write is one that nobody has asked for.
						s.clock.advance(2 * time.Hour)
						if err := s.other.Sweep(t.Context(), 100, again, func(context.Context, []string) error { return nil }); err != nil {
							t.Error(err)
						}
					} else if err := again(t.Context(), w.id); err != nil {
						t.Error(err)
					}
					if got != 1 {
						t.Errorf("%s: %d callers got the socket", what, got)
					}
					s.wantNothing(what, w.id, channel, channel+"-other")
				}
			})
		})
	}
}

// TestCrashOfDeliver: a publisher that is killed anywhere leaves a channel on which the next one's message arrives in order, behind its own if that was
// stored.
func TestCrashOfDeliver(t *testing.T) {
	killedAnywhere(t, func(s *scene, channel string) (func(ctx context.Context) error, func(string)) {
		w, gone := s.connect(), s.connect()
		s.mustSubscribe(w, channel, eureka.Cursor{})
		s.mustSubscribe(gone, channel, eureka.Cursor{})
		s.publish(s.other, channel, "first")
		gone.end()
		deliver := func(ctx context.Context) error {
			_, err := s.mortal.Fanout().Deliver(ctx, message(channel, "second"))
			return err
		}
		return deliver, func(what string) {
			s.clock.advance(leaseTime + time.Second)
			s.publish(s.other, channel, "third")
			s.work()
			s.wantStored(what, w, channel, []string{"first", "third"}, "second")
		}
	})
}

// wantStored checks that a socket has what is stored, in its order: these messages, and maybe another one.
func (s *scene) wantStored(what string, w *wire, channel string, sure []string, maybe string) {
	s.t.Helper()
	page, err := s.other.History().Newest(s.t.Context(), channel, 100)
	if err != nil {
		s.t.Fatal(err)
	}
	var all []string
	for _, m := range page.Messages {
		name := string(m.Data[1 : len(m.Data)-1])
		all = append(all, name)
		if name == maybe {
			continue
		}
		if len(sure) == 0 || name != sure[0] {
			s.t.Errorf("%s: %q is stored where %q should be", what, name, sure)
			return
		}
		sure = sure[1:]
	}
	if len(sure) > 0 {
		s.t.Errorf("%s: %q are not stored", what, sure)
	}
	s.want(what, w, all...)
}

// TestCrashOfKey: a message with a key whose caller is killed anywhere and tries again is stored once, and arrives once.
func TestCrashOfKey(t *testing.T) {
	killedAnywhere(t, func(s *scene, channel string) (func(ctx context.Context) error, func(string)) {
		w := s.connect()
		s.mustSubscribe(w, channel, eureka.Cursor{})
		m := message(channel, "keyed")
		m.Key = "key"
		deliver := func(ctx context.Context) error {
			_, err := s.mortal.Fanout().Deliver(ctx, m)
			return err
		}
		return deliver, func(what string) {
			s.clock.advance(leaseTime + time.Second)
			s.publish(s.other, channel, "between")
			var cursors []eureka.Cursor
			for range 2 {
				d, err := s.other.Fanout().Deliver(t.Context(), m)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				cursors = append(cursors, d.Cursor)
			}
			if cursors[0] != cursors[1] {
				t.Errorf("%s: stored at %v", what, cursors)
			}
			s.work()
			names := s.names(w)
			if len(names) != 2 || names[0] == names[1] {
				t.Errorf("%s: it has %q", what, names)
			}
			s.wantStored(what, w, channel, []string{"between"}, "keyed")
		}
	})
}

// TestCrashOfReplay: the task of a replay whose worker is killed anywhere is given again, and nothing is missed, then or later.
func TestCrashOfReplay(t *testing.T) {
	killedAnywhere(t, func(s *scene, channel string) (func(ctx context.Context) error, func(string)) {
		since := s.publish(s.other, channel, "0")
		for i := range 3 {
			s.publish(s.other, channel, fmt.Sprint(i+1))
		}
		w := s.connect()
		if began := s.mustSubscribe(w, channel, since); !began.Recovered {
			t.Fatalf("%+v", began)
		}
		tasks := s.queue.take()
		if len(tasks) != 1 || tasks[0].Kind != TaskReplay {
			t.Fatalf("%+v", tasks)
		}
		replay := func(ctx context.Context) error { return s.mortal.Work(ctx, tasks[0]) }
		return replay, func(what string) {
			s.clock.advance(replayLease + time.Second)
			if err := s.other.Work(t.Context(), tasks[0]); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			s.work()
			s.publish(s.other, channel, "live")
			s.work()
			s.want(what, w, "1", "2", "3", "live")
			if n := len(w.Frames()); n > 7 {
				t.Errorf("%s: %d frames for four messages", what, n)
			}
		}
	})
}

// TestCrashOfResume: a subscribe with a position that is killed anywhere can be repeated.
func TestCrashOfResume(t *testing.T) {
	for _, missed := range []int{0, 2} {
		t.Run(fmt.Sprintf("%d messages", missed), func(t *testing.T) {
			killedAnywhere(t, func(s *scene, channel string) (func(ctx context.Context) error, func(string)) {
				since := s.publish(s.other, channel, "0")
				var want []string
				for i := range missed {
					want = append(want, fmt.Sprint(i+1))
					s.publish(s.other, channel, want[i])
				}
				w := s.connect()
				subscribe := func(context.Context) error {
					_, err := s.subscribe(s.mortal, w, channel, since)
					return err
				}
				return subscribe, func(what string) {
					s.clock.advance(leaseTime + time.Second)
					if began := s.mustSubscribe(w, channel, since); !began.Recovered {
						t.Errorf("%s: %+v", what, began)
					}
					s.work()
					s.publish(s.other, channel, "live")
					s.work()
					s.want(what, w, append(want, "live")...)
				}
			})
		})
	}
}

// TestCrashWhenHeldBack: a live subscriber that took nothing for a while gets all of it, whoever was killed while it was taken out of live delivery.
func TestCrashWhenHeldBack(t *testing.T) {
	killedAnywhere(t, func(s *scene, channel string) (func(ctx context.Context) error, func(string)) {
		w, well := s.connect(), s.connect()
		s.mustSubscribe(w, channel, eureka.Cursor{})
		s.mustSubscribe(well, channel, eureka.Cursor{})
		s.publish(s.other, channel, "0")
		s.wires.refuse(w.id, eureka.CodeRateLimited)
		deliver := func(ctx context.Context) error {
			_, err := s.mortal.Fanout().Deliver(ctx, message(channel, "1"))
			return err
		}
		return deliver, func(what string) {
			s.clock.advance(leaseTime + time.Second)
			s.wires.refuse(w.id, "")
			s.publish(s.other, channel, "2")
			s.work()
			s.publish(s.other, channel, "3")
			s.work()
			s.wantStored(what, well, channel, []string{"0", "2", "3"}, "1")
			s.want(what, w, s.names(well)...)
		}
	})
}

// TestCrashOfGrowth: a channel whose growth was cut off grows with the next, and all of its shards get what is published then.
func TestCrashOfGrowth(t *testing.T) {
	killedAnywhere(t, func(s *scene, channel string) (func(ctx context.Context) error, func(string)) {
		old := s.connect()
		s.mustSubscribe(old, channel, eureka.Cursor{})
		s.publish(s.other, channel, "0")
		grow := func(ctx context.Context) error { return s.mortal.grow(ctx, channel, 1) }
		return grow, func(what string) {
			if err := s.other.grow(t.Context(), channel, 1); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			r, err := s.other.runtime(t.Context(), channel)
			if err != nil || r.shards != 2 {
				t.Fatalf("%s: %+v, %v", what, r, err)
			}
			sockets := []*wire{old}
			want := [][]string{{"0", "1"}}
			for range 8 { // they spread over both shards
				w := s.connect()
				s.mustSubscribe(w, channel, eureka.Cursor{})
				sockets, want = append(sockets, w), append(want, []string{"1"})
			}
			s.publish(s.mortal, channel, "1")
			s.work()
			for i, w := range sockets {
				s.want(what, w, want[i]...)
			}
		}
	})
}
