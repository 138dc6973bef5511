package core

import (
	"context"
	"encoding/json"
	"slices"

	"eureka"
	"eureka/internal/protocol"
)

// frameRefresh gives a socket a new credential of the same user. What it listens to stays as far as the new credential covers it.
func (c *Core) frameRefresh(ctx context.Context, r FrameRequest, f protocol.ClientFrame) (protocol.Reply, *eureka.Identity, error) {
	switch {
	case c.verify == nil:
		return protocol.Reply{}, nil, eureka.Errorf(eureka.CodeForbidden, "the service has no authentication: there is nothing to refresh")
	case f.Token == "":
		return protocol.Reply{}, nil, eureka.FieldError("token", "is missing")
	}
	fresh, err := c.verify(ctx, f.Token)
	if err != nil {
		return protocol.Reply{}, nil, err
	}
	if fresh.User != r.Identity.User {
		return protocol.Reply{}, nil, eureka.Errorf(eureka.CodeForbidden, "the token belongs to another user; connect anew to change the user")
	}
	socket, err := c.ownSocket(ctx, r)
	if err != nil {
		return protocol.Reply{}, nil, err
	}
	if err := c.dropUncovered(ctx, r.Identity, fresh, socket); err != nil {
		return protocol.Reply{}, nil, err
	}
	if keeper, keeps := c.ports.Sockets.(eureka.SocketIdentities); keeps {
		if err := keeper.SetIdentity(ctx, r.SocketID, fresh); err != nil {
			return protocol.Reply{}, nil, err
		}
	}
	data, err := json.Marshal(struct {
		ExpiresAt int64 `json:"expiresAt,omitempty"`
	}{fresh.ExpiresAt})
	return protocol.Reply{Action: protocol.ReplyRefreshed, Data: data}, &fresh, err
}

// dropUncovered ends the subscriptions that a socket's new credential does not cover, and those whose filters it changes: what the client itself asked
// for is part of the filter that they have, and with its last cursor it can subscribe again without a hole. The socket is told of each. Where that cannot
// be found out nothing is ended, and the error refuses the new credential.
func (c *Core) dropUncovered(ctx context.Context, before, who eureka.Identity, socket eureka.Socket) error {
	denials := make(map[string]error)
	for _, sub := range socket.Subscriptions {
		// By its channel and not by the name that the client used: that may be another channel's by now.
		switch t, err := c.reach(ctx, who, eureka.ScopeSubscribe, sub.ChannelID); eureka.CodeOf(err) {
		case "", eureka.CodeNotFound:
			names := []string{sub.ChannelID, t.alias, sub.Name}
			if !slices.Equal(before.Filters(names...), who.Filters(names...)) {
				denials[sub.ChannelID] = eureka.Errorf(eureka.CodeGone, "the new token has other filters for this channel; subscribe again, from your last cursor")
			}
		case eureka.CodeForbidden:
			denials[sub.ChannelID] = err
		default:
			return err
		}
	}
	for _, sub := range socket.Subscriptions {
		denied := denials[sub.ChannelID]
		if denied == nil {
			continue
		}
		if err := c.ports.Sockets.Unsubscribe(ctx, socket.ID, sub.ChannelID); err != nil && eureka.CodeOf(err) != eureka.CodeNotFound {
			return err
		}
		c.logFailed("leave", socket.ID, c.announce(ctx, eureka.ActionLeave, sub.ChannelID, socket))
		frame := protocol.EncodeError(nil, sub.Name, denied)
		if err := c.ports.Sender.Send(ctx, socket.ID, frame); err != nil && eureka.CodeOf(err) != eureka.CodeGone {
			return err
		}
	}
	return nil
}
