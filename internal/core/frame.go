package core

import (
	"context"
	"encoding/json"
	"log/slog"

	"eureka"
	"eureka/internal/protocol"
)

// FrameRequest is one complete text frame from a client.
type FrameRequest struct {
	SocketID string
	Identity eureka.Identity
	Text     []byte // valid UTF-8, at most eureka.MaxFrameBytes; not kept after Frame returns
	// Publish is asked before each publish; its error refuses it. nil for no limit.
	Publish func() error
}

// FrameResult is what the edge does after a frame.
type FrameResult struct {
	Frames   [][]byte         // to send, in this order
	Identity *eureka.Identity // who the socket belongs to from now on; nil when that did not change
}

// Frame handles one client frame. Faults become error frames; Frame itself never fails.
func (c *Core) Frame(ctx context.Context, r FrameRequest) FrameResult {
	f, err := protocol.Parse(r.Text)
	if err != nil {
		return FrameResult{Frames: [][]byte{protocol.EncodeError(f.Ref, "", err)}}
	}
	var result FrameResult
	var reply protocol.Reply
	if f.Action == protocol.ActionRefresh {
		reply, result.Identity, err = c.frameRefresh(ctx, r, f)
	} else {
		reply, err = c.act(ctx, r, f)
	}
	if err != nil {
		if eureka.CodeOf(err) == eureka.CodeInternal {
			c.log.Error("a frame failed", slog.String("socket", r.SocketID), slog.String("action", f.Action), slog.Any("error", err))
		}
		result.Frames = [][]byte{protocol.EncodeError(f.Ref, clip(f.Channel), err)}
		return result
	}
	if reply.Action != "" {
		reply.Ref = f.Ref
		result.Frames = [][]byte{reply.Encode()}
	}
	return result
}

// act runs one action. A reply without an action means that the client gets none.
func (c *Core) act(ctx context.Context, r FrameRequest, f protocol.ClientFrame) (protocol.Reply, error) {
	switch f.Action {
	case protocol.ActionPing:
		return protocol.Reply{Action: protocol.ActionPong, Data: f.Data}, nil
	case protocol.ActionPong:
		return protocol.Reply{}, nil
	case protocol.ActionEcho:
		return protocol.Reply{Action: protocol.ActionEcho, Data: f.Data}, nil
	case protocol.ActionInfo:
		return c.frameInfo(ctx, r)
	case protocol.ActionSubscribe:
		return c.frameSubscribe(ctx, r, f)
	case protocol.ActionUnsubscribe:
		return c.frameUnsubscribe(ctx, r, f)
	case protocol.ActionPublish, protocol.ActionMessage:
		return c.framePublish(ctx, r, f)
	case protocol.ActionPresence:
		return c.framePresence(ctx, r, f)
	case protocol.ActionHistory:
		return c.frameHistory(ctx, r, f)
	case protocol.ActionCall:
		return protocol.Reply{}, eureka.Errorf(eureka.CodeUnknownAction, "%s is not available in this version", f.Action)
	default:
		return protocol.Reply{}, eureka.Errorf(eureka.CodeUnknownAction,
			"there is no action %q; actions are ping, pong, echo, info, subscribe, unsubscribe, publish, presence, history, refresh", f.Action)
	}
}

func (c *Core) frameInfo(ctx context.Context, r FrameRequest) (protocol.Reply, error) {
	socket, err := c.ownSocket(ctx, r)
	if err != nil {
		return protocol.Reply{}, err
	}
	return protocol.Reply{Action: protocol.ActionInfo, Data: infoData(socket)}, nil
}

func (c *Core) frameSubscribe(ctx context.Context, r FrameRequest, f protocol.ClientFrame) (protocol.Reply, error) {
	if f.Channel == "" {
		return protocol.Reply{}, eureka.FieldError("channel", "is missing")
	}
	filter, err := f.FilterText()
	if err != nil {
		return protocol.Reply{}, err
	}
	since, err := f.SinceText()
	if err != nil {
		return protocol.Reply{}, err
	}
	socket, err := c.ownSocket(ctx, r)
	if err != nil {
		return protocol.Reply{}, err
	}
	t, began, err := c.subscribe(ctx, r.Identity, &socket, asked{f.Channel, since, filter})
	if err != nil {
		return protocol.Reply{}, err
	}
	return c.subscribedReply(ctx, f.Channel, t, began, since != ""), nil
}

