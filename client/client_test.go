package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"eureka"
	"eureka/client"
)

func newClient(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c, err := client.New(server.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNew(t *testing.T) {
	for _, base := range []string{"http://localhost:8832", "https://x/prefix/", "ws://localhost:1", "wss://x"} {
		if _, err := client.New(base); err != nil {
			t.Errorf("%s: %v", base, err)
		}
	}
	for _, base := range []string{"", "localhost:8832", "ftp://x", "http://", "://"} {
		if _, err := client.New(base); eureka.CodeOf(err) != eureka.CodeInvalid {
			t.Errorf("%s: %v", base, err)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		code   eureka.Code
		want   string
	}{
		{404, `{"code":"not_found","detail":"there is no channel","field":"id"}`, eureka.CodeNotFound, "there is no channel"},
		{409, `{"code":"conflict","detail":"taken"}`, eureka.CodeConflict, "taken"},
		{502, `<html>`, eureka.CodeUnavailable, "502"},
		{500, ``, eureka.CodeInternal, "500"},
		{400, "Client sent an HTTP request to an HTTPS server.\n", eureka.CodeInvalid, "https://"},
		{418, `{}`, eureka.CodeInvalid, "418"},
		{200, `<html>`, eureka.CodeInternal, "does not answer like"},
	} {
		c := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tt.status)
			_, _ = fmt.Fprint(w, tt.body)
		})
		_, err := c.Channel(t.Context(), "a")
		if eureka.CodeOf(err) != tt.code || !strings.Contains(eureka.MessageOf(err), tt.want) {
			t.Errorf("%d %s: %v", tt.status, tt.body, err)
		}
	}
	for _, base := range []string{"http://ann:s3cret@127.0.0.1:1", "ftp://ann:s3cret@x", "http://ann:s3cret@[x", "http://ann:s3cret@x%zz"} {
		c, err := client.New(base)
		if err == nil {
			_, err = c.Channel(t.Context(), "a")
		}
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: the password is in: %v", base, err)
		}
	}
	c, err := client.New("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Channel(t.Context(), "a"); eureka.CodeOf(err) != eureka.CodeUnavailable || !strings.Contains(eureka.MessageOf(err), "eureka serve") {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestCallsAreEscaped(t *testing.T) {
	var path atomic.Value
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		path.Store(r.Method + " " + r.URL.EscapedPath())
		_, _ = fmt.Fprint(w, `{}`)
	})
	for id, want := range map[string]string{"a/b": "a%2Fb", "a b": "a%20b", "..": "..", "a?b": "a%3Fb"} {
		if _, err := c.DeleteChannel(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		got := strings.ReplaceAll(path.Load().(string), "%2E", ".")
		if got != "DELETE /channels/"+want {
			t.Errorf("%q became %s", id, got)
		}
	}
}

// script answers each connection in turn with what the test says.
func script(t *testing.T, turns ...func(ctx context.Context, c *websocket.Conn)) (*client.Client, *atomic.Int64) {
	t.Helper()
	var count atomic.Int64
	return newClient(t, func(w http.ResponseWriter, r *http.Request) {
		n := int(count.Add(1))
		if got := r.URL.Query()["channels"]; len(got) != 2 || !strings.HasPrefix(got[0], "A@") {
			t.Errorf("asked for %v", got)
		}
		if n > len(turns) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = fmt.Fprint(w, `{"code":"forbidden","detail":"enough"}`)
			return
		}
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		turns[n-1](r.Context(), c)
		_ = c.CloseNow()
	}), &count
}

func say(ctx context.Context, c *websocket.Conn, frame string) {
	_ = c.Write(ctx, websocket.MessageText, []byte(frame)) // a lost one shows as a missing frame
}

// subscribed tells what the service says of channels without history.
func subscribed(ctx context.Context, c *websocket.Conn) {
	for _, name := range []string{"A", "B"} {
		say(ctx, c, `{"action":"subscribed","channel":"`+name+`","data":{}}`)
	}
}

// gaps are the channels of which a listener was told that messages may have been missed.
func gaps(frames []client.Frame) (names []string) {
	for _, f := range frames {
		if f.Error != nil && f.Error.Code == eureka.CodeGap && strings.Contains(string(f.Raw), `"error":{"code":"gap","message":"messages may have been missed`) {
			names = append(names, f.Channel)
		}
	}
	return names
}

