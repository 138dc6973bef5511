package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"eureka"
	"eureka/client"
	"eureka/internal/demo"
	"eureka/internal/pause"
)

// How the demo meets a service that is away.
const (
	minRetry  = 250 * time.Millisecond
	maxRetry  = 5 * time.Second
	maxOutage = 5 * time.Minute // the service knows an event that comes again for so long
	maxSpeed  = 1000            // events per second
)

type demoCmd struct {
	Channel string        `help:"Id of the channel that the events go to; it is created when it is not there." default:"orders"`
	Rate    float64       `help:"Events per second." default:"2"`
	Count   int           `short:"n" help:"Stop after this many events; 0 for never." default:"0"`
	For     time.Duration `help:"Stop after this time; 0 for never." default:"0s"`
	Seed    uint64        `help:"The same number makes the same orders; 0 for others each time." default:"0"`
	Serve   *bool         `negatable:"" help:"Run a service for the demo when none answers; by default only where one would listen on this machine."`
}

// reporting is one run of the demo.
type reporting struct {
	*session

	command  *demoCmd
	service  *client.Client
	shop     *demo.Shop
	run      string // part of the events' ids
	events   int
	orders   int
	retries  int
	began    time.Time
	declared bool
}

// Run reports events until it has reported enough or is interrupted.
func (c *demoCmd) Run(s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	service, err := s.client()
	if err != nil {
		return err
	}
	if c.Seed == 0 {
		c.Seed = mathrand.Uint64() //nolint:gosec // sample data
	}
	r := &reporting{session: s, command: c, service: service, shop: demo.NewShop(c.Seed), run: strings.ToLower(rand.Text()[:10])}
	err = r.declare(s.ctx)
	if eureka.CodeOf(err) == eureka.CodeUnavailable && s.ctx.Err() == nil && c.mayServe(s) {
		var stop func()
		if stop, err = c.startService(s); err == nil {
			defer stop()
			err = r.declare(s.ctx)
		}
	}
	if err != nil {
		return s.interrupted(err)
	}
	r.introduce()
	r.began = time.Now()
	err = r.report()
	r.conclude()
	return err
}

func (c *demoCmd) check() error {
	switch {
	case !(c.Rate >= eureka.MinMockRate && c.Rate <= maxSpeed):
		return eureka.FieldError("rate", "must be %v to %d events per second", eureka.MinMockRate, maxSpeed)
	case c.Count < 0:
		return eureka.FieldError("count", "must not be negative")
	case c.For < 0:
		return eureka.FieldError("for", "must not be negative")
	}
	return eureka.CheckName("channel", c.Channel)
}

// declare makes sure that the channel is there and carries the events. What is there already stays as it is.
func (r *reporting) declare(ctx context.Context) error {
	ch, err := r.service.CreateChannel(ctx, r.command.Channel, map[string]any{
		"service": demo.Service, "modelType": demo.ModelType, "name": "Orders", "desc": "Made by eureka demo.", "history": map[string]any{},
	})
	if eureka.CodeOf(err) == eureka.CodeConflict {
		ch, err = r.service.Channel(ctx, r.command.Channel)
	}
	if err != nil {
		return err
	}
	if ch.Service != demo.Service || ch.ModelType != demo.ModelType || ch.ModelID != "" {
		return eureka.Errorf(eureka.CodeConflict, "the channel %s is there and does not carry the orders of %s; give the demo another one with --channel, or delete that one",
			r.command.Channel, demo.Service)
	}
	r.declared = true
	return nil
}

// report sends one event after the other.
func (r *reporting) report() error {
	ctx := r.ctx
	if r.command.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.command.For)
		defer cancel()
	}
	pace := rate.NewLimiter(rate.Limit(r.command.Rate), max(1, int(math.Ceil(r.command.Rate/10))))
	pace.AllowN(time.Now(), pace.Burst()-1)
	for n := 1; r.command.Count == 0 || n <= r.command.Count; n++ {
		// Waiting fails only when the time is over, or will be before the next event.
		err := pace.Wait(ctx)
		over := err != nil
		if !over {
			err = r.send(ctx, n)
		}
		switch {
		case r.ctx.Err() != nil:
			return errInterrupted
		case over, ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
	}
	return nil
}

// send reports the next event, again and again while the service is away: by its id it is accepted once.
func (r *reporting) send(ctx context.Context, n int) error {
	ev := r.shop.Next()
	data, err := json.Marshal(ev.Order)
	if err != nil {
		return err
	}
	report := client.Event{
		ID: "demo-" + r.run + "-" + strconv.Itoa(n), Service: demo.Service, ModelType: demo.ModelType, ModelID: ev.ModelID, Event: ev.Event, Data: data, TS: time.Now().UnixMilli(),
	}
	var out client.Accepted
	for since, wait := time.Now(), minRetry; ; wait = min(2*wait, maxRetry) {
		if out, err = r.once(ctx, report); err == nil {
			break
		}
		if ctx.Err() != nil || !mayPass(err) || time.Since(since) > maxOutage {
			return err
		}
		if r.retries++; r.declared {
			r.note(eureka.MessageOf(err) + "; trying again")
		}
		r.declared = false                                              // the service that comes back may be another one
		if err := pause.For(ctx, wait/2+mathrand.N(wait)); err != nil { //nolint:gosec // spreads load, guards nothing
			return err
		}
	}
	if r.events++; ev.Event == "created" {
		r.orders++
	}
	if r.json {
		return r.printJSON(map[string]any{"modelId": ev.ModelID, "event": ev.Event, "data": ev.Order, "channels": out.Channels})
	}
	return r.printf("%s  %s\n", time.UnixMilli(report.TS).Format(time.TimeOnly), ev.Text())
}

func (r *reporting) once(ctx context.Context, report client.Event) (client.Accepted, error) {
	if !r.declared {
		if err := r.declare(ctx); err != nil {
			return client.Accepted{}, err
		}
		r.note("the service answers again")
	}
	return r.service.Report(ctx, report)
}

// introduce says what happens and how to see it.
func (r *reporting) introduce() {
	if r.json {
		return
	}
	address, sockets := "", client.DefaultURL
	if u, err := url.Parse(r.url); err == nil && strings.TrimRight(r.url, "/") != client.DefaultURL {
		u.User = nil
		sockets = u.String()
		address = " --url " + sockets
	}
	sockets = strings.TrimRight("ws"+strings.TrimPrefix(strings.TrimPrefix(sockets, "ws"), "http"), "/")
	header := ""
	if r.token != "" {
		header = `-H "X-Api-Key: $EUREKA_TOKEN" `
	}
	_, _ = fmt.Fprintf(r.stderr, `eureka: reporting the orders of a shop to the channel %[1]s, about %[2]v events a second; Ctrl+C ends it
  see them in another terminal:
    eureka listen %[1]s%[3]s
    wscat %[4]s-c '%[5]s?channels=%[1]s'

`, r.command.Channel, r.command.Rate, clean(address), header, clean(sockets))
}

// conclude says what was done.
func (r *reporting) conclude() {
	took := time.Since(r.began)
	if r.json {
		_ = r.printJSON(map[string]any{"summary": map[string]any{"events": r.events, "orders": r.orders, "retries": r.retries, "took": took.Milliseconds()}})
		return
	}
	again := ""
	if r.retries > 0 {
		again = fmt.Sprintf("; the service was away for %d tries", r.retries)
	}
	_, _ = fmt.Fprintf(r.stderr, "eureka: reported %d events of %d orders in %s%s\n", r.events, r.orders, took.Round(100*time.Millisecond), again)
}
