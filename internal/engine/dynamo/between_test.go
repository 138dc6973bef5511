package dynamo

import (
	"context"
	"strings"
	"testing"
	"time"

	"eureka"
)

// between has something done by the other engine right before the mortal one's n-th request of a kind is carried out, counted from now.
func (s *scene) between(operation string, n int, do func(ctx context.Context)) {
	seen := 0
	s.proxy.Hold(func(op string, _ []byte) {
		if op != operation {
			return
		}
		if seen++; seen == n {
			do(s.t.Context())
		}
	})
	s.t.Cleanup(func() { s.proxy.Hold(nil) })
}

// TestBetweenTheStepsOfSubscribe: whatever comes between a subscribe's two writes, nothing is left that should not be there.
func TestBetweenTheStepsOfSubscribe(t *testing.T) {
	t.Parallel()
	const channel = "A"
	for _, tt := range []struct {
		name string
		do   func(ctx context.Context, s *scene, w *wire) error
		code eureka.Code // of the subscribe
		want string      // the name under which it gets a message; "" when it gets none
	}{
		{"unsubscribe", func(ctx context.Context, s *scene, w *wire) error {
			return s.other.Sockets().Unsubscribe(ctx, w.id, channel)
		}, "", ""},
		{"the socket's end", func(ctx context.Context, s *scene, w *wire) error {
			_, err := s.other.Sockets().Remove(ctx, w.id)
			return err
		}, eureka.CodeNotFound, ""},
		{"another subscribe", func(ctx context.Context, s *scene, w *wire) error {
			_, err := s.other.Sockets().Subscribe(ctx, eureka.Subscription{SocketID: w.id, ChannelID: channel, Name: "later"})
			return err
		}, "", "later"},
		{"unsubscribe and another subscribe", func(ctx context.Context, s *scene, w *wire) error {
			if err := s.other.Sockets().Unsubscribe(ctx, w.id, channel); err != nil {
				return err
			}
			_, err := s.other.Sockets().Subscribe(ctx, eureka.Subscription{SocketID: w.id, ChannelID: channel, Name: "later"})
			return err
		}, "", "later"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t)
			w := s.connect()
			s.between("PutItem", 2, func(ctx context.Context) {
				if err := tt.do(ctx, s, w); err != nil {
					t.Error(err)
				}
			})
			_, err := s.mortal.Sockets().Subscribe(t.Context(), eureka.Subscription{SocketID: w.id, ChannelID: channel, Name: "first"})
			if eureka.CodeOf(err) != tt.code {
				t.Errorf("the subscribe: %v", err)
			}
			s.broadcast(channel, "m")
			got := w.Frames()
			switch {
			case tt.want == "" && len(got) > 0:
				t.Errorf("it got %q", got)
			case tt.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], `{"channel":"`+tt.want+`"`)):
				t.Errorf("it got %q, want one under %q", got, tt.want)
			}
			if _, err := s.other.Sockets().Remove(t.Context(), w.id); err != nil && tt.code == "" {
				t.Error(err)
			}
			s.wantNothing(tt.name, w.id, channel)
		})
	}
}

// TestGrowthBetweenTheStepsOfPublish: a channel that grows while a message is under way delivers it to who resumed on the new shard meanwhile.
func TestGrowthBetweenTheStepsOfPublish(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx := t.Context()
	since := s.publish(s.other, "A", "0")
	var all []*wire
	s.between("PutItem", 1, func(ctx context.Context) { // the message has its offset, and is not stored
		if err := s.other.grow(ctx, "A", 1); err != nil {
			t.Error(err)
		}
		for range 6 {
			w := s.connect()
			s.mustSubscribe(w, "A", since)
			all = append(all, w)
		}
		s.work()
	})
	if _, err := s.mortal.Fanout().Deliver(ctx, message("A", "1")); err != nil {
		t.Fatal(err)
	}
	s.work()
	for _, w := range all {
		s.want("resumed between", w, "1")
	}
}

// TestLeaseLostBeforeLive: a replay whose lease on the shard is lost before its subscriber is live does not make it live: it would miss what the
// next holder has delivered.
func TestLeaseLostBeforeLive(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	since := s.publish(s.other, "A", "0")
	s.publish(s.other, "A", "1")
	w := s.connect()
	s.mustSubscribe(w, "A", since)
	tasks := s.queue.take()
	s.between("TransactWriteItems", 1, func(context.Context) {
		s.clock.advance(leaseTime + time.Second)
		s.publish(s.other, "A", "2")
	})
	if err := s.mortal.Work(t.Context(), tasks[0]); err != nil {
		t.Error(err)
	}
	s.proxy.Hold(nil)
	s.work()
	s.publish(s.other, "A", "3")
	s.want("in the end", w, "1", "2", "3")
}

// TestSlowRemover: a remover that takes so long that another one takes over does not get the socket as well.
func TestSlowRemover(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	w := s.connect()
	s.mustSubscribe(w, "A", eureka.Cursor{})
	s.between("TransactWriteItems", 1, func(ctx context.Context) {
		s.clock.advance(removeLease + time.Second)
		if _, err := s.other.Sockets().Remove(ctx, w.id); err != nil {
			t.Errorf("the one that takes over: %v", err)
		}
	})
	if _, err := s.mortal.Sockets().Remove(t.Context(), w.id); eureka.CodeOf(err) != eureka.CodeNotFound {
		t.Errorf("the slow one: %v", err)
	}
	s.wantNothing("removed", w.id, "A")
}

// TestLeftToTheHolder: what is stored while somebody else holds the shard's lease is delivered by the holder, before its call returns.
func TestLeftToTheHolder(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	w := s.connect()
	s.mustSubscribe(w, "A", eureka.Cursor{})
	s.publish(s.other, "A", "0")
	s.between("UpdateItem", 3, func(context.Context) { // the offset, the lease, and its end
		s.publish(s.other, "A", "2")
		s.want("before the lease ends", w, "0", "1")
	})
	s.publish(s.mortal, "A", "1")
	s.want("behind it", w, "0", "1", "2")
}

// TestTaskBeforeItsReplay: the task of a subscriber that is being taken out of live delivery may come before that is done; it waits.
func TestTaskBeforeItsReplay(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	w := s.connect()
	s.mustSubscribe(w, "A", eureka.Cursor{})
	s.publish(s.other, "A", "0")
	s.wires.refuse(w.id, eureka.CodeRateLimited)
	s.between("UpdateItem", 3, func(ctx context.Context) { // the offset, the lease, and the subscriber
		tasks := s.queue.take()
		if len(tasks) != 1 || tasks[0].Kind != TaskReplay {
			t.Errorf("queued: %+v", tasks) // in a goroutine of the proxy's
			return
		}
		if err := s.other.Work(ctx, tasks[0]); err != nil {
			t.Error(err)
		}
	})
	s.publish(s.mortal, "A", "1")
	s.wires.refuse(w.id, "")
	s.work()
	s.want("in the end", w, "0", "1")
}
