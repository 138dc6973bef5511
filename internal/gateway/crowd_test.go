package gateway

import "testing"

func TestACrowdSettlesOnce(t *testing.T) {
	var c crowd
	for i, step := range []struct {
		connected int64
		want      bool
	}{{100, false}, {200, false}, {1300, false}, {5000, false}, {5100, true}, {5200, false}, {6500, false}, {6500, true}, {6500, false}} {
		if got := c.settled(step.connected); got != step.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
}