// subscribedReply tells how a subscription began: where, and for a resume whether everything missed follows.
func (c *Core) subscribedReply(ctx context.Context, name string, t target, began eureka.Subscribed, resumes bool) protocol.Reply {
	data := struct {
		Cursor      string `json:"cursor,omitempty"`
		Recovered   *bool  `json:"recovered,omitempty"`
		Subscribers *int   `json:"subscribers,omitempty"`
	}{Cursor: began.Cursor.String()}
	if resumes {
		data.Recovered = &began.Recovered
	}
	if t.presence {
		data.Subscribers = c.countOne(ctx, t.id)
	}
	text, err := json.Marshal(data)
	if err != nil {
		text = []byte(`{}`) // cannot be: the fields are plain
	}
	return protocol.Reply{Action: protocol.ReplySubscribed, Channel: name, Data: text}
}

// asked is a subscription as a client asks for it.
type asked struct {
	name   string
	since  string // the cursor to resume from, "" for none
	filter string // a rule, "" for none
}

// subscribe adds one subscription to a socket, tells the channel, and keeps socket.Subscriptions up to date.
func (c *Core) subscribe(ctx context.Context, who eureka.Identity, socket *eureka.Socket, a asked) (t target, began eureka.Subscribed, err error) {
	if t, err = c.reach(ctx, who, eureka.ScopeSubscribe, a.name); err != nil {
		return t, began, err
	}
	sub := eureka.Subscription{SocketID: socket.ID, ChannelID: t.id, Name: a.name, SubscribedAt: c.nowMillis()}
	if sub.Filter, err = c.filterFor(who, t, a.name, a.filter); err != nil {
		return t, began, err
	}
	if a.since != "" {
		if sub.Since, err = eureka.ParseCursor("since", a.since); err != nil {
			return t, began, err
		}
	}
	at := -1
	for i := range socket.Subscriptions {
		if socket.Subscriptions[i].ChannelID == t.id {
			at = i
		}
	}
	if at < 0 && len(socket.Subscriptions) >= c.maxSubscriptions {
		c.limited("max_subscriptions")
		return t, began, eureka.Errorf(eureka.CodeInvalid, "a socket may listen to %d channels (setting max_subscriptions)", c.maxSubscriptions)
	}
	if began, err = c.ports.Sockets.Subscribe(ctx, sub); err != nil {
		return t, began, err
	}
	if at >= 0 {
		socket.Subscriptions[at] = sub
		return t, began, nil
	}
	socket.Subscriptions = append(socket.Subscriptions, sub)
	if t.presence {
		c.logFailed("join", socket.ID, c.announce(ctx, eureka.ActionJoin, t.id, *socket))
	}
	return t, began, nil
}

func (c *Core) frameUnsubscribe(ctx context.Context, r FrameRequest, f protocol.ClientFrame) (protocol.Reply, error) {
	if err := checkChannelName(f.Channel); err != nil {
		return protocol.Reply{}, err
	}
	socket, err := c.ownSocket(ctx, r)
	if err != nil {
		return protocol.Reply{}, err
	}
	// The name may have been freed or moved since the client subscribed, so its own list is asked first.
	id := ""
	for _, sub := range socket.Subscriptions {
		if sub.Name == f.Channel || sub.ChannelID == f.Channel {
			id = sub.ChannelID
		}
	}
	if id == "" {
		var t target
		t, err = c.resolve(ctx, f.Channel)
		id = t.id
	}
	if err == nil {
		err = c.ports.Sockets.Unsubscribe(ctx, r.SocketID, id)
	}
	if eureka.CodeOf(err) == eureka.CodeNotFound {
		// The same words whether there is such a channel or not: that is not for everybody to know.
		err = eureka.Errorf(eureka.CodeNotFound, "this socket is not subscribed to %q", f.Channel)
	}
	if err != nil {
		return protocol.Reply{}, err
	}
	c.logFailed("leave", socket.ID, c.announce(ctx, eureka.ActionLeave, id, socket))
	return protocol.Reply{Action: protocol.ReplyUnsubscribed, Channel: f.Channel}, nil
}

