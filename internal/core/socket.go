package core

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	"eureka"
	"eureka/internal/protocol"
)

// Disconnect forgets a socket that has ended, however it ended, and tells its presence channels. Calling it again is
// harmless. code is what ended it (eureka.CloseAbnormal when the connection just broke).
func (c *Core) Disconnect(ctx context.Context, socketID string, code eureka.CloseCode, reason string) error {
	socket, err := c.ports.Sockets.Remove(ctx, socketID)
	if eureka.CodeOf(err) == eureka.CodeNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	c.log.Debug("socket ended", slog.String("socket", socketID), slog.String("user", socket.User),
		slog.Int("code", int(code)), slog.String("reason", reason))
	var errs []error
	for _, sub := range socket.Subscriptions {
		errs = append(errs, c.announce(ctx, eureka.ActionLeave, sub.ChannelID, socket))
	}
	return errors.Join(errs...)
}

// Socket returns one live socket, CodeNotFound without one.
func (c *Core) Socket(ctx context.Context, who eureka.Identity, id string) (eureka.Socket, error) {
	if err := c.may(who, eureka.ScopeManage); err != nil {
		return eureka.Socket{}, err
	}
	return c.socket(ctx, id)
}

func (c *Core) socket(ctx context.Context, id string) (eureka.Socket, error) {
	q := eureka.SocketQuery{ID: id, Paging: eureka.Paging{Limit: 1}}
	if id == "" {
		return eureka.Socket{}, eureka.FieldError("id", "is empty")
	}
	if err := q.Validate(); err != nil {
		return eureka.Socket{}, err
	}
	page, err := c.ports.Sockets.List(ctx, q)
	if err != nil {
		return eureka.Socket{}, err
	}
	if len(page.Items) == 0 {
		return eureka.Socket{}, eureka.Errorf(eureka.CodeNotFound, "there is no socket %q", id)
	}
	return page.Items[0], nil
}

// ListSockets returns the sockets a query selects; q.Channel may be a channel's id, alias or undeclared name.
func (c *Core) ListSockets(ctx context.Context, who eureka.Identity, q eureka.SocketQuery) (eureka.Page[eureka.Socket], error) {
	if err := c.may(who, eureka.ScopeManage); err != nil {
		return eureka.Page[eureka.Socket]{}, err
	}
	if err := q.Validate(); err != nil {
		return eureka.Page[eureka.Socket]{}, err
	}
	if q.Channel != "" {
		target, err := c.resolve(ctx, q.Channel)
		if err != nil {
			return eureka.Page[eureka.Socket]{}, err
		}
		q.Channel = target.id
	}
	return c.ports.Sockets.List(ctx, q)
}

// SendFrame queues text as it stands for one socket, as API Gateway's @connections does. CodeGone when the socket has
// ended, CodeTooLarge over eureka.MaxFrameBytes, CodeInvalid when it is not UTF-8.
func (c *Core) SendFrame(ctx context.Context, who eureka.Identity, id string, text []byte) error {
	if err := c.may(who, eureka.ScopeManage); err != nil {
		return err
	}
	if err := checkText(text); err != nil {
		return err
	}
	return c.ports.Sender.Send(ctx, id, text)
}

// SendToSocket sends a message frame without a channel to one socket. CodeGone when the socket has ended.
func (c *Core) SendToSocket(ctx context.Context, who eureka.Identity, id string, d Direct) error {
	if err := c.may(who, eureka.ScopeManage); err != nil {
		return err
	}
	frame, err := c.directFrame(d)
	if err != nil {
		return err
	}
	return c.ports.Sender.Send(ctx, id, frame)
}

// SendToUser sends a message frame without a channel to every socket of a user and returns how many got it. When a socket
// could not be reached for another reason than its end, the others are served and the error is returned with the count.
func (c *Core) SendToUser(ctx context.Context, who eureka.Identity, user string, d Direct) (int, error) {
	if err := c.may(who, eureka.ScopeManage); err != nil {
		return 0, err
	}
	frame, err := c.directFrame(d)
	if err != nil {
		return 0, err
	}
	if user == "" {
		return 0, eureka.FieldError("user", "is empty")
	}
	q := eureka.SocketQuery{User: user, Asc: true, Paging: eureka.Paging{Limit: eureka.MaxLimit}}
	if err := q.Validate(); err != nil {
		return 0, err
	}
	sent := 0
	var failed error
	for {
		page, err := c.ports.Sockets.List(ctx, q)
		if err != nil {
			return sent, err
		}
		for _, s := range page.Items {
			switch err := c.ports.Sender.Send(ctx, s.ID, frame); {
			case err == nil:
				sent++
			case eureka.CodeOf(err) != eureka.CodeGone:
				failed = err
			}
		}
		if page.Next == "" {
			return sent, failed
		}
		q.After = page.Next
	}
}

// Kick ends a socket with a bye frame and CloseKicked, and returns it as it was. CodeNotFound when there is no such socket.
func (c *Core) Kick(ctx context.Context, who eureka.Identity, id, reason string) (eureka.Socket, error) {
	if err := c.may(who, eureka.ScopeManage); err != nil {
		return eureka.Socket{}, err
	}
	socket, err := c.socket(ctx, id)
	if err != nil {
		return eureka.Socket{}, err
	}
	if reason == "" {
		reason = "disconnected by an operator"
	}
	if err := checkReason(reason); err != nil {
		return eureka.Socket{}, err
	}
	if err := c.ports.Sender.Close(ctx, id, eureka.CloseKicked, reason); err != nil {
		if eureka.CodeOf(err) == eureka.CodeGone {
			return eureka.Socket{}, eureka.Errorf(eureka.CodeNotFound, "there is no socket %q", id)
		}
		return eureka.Socket{}, err
	}
	return socket, nil
}

func (c *Core) directFrame(d Direct) ([]byte, error) {
	m, err := c.message(d.Event, d.Data)
	if err != nil {
		return nil, err
	}
	body, err := protocol.MessageBody(m)
	if err != nil {
		return nil, err
	}
	return protocol.AppendMessage(nil, "", body), nil
}

// announce tells the subscribers of a channel with presence that a socket joined or left. The socket itself does not hear it.
func (c *Core) announce(ctx context.Context, action, channelID string, socket eureka.Socket) error {
	ch, err := c.ports.Channels.Get(ctx, channelID)
	if eureka.CodeOf(err) == eureka.CodeNotFound || (err == nil && !ch.Presence) {
		return nil
	}
	if err != nil {
		return err
	}
	data, err := json.Marshal(member{ID: socket.ID, User: socket.User})
	if err != nil {
		return err
	}
	_, err = c.ports.Fanout.Deliver(ctx, eureka.Message{
		ChannelID: ch.ID, Action: action, Data: data, Except: []string{socket.ID},
	})
	return err
}

// member is one subscriber as others see it.
type member struct {
	ID          string `json:"id"`
	User        string `json:"user"`
	ConnectedAt int64  `json:"connectedAt,omitempty"`
}
