package demo_test

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"eureka/internal/demo"
)

// TestOrdersMakeSense: each order begins, goes on step by step with the same customer, items and total, and ends.
func TestOrdersMakeSense(t *testing.T) {
	follows := map[string][]string{"created": {"paid", "cancelled"}, "paid": {"shipped"}, "shipped": {"delivered"}}
	shop, last, seen, open := demo.NewShop(1), map[string]demo.Order{}, map[string]int{}, 0
	for range 5000 {
		ev := shop.Next()
		seen[ev.Event]++
		before, known := last[ev.ModelID]
		switch {
		case ev.Order.ID != ev.ModelID || ev.Order.Status != ev.Event:
			t.Fatalf("%+v", ev)
		case !known && ev.Event != "created", known && !slices.Contains(follows[before.Status], ev.Event):
			t.Fatalf("%s after %q", ev.Event, before.Status)
		case known && (before.Customer != ev.Order.Customer || before.Total != ev.Order.Total || cmp.Diff(before.Items, ev.Order.Items) != ""):
			t.Fatalf("%+v became %+v", before, ev.Order)
		case (ev.Event == "paid" || ev.Event == "shipped") != strings.Contains(ev.Text(), "  by ") && (ev.Event == "paid" || ev.Event == "shipped") != strings.Contains(ev.Text(), "  as "):
			t.Fatalf("%s", ev.Text())
		}
		sum := 0.0
		for _, item := range ev.Order.Items {
			sum += item.Price * float64(item.Quantity)
		}
		if math.Abs(sum-ev.Order.Total) > 0.001 || ev.Order.Total <= 0 {
			t.Fatalf("%v is no total of %+v", ev.Order.Total, ev.Order.Items)
		}
		if last[ev.ModelID] = ev.Order; !known {
			open++
		}
		if follows[ev.Event] == nil {
			open--
		}
		if open < 0 || open > 12 {
			t.Fatalf("%d orders are open", open)
		}
	}
	for _, event := range []string{"created", "paid", "shipped", "delivered", "cancelled"} {
		if seen[event] < 50 {
			t.Errorf("of 5000 events %d are %s", seen[event], event)
		}
	}
}

func TestSeeds(t *testing.T) {
	day := func(seed uint64) string {
		shop, all := demo.NewShop(seed), []demo.Event{}
		for range 50 {
			all = append(all, shop.Next())
		}
		text, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if first, again, other := day(1), day(1), day(2); first != again || first == other {
		t.Error("a seed does not decide what happens")
	}
}
