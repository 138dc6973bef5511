package core_test

import (
	"encoding/json"
	"slices"
	"testing"

	"eureka"
	"eureka/internal/core"
)

// TestDelivered: a publisher is told how many sockets get its message, whether they have it or the engine has still to bring it.
func TestDelivered(t *testing.T) {
	c, d := newDisturbed(t)
	d.answer = &eureka.Delivery{Matched: 1007, Sent: 4, Gone: 1, Deferred: 1002}
	result, err := c.Publish(t.Context(), eureka.Everyone(""), core.PublishRequest{Channel: "a", Data: json.RawMessage(`1`), Counted: true})
	if err != nil || result.Delivered != 1006 {
		t.Errorf("%+v, %v", result, err)
	}
	d.answer = &eureka.Delivery{Unknown: true}
	if result, err = c.Publish(t.Context(), eureka.Everyone(""), core.PublishRequest{Channel: "a", Data: json.RawMessage(`1`), Counted: true}); err != nil || !result.Unknown {
		t.Errorf("%+v, %v", result, err)
	}
	ev := eureka.Event{Service: "s", ModelType: "m", Data: json.RawMessage(`1`)}
	if routed, err := c.Route(t.Context(), eureka.Everyone(""), ev); err != nil || !slices.Equal(routed.Channels, []string{"s:m"}) {
		t.Errorf("routed to an undeclared channel: %+v, %v", routed, err)
	}
}
