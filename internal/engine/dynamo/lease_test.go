package dynamo

import (
	"errors"
	"testing"
	"time"

	"eureka"
)

// TestLeaseTakenOver: who has lost a lease learns so, and neither moves the mark of who has it now nor gives it up or keeps it for him.
func TestLeaseTakenOver(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	slow, err := s.mortal.acquire(t.Context(), "A", 0)
	if err != nil || slow == nil {
		t.Fatal(slow, err)
	}
	if l, err := s.other.acquire(t.Context(), "A", 0); err != nil || l != nil {
		t.Fatalf("a lease that is held was given to another: %+v, %v", l, err)
	}
	s.clock.advance(leaseTime + time.Second)
	now, err := s.other.acquire(t.Context(), "A", 0)
	if err != nil || now == nil {
		t.Fatal(now, err)
	}
	now.mark = 7
	if err := s.other.save(t.Context(), now, true); err != nil {
		t.Fatal(err)
	}
	slow.mark = 99
	for _, more := range []bool{true, false} {
		if err := s.mortal.save(t.Context(), slow, more); !errors.Is(err, errLeaseLost) {
			t.Errorf("a save of who lost the lease: %v", err)
		}
	}
	it, err := s.other.table.get(t.Context(), deliveryKey("A", 0), true)
	if err != nil || it.offset(attrMark) != 7 || it.text(attrLease) != now.token {
		t.Errorf("%v, %v", it, err)
	}
}

// TestPostsEndWithTheLease: the context of posts under a lease ends with it, and before the caller's own.
func TestPostsEndWithTheLease(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	posting, cancel := s.other.within(t.Context(), s.clock.now().Add(50*time.Millisecond))
	defer cancel()
	patience := time.NewTimer(30 * time.Second)
	defer patience.Stop()
	select {
	case <-posting.Done():
	case <-patience.C:
		t.Error("posts go on behind the end of the lease")
	}
	if t.Context().Err() != nil {
		t.Error("the caller's context has ended too")
	}
}

// TestSubscriberPastItsTime: a socket that nobody reported ended gets nothing once its time is over, and counts no more, although DynamoDB has not removed it.
func TestSubscriberPastItsTime(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	w := s.connect()
	s.mustSubscribe(w, "A", eureka.Cursor{})
	s.broadcast("A", "one")
	s.clock.advance(2*time.Hour + time.Second)
	s.broadcast("A", "two")
	s.want("past its time", w, "one")
	if n, err := s.other.countSubscribers(t.Context(), "A"); err != nil || n != 0 {
		t.Errorf("%d subscribers, %v", n, err)
	}
}