func (c *Core) framePublish(ctx context.Context, r FrameRequest, f protocol.ClientFrame) (protocol.Reply, error) {
	request := PublishRequest{Channel: f.Channel, Event: f.Event, Data: f.Data}
	if f.NoEcho {
		request.Except = []string{r.SocketID}
	}
	if r.Publish != nil {
		if err := r.Publish(); err != nil {
			return protocol.Reply{}, err
		}
	}
	result, err := c.Publish(ctx, r.Identity, request)
	if err != nil {
		return protocol.Reply{}, err
	}
	data, err := json.Marshal(struct {
		ID       string `json:"id,omitempty"`
		Filtered bool   `json:"filtered,omitempty"`
	}{result.ID, result.Filtered})
	return protocol.Reply{Action: protocol.ReplyPublished, Channel: f.Channel, Data: data}, err
}

// presenceBytes bounds the list of a presence reply so that its frame stays under eureka.MaxFrameBytes; total tells how
// many there are.
const presenceBytes = eureka.MaxFrameBytes - 1024

func (c *Core) framePresence(ctx context.Context, r FrameRequest, f protocol.ClientFrame) (protocol.Reply, error) {
	t, err := c.reach(ctx, r.Identity, eureka.ScopeSubscribe, f.Channel)
	if err != nil {
		return protocol.Reply{}, err
	}
	if !t.presence {
		return protocol.Reply{}, eureka.Errorf(eureka.CodeForbidden,
			"channel %q does not share who listens; create or update it with \"presence\": true", f.Channel)
	}
	page, err := c.ports.Sockets.List(ctx, eureka.SocketQuery{
		Channel: t.id, Asc: true, Paging: eureka.Paging{Limit: eureka.MaxLimit},
	})
	if err != nil {
		return protocol.Reply{}, err
	}
	list, size := make([]json.RawMessage, 0, len(page.Items)), 0
	for _, s := range page.Items {
		item, err := json.Marshal(member{ID: s.ID, User: s.User, ConnectedAt: s.ConnectedAt})
		if err != nil {
			return protocol.Reply{}, err
		}
		if size += len(item) + 1; size > presenceBytes {
			break
		}
		list = append(list, item)
	}
	data, err := json.Marshal(struct {
		Total int               `json:"total"`
		List  []json.RawMessage `json:"list"`
	}{page.Total, list})
	if err != nil {
		return protocol.Reply{}, err
	}
	return protocol.Reply{Action: protocol.ActionPresence, Channel: f.Channel, Data: data}, nil
}

// ownSocket returns the socket that a frame came from; the socket may have ended while its frame was on the way.
func (c *Core) ownSocket(ctx context.Context, r FrameRequest) (eureka.Socket, error) {
	socket, err := c.socket(ctx, r.SocketID)
	if eureka.CodeOf(err) == eureka.CodeNotFound {
		return socket, eureka.Errorf(eureka.CodeGone, "this socket has ended")
	}
	return socket, err
}

// logFailed notes that a join or leave could not be told; the subscription itself stands.
func (c *Core) logFailed(what, socketID string, err error) {
	if err != nil {
		c.log.Warn("presence could not be announced", slog.String("what", what), slog.String("socket", socketID), slog.Any("error", err))
	}
}

// infoData is what the info frame says of a socket. connectionId repeats id for the original's clients.
func infoData(s eureka.Socket) json.RawMessage {
	names := make([]string, 0, len(s.Subscriptions))
	for _, sub := range s.Subscriptions {
		names = append(names, sub.Name)
	}
	data, err := json.Marshal(struct {
		ID           string   `json:"id"`
		ConnectionID string   `json:"connectionId"`
		ConnectedAt  int64    `json:"connectedAt"`
		User         string   `json:"user"`
		Channels     []string `json:"channels"`
		Node         string   `json:"node"`
		ReconnectBy  int64    `json:"reconnectBy,omitempty"`
	}{s.ID, s.ID, s.ConnectedAt, s.User, names, s.Node, s.ExpiresAt})
	if err != nil {
		return json.RawMessage(`{}`) // strings and numbers always encode
	}
	return data
}
