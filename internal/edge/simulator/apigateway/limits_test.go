package apigateway

import (
	"testing"
	"time"
)

// TestBucket: a burst, then the rate, whatever the order in which callers come.
func TestBucket(t *testing.T) {
	start := time.Unix(1000, 0)
	b := newBucket(10, 3)
	for i, tt := range []struct {
		at   time.Duration
		want bool
	}{
		{0, true}, {0, true}, {0, true}, {0, false}, {100 * time.Millisecond, true}, {100 * time.Millisecond, false},
		{time.Hour, true}, {0, true}, {time.Hour, true}, {time.Hour, false}, {0, false},
		{time.Hour + 200*time.Millisecond, true}, {time.Hour + 200*time.Millisecond, true}, {time.Hour + 200*time.Millisecond, false},
	} {
		if got := b.take(start.Add(tt.at)); got != tt.want {
			t.Errorf("%d, after %s: %v", i, tt.at, got)
		}
	}
}
