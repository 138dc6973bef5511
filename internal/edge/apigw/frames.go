package apigw

import (
	"context"
	"log/slog"
	"net/http"

	"eureka"
	"eureka/internal/core"
	"eureka/internal/engine/dynamo"
	"eureka/internal/protocol"
)

// frame handles one message of a client. The reply goes back as the answer of the event.
func (s *Sockets) frame(ctx context.Context, ev socketEvent) (answer socketAnswer) {
	id := ev.RequestContext.ConnectionID
	answer = socketAnswer{StatusCode: http.StatusOK}
	defer func() {
		if err := recovered(s.options.Log, "frame", recover()); err != nil {
			s.end(ctx, id, eureka.CloseInternal, "internal error")
		}
	}()
	if ev.IsBase64Encoded {
		s.end(ctx, id, eureka.CloseUnsupported, "binary messages are not taken")
		return answer
	}
	who, err := s.options.Access.Holder(ctx, id)
	switch eureka.CodeOf(err) {
	case "":
	case eureka.CodeUnauthenticated:
		s.end(ctx, id, eureka.CloseUnauthenticated, eureka.MessageOf(err))
		return answer
	case eureka.CodeGone:
		s.forgotten(ctx, id)
		return answer
	default:
		s.options.Log.WarnContext(ctx, "it cannot be found out who is behind a socket", slog.String("socket", id), slog.Any("error", err))
		answer.Body = string(protocol.EncodeError(ref(ev.Body), "", err))
		return answer
	}
	result := s.options.Handler.Frame(ctx, core.FrameRequest{SocketID: id, Identity: who, Text: []byte(ev.Body)})
	if result.Identity != nil {
		s.options.Access.Changed(id, *result.Identity)
	}
	answer.Body = s.reply(ctx, id, result.Frames)
	return answer
}

// reply returns the last frame, for the event's answer, when those before it have been sent. Otherwise it queues what is left, in its order, and
// returns nothing.
func (s *Sockets) reply(ctx context.Context, id string, frames [][]byte) string {
	for len(frames) > 1 {
		err := s.options.Poster.Post(ctx, id, frames[0])
		if eureka.CodeOf(err) == eureka.CodeGone {
			return ""
		}
		if err != nil {
			s.later(ctx, id, frames)
			return ""
		}
		frames = frames[1:]
	}
	if len(frames) == 0 {
		return ""
	}
	return string(frames[0])
}

func (s *Sockets) later(ctx context.Context, id string, frames [][]byte) {
	err := s.options.Queue.Enqueue(ctx, 0, dynamo.Task{
		Kind: dynamo.TaskSend, Sockets: []string{id}, Frames: frames, Since: s.options.Now().UnixMilli(),
	})
	if err != nil {
		s.options.Log.WarnContext(ctx, "a reply was lost: the queue does not take it", slog.String("socket", id), slog.Any("error", err))
	}
}

// end closes a socket with a bye frame.
func (s *Sockets) end(ctx context.Context, id string, code eureka.CloseCode, reason string) {
	if err := s.options.Sender.Close(ctx, id, code, reason); err != nil && eureka.CodeOf(err) != eureka.CodeGone {
		s.options.Log.WarnContext(ctx, "a socket could not be closed", slog.String("socket", id), slog.Int("code", int(code)), slog.Any("error", err))
	}
}

// forgotten closes a connection that lives on although the service has reported its end: it would listen to nothing for ever.
func (s *Sockets) forgotten(ctx context.Context, id string) {
	const code, reason = eureka.CloseUnavailable, "the service does not know this socket any more; connect again"
	err := s.options.Poster.Post(ctx, id, protocol.EncodeBye(code, reason, 0))
	if err == nil {
		err = s.options.Poster.Close(ctx, id)
	}
	if err != nil && eureka.CodeOf(err) != eureka.CodeGone {
		s.options.Log.WarnContext(ctx, "a forgotten socket could not be closed", slog.String("socket", id), slog.Any("error", err))
	}
}

// ref is a frame's ref, nil when it cannot be read.
func ref(text string) []byte {
	f, _ := protocol.Parse([]byte(text)) // with an error it has what could be read
	return f.Ref
}
