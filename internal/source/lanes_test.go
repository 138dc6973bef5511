package source_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"eureka/internal/source"
)

// TestLanesOrder: whatever the tasks take, those of one key run one by one in their order, and at most as many at a time as there are workers.
func TestLanesOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		workers := rapid.IntRange(1, 5).Draw(rt, "workers")
		capacity := rapid.IntRange(1, 10).Draw(rt, "capacity")
		keys := rapid.SliceOfN(rapid.IntRange(0, 4), 1, 60).Draw(rt, "keys")
		seed := rapid.Uint64().Draw(rt, "seed")
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			lanes := source.NewLanes(workers, capacity)
			var mu sync.Mutex
			got, want, running, most, perKey := map[int][]int{}, map[int][]int{}, 0, 0, map[int]int{}
			for n, key := range keys {
				want[key] = append(want[key], n)
				takes := time.Duration(random.IntN(50)) * time.Millisecond
				if err := lanes.Go(t.Context(), fmt.Sprint(key), func() {
					mu.Lock()
					running++
					perKey[key]++
					most = max(most, running)
					if perKey[key] > 1 {
						rt.Errorf("two tasks of one key run at a time")
					}
					got[key] = append(got[key], n)
					mu.Unlock()
					<-time.After(takes)
					mu.Lock()
					running--
					perKey[key]--
					mu.Unlock()
				}); err != nil {
					rt.Fatal(err)
				}
			}
			lanes.Wait()
			if diff := cmp.Diff(want, got); diff != "" {
				rt.Errorf("(-want +got):\n%s", diff)
			}
			if most > workers {
				rt.Errorf("%d ran at a time, with %d workers", most, workers)
			}
		})
	})
}

// TestLanesAreParallel: a slow key holds up no other, and as many keys as there are workers run at a time.
func TestLanesAreParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lanes := source.NewLanes(3, 100)
		began := time.Now()
		for range 5 {
			for _, key := range []string{"a", "b", "c"} {
				if err := lanes.Go(t.Context(), key, func() { <-time.After(time.Second) }); err != nil {
					t.Fatal(err)
				}
			}
		}
		lanes.Wait()
		if took := time.Since(began); took != 5*time.Second { // of the bubble's clock
			t.Errorf("it took %s, want 5s", took)
		}
	})
}

// TestLanesPushBack: whoever brings more than there is room for waits, and hears of it when its time is over. What was not taken does not run.
func TestLanesPushBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lanes := source.NewLanes(1, 2)
		free := make(chan struct{})
		for range 2 {
			if err := lanes.Go(t.Context(), "a", func() { <-free }); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := lanes.Go(ctx, "b", func() { t.Error("it ran") }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with no room: %v", err)
		}
		ran, taken := false, make(chan error, 1)
		go func() { taken <- lanes.Go(t.Context(), "b", func() { ran = true }) }()
		synctest.Wait()
		select {
		case err := <-taken:
			t.Fatalf("it did not wait: %v", err)
		default:
		}
		close(free)
		if err := <-taken; err != nil {
			t.Fatal(err)
		}
		lanes.Wait()
		if !ran {
			t.Error("it did not run")
		}
	})
}
