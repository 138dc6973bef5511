package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"eureka"
	"eureka/client"
)

// TestCalls: what each method asks of the service.
func TestCalls(t *testing.T) {
	m := client.Message{Data: json.RawMessage(`{"a":1}`)}
	for _, tt := range []struct {
		want string
		call func(ctx context.Context, c *client.Client) error
	}{
		{`POST /channels/0 {"name":"x"}`, func(ctx context.Context, c *client.Client) error {
			_, err := c.CreateChannel(ctx, "", map[string]any{"name": "x"})
			return err
		}},
		{`POST /channels/room {}`, func(ctx context.Context, c *client.Client) error {
			_, err := c.CreateChannel(ctx, "room", map[string]any{})
			return err
		}},
		{`PUT /channels/room {"name":null,"revision":7}`, func(ctx context.Context, c *client.Client) error {
			_, err := c.UpdateChannel(ctx, "room", map[string]any{"name": nil, "revision": 7})
			return err
		}},
		{`GET /channels?q=a+b&sort=id`, func(ctx context.Context, c *client.Client) error {
			_, err := c.Channels(ctx, url.Values{"q": {"a b"}, "sort": {"id"}})
			return err
		}},
		{`GET /channels/a:b`, func(ctx context.Context, c *client.Client) error { _, err := c.Channel(ctx, "a:b"); return err }},
		{`DELETE /channels/room`, func(ctx context.Context, c *client.Client) error { _, err := c.DeleteChannel(ctx, "room"); return err }},
		{`POST /channels/room/broadcast {"data":2,"event":"e","id":"k"}`, func(ctx context.Context, c *client.Client) error {
			_, err := c.Publish(ctx, "room", client.Message{Data: json.RawMessage(`2`), Event: "e", Key: "k"})
			return err
		}},
		{`GET /channels/room/messages?limit=10`, func(ctx context.Context, c *client.Client) error {
			_, err := c.History(ctx, "room", "", 10)
			return err
		}},
		{`GET /channels/room/messages?limit=1&since=aaaaaaaa.7`, func(ctx context.Context, c *client.Client) error {
			_, err := c.History(ctx, "room", "aaaaaaaa.7", 1)
			return err
		}},
		{`POST /keys {"name":"n","scopes":["publish"],"channels":["a:*"]}`, func(ctx context.Context, c *client.Client) error {
			_, err := c.CreateKey(ctx, client.Key{Name: "n", Scopes: []string{"publish"}, Channels: []string{"a:*"}})
			return err
		}},
		{`GET /keys`, func(ctx context.Context, c *client.Client) error { _, err := c.Keys(ctx); return err }},
		{`DELETE /keys/k%2F1`, func(ctx context.Context, c *client.Client) error { return c.RevokeKey(ctx, "k/1") }},
		{`POST /revocations {"user":"ann"}`, func(ctx context.Context, c *client.Client) error {
			_, err := c.Revoke(ctx, eureka.Revocation{User: "ann", At: 5})
			return err
		}},
		{`POST /revocations {"tokenId":"j"}`, func(ctx context.Context, c *client.Client) error {
			_, err := c.Revoke(ctx, eureka.Revocation{TokenID: "j"})
			return err
		}},
		{`GET /revocations`, func(ctx context.Context, c *client.Client) error { _, err := c.Revocations(ctx); return err }},
		{`POST /channels/room/broadcast {"data":{"a":1}}`, func(ctx context.Context, c *client.Client) error { _, err := c.Publish(ctx, "room", m); return err }},
		{`GET /sockets?user=ada`, func(ctx context.Context, c *client.Client) error {
			_, err := c.Sockets(ctx, url.Values{"user": {"ada"}})
			return err
		}},
		{`GET /sockets/s1`, func(ctx context.Context, c *client.Client) error { _, err := c.Socket(ctx, "s1"); return err }},
		{`POST /sockets/s1/send {"data":{"a":1}}`, func(ctx context.Context, c *client.Client) error { return c.Send(ctx, "s1", m) }},
		{`DELETE /sockets/s1`, func(ctx context.Context, c *client.Client) error { _, err := c.Disconnect(ctx, "s1"); return err }},
	} {
		got := make(chan string, 1)
		c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil || r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: %v, content type %q", tt.want, err, r.Header.Get("Content-Type"))
			}
			got <- strings.TrimSpace(r.Method + " " + r.URL.RequestURI() + " " + string(body))
			_, _ = fmt.Fprint(w, `{}`)
		})
		if err := tt.call(t.Context(), c); err != nil {
			t.Errorf("%s: %v", tt.want, err)
		}
		if diff := cmp.Diff(tt.want, <-got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestAnswersAreRead(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"total":2,"page":1,"limit":1,"next":"n","later":true,"list":[{"id":"s1","node":"n1","connectedAt":5,"channels":["a"]}]}`)
	})
	got, err := c.Sockets(t.Context(), nil)
	want := client.List[client.Socket]{
		Total: 2, Page: 1, Limit: 1, Next: "n", List: []client.Socket{{ID: "s1", Node: "n1", ConnectedAt: 5, Channels: []string{"a"}}},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestErrorsKeepTheirField(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprint(w, `{"code":"invalid","detail":"sort: is odd","field":"sort"}`)
	})
	_, err := c.Channels(t.Context(), nil)
	own, ok := errors.AsType[*eureka.Error](err)
	if !ok || own.Code != eureka.CodeInvalid || own.Field != "sort" || own.Message != "sort: is odd" {
		t.Errorf("%#v", err)
	}
}

func TestACallEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := newClient(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if _, err := c.Socket(ctx, "s1"); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

func TestAMessageThatIsNoJSONIsNotSent(t *testing.T) {
	c := newClient(t, func(http.ResponseWriter, *http.Request) { t.Error("it was sent") })
	if _, err := c.Publish(t.Context(), "a", client.Message{Data: json.RawMessage(`{`)}); eureka.CodeOf(err) != eureka.CodeInvalid {
		t.Errorf("got %v", err)
	}
}

// TestByeSaysWhenToComeBack: the first pause of a listener is at most 750 ms of its own; a longer one is the service's wish.
func TestByeSaysWhenToComeBack(t *testing.T) {
	for _, tt := range []struct{ data, want string }{
		{`{"after":900}`, "trying again in 900ms"},
		{`{"after":3600000}`, "trying again in 1m0s"}, // a minute at the most
	} {
		ctx, cancel := context.WithCancel(t.Context())
		c, count := script(t, func(ctx context.Context, c *websocket.Conn) {
			say(ctx, c, `{"action":"bye","data":`+tt.data+`}`)
			_ = c.Close(4500, "restart")
		})
		var lost string
		err := c.Listen(ctx, client.Listener{
			Channels: []string{"A", "B"},
			OnFrame:  func(f client.Frame) error { t.Errorf("got %s", f.Raw); return nil },
			OnState: func(state string) {
				if strings.Contains(state, "lost") {
					lost = state
					cancel()
				}
			},
		})
		cancel()
		if !errors.Is(err, context.Canceled) || !strings.HasSuffix(lost, tt.want) || count.Load() != 1 {
			t.Errorf("%s: %q, %v after %d connections", tt.data, lost, err, count.Load())
		}
	}
}

// TestByeCounts: API Gateway closes every socket with a code of its own, so what the bye before it says is what holds.
func TestByeCounts(t *testing.T) {
	for _, tt := range []struct {
		name, bye string
		close     func(*websocket.Conn)
		code      eureka.Code // of the error that ends it; "" when it comes back
		want      string      // in that error, or in what is said about the loss
	}{
		{"a restart behind API Gateway", `{"code":4500,"reason":"restart","reconnect":true,"after":900}`, closes(1000, ""), "", "trying again in 900ms"},
		{"kicked behind API Gateway", `{"code":4480,"reason":"by an operator","reconnect":false,"after":0}`, closes(1001, "Going away"), eureka.CodeGone, "code 4480: by an operator"},
		{"revoked behind API Gateway", `{"code":4401,"reason":"the credential was revoked","reconnect":false,"after":0}`, closes(1000, ""), eureka.CodeUnauthenticated, "code 4401: the credential was revoked"},
		{"kicked, and the connection breaks", `{"code":4480,"reason":"out"}`, func(c *websocket.Conn) { _ = c.CloseNow() }, eureka.CodeGone, "code 4480: out"},
		{"its word about coming back", `{"code":4998,"reason":"later","reconnect":true,"after":800}`, closes(1000, ""), "", "trying again in 800ms"},
		{"its word about staying away", `{"code":4500,"reason":"for good","reconnect":false}`, closes(4500, "restart"), eureka.CodeGone, "code 4500: for good"},
		{"without a code", `{"after":900}`, closes(4480, "kicked"), eureka.CodeGone, "code 4480: kicked"},
		{"that cannot be read", `"kicked"`, closes(1000, "done"), eureka.CodeGone, "code 1000: done"},
		{"with a code that is none", `{"code":70000,"after":900}`, closes(4500, ""), "", "trying again in"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			c, count := script(t, func(ctx context.Context, c *websocket.Conn) {
				say(ctx, c, `{"action":"bye","data":`+tt.bye+`}`)
				tt.close(c)
			})
			lost := ""
			err := c.Listen(ctx, client.Listener{
				Channels: []string{"A", "B"},
				OnFrame:  func(f client.Frame) error { t.Errorf("got %s", f.Raw); return nil },
				OnState: func(state string) {
					if strings.Contains(state, "lost") {
						lost = state
						cancel()
					}
				},
			})
			switch {
			case count.Load() != 1:
				t.Errorf("%d connections", count.Load())
			case tt.code != "":
				if eureka.CodeOf(err) != tt.code || !strings.HasSuffix(eureka.MessageOf(err), tt.want) {
					t.Errorf("ended with %v after %q", err, lost)
				}
			case !errors.Is(err, context.Canceled) || !strings.Contains(lost, tt.want):
				t.Errorf("ended with %v after %q", err, lost)
			}
		})
	}
}

func closes(code websocket.StatusCode, reason string) func(*websocket.Conn) {
	return func(c *websocket.Conn) { _ = c.Close(code, reason) }
}

func TestListenWithoutAService(t *testing.T) {
	c, err := client.New("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	err = c.Listen(t.Context(), client.Listener{Channels: []string{"A"}, OnFrame: func(client.Frame) error { return nil }})
	if eureka.CodeOf(err) != eureka.CodeUnavailable || !strings.Contains(eureka.MessageOf(err), "eureka serve") {
		t.Errorf("ended with %v", err)
	}
}

// TestListensOnceItIsSubscribed: a connection that breaks before its subscriptions began was not listening, and could not be resumed.
func TestListensOnceItIsSubscribed(t *testing.T) {
	c, _ := script(t,
		func(ctx context.Context, c *websocket.Conn) {
			say(ctx, c, `{"action":"subscribed","channel":"A","data":{}}`)
		},
		func(ctx context.Context, c *websocket.Conn) {
			say(ctx, c, `{"action":"subscribed","channel":"A","data":{}}`)
			say(ctx, c, `{"action":"error","channel":"B","error":{"code":"not_found","message":"no B"}}`)
			_ = c.Close(4480, "kicked")
		},
	)
	var states []string
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := c.Listen(ctx, client.Listener{
		Channels: []string{"A", "B"}, OnFrame: func(client.Frame) error { return nil }, OnState: func(s string) { states = append(states, s) },
	})
	if eureka.CodeOf(err) != eureka.CodeGone || len(states) != 2 || !strings.HasPrefix(states[0], "the connection is lost") || states[1] != "listening again" {
		t.Errorf("%q, %v", states, err)
	}
}
