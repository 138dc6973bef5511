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
	"slices"
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
	maxAfter     = time.Minute // of what the service asks to wait
	maxRefusal   = 64 << 10    // bytes of a refused handshake's answer
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
	Error   *FrameError     `json:"error,omitempty"`
	Raw     []byte          `json:"-"` // the frame as it came, or as it would have
}

// FrameError is what an error frame says.
type FrameError struct {
	Code    eureka.Code `json:"code"`
	Message string      `json:"message"`
}

// Listener receives what happens while listening. OnFrame gets every frame but bye and subscribed, and an error frame of code gap for each channel
// on which messages may have been missed, whether the service says so or the way back shows it; an error of it ends the listening and is
// returned. OnState, which may be nil, is told in a sentence when the connection is there, is lost, or will be tried again. Both are called one
// at a time.
type Listener struct {
	Channels []string
	Since    map[string]string // by channel: the cursor behind which to begin; none means now
	OnFrame  func(Frame) error
	OnState  func(string)
}

// stopped is OnFrame's wish to end, whatever its error is.
type stopped struct{ error }

// closing is how a connection ended: what the close frame says, unless a bye came before it. API Gateway closes every socket with a code of its
// own, so the bye counts.
type closing struct {
	code      eureka.CloseCode
	reason    string
	reconnect bool
	after     time.Duration // how long the service asked to wait
	bye       bool          // code, reason and reconnect are of a bye
}

// byClose is the end by a close frame, or without one.
func (c closing) byClose(code eureka.CloseCode, reason string) closing {
	if !c.bye {
		c.code, c.reason, c.reconnect = code, reason, code.Reconnect()
	}
	return c
}

// byBye is the end that a bye frame announces. One that cannot be read, or has no code, says nothing but when to come back.
func (c closing) byBye(data json.RawMessage) closing {
	var bye struct {
		Code      eureka.CloseCode `json:"code"`
		Reason    string           `json:"reason"`
		Reconnect *bool            `json:"reconnect"`
		After     int64            `json:"after"`
	}
	if json.Unmarshal(data, &bye) != nil {
		return c
	}
	c.after = time.Duration(min(max(bye.After, 0), maxAfter.Milliseconds())) * time.Millisecond
	if bye.Code == 0 {
		return c
	}
	c.bye, c.code, c.reason, c.reconnect = true, bye.Code, bye.Reason, bye.Code.Reconnect()
	if bye.Reconnect != nil {
		c.reconnect = *bye.Reconnect
	}
	return c
}

// listening is one call of Listen.
type listening struct {
	Listener

	client  *Client
	since   map[string]string // by channel: the cursor of its newest message that OnFrame got
	begun   map[string]bool   // channels that were listened to already
	here    map[string]bool   // channels that the present connection listens to
	refused map[string]bool   // channels that it does not listen to
}

// reasonCode is the code of an error about the end.
func (c closing) reasonCode() eureka.Code {
	if c.code == eureka.CloseUnauthenticated {
		return eureka.CodeUnauthenticated
	}
	return eureka.CodeGone
}

