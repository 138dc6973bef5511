package fault_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"eureka/internal/edge/simulator/fault"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]fault.Rule{
		"throttle=0.3":                        {Kind: fault.Throttle, Share: 0.3},
		"kill=1,count=1,posts=50,role=fanout": {Kind: fault.Kill, Share: 1, Count: 1, Posts: 50, Role: "fanout"},
		"slow-post=1,delay=10ms":              {Kind: fault.SlowPost, Share: 1, Delay: 10 * time.Millisecond},
		"lost-disconnect=share=0.5,skip=2":    {Kind: fault.LostDisconnect, Share: 0.5, Skip: 2},
		"dynamodb-unprocessed=0.25":           {Kind: fault.DynamoUnprocessed, Share: 0.25},
	} {
		got, err := fault.Parse(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		if again, err := fault.Parse(got.String()); err != nil || again != got {
			t.Errorf("%s is written as %s", text, got)
		}
	}
	for _, text := range []string{
		"", "throttle", "nothing=1", "throttle=2", "throttle=-1", "throttle=NaN", "throttle=x", "throttle=1,count=-1", "throttle=1,colour=red",
		"throttle=1,count", "dynamodb-throttle=1,count=3", "slow-post=1,delay=-1s", "throttle=1,1",
	} {
		if r, err := fault.Parse(text); err == nil {
			t.Errorf("%q is taken as %+v", text, r)
		}
	}
	if (fault.Rule{Kind: fault.Gone, Share: math.NaN()}).Check() == nil {
		t.Error("NaN is taken")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("kill=1,count=1,posts=50,role=fanout")
	f.Add("slow-post=0.5,delay=10ms,skip=7")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := fault.Parse(text)
		if err != nil || strings.ContainsAny(r.Role, "=,") {
			return
		}
		if again, err := fault.Parse(r.String()); err != nil || again != r {
			t.Errorf("%q is written as %q: %+v, %v", text, r, again, err)
		}
	})
}

// TestHit: skip, count, share and role are kept, and the seed decides.
func TestHit(t *testing.T) {
	draw := func(seed uint64, text, role string) string {
		s := fault.NewSet(seed)
		r, err := fault.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Put(r); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		for range 40 {
			_, hit := s.Hit(r.Kind, role)
			out.WriteByte(" x"[map[bool]int{true: 1}[hit]])
		}
		return out.String()
	}
	if got, want := draw(1, "gone=1,skip=3,count=2", ""), "   xx"+strings.Repeat(" ", 35); got != want {
		t.Errorf("skip and count: %q", got)
	}
	if got := draw(1, "gone=0", ""); strings.Contains(got, "x") {
		t.Errorf("share 0: %q", got)
	}
	if got := draw(1, "kill=1,role=ws", "http"); strings.Contains(got, "x") {
		t.Errorf("another role: %q", got)
	}
	if got := draw(1, "kill=1,role=ws,count=1", "ws"); got[0] != 'x' {
		t.Errorf("its role: %q", got)
	}
	a, b, c := draw(7, "gone=0.5", ""), draw(7, "gone=0.5", ""), draw(8, "gone=0.5", "")
	if a != b || a == c {
		t.Errorf("the seed does not decide: %q %q %q", a, b, c)
	}
	if n := strings.Count(a, "x"); n < 8 || n > 32 {
		t.Errorf("half of 40 is %d", n)
	}
}

func TestSet(t *testing.T) {
	s := fault.NewSet(1)
	if _, hit := s.Hit(fault.Gone, ""); hit {
		t.Error("a fault without a rule")
	}
	if err := s.Put(fault.Rule{Kind: fault.Gone, Share: 3}); err == nil {
		t.Error("a bad rule is taken")
	}
	for _, r := range []fault.Rule{{Kind: fault.Gone, Share: 1}, {Kind: fault.Kill, Share: 1, Role: "ws"}, {Kind: fault.Gone, Share: 1, Count: 1}} {
		if err := s.Put(r); err != nil {
			t.Fatal(err)
		}
	}
	s.Hit(fault.Gone, "")
	s.Hit(fault.Gone, "")
	want := []fault.State{
		{Rule: fault.Rule{Kind: fault.Kill, Share: 1, Role: "ws"}},
		{Rule: fault.Rule{Kind: fault.Gone, Share: 1, Count: 1}, Seen: 2, Happened: 1},
	}
	if diff := cmp.Diff(want, s.States()); diff != "" {
		t.Error(diff)
	}
	s.Clear()
	if len(s.States()) != 0 {
		t.Error("rules outlive Clear")
	}
}
