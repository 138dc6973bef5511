package httpapi

import (
	"context"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// TestDelivered: what the API takes arrives on a live socket, in the order it was sent and as it was written.
func TestDelivered(t *testing.T) {
	w := newWorld(t, false, nil)
	w.run(step{name: "declare", method: "POST", path: "/channels/orders", body: `{"service":"shop","modelType":"order"}`, status: 200})
	c := w.dial("?channels=orders&channels=room&user=ada")
	live := "/sockets/" + socketID(1)
	for _, tt := range []struct {
		step
		want string // the frame's text, without its time
	}{
		{step{path: "/channels/room/broadcast", body: `{"data":{"a": "é 🎉"}}`}, `{"channel":"room","action":"message","event":"message","data":{"a":"é 🎉"}}`},
		{step{path: "/sockets/orders/broadcast", body: `{"data":null,"event":"x"}`}, `{"channel":"orders","action":"message","event":"x","data":null}`},
		{step{path: "/sockets/0/broadcast", body: `{"service":"shop","modelType":"order","data":[1, 2]}`}, `{"channel":"orders","action":"message","event":"message","data":[1,2]}`},
		{step{path: "/events", body: `{"channelId":"room","event":"e","data":1.50}`}, `{"channel":"room","action":"message","event":"e","data":1.50}`},
		{step{path: live + "/send", body: `{"data":"you","event":"greet"}`}, `{"action":"message","event":"greet","data":"you"}`},
		{step{path: "/users/ada/send", body: `{"data":true}`}, `{"action":"message","event":"message","data":true}`},
		{step{path: "/@connections/" + socketID(1), body: `any text`}, `any text`},
		{step{path: "/dev/@connections/" + socketID(1), body: `<x/>`}, `<x/>`},
	} {
		tt.name, tt.method, tt.status = tt.path, "POST", 200
		w.run(tt.step)
		if got := withoutTime(w.read(c)); got != tt.want {
			t.Errorf("%s %s arrived as\n%s, want\n%s", tt.path, tt.body, got, tt.want)
		}
	}
	w.run(step{name: "disconnect", method: "DELETE", path: live, status: 200})
	if bye := w.read(c); !strings.Contains(bye, `"bye"`) {
		t.Errorf("the last frame is %s", bye)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, _, err := c.Read(ctx); websocket.CloseStatus(err) != 4480 {
		t.Errorf("the socket ended with %v", err)
	}
}

// withoutTime removes a frame's members that differ from run to run, or are about the event and not its text.
func withoutTime(frame string) string {
	before, after, ok := strings.Cut(frame, `,"ts":`)
	if !ok {
		return frame
	}
	return before + strings.TrimLeft(after, "0123456789")
}