// Listen subscribes to the channels and goes on, through lost connections, until ctx ends, OnFrame returns an error, the service says not to
// come back, or it refuses all channels. On channels with history what is published while the connection is away comes once it is back, in order
// and once; where the service cannot show that this is all of it, and on channels without history, OnFrame gets a gap. CodeInvalid for a name
// or cursor that is none.
func (c *Client) Listen(ctx context.Context, l Listener) error {
	if l.OnState == nil {
		l.OnState = func(string) {}
	}
	if err := l.check(); err != nil {
		return err
	}
	run := &listening{Listener: l, client: c, since: maps.Clone(l.Since), begun: map[string]bool{}}
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
		case err == nil && !end.reconnect:
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

// check leaves each channel once, since the service answers for each once, and refuses what is no name or cursor.
func (l *Listener) check() error {
	asked := l.Channels
	l.Channels = nil
	for _, name := range asked {
		if !slices.Contains(l.Channels, name) {
			l.Channels = append(l.Channels, name)
		}
		if err := eureka.CheckName("channel", name); err != nil {
			return err
		}
		if since := l.Since[name]; since != "" {
			if _, err := eureka.ParseCursor("since", since); err != nil {
				return err
			}
		}
	}
	return nil
}

// unsafe says which channels cannot be resumed.
func (l *listening) unsafe() string {
	var names []string
	for _, name := range l.Channels {
		if l.begun[name] && !l.refused[name] && l.since[name] == "" {
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
	l.here, l.refused = map[string]bool{}, map[string]bool{}
	listens := "listening again"
	if first {
		listens = "listening"
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go ping(ctx, conn)
	var end closing
	for {
		_, text, err := conn.Read(ctx)
		if err != nil {
			var closed websocket.CloseError
			if errors.As(err, &closed) {
				return end.byClose(eureka.CloseCode(closed.Code), closed.Reason), nil //nolint:gosec // a close code has 16 bits
			}
			return end.byClose(eureka.CloseAbnormal, "the connection broke"), nil
		}
		frame := Frame{Raw: text}
		if json.Unmarshal(text, &frame) != nil {
			continue // a frame of a later version
		}
		if frame.Action == "bye" {
			end = end.byBye(frame.Data)
			continue
		}
		if err := l.take(frame); err != nil {
			_ = conn.Close(websocket.StatusNormalClosure, "")
			return end, stopped{err}
		}
		if listens != "" && l.answered() {
			l.OnState(listens)
			listens = ""
		}
	}
}

// answered reports whether the present connection's subscriptions have begun, or were refused: until then nothing would be resumed.
func (l *listening) answered() bool {
	return !slices.ContainsFunc(l.Channels, func(name string) bool { return !l.here[name] && !l.refused[name] })
}

// take hands a frame on and notes where each channel stands. An error ends the listening.
func (l *listening) take(f Frame) error {
	if f.Action == "subscribed" {
		return l.began(f)
	}
	if l.had(f) {
		return nil
	}
	if err := l.OnFrame(f); err != nil {
		return err
	}
	if f.ID != "" {
		l.since[f.Channel] = f.ID
	}
	if f.Error == nil || f.Error.Code == eureka.CodeGap || f.Channel == "" {
		return nil
	}
	if l.refused[f.Channel] = true; len(l.refused) < len(l.Channels) {
		return nil
	}
	return eureka.Errorf(f.Error.Code, "there is no channel left to listen to: %s", f.Error.Message)
}

// had reports whether OnFrame got a message already: the service may repeat some, never out of order.
func (l *listening) had(f Frame) bool {
	if f.ID == "" {
		return false
	}
	since, sinceErr := eureka.ParseCursor("since", l.since[f.Channel])
	id, err := eureka.ParseCursor("id", f.ID)
	return sinceErr == nil && err == nil && since.Epoch == id.Epoch && id.Offset <= since.Offset
}

// began notes where a subscription begins, and tells of what lies before that and cannot be had.
func (l *listening) began(f Frame) error {
	var data struct {
		Cursor    string `json:"cursor"`
		Recovered bool   `json:"recovered"`
	}
	_ = json.Unmarshal(f.Data, &data) // what cannot be read, of a later version, counts as not recovered
	missed := !data.Recovered && (l.begun[f.Channel] || l.since[f.Channel] != "")
	l.begun[f.Channel], l.here[f.Channel] = true, true
	if !data.Recovered {
		l.since[f.Channel] = data.Cursor
	}
	if !missed {
		return nil
	}
	return l.OnFrame(gap(f.Channel))
}

// gap is the frame by which the service tells that messages may have been missed.
func gap(channel string) Frame {
	f := Frame{Action: "error", Channel: channel, Error: &FrameError{eureka.CodeGap, "messages may have been missed; fetch the state again"}}
	f.Raw, _ = json.Marshal(f) // names and codes always encode
	return f
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
