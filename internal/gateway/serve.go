package gateway

import (
	"context"
	"log/slog"
	"runtime/debug"

	"eureka"
	"eureka/internal/core"
	"eureka/internal/protocol"
	"eureka/internal/wire"
)

// disconnected tells core that a socket has ended, once per socket.
func (g *Gateway) disconnected(s *stream) {
	code, reason, told := s.ended()
	if !told {
		code, reason = eureka.CloseAbnormal, "the connection broke"
	}
	g.endedWith(s, code, reason)
}

func (g *Gateway) endedWith(s *stream, code eureka.CloseCode, reason string) {
	defer g.unregister(s)
	// A message that arrives from now on must not pile up in a stream that nobody reads.
	s.end(code, reason, 0)
	g.metrics.closed(code)
	// Not the request's context: a socket outlives its handshake, and its end must be reported on a draining node too.
	ctx, cancel := context.WithTimeout(context.Background(), g.limits.FrameTimeout)
	defer cancel()
	defer func() {
		if fault := recover(); fault != nil {
			g.panicked(s, fault)
			_, _ = g.options.Hub.Remove(s.id) // if it is still there, nobody else will
		}
	}()
	if err := g.options.Handler.Disconnect(ctx, s.id, code, reason); err != nil {
		g.options.Log.Warn("the end of a socket could not be reported", slog.String("socket", s.id), slog.Any("error", err))
	}
}

// event handles one thing the client sent. It reports false to stop reading.
func (g *Gateway) event(s *stream, e wire.Event) bool {
	switch e.Kind {
	case wire.Text:
		g.text(s, e.Payload)
	case wire.Ping:
		s.answerPing(e.Payload)
	case wire.Close:
		s.acknowledge(e.Code, e.Reason)
		return false
	case wire.Pong: // that it came is all it says
	}
	return true
}

// text hands a frame to core. Messages that it leads to stay behind its reply. Only one goroutine at a time handles frames of a stream.
func (g *Gateway) text(s *stream, text []byte) {
	g.metrics.frames.Inc()
	if _, _, ending := s.ended(); ending {
		return // after its close frame a side is not heard any more
	}
	defer func() {
		if fault := recover(); fault != nil {
			g.failed(s, fault)
		}
	}()
	if !g.paced(s) {
		return
	}
	s.hold()
	ctx, cancel := context.WithTimeout(context.Background(), g.limits.FrameTimeout)
	defer cancel()
	result := g.options.Handler.Frame(ctx, core.FrameRequest{
		SocketID: s.id, Identity: *s.identity.Load(), Text: text, Publish: func() error { return g.publish(s) },
	})
	if result.Identity != nil {
		s.identity.Store(result.Identity)
		g.checkRevoked(s)
	}
	s.release(result.Frames)
}

// paced reports whether a frame may be handled by the rate of its socket; if not the client was told.
func (g *Gateway) paced(s *stream) bool {
	if s.pace == nil {
		s.pace = newPace(&g.limits)
	}
	allowed, flood := s.pace.frame(&g.limits)
	if allowed {
		return true
	}
	g.options.Limited(limitFrames)
	if flood {
		s.end(eureka.CloseRateLimited, limited(limitFrames).Message, 0)
	} else {
		s.queue(wire.TextFrame(protocol.EncodeError(nil, "", limited(limitFrames))), 1)
	}
	return false
}

// publish is asked before each publish of a socket.
func (g *Gateway) publish(s *stream) error {
	if s.pace.publishes == nil || s.pace.publishes.Allow() {
		return nil
	}
	return g.refuse(limitPublishes)
}

// failed ends a stream whose handling panicked; others go on.
func (g *Gateway) failed(s *stream, fault any) {
	g.panicked(s, fault)
	defer func() {
		if recover() != nil {
			s.cut() // there is not even a way to say so
		}
	}()
	s.end(eureka.CloseInternal, "internal error", 0)
}

func (g *Gateway) panicked(s *stream, fault any) {
	g.options.Log.Error("a socket's handling panicked", slog.String("socket", s.id), slog.Any("panic", fault), slog.String("stack", string(debug.Stack())))
}
