package core_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"testing"

	"eureka"
	"eureka/internal/core"
	"eureka/internal/engine/natsengine"
	"eureka/internal/gateway"
)

// disturbed are the real ports with a fault in between.
type disturbed struct {
	eureka.Fanout
	eureka.History

	delivered []string
	during    func()                       // each delivery
	fail      func(m eureka.Message) error // instead of a delivery; nil for none
	forget    func() error                 // instead of forgetting; nil for nothing
	answer    *eureka.Delivery             // of each delivery; nil for the engine's
}

func (d *disturbed) Deliver(ctx context.Context, m eureka.Message) (eureka.Delivery, error) {
	if d.fail != nil {
		if err := d.fail(m); err != nil {
			return eureka.Delivery{}, err
		}
	}
	delivery, err := d.Fanout.Deliver(ctx, m)
	if err == nil {
		d.delivered = append(d.delivered, m.ChannelID)
	}
	if d.during != nil {
		d.during()
	}
	if d.answer != nil {
		delivery = *d.answer
	}
	return delivery, err
}

func (d *disturbed) Forget(ctx context.Context, channelID string) error {
	if d.forget != nil {
		return d.forget()
	}
	return d.History.Forget(ctx, channelID)
}

func newDisturbed(t *testing.T) (*core.Core, *disturbed) {
	t.Helper()
	hub := gateway.NewHub(gateway.HubOptions{})
	engine, err := natsengine.Open(t.Context(), natsengine.Options{
		DataDir: t.TempDir(), Node: node, Registry: hub, Delivery: hub, Replays: hub, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	d := &disturbed{Fanout: engine.Fanout(), History: engine.History()}
	c, err := core.New(core.Options{
		Ports: core.Ports{Channels: engine.Channels(), Sockets: engine.Sockets(), Fanout: d, Sender: engine.Sender(), History: d, Requests: engine.Requests(), Credentials: engine.Credentials()},
		Node:  node, AllowUndeclared: true, MaxSubscriptions: 3, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, d
}

// TestACallerThatHangsUp: what has begun under a key is done, so that the same key does nothing twice.
func TestACallerThatHangsUp(t *testing.T) {
	c, d := newDisturbed(t)
	who := eureka.Everyone("")
	for _, id := range []string{"a", "b"} {
		if _, err := c.CreateChannel(t.Context(), who, eureka.Channel{ID: id, Service: "s", ModelType: "m"}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	d.during = hangUp
	ev := eureka.Event{ID: "1", Service: "s", ModelType: "m", Data: json.RawMessage(`1`)}
	if _, err := c.Route(ctx, who, ev); err != nil {
		t.Errorf("the work was not done: %v", err)
	}
	result, err := c.Route(t.Context(), who, ev)
	if err != nil || len(result.Channels) != 2 {
		t.Errorf("repeated: %+v, %v", result, err)
	}
	if len(d.delivered) != 2 {
		t.Errorf("delivered on %v", d.delivered)
	}
}

// TestAnEventThatOneChannelDoesNotTake: its source brings it again, and the channels that have taken it do not get it again, with a history or without.
func TestAnEventThatOneChannelDoesNotTake(t *testing.T) {
	c, d := newDisturbed(t)
	who := eureka.Everyone("")
	for _, id := range []string{"a", "b", "c"} {
		if _, err := c.CreateChannel(t.Context(), who, eureka.Channel{ID: id, Service: "s", ModelType: "m"}); err != nil {
			t.Fatal(err)
		}
	}
	ev := eureka.Event{ID: "1", Service: "s", ModelType: "m", Data: json.RawMessage(`1`)}
	for _, code := range []eureka.Code{eureka.CodeUnavailable, eureka.CodeTooLarge} {
		d.fail = func(m eureka.Message) error {
			if m.ChannelID == "b" {
				return eureka.Errorf(code, "not now")
			}
			return nil
		}
		if result, err := c.Route(t.Context(), who, ev); eureka.CodeOf(err) != code || !slices.Equal(result.Channels, []string{"a", "c"}) {
			t.Errorf("%+v, %v", result, err)
		}
	}
	if !slices.Equal(d.delivered, []string{"a", "c"}) {
		t.Errorf("delivered on %v before it was accepted", d.delivered)
	}
	// Another event of the name is not what was delivered.
	other := ev
	other.Data = json.RawMessage(`2`)
	if _, err := c.Route(t.Context(), who, other); err == nil || !slices.Equal(d.delivered, []string{"a", "c", "a", "c"}) {
		t.Errorf("%v, delivered on %v", err, d.delivered)
	}
	d.fail, d.delivered = nil, nil
	for range 2 {
		if result, err := c.Route(t.Context(), who, ev); err != nil || !slices.Equal(result.Channels, []string{"a", "b", "c"}) {
			t.Errorf("%+v, %v", result, err)
		}
	}
	if !slices.Equal(d.delivered, []string{"b"}) {
		t.Errorf("then delivered on %v", d.delivered)
	}
}

// TestHistorySwitchedOffForgets: what could not be removed is, when the call is repeated, and the caller knows.
func TestHistorySwitchedOffForgets(t *testing.T) {
	c, d := newDisturbed(t)
	who := eureka.Everyone("")
	kept := &eureka.Retention{}
	if _, err := c.CreateChannel(t.Context(), who, eureka.Channel{ID: "a", History: kept}); err != nil {
		t.Fatal(err)
	}
	first, err := c.Publish(t.Context(), who, core.PublishRequest{Channel: "a", Data: json.RawMessage(`1`)})
	if err != nil {
		t.Fatal(err)
	}
	var off *eureka.Retention
	d.forget = func() error { return errors.New("away") }
	if _, err := c.UpdateChannel(t.Context(), who, "a", core.ChannelPatch{History: &off}); eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("with what is retained left behind: %v", err)
	}
	d.forget = nil
	if _, err := c.UpdateChannel(t.Context(), who, "a", core.ChannelPatch{History: &off}); err != nil {
		t.Error(err)
	}
	for range 2 { // one is live alone, the other is retained
		if _, err := c.Publish(t.Context(), who, core.PublishRequest{Channel: "a", Data: json.RawMessage(`2`)}); err != nil {
			t.Error(err)
		}
		if _, err := c.UpdateChannel(t.Context(), who, "a", core.ChannelPatch{History: &kept}); err != nil {
			t.Error(err)
		}
	}
	page, err := c.History(t.Context(), who, core.HistoryRequest{Channel: "a", Since: first.ID})
	if eureka.CodeOf(err) != eureka.CodeGap {
		t.Errorf("behind a message of before it has %+v, %v", page, err)
	}
}
