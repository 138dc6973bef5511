package core

import (
	"strconv"
	"testing"
	"time"
)

// TestProgress: it is kept for as long as a key counts and no longer, the oldest is forgotten when there is too much, and what is begun is nobody else's.
func TestProgress(t *testing.T) {
	p, now := newProgress(), time.UnixMilli(1700000000000)
	begin := func(key string, at time.Time) taken { return p.begun(attempt{key, "r"}, at) }
	one := begin("one", now)
	one.counts["a"] = true
	p.ended(attempt{"one", "r"}, one, false)
	if again := begin("one", now.Add(progressLife-1)); !again.counts["a"] || !again.at.Equal(now) {
		t.Errorf("%+v", again)
	}
	if other := p.begun(attempt{"one", "another"}, now); len(other.counts) != 0 {
		t.Errorf("another event of the key has %+v", other)
	}
	if late := begin("one", now.Add(progressLife)); len(late.counts) != 0 {
		t.Errorf("when the key counts no more: %+v", late)
	}
	begin("one", now).counts["b"] = true
	if again := begin("one", now); len(again.counts) != 1 {
		t.Errorf("%+v", again)
	}
	none := begin("", now)
	none.counts["a"] = true
	p.ended(attempt{"", "r"}, none, false)
	if again := begin("", now); len(again.counts) != 0 {
		t.Errorf("without a key: %+v", again)
	}
	for n := range 11 {
		big := begin("big"+strconv.Itoa(n), now)
		for i := range maxProgress / 10 {
			big.counts[strconv.Itoa(i)] = false
		}
		p.ended(attempt{"big" + strconv.Itoa(n), "r"}, big, false)
	}
	if p.size != maxProgress || len(p.of) != 10 || len(p.order) != 10 || len(begin("one", now).counts) != 0 || len(begin("big10", now).counts) == 0 {
		t.Errorf("%d channels of %d events are remembered", p.size, len(p.of))
	}
	p.ended(attempt{"big10", "r"}, begin("big10", now), true)
	if len(p.of) != 9 || len(p.order) != 9 || p.size != maxProgress/10*9 {
		t.Errorf("after one was accepted %d channels of %d events are", p.size, len(p.of))
	}
}
