package core

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"

	"eureka"
	"eureka/internal/protocol"
)

// ConnectRequest is one client's handshake as the edge saw it.
type ConnectRequest struct {
	SocketID string // made by the edge, unique for ever
	Identity eureka.Identity
	Remote   string              // client address; cut to eureka.MaxAgentLength by the edge
	Origin   string              // Origin header, cut likewise
	Agent    string              // User-Agent header, cut likewise
	Query    map[string][]string // the handshake's query parameters: channels, default, info
	// ConnectedAt is when the connection was made, in epoch milliseconds, from an edge that may report one handshake twice: a second one with the same
	// id, ConnectedAt and client is the same. 0 from an edge that reports each once.
	ConnectedAt int64
}

// ConnectResult is what the edge does after a successful handshake.
type ConnectResult struct {
	Frames    [][]byte // to send first, in this order, before any message of a channel
	ExpiresAt int64    // when the edge closes the socket with CloseMaxAge; 0 for never
	Again     bool     // the handshake was reported before: an edge that fails behind Connect leaves the socket to the first report
}

// Connect records a socket and subscribes it to the channels its handshake asks for. A channel that is refused becomes
// an error frame in the result and the others still work. An error refuses the handshake; nothing is left behind then. A handshake that is
// reported twice is answered the same, and leaves one socket with its subscriptions.
func (c *Core) Connect(ctx context.Context, r ConnectRequest) (ConnectResult, error) {
	now := c.nowMillis()
	if r.Identity.ExpiresAt != 0 && now >= r.Identity.ExpiresAt {
		return ConnectResult{}, r.Identity.Can(0, now)
	}
	socket := eureka.Socket{
		ID: r.SocketID, User: r.Identity.User, Node: c.node,
		Remote: r.Remote, Origin: r.Origin, Agent: r.Agent, ConnectedAt: cmp.Or(r.ConnectedAt, now), Identity: r.Identity,
	}
	if c.maxAge > 0 {
		socket.ExpiresAt = socket.ConnectedAt + c.maxAge.Milliseconds()
	}
	if err := socket.Validate(); err != nil {
		return ConnectResult{}, err
	}
	again, err := c.add(ctx, &socket, r)
	if err != nil {
		return ConnectResult{}, err
	}
	frames, err := c.subscribeAtConnect(ctx, &socket, r.Identity, r.Query)
	if err != nil && again {
		return ConnectResult{}, err // the socket is the first report's, whose client may live
	}
	if err != nil {
		// The caller's context may be what failed; the socket must not stay behind.
		if cleanup := c.Disconnect(context.WithoutCancel(ctx), socket.ID, eureka.CloseUnavailable, "connect failed"); cleanup != nil {
			c.log.Warn("a refused socket could not be removed", slog.String("socket", socket.ID), slog.Any("error", cleanup))
		}
		return ConnectResult{}, err
	}
	if flag(r.Query, "info") {
		frames = append(frames, protocol.Reply{Action: protocol.ActionInfo, Data: infoData(socket)}.Encode())
	}
	return ConnectResult{Frames: frames, ExpiresAt: socket.ExpiresAt, Again: again}, nil
}

// add records a new socket. again says that it was there: an earlier report of the same handshake has recorded it, and socket is what that made of it.
func (c *Core) add(ctx context.Context, socket *eureka.Socket, r ConnectRequest) (again bool, err error) {
	err = c.ports.Sockets.Add(ctx, *socket)
	if r.ConnectedAt == 0 || eureka.CodeOf(err) != eureka.CodeConflict {
		return false, err
	}
	there, findErr := c.socket(ctx, socket.ID)
	if eureka.CodeOf(findErr) == eureka.CodeNotFound {
		return false, err // it has ended; its id is not free yet
	}
	if findErr != nil {
		return false, findErr
	}
	if there.ConnectedAt != socket.ConnectedAt || there.Remote != socket.Remote || there.User != socket.User || there.Origin != socket.Origin || there.Agent != socket.Agent {
		return false, err
	}
	there.Identity = socket.Identity
	*socket = there
	return true, nil
}

// subscribeAtConnect subscribes a new socket to what its query asks for and returns an error frame for each channel that is
// refused. The error it returns is one that says the engine cannot answer at all.
func (c *Core) subscribeAtConnect(ctx context.Context, socket *eureka.Socket, who eureka.Identity, query map[string][]string) ([][]byte, error) {
	var frames [][]byte
	for _, channel := range askedChannels(query) {
		name, cursor, resumes := strings.Cut(channel, "@")
		t, began, err := c.subscribe(ctx, who, socket, asked{name: name, since: cursor})
		if err == nil {
			if resumes {
				frames = append(frames, c.subscribedReply(ctx, name, t, began, cursor != "").Encode())
			}
			continue
		}
		if eureka.CodeOf(err).Outcome().Retry || eureka.CodeOf(err) == eureka.CodeInternal {
			return nil, err
		}
		frames = append(frames, protocol.EncodeError(nil, clip(name), err))
	}
	return frames, nil
}

// askedChannels returns the channel names of the handshake in their order, each once.
func askedChannels(query map[string][]string) []string {
	var names []string
	for _, list := range query["channels"] {
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.TrimSpace(name); name != "" {
				names = append(names, name)
			}
		}
	}
	if flag(query, "default") {
		names = append(names, eureka.DefaultChannel)
	}
	seen := make(map[string]bool, len(names))
	return slices.DeleteFunc(names, func(asked string) bool {
		name, _, _ := strings.Cut(asked, "@")
		again := seen[name]
		seen[name] = true
		return again
	})
}

// flag reads a boolean query parameter: its presence, even without a value, means yes, as the original's clients send it.
func flag(query map[string][]string, key string) bool {
	values, ok := query[key]
	if !ok {
		return false
	}
	switch strings.ToLower(values[len(values)-1]) {
	case "0", "false", "no", "n", "f":
		return false
	default:
		return true
	}
}

// clip keeps an error frame small when what the client sent is not.
func clip(s string) string {
	if len(s) <= eureka.MaxNameLength {
		return s
	}
	return strings.ToValidUTF8(s[:eureka.MaxNameLength], "") + "…"
}
