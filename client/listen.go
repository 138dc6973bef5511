package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"

	"eureka"
)

// How a listener comes back.
const (
	minBackoff   = 500 * time.Millisecond
	maxBackoff   = 30 * time.Second
	dialTimeout  = 15 * time.Second
	keepAlive    = 30 * time.Second // a listener pings when it hears nothing for so long
	pongTimeout  = 15 * time.Second
	maxRefusal   = 64 << 10 // bytes of a refused handshake's answer
	maxFrameSize = 4 * eureka.MaxFrameBytes
)

// Frame is one frame from the service.
type Frame struct {
	Action  string          `json:"action"`
	ID      string          `json:"id,omitempty"` // the message's cursor, on a channel with history
	Channel string          `json:"channel,omitempty"`
	Event   string          `json:"event,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"`
	TS      int64           `json:"ts,omitempty"` // epoch milliseconds
	Error   *struct {
		Code    eureka.Code `json:"code"`
		Message string      `json:"message"`
	} `json:"error,omitempty"`
	Raw []byte `json:"-"` // the frame as it came
}

// Listener receives what happens while listening. OnFrame gets every frame but bye and subscribed; an error of it ends the listening and is
// returned. OnState, which may be nil, is told in a sentence when the connection is there, is lost, or will be tried again, and when messages
// were missed for good. Both are called one at a time.
type Listener struct {
	Channels []string
	Since    map[string]string // by channel: the cursor behind which to begin; none means now
	OnFrame  func(Frame) error
	OnState  func(string)
}

// stopped is OnFrame's wish to end, whatever its error is.
type stopped struct{ error }

// closing is how a connection ended.
type closing struct {
	code   eureka.CloseCode
	reason string
	after  time.Duration // how long the service asked to wait
}

// listening is one call of Listen.
type listening struct {
	Listener

	client *Client
	since  map[string]string // by channel: the cursor of its newest message that OnFrame got
}

// reasonCode is the code of an error about the end.
func (c closing) reasonCode() eureka.Code {
	if c.code == eureka.CloseUnauthenticated {
		return eureka.CodeUnauthenticated
	}
	return eureka.CodeGone
}

// Listen subscribes to the channels and goes on, through lost connections, until ctx ends, OnFrame returns an error, or the
// service says not to come back. On channels with history what is published while the connection is away comes once it is back, in order and
// once; where the service cannot show that this is all of it, and on channels without history, OnState says that messages may be missed.
func (c *Client) Listen(ctx context.Context, l Listener) error {
	if l.OnState == nil {
		l.OnState = func(string) {}
	}
	run := &listening{Listener: l, client: c, since: maps.Clone(l.Since)}
	if run.since == nil {
		run.since = map[string]string{}
	}
	backoff := minBackoff
	for first := true; ; first = false {
		began := time.Now()
		end, err := run.once(ctx, first)
		if stop, ok := errors.AsType[stopped](err); ok {
			return stop.error
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && (first || !eureka.CodeOf(err).Outcome().Retry):
			return err
		case err == nil && !end.code.Reconnect():
			return eureka.Errorf(end.reasonCode(), "the service closed the socket with code %d: %s", end.code, end.reason)
		}
		if time.Since(began) > maxBackoff {
			backoff = minBackoff
		}
		wait := max(end.after, backoff/2+rand.N(backoff)) //nolint:gosec // spreads load, guards nothing
		l.OnState("the connection is lost; trying again in " + wait.Round(10*time.Millisecond).String() + run.unsafe())
		backoff = min(2*backoff, maxBackoff)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// unsafe says which channels cannot be resumed.
func (l *listening) unsafe() string {
	var names []string
	for _, name := range l.Channels {
		if l.since[name] == "" {
			names = append(names, name)
		}
	}
	if names == nil {
		return ""
	}
	return "; until then messages are missed on " + strings.Join(names, ", ") + ", without history"
}

// once listens on one connection. The error is one that is not about its end: a refused handshake, or OnFrame's.
func (l *listening) once(ctx context.Context, first bool) (closing, error) {
	asked := make([]string, 0, len(l.Channels))
	for _, name := range l.Channels {
		asked = append(asked, name+"@"+l.since[name])
	}
	conn, err := l.client.dial(ctx, asked)
	if err != nil {
		return closing{}, err
	}
	defer func() { _ = conn.CloseNow() }()
	if first {
		l.OnState("listening")
	} else {
		l.OnState("listening again")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go ping(ctx, conn)
	end := closing{code: eureka.CloseAbnormal, reason: "the connection broke"}
	for {
		_, text, err := conn.Read(ctx)
		if err != nil {
			var closed websocket.CloseError
			if errors.As(err, &closed) {
				end.code, end.reason = eureka.CloseCode(closed.Code), closed.Reason //nolint:gosec // a close code has 16 bits
			}
			return end, nil
		}
		frame := Frame{Raw: text}
		if json.Unmarshal(text, &frame) != nil {
			continue // a frame of a later version
		}
		switch frame.Action {
		case "bye":
			end.after = byeAfter(frame.Data)
			continue
		case "subscribed":
			l.began(frame)
			continue
		}
		if err := l.OnFrame(frame); err != nil {
			_ = conn.Close(websocket.StatusNormalClosure, "")
			return end, stopped{err}
		}
		if frame.ID != "" {
			l.since[frame.Channel] = frame.ID
		}
	}
}

// began notes where a subscription begins.
func (l *listening) began(f Frame) {
	var data struct {
		Cursor    string `json:"cursor"`
		Recovered *bool  `json:"recovered"`
	}
	if json.Unmarshal(f.Data, &data) != nil {
		return
	}
	if data.Recovered != nil && !*data.Recovered {
		l.OnState("messages of " + f.Channel + " may be missed: the service no longer has all that followed the last one")
	}
	if data.Recovered == nil || !*data.Recovered {
		l.since[f.Channel] = data.Cursor
	}
}

func (c *Client) dial(ctx context.Context, channels []string) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	u := *c.base
	u.Path += "/"
	u.RawQuery = url.Values{"channels": channels}.Encode()
	header := http.Header{}
	c.authorize(header)
	conn, response, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{HTTPHeader: header, HTTPClient: &http.Client{CheckRedirect: c.http.CheckRedirect}})
	if err != nil {
		if response == nil || response.StatusCode == http.StatusSwitchingProtocols {
			return nil, c.unreachable(err)
		}
		text, _ := io.ReadAll(io.LimitReader(response.Body, maxRefusal)) // what cannot be read says nothing
		_ = response.Body.Close()
		return nil, refused(response.StatusCode, text)
	}
	conn.SetReadLimit(maxFrameSize)
	return conn, nil
}

// ping notices a dead connection; the reader then sees its end.
func ping(ctx context.Context, conn *websocket.Conn) {
	ticker := time.NewTicker(keepAlive)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			pong, cancel := context.WithTimeout(ctx, pongTimeout)
			err := conn.Ping(pong)
			cancel()
			if err != nil && ctx.Err() == nil {
				_ = conn.CloseNow()
				return
			}
		}
	}
}

func byeAfter(data json.RawMessage) time.Duration {
	var bye struct {
		After int64 `json:"after"`
	}
	if json.Unmarshal(data, &bye) != nil || bye.After < 0 {
		return 0
	}
	return min(time.Duration(bye.After)*time.Millisecond, time.Minute)
}
