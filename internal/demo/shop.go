// Package demo makes the events of an orders service that does not exist: customers who order, pay and get their goods, so that a newcomer sees believable
// traffic.
//
// It makes events and nothing else: it sends nothing, waits for nothing and reads no clock.
package demo

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Service and ModelType are what the events are of.
const (
	Service   = "orders-api"
	ModelType = "order"
)

// Bounds of the shop.
const (
	firstOrder = 1001
	maxOpen    = 12 // orders between created and their end
	maxLines   = 3  // different items of an order
	maxItems   = 3  // of one kind
)

// Event is one thing that happened to an order.
type Event struct {
	ModelID string // the order's number
	Event   string // created, paid, shipped, delivered or cancelled
	Order   Order
}

// Order is an order as its events show it.
type Order struct {
	ID       string   `json:"id"`
	Status   string   `json:"status"` // the last event's name
	Customer Customer `json:"customer"`
	Items    []Item   `json:"items"`
	Total    float64  `json:"total"`
	Currency string   `json:"currency"`
	PaidBy   string   `json:"paidBy,omitempty"`
	Tracking string   `json:"tracking,omitempty"`
}

// Customer is who ordered.
type Customer struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	City string `json:"city"`
}

// Item is one line of an order.
type Item struct {
	SKU      string  `json:"sku"`
	Name     string  `json:"name"`
	Quantity int     `json:"quantity"`
	Price    float64 `json:"price"` // of one
}

var customers = []Customer{
	{"c-101", "Ada Lovelace", "London"}, {"c-102", "Alan Turing", "Manchester"}, {"c-103", "Grace Hopper", "New York"}, {"c-104", "Edsger Dijkstra", "Rotterdam"},
	{"c-105", "Barbara Liskov", "Boston"}, {"c-106", "Donald Knuth", "Stanford"}, {"c-107", "Hedy Lamarr", "Vienna"}, {"c-108", "Jang Yeong-sil", "Seoul"},
	{"c-109", "Radia Perlman", "Seattle"}, {"c-110", "Katherine Johnson", "Hampton"},
}

// goods have their prices in cents, so that totals are exact.
var goods = []struct {
	sku, name string
	cents     int
}{
	{"lamp-oak", "desk lamp", 4990}, {"chair-21", "office chair", 18900}, {"mug-blue", "mug", 1250}, {"kbd-60", "keyboard", 8900}, {"tea-green", "green tea", 690},
	{"book-go", "book about Go", 3495}, {"cable-c", "USB-C cable", 1190}, {"plant-1", "potted plant", 1599}, {"pen-set", "set of pens", 990},
}

// Shop makes the events of one day at the shop, each order's in their order. It is for one goroutine.
type Shop struct {
	random *rand.Rand
	next   int
	open   []*order
}

type order struct {
	Order

	cents int
}

// NewShop returns a shop without orders; one with the same seed makes the same events.
func NewShop(seed uint64) *Shop {
	return &Shop{random: rand.New(rand.NewPCG(seed, 0)), next: firstOrder} //nolint:gosec // sample data
}

// Next is the next event.
func (s *Shop) Next() Event {
	// The emptier the shop, the likelier a new order.
	if len(s.open) < maxOpen && s.random.IntN(maxOpen) >= len(s.open) {
		return s.create()
	}
	at := s.random.IntN(len(s.open))
	o := s.open[at]
	switch o.Status {
	case "created":
		o.Status, o.PaidBy = "paid", []string{"card", "transfer", "voucher"}[s.random.IntN(3)]
		if s.random.IntN(10) == 0 {
			o.Status, o.PaidBy = "cancelled", ""
		}
	case "paid":
		o.Status, o.Tracking = "shipped", fmt.Sprintf("EU%09d", s.random.IntN(1_000_000_000))
	default:
		o.Status = "delivered"
	}
	if o.Status == "delivered" || o.Status == "cancelled" {
		s.open = slices.Delete(s.open, at, at+1)
	}
	return o.event()
}

func (s *Shop) create() Event {
	o := &order{Order: Order{ID: fmt.Sprint(s.next), Status: "created", Customer: customers[s.random.IntN(len(customers))], Currency: "EUR"}}
	s.next++
	for _, at := range s.random.Perm(len(goods))[:1+s.random.IntN(maxLines)] {
		g, n := goods[at], 1+s.random.IntN(maxItems)
		o.Items = append(o.Items, Item{SKU: g.sku, Name: g.name, Quantity: n, Price: euros(g.cents)})
		o.cents += n * g.cents
	}
	o.Total = euros(o.cents)
	s.open = append(s.open, o)
	return o.event()
}

func euros(cents int) float64 { return float64(cents) / 100 }

func (o *order) event() Event {
	shown := o.Order
	shown.Items = slices.Clone(o.Items)
	return Event{ModelID: o.ID, Event: o.Status, Order: shown}
}

// Text is the event as one line for people.
func (e Event) Text() string {
	o := e.Order
	lines := make([]string, 0, len(o.Items))
	for _, item := range o.Items {
		lines = append(lines, fmt.Sprintf("%d × %s", item.Quantity, item.Name))
	}
	text := fmt.Sprintf("order %s  %-9s  %s, %s  %s  %.2f %s", o.ID, e.Event, o.Customer.Name, o.Customer.City, strings.Join(lines, ", "), o.Total, o.Currency)
	switch e.Event {
	case "paid":
		text += "  by " + o.PaidBy
	case "shipped":
		text += "  as " + o.Tracking
	}
	return text
}
