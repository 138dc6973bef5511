package httpapi

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"eureka"
	"eureka/internal/core"
)

// SocketView is a socket as the API shows it.
type SocketView struct {
	ID           string   `json:"id"`
	ConnectionID string   `json:"connectionId" doc:"The id again, under the original's name."`
	User         string   `json:"user,omitempty" doc:"Who it belongs to; absent when nobody said."`
	Node         string   `json:"node" doc:"The node that holds it."`
	Remote       string   `json:"remote,omitempty" doc:"The client's address."`
	Origin       string   `json:"origin,omitempty" doc:"The browser page's origin."`
	Agent        string   `json:"agent,omitempty" doc:"The client's user agent."`
	ConnectedAt  int64    `json:"connectedAt" doc:"Epoch milliseconds."`
	ReconnectBy  int64    `json:"reconnectBy,omitempty" doc:"When the service will close it because of its age."`
	Channels     []string `json:"channels" doc:"What it listens to, by the names it used."`
}

// MessageBody is a message for sockets.
type MessageBody struct {
	Data  json.RawMessage `json:"data" doc:"Any JSON value."`
	Event string          `json:"event,omitempty" example:"message" doc:"What happened; message by default."`
}

// Delivered says how many sockets got a message.
type Delivered struct {
	Delivered int `json:"delivered" doc:"Sockets that it was handed to."`
}

// SocketPath names a socket.
type SocketPath struct {
	ID string `path:"id" doc:"The socket's id."`
}

type listSockets struct {
	ListQuery
	Sort    string `query:"sort" example:"connectedAt:desc" doc:"connectedAt:asc or connectedAt:desc, the default."`
	User    string `query:"user" doc:"Sockets of this user."`
	Channel string `query:"channel" doc:"Subscribers of this channel, by id or alias."`
}

type listSubscribers struct {
	ChannelPath
	ListQuery
	Sort string `query:"sort" example:"connectedAt:desc" doc:"connectedAt:asc or connectedAt:desc, the default."`
}

type sendToSocket struct {
	SocketPath
	Body MessageBody
}

type sendToUser struct {
	User string `path:"user" doc:"The user's name."`
	Body MessageBody
}

func (a *api) socketOperations(h huma.API) {
	handle(h, operation("list-sockets", http.MethodGet, "/sockets", "sockets", "List live sockets on all nodes"), a.listSockets)
	handle(h, operation("show-socket", http.MethodGet, "/sockets/{id}", "sockets", "Read a live socket"), a.showSocket)
	kick := operation("disconnect-socket", http.MethodDelete, "/sockets/{id}", "sockets", "Disconnect a socket")
	kick.DefaultStatus = http.StatusOK
	handle(h, kick, a.disconnectSocket)
	send := operation("send-to-socket", http.MethodPost, "/sockets/{id}/send", "sockets", "Send a message to one socket")
	send.DefaultStatus = http.StatusOK
	send.Errors = append(send.Errors, http.StatusGone, http.StatusRequestEntityTooLarge)
	handle(h, send, a.sendToSocket)
	user := operation("send-to-user", http.MethodPost, "/users/{user}/send", "sockets", "Send a message to all sockets of a user")
	user.DefaultStatus = http.StatusOK
	user.Errors = append(user.Errors, http.StatusRequestEntityTooLarge)
	handle(h, user, a.sendToUser)
	handle(h, operation("list-subscribers", http.MethodGet, "/channels/{id}/sockets", "channels", "List the sockets that listen to a channel"), a.listSubscribers)
}

func (a *api) listSockets(ctx context.Context, in *listSockets) (List[SocketView], error) {
	return a.socketList(ctx, eureka.SocketQuery{User: in.User, Channel: in.Channel, Paging: in.paging()}, in.Sort)
}

func (a *api) listSubscribers(ctx context.Context, in *listSubscribers) (List[SocketView], error) {
	return a.socketList(ctx, eureka.SocketQuery{Channel: in.ID, Paging: in.paging()}, in.Sort)
}

func (a *api) socketList(ctx context.Context, q eureka.SocketQuery, sort string) (List[SocketView], error) {
	order, err := sorting(sort)
	if err != nil {
		return List[SocketView]{}, err
	}
	if order.Field != "" && order.Field != "connectedAt" {
		return List[SocketView]{}, eureka.FieldError("sort", "cannot sort by %q; choose connectedAt", order.Field)
	}
	q.Asc = order.Field != "" && !order.Desc
	page, err := a.core.ListSockets(ctx, who(ctx), q)
	if err != nil {
		return List[SocketView]{}, err
	}
	return listOf(q.Paging, page, socketView), nil
}

func (a *api) showSocket(ctx context.Context, in *SocketPath) (SocketView, error) {
	s, err := a.core.Socket(ctx, who(ctx), in.ID)
	return socketView(s), err
}

func (a *api) disconnectSocket(ctx context.Context, in *SocketPath) (SocketView, error) {
	s, err := a.core.Kick(ctx, who(ctx), in.ID, "")
	return socketView(s), err
}

func (a *api) sendToSocket(ctx context.Context, in *sendToSocket) (Delivered, error) {
	err := a.core.SendToSocket(ctx, who(ctx), in.ID, core.Direct{Event: in.Body.Event, Data: in.Body.Data})
	return Delivered{1}, err
}

func (a *api) sendToUser(ctx context.Context, in *sendToUser) (Delivered, error) {
	n, err := a.core.SendToUser(ctx, who(ctx), in.User, core.Direct{Event: in.Body.Event, Data: in.Body.Data})
	return Delivered{n}, err
}

func socketView(s eureka.Socket) SocketView {
	v := SocketView{
		ID: s.ID, ConnectionID: s.ID, User: s.User, Node: s.Node, Remote: s.Remote, Origin: s.Origin, Agent: s.Agent,
		ConnectedAt: s.ConnectedAt, ReconnectBy: s.ExpiresAt, Channels: make([]string, 0, len(s.Subscriptions)),
	}
	for _, sub := range s.Subscriptions {
		v.Channels = append(v.Channels, sub.Name)
	}
	return v
}
