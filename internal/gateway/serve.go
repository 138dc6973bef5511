package gateway

import (
	"context"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"eureka"
	"eureka/internal/core"
	"eureka/internal/protocol"
	"eureka/internal/wire"
)

// A reader's buffer is small while its client says little, and grows for the length of a larger message.
const (
	smallBuffer = 512
	largeBuffer = 16 << 10
)

// socket is what the reader of one connection needs.
type socket struct {
	id     string
	stream *stream
	pace   *pace
}

// serve reads one connection until it ends and reports its end.
func (g *Gateway) serve(k socket, early []byte) {
	g.read(k, early)
	code, reason, told := k.stream.ended()
	if !told {
		code, reason = eureka.CloseAbnormal, "the connection broke"
	}
	k.stream.cut()
	g.disconnected(k.id, k.stream, code, reason)
}

// disconnected tells core that a socket has ended, once per socket.
func (g *Gateway) disconnected(id string, s *stream, code eureka.CloseCode, reason string) {
	defer g.unregister(s)
	// A message that arrives from now on must not pile up in a stream that nobody reads.
	s.end(code, reason, 0)
	g.metrics.closed(code)
	// Not the request's context: a socket outlives its handshake, and its end must be reported on a draining node too.
	ctx, cancel := context.WithTimeout(context.Background(), g.limits.FrameTimeout)
	defer cancel()
	if err := g.options.Handler.Disconnect(ctx, id, code, reason); err != nil {
		g.options.Log.Warn("the end of a socket could not be reported", slog.String("socket", id), slog.Any("error", err))
	}
}

func (g *Gateway) read(k socket, early []byte) {
	parser := wire.Parser{MaxMessage: eureka.MaxFrameBytes}
	emit := func(e wire.Event) bool { return g.event(k, e) }
	if len(early) > 0 && !g.feed(k, &parser, early, emit) {
		return
	}
	buffer := make([]byte, smallBuffer)
	for {
		n, err := k.stream.net.Read(buffer)
		if n > 0 {
			k.stream.received.Store(time.Now().UnixNano())
			if !g.feed(k, &parser, buffer[:n], emit) {
				return
			}
		}
		if err != nil {
			return
		}
		switch {
		case n == len(buffer) && n < largeBuffer:
			buffer = make([]byte, largeBuffer)
		case n < smallBuffer && len(buffer) > smallBuffer && parser.Idle():
			buffer = make([]byte, smallBuffer)
		}
	}
}

// feed parses what was read. It reports false when reading is over: after the peer's close frame, or after a fault.
func (g *Gateway) feed(k socket, parser *wire.Parser, b []byte, emit func(wire.Event) bool) bool {
	closed := false
	fault := parser.Feed(b, func(e wire.Event) bool {
		closed = e.Kind == wire.Close
		return emit(e)
	})
	if closed {
		awaitEnd(k.stream.net)
		return false
	}
	if fault != nil {
		k.stream.end(fault.Code, fault.Reason, 0)
		awaitEnd(k.stream.net)
		return false
	}
	return true
}

// awaitEnd reads on, unheard, until the peer hangs up or the deadline that the close has set: closing with unread bytes would
// reset the connection and could take the close frame with it.
func awaitEnd(c net.Conn) {
	scratch := make([]byte, smallBuffer)
	for {
		if _, err := c.Read(scratch); err != nil {
			return
		}
	}
}

// event handles one thing the client sent. It reports false to stop reading.
func (g *Gateway) event(k socket, e wire.Event) bool {
	switch e.Kind {
	case wire.Text:
		g.metrics.frames.Inc()
		g.text(k, e.Payload)
	case wire.Ping:
		k.stream.answerPing(e.Payload)
	case wire.Close:
		k.stream.acknowledge(e.Code, e.Reason)
		return false
	case wire.Pong: // that it came is all it says
	}
	return true
}

// text hands a frame to core. Messages that it leads to stay behind its reply.
func (g *Gateway) text(k socket, text []byte) {
	if _, _, ending := k.stream.ended(); ending {
		return // after its close frame a side is not heard any more
	}
	defer func() {
		if fault := recover(); fault != nil {
			g.options.Log.Error("a frame panicked", slog.String("socket", k.id), slog.Any("panic", fault), slog.String("stack", string(debug.Stack())))
			k.stream.end(eureka.CloseInternal, "internal error", 0)
		}
	}()
	if allowed, flood := k.pace.frame(&g.limits); !allowed {
		g.options.Limited(limitFrames)
		if flood {
			k.stream.end(eureka.CloseRateLimited, limited(limitFrames).Message, 0)
			return
		}
		k.stream.queue(wire.TextFrame(protocol.EncodeError(nil, "", limited(limitFrames))))
		return
	}
	k.stream.hold()
	ctx, cancel := context.WithTimeout(context.Background(), g.limits.FrameTimeout)
	defer cancel()
	result := g.options.Handler.Frame(ctx, core.FrameRequest{
		SocketID: k.id, Identity: *k.stream.identity.Load(), Text: text, Publish: func() error { return g.publish(k) },
	})
	if result.Identity != nil {
		k.stream.identity.Store(result.Identity)
		g.checkRevoked(k.stream)
	}
	k.stream.release(result.Frames)
}

// publish is asked before each publish of a socket.
func (g *Gateway) publish(k socket) error {
	if k.pace.publishes == nil || k.pace.publishes.Allow() {
		return nil
	}
	return g.refuse(limitPublishes)
}
