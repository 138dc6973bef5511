package dynamo

import (
	"context"

	"eureka"
	"eureka/internal/protocol"
)

// sender is eureka.Sender.
type sender Engine

// Send implements eureka.Sender. A frame that API Gateway does not take now is put into the queue.
func (s *sender) Send(ctx context.Context, socketID string, frame []byte) error {
	if len(frame) > eureka.MaxFrameBytes {
		return eureka.Errorf(eureka.CodeTooLarge, "the frame is %d bytes long, the limit is %d", len(frame), eureka.MaxFrameBytes)
	}
	e := (*Engine)(s)
	it, err := s.living(ctx, socketID)
	if err != nil {
		return err
	}
	posting, cancel := inTime(ctx)
	defer cancel()
	switch e.post(posting, socketID, it.number(attrAt), frame) {
	case gone:
		e.reportGone(ctx, socketID)
		return errGone(socketID)
	case later:
		return e.enqueue(ctx, retryDelay, Task{Kind: TaskSend, Sockets: []string{socketID}, Frames: [][]byte{frame}, Since: e.nowMillis(), Attempt: 1})
	case refusedForGood:
		return eureka.Errorf(eureka.CodeTooLarge, "the socket's gateway does not take this frame")
	case posted:
	}
	return nil
}

// Close implements eureka.Sender. The code travels in the bye frame alone: API Gateway closes every socket with a code of its own.
func (s *sender) Close(ctx context.Context, socketID string, code eureka.CloseCode, reason string) error {
	e := (*Engine)(s)
	it, err := s.living(ctx, socketID)
	if err != nil {
		return err
	}
	outcome := e.post(ctx, socketID, it.number(attrAt), protocol.EncodeBye(code, reason, 0))
	if outcome != gone {
		err = e.options.Poster.Close(ctx, socketID)
	}
	switch {
	case outcome != gone && eureka.CodeOf(err) != eureka.CodeGone:
		return err
	case outcome == later && e.young(it.number(attrAt)):
		return eureka.Errorf(eureka.CodeUnavailable, "socket %q is being opened; try again", socketID)
	default:
		e.reportGone(ctx, socketID)
		return errGone(socketID)
	}
}

// living returns the item of a socket that has not ended.
func (s *sender) living(ctx context.Context, socketID string) (item, error) {
	if socketID == "" || len(socketID) > eureka.MaxSocketIDLength {
		return nil, errGone(socketID)
	}
	it, err := s.table.get(ctx, socketKey(socketID), true)
	if err == nil && !alive(it, (*Engine)(s).nowMillis()) {
		err = errGone(socketID)
	}
	return it, err
}

func errGone(socketID string) error {
	return eureka.Errorf(eureka.CodeGone, "socket %q has ended", socketID)
}