func TestListenComesBack(t *testing.T) {
	c, count := script(t,
		func(ctx context.Context, c *websocket.Conn) {
			subscribed(ctx, c)
			say(ctx, c, `{"channel":"A","action":"message","event":"e","data":{"n":1},"ts":5}`)
			say(ctx, c, `not json`)
			say(ctx, c, `{"action":"bye","data":{"code":4500,"reconnect":true,"after":20}}`)
			_ = c.Close(4500, "restart")
		},
		func(ctx context.Context, c *websocket.Conn) {
			subscribed(ctx, c)
			say(ctx, c, `{"channel":"A","action":"message","data":2}`)
		}, // and breaks
		func(ctx context.Context, c *websocket.Conn) {
			subscribed(ctx, c)
			say(ctx, c, `{"channel":"A","action":"message","data":3}`)
			_ = c.Close(4480, "kicked")
		},
	)
	var frames []client.Frame
	var states []string
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := c.Listen(ctx, client.Listener{
		Channels: []string{"A", "B"},
		OnFrame:  func(f client.Frame) error { frames = append(frames, f); return nil },
		OnState:  func(s string) { states = append(states, s) },
	})
	if eureka.CodeOf(err) != eureka.CodeGone || !strings.Contains(eureka.MessageOf(err), "4480") {
		t.Errorf("ended with %v", err)
	}
	if len(frames) != 7 || frames[0].Event != "e" || frames[0].TS != 5 || string(frames[6].Data) != "3" || count.Load() != 3 {
		t.Errorf("%d connections, frames %+v", count.Load(), frames)
	}
	if diff := cmp.Diff([]string{"A", "B", "A", "B"}, gaps(frames)); diff != "" {
		t.Errorf("gaps (-want +got):\n%s", diff)
	}
	if all := strings.Join(states, "\n"); strings.Count(all, "messages are missed on A, B, without history") != 2 || strings.Count(all, "listening again") != 2 {
		t.Errorf("states:\n%s", all)
	}
}

// TestListenResumes: after each loss a listener asks for what followed the last message that it got, and says when that cannot be had.
func TestListenResumes(t *testing.T) {
	var asked [][]string
	record := func(r *http.Request) { asked = append(asked, r.URL.Query()["channels"]) }
	turns := []func(context.Context, *websocket.Conn){
		func(ctx context.Context, c *websocket.Conn) {
			say(ctx, c, `{"action":"subscribed","channel":"A","data":{"cursor":"aaaaaaaa.1","recovered":true}}`)
			say(ctx, c, `{"action":"subscribed","channel":"B","data":{"cursor":"bbbbbbbb.1"}}`)
		}, // lost before anything of A came: it still has what it had
		func(ctx context.Context, c *websocket.Conn) {
			say(ctx, c, `{"action":"subscribed","channel":"A","data":{"cursor":"aaaaaaaa.1","recovered":true}}`)
			say(ctx, c, `{"action":"message","channel":"A","id":"aaaaaaaa.7","data":1}`)
			say(ctx, c, `{"action":"message","channel":"A","id":"aaaaaaaa.6","data":"repeated"}`) // as the serverless service may
			say(ctx, c, `{"action":"message","channel":"A","id":"aaaaaaaa.7","data":"repeated"}`)
		},
		func(ctx context.Context, c *websocket.Conn) {
			say(ctx, c, `{"action":"subscribed","channel":"A","data":{"cursor":"cccccccc.9","recovered":false}}`)
		},
		func(_ context.Context, c *websocket.Conn) { _ = c.Close(4401, "expired") },
	}
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		record(r)
		if got := r.Header.Get("Authorization"); got != "Bearer secret" {
			t.Errorf("authorized by %q", got)
		}
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		turns[len(asked)-1](r.Context(), conn)
		_ = conn.CloseNow()
	}).WithToken("secret")
	var states []string
	var frames []client.Frame
	err := c.Listen(t.Context(), client.Listener{
		Channels: []string{"A", "B"}, Since: map[string]string{"A": "aaaaaaaa.1"},
		OnFrame: func(f client.Frame) error { frames = append(frames, f); return nil }, OnState: func(s string) { states = append(states, s) },
	})
	if eureka.CodeOf(err) != eureka.CodeUnauthenticated {
		t.Errorf("ended with %v", err)
	}
	want := [][]string{{"A@aaaaaaaa.1", "B@"}, {"A@aaaaaaaa.1", "B@bbbbbbbb.1"}, {"A@aaaaaaaa.7", "B@bbbbbbbb.1"}, {"A@cccccccc.9", "B@bbbbbbbb.1"}}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"A"}, gaps(frames)); diff != "" || len(frames) != 2 {
		t.Errorf("%d frames, gaps (-want +got):\n%s", len(frames), diff)
	}
	if all := strings.Join(states, "\n"); strings.Contains(all, "without history") {
		t.Errorf("states:\n%s", all)
	}
}

// TestTokensStay: a credential is not carried on to where a service redirects to.
func TestTokensStay(t *testing.T) {
	var reached atomic.Int32
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		http.Redirect(w, r, "/elsewhere"+r.URL.Path, http.StatusTemporaryRedirect)
	})
	if _, err := c.WithToken("secret").Channel(t.Context(), "a"); err == nil || reached.Load() != 1 {
		t.Errorf("followed: %v after %d requests", err, reached.Load())
	}
}

