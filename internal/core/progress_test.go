package core

import (
	"maps"
	"strconv"
	"testing"
	"time"
)

// TestProgress: it is kept for as long as a key counts and no longer, the oldest is forgotten when there is too much, and what is begun is nobody else's.
func TestProgress(t *testing.T) {
	p, now := newProgress(), time.UnixMilli(1700000000000)
	begin := func(key string, at time.Time) taken { return p.begun(attempt{key, "r"}, at) }
	one := attempt{"one", "r"}
	p.failed(one, begin("one", now), []string{"a", "b"}, []string{"a"})
	if again := begin("one", now.Add(progressLife-1)); !maps.Equal(again.counts, map[string]bool{"a": true, "b": false}) || !again.at.Equal(now) {
		t.Errorf("%+v", again)
	}
	p.failed(one, begin("one", now.Add(time.Second)), []string{"c"}, []string{"a", "c"})
	if again := begin("one", now); !maps.Equal(again.counts, map[string]bool{"a": true, "b": false, "c": true}) || !again.at.Equal(now) {
		t.Errorf("tried once more: %+v", again)
	}
	if other := p.begun(attempt{"one", "another"}, now); len(other.counts) != 0 {
		t.Errorf("another event of the key has %+v", other)
	}
	if late := begin("one", now.Add(progressLife)); len(late.counts) != 0 {
		t.Errorf("when the key counts no more: %+v", late)
	}
	p.failed(attempt{"", "r"}, begin("", now), []string{"a"}, nil)
	if again := begin("", now); len(again.counts) != 0 {
		t.Errorf("without a key: %+v", again)
	}
	for n := range 11 {
		var big []string
		for i := range maxProgress / 10 {
			big = append(big, strconv.Itoa(i))
		}
		p.failed(attempt{"big" + strconv.Itoa(n), "r"}, begin("big"+strconv.Itoa(n), now), big, nil)
	}
	if p.size != maxProgress || len(p.of) != 10 || len(p.order) != 10 || len(begin("one", now).counts) != 0 || len(begin("big10", now).counts) == 0 {
		t.Errorf("%d channels of %d events are remembered", p.size, len(p.of))
	}
	p.accepted(attempt{"big10", "r"})
	if len(p.of) != 9 || len(p.order) != 9 || p.size != maxProgress/10*9 {
		t.Errorf("after one was accepted %d channels of %d events are", p.size, len(p.of))
	}
}
