package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
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

// Listener receives what happens while listening. OnFrame gets every frame but bye; an error of it ends the listening and is returned.
// OnState, which may be nil, is told in a sentence when the connection is there, is lost, or will be tried again.
type Listener struct {
	Channels []string
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

// Listen subscribes to the channels and goes on, through lost connections, until ctx ends, OnFrame returns an error, or the
// service says not to come back. Messages that are published while the connection is away are missed: OnState says so.
func (c *Client) Listen(ctx context.Context, l Listener) error {
	if l.OnState == nil {
		l.OnState = func(string) {}
	}
	backoff := minBackoff
	for first := true; ; first = false {
		began := time.Now()
		end, err := c.listenOnce(ctx, l, first)
		if stop, ok := errors.AsType[stopped](err); ok {
			return stop.error
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && (first || !eureka.CodeOf(err).Outcome().Retry):
			return err
		case err == nil && !end.code.Reconnect():
			return eureka.Errorf(eureka.CodeGone, "the service closed the socket with code %d: %s", end.code, end.reason)
		}
		if time.Since(began) > maxBackoff {
			backoff = minBackoff
		}
		wait := max(end.after, backoff/2+rand.N(backoff)) //nolint:gosec // spreads load, guards nothing
		l.OnState("the connection is lost; messages may be missed; trying again in " + wait.Round(10*time.Millisecond).String())
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

// listenOnce listens on one connection. The error is one that is not about its end: a refused handshake, or OnFrame's.
func (c *Client) listenOnce(ctx context.Context, l Listener, first bool) (closing, error) {
	conn, err := c.dial(ctx, l.Channels)
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
		if frame.Action == "bye" {
			end.after = byeAfter(frame.Data)
			continue
		}
		if err := l.OnFrame(frame); err != nil {
			_ = conn.Close(websocket.StatusNormalClosure, "")
			return end, stopped{err}
		}
	}
}

func (c *Client) dial(ctx context.Context, channels []string) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	u := *c.base
	u.Path += "/"
	u.RawQuery = url.Values{"channels": channels}.Encode()
	conn, response, err := websocket.Dial(ctx, u.String(), nil)
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
