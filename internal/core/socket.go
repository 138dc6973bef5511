package core

import (
	"context"

	"eureka"
)

// ConnectRequest is one client's handshake as the edge saw it.
type ConnectRequest struct {
	SocketID string // made by the edge, unique for ever
	Identity eureka.Identity
	Remote   string              // client address; cut to eureka.MaxAgentLength by the edge
	Origin   string              // Origin header, cut likewise
	Agent    string              // User-Agent header, cut likewise
	Query    map[string][]string // the handshake's query parameters: channels, default, info
}

// ConnectResult is what the edge does after a successful handshake.
type ConnectResult struct {
	Frames    [][]byte // to send first, in this order, before any message of a channel
	ExpiresAt int64    // when the edge closes the socket with CloseMaxAge; 0 for never
}

// Connect records a socket and subscribes it to the channels its handshake asks for. A channel that is refused becomes an error frame in the
// result and the others still work. An error refuses the handshake; nothing is left behind then.
func (c *Core) Connect(ctx context.Context, r ConnectRequest) (ConnectResult, error) {
	return ConnectResult{}, eureka.Errorf(eureka.CodeInternal, "not built yet")
}

// FrameRequest is one complete text frame from a client.
type FrameRequest struct {
	SocketID string
	Identity eureka.Identity
	Text     []byte // valid UTF-8, at most eureka.MaxFrameBytes; not kept after Frame returns
}

// Frame handles one client frame and returns the frames to answer with, none or more. Faults become error frames; Frame itself never fails.
func (c *Core) Frame(ctx context.Context, r FrameRequest) [][]byte { return nil }

// Disconnect forgets a socket that has ended, however it ended, and tells its presence channels. Calling it again is harmless.
func (c *Core) Disconnect(ctx context.Context, socketID string, code eureka.CloseCode, reason string) error {
	return nil
}

// Socket returns one live socket, CodeNotFound without one.
func (c *Core) Socket(ctx context.Context, who eureka.Identity, id string) (eureka.Socket, error) {
	return eureka.Socket{}, nil
}

// ListSockets returns the sockets a query selects; q.Channel may be a channel's id, alias or undeclared name.
func (c *Core) ListSockets(ctx context.Context, who eureka.Identity, q eureka.SocketQuery) (eureka.Page[eureka.Socket], error) {
	return eureka.Page[eureka.Socket]{}, nil
}

// SendFrame queues text as it stands for one socket, as API Gateway's @connections does. CodeGone when the socket has ended.
func (c *Core) SendFrame(ctx context.Context, who eureka.Identity, id string, text []byte) error {
	return nil
}

// SendToSocket sends a message frame without a channel to one socket. CodeGone when the socket has ended.
func (c *Core) SendToSocket(ctx context.Context, who eureka.Identity, id string, d Direct) error {
	return nil
}

// SendToUser sends a message frame without a channel to every socket of a user and returns how many got it.
func (c *Core) SendToUser(ctx context.Context, who eureka.Identity, user string, d Direct) (int, error) {
	return 0, nil
}

// Kick ends a socket with a bye frame and CloseKicked. CodeNotFound when there is no such socket.
func (c *Core) Kick(ctx context.Context, who eureka.Identity, id, reason string) (eureka.Socket, error) {
	return eureka.Socket{}, nil
}
