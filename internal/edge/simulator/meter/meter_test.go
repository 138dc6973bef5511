package meter_test

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"eureka/internal/edge/simulator/meter"
)

func TestRead(t *testing.T) {
	now := time.Unix(1000, 0)
	m := meter.New(func() time.Time { return now })
	m.Add(meter.Connects, 1)
	m.Add(meter.Posts.Of("200"), 3)
	m.Add(meter.Posts.Of("410"), 1)
	m.Peak("lambda.memoryMB/ws", 12)
	m.Peak("lambda.memoryMB/ws", 11)
	m.Live(func(add func(meter.Counter, float64)) { add(meter.ConnectionMn, 0.5) })
	now = now.Add(time.Minute)
	want := meter.Reading{
		Elapsed: time.Minute,
		Counts: map[meter.Counter]float64{
			"websocket.connects": 1, "connections.post": 4, "connections.post/200": 3, "connections.post/410": 1, "websocket.connectionMinutes": 0.5,
		},
		Peaks: map[meter.Counter]float64{"lambda.memoryMB/ws": 12},
	}
	for range 2 { // what is live is in each reading, and counted in none
		if diff := cmp.Diff(want, m.Read()); diff != "" {
			t.Error(diff)
		}
	}
}

// TestPrices: the table is well-formed and prices the counters that exist.
func TestPrices(t *testing.T) {
	p, err := meter.List()
	if err != nil {
		t.Fatal(err)
	}
	known := map[meter.Counter]bool{}
	for _, c := range []meter.Counter{
		meter.Metered, meter.ConnectionMn, meter.HTTPMetered, meter.Invocations, meter.GBSeconds, meter.DynamoReads, meter.DynamoWrites,
		meter.SQSCalls, meter.SNSCalls, meter.LogGB, meter.BytesOut,
	} {
		known[c] = true
	}
	for _, line := range p.Prices {
		if !known[line.Counter] {
			t.Errorf("%s is priced twice or counted by nobody", line.Counter)
		}
		delete(known, line.Counter)
	}
	for c := range known {
		t.Errorf("%s has no price", c)
	}
	if !strings.Contains(p.Note, "check") || p.Region == "" || p.Date == "" {
		t.Errorf("the table does not say where it is from: %+v", p)
	}
}

func TestBill(t *testing.T) {
	p := meter.Prices{Region: "r", Currency: "USD", Date: "d", Note: "the note", Prices: []meter.Price{
		{Counter: meter.Metered, What: "messages", Price: 2, Per: 1000}, {Counter: meter.GBSeconds, What: "seconds", Price: 0.5, Per: 1},
	}}
	r := meter.Bill(meter.Reading{
		Elapsed: 73 * time.Hour,
		Counts:  map[meter.Counter]float64{meter.Metered: 3000, meter.Posts: 7, meter.Posts.Of("410"): 2},
		Peaks:   map[meter.Counter]float64{"lambda.memoryMB/ws": 12.5},
	}, p)
	if math.Abs(r.Cost-6) > 1e-9 || math.Abs(r.Month-60) > 1e-9 {
		t.Errorf("cost %v, %v a month", r.Cost, r.Month)
	}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	want := `counted for 73h0m0s
  connections.post                7
    410                           2
  lambda.memoryMB of ws, highest  12.50
  websocket.metered               3000

cost in USD at the prices of r, d  used  cost      a month like that
  messages                         3000  6.000000  60.00
  together                               6.000000  60.00
the note
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if empty := meter.Bill(meter.Reading{}, p); empty.Month != 0 {
		t.Errorf("nothing costs %v", empty.Month)
	}
}
