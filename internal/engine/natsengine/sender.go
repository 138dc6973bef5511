package natsengine

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/nats-io/nats.go"

	"eureka"
)

// sender reaches one socket on whichever node holds it: the id says which.
type sender struct{ engine *Engine }

// socketOrder is what one node asks another to do with a socket.
type socketOrder struct {
	Socket string           `json:"socket"`
	Frame  []byte           `json:"frame,omitempty"` // to send
	Code   eureka.CloseCode `json:"code,omitempty"`  // to close with; 0 to send
	Reason string           `json:"reason,omitempty"`
}

// outcome is the other node's answer.
type outcome struct {
	Code    eureka.Code `json:"code,omitempty"` // "" when it was done
	Message string      `json:"message,omitempty"`
}

// Send implements eureka.Sender.
func (s *sender) Send(ctx context.Context, socketID string, frame []byte) error {
	if len(frame) > eureka.MaxFrameBytes {
		return eureka.Errorf(eureka.CodeTooLarge, "the frame is %d bytes long, the limit is %d", len(frame), eureka.MaxFrameBytes)
	}
	return s.engine.carryOut(ctx, socketOrder{Socket: socketID, Frame: frame})
}

// Close implements eureka.Sender.
func (s *sender) Close(ctx context.Context, socketID string, code eureka.CloseCode, reason string) error {
	return s.engine.carryOut(ctx, socketOrder{Socket: socketID, Code: code, Reason: reason})
}

func (e *Engine) carryOut(ctx context.Context, o socketOrder) error {
	if strings.HasPrefix(o.Socket, e.options.Node) {
		return e.carryOutHere(o)
	}
	gone := eureka.Errorf(eureka.CodeGone, "socket %q has ended", o.Socket)
	if len(o.Socket) <= nodeIDLength || len(o.Socket) > eureka.MaxSocketIDLength {
		return gone
	}
	node := o.Socket[:nodeIDLength]
	if !validNodeID(node) || !e.peers.isAlive(node) {
		return gone
	}
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	msg, err := e.nc.RequestWithContext(ctx, e.subject("node", node, "send"), text)
	if err != nil {
		return natsError(err, "the socket's node does not answer")
	}
	var result outcome
	if err := json.Unmarshal(msg.Data, &result); err != nil {
		return eureka.WrapError(eureka.CodeInternal, err, "the socket's node gave no sensible answer")
	}
	if result.Code != "" {
		return eureka.Errorf(result.Code, "%s", result.Message)
	}
	return nil
}

func (e *Engine) carryOutHere(o socketOrder) error {
	if o.Code != 0 {
		return e.options.Delivery.Close(o.Socket, o.Code, o.Reason)
	}
	return e.options.Delivery.Send(o.Socket, o.Frame)
}

func (e *Engine) answerSend(msg *nats.Msg) {
	var o socketOrder
	if !e.question(msg, &o) || len(o.Frame) > eureka.MaxFrameBytes {
		return
	}
	var result outcome
	if err := e.carryOutHere(o); err != nil {
		result = outcome{eureka.CodeOf(err), eureka.MessageOf(err)}
	}
	text, err := json.Marshal(result)
	if err == nil {
		_ = msg.Respond(text) // the asking node times out and says so
	}
}