func TestListenEnds(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		c, _ := script(t)
		err := c.Listen(t.Context(), client.Listener{Channels: []string{"A", "B"}, OnFrame: func(client.Frame) error { return nil }})
		if eureka.CodeOf(err) != eureka.CodeForbidden {
			t.Errorf("ended with %v", err)
		}
	})
	t.Run("refused on the way back", func(t *testing.T) {
		c, _ := script(t, func(context.Context, *websocket.Conn) {})
		err := c.Listen(t.Context(), client.Listener{Channels: []string{"A", "B"}, OnFrame: func(client.Frame) error { return nil }})
		if eureka.CodeOf(err) != eureka.CodeForbidden {
			t.Errorf("ended with %v", err)
		}
	})
	t.Run("when no channel is left", func(t *testing.T) {
		refuse := func(ctx context.Context, c *websocket.Conn, name string) {
			say(ctx, c, `{"action":"error","channel":"`+name+`","error":{"code":"not_found","message":"no `+name+`"}}`)
		}
		// One that is refused on each way back is still one.
		oneLeft := func(ctx context.Context, c *websocket.Conn) {
			refuse(ctx, c, "A")
			refuse(ctx, c, "A")
			say(ctx, c, `{"action":"error","channel":"B","error":{"code":"gap","message":"a gap ends nothing"}}`)
		}
		other := func(ctx context.Context, c *websocket.Conn) { refuse(ctx, c, "B") } // and A is back
		c, count := script(t, oneLeft, oneLeft, other, func(ctx context.Context, c *websocket.Conn) {
			refuse(ctx, c, "A")
			refuse(ctx, c, "B")
			_, _, _ = c.Read(ctx)
		})
		shown := 0
		err := c.Listen(t.Context(), client.Listener{Channels: []string{"A", "B", "A"}, OnFrame: func(client.Frame) error { shown++; return nil }})
		if eureka.CodeOf(err) != eureka.CodeNotFound || !strings.Contains(eureka.MessageOf(err), "no channel left to listen to: no B") || count.Load() != 4 || shown != 9 {
			t.Errorf("ended with %v after %d connections and %d frames", err, count.Load(), shown)
		}
	})
	t.Run("by its caller at a gap", func(t *testing.T) {
		c, _ := script(t, func(ctx context.Context, c *websocket.Conn) {
			say(ctx, c, `{"action":"subscribed","channel":"A","data":{"cursor":"aaaaaaaa.9","recovered":false}}`)
			_, _, _ = c.Read(ctx)
		})
		enough := errors.New("enough")
		err := c.Listen(t.Context(), client.Listener{
			Channels: []string{"A", "B"}, Since: map[string]string{"A": "aaaaaaaa.1"}, OnFrame: func(client.Frame) error { return enough },
		})
		if !errors.Is(err, enough) {
			t.Errorf("ended with %v", err)
		}
	})
	t.Run("before it begins", func(t *testing.T) {
		c, count := script(t)
		for _, l := range []client.Listener{{Channels: []string{"A,B"}}, {Channels: []string{"A"}, Since: map[string]string{"A": "x"}}} {
			if err := c.Listen(t.Context(), l); eureka.CodeOf(err) != eureka.CodeInvalid || count.Load() != 0 {
				t.Errorf("ended with %v", err)
			}
		}
	})
	t.Run("by its caller, whatever the error", func(t *testing.T) {
		c, count := script(t, func(ctx context.Context, c *websocket.Conn) {
			say(ctx, c, `{"action":"message","data":1}`)
			_, _, _ = c.Read(ctx)
		})
		enough := eureka.Errorf(eureka.CodeUnavailable, "enough")
		err := c.Listen(t.Context(), client.Listener{Channels: []string{"A", "B"}, OnFrame: func(client.Frame) error { return enough }})
		if !errors.Is(err, enough) || count.Load() != 1 {
			t.Errorf("ended with %v after %d connections", err, count.Load())
		}
	})
	t.Run("with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c, _ := script(t, func(ctx context.Context, c *websocket.Conn) {
			say(ctx, c, `{"action":"message","data":1}`)
			_, _, _ = c.Read(ctx)
		})
		err := c.Listen(ctx, client.Listener{Channels: []string{"A", "B"}, OnFrame: func(client.Frame) error { cancel(); return nil }})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestMessageIsSentAsItIs(t *testing.T) {
	var body atomic.Value
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		var m map[string]any
		_ = json.NewDecoder(r.Body).Decode(&m) // what is wrong shows below
		body.Store(fmt.Sprint(m))
		_, _ = fmt.Fprint(w, `{"channel":"1","delivered":3}`)
	})
	out, err := c.Publish(t.Context(), "a", client.Message{Data: json.RawMessage(`{"a":"é"}`), Event: "e"})
	if err != nil || out.Delivered == nil || *out.Delivered != 3 || body.Load() != "map[data:map[a:é] event:e]" {
		t.Errorf("%+v, %v, sent %v", out, err, body.Load())
	}
}
