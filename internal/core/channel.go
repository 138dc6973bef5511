package core

import (
	"context"

	"eureka"
)

// ChannelView is a channel with what is known about it at the moment.
type ChannelView struct {
	eureka.Channel
	Subscribed int `json:"subscribed"` // live subscribers on all nodes
}

// ChannelPatch changes the fields that are not nil.
type ChannelPatch struct {
	Alias, Service, ModelType, ModelID, Name, Desc *string
	Presence                                       *bool
	Revision                                       uint64 // when not 0, the revision the caller saw: a newer one is CodeConflict
}

// CreateChannel declares a channel. An id of "" or "0" takes the next number.
func (c *Core) CreateChannel(ctx context.Context, who eureka.Identity, ch eureka.Channel) (ChannelView, error) {
	return ChannelView{}, nil
}

// Channel returns a declared channel by id or alias with its number of subscribers.
func (c *Core) Channel(ctx context.Context, who eureka.Identity, name string) (ChannelView, error) {
	return ChannelView{}, nil
}

// UpdateChannel changes a channel's fields and returns it as it is then.
func (c *Core) UpdateChannel(ctx context.Context, who eureka.Identity, name string, p ChannelPatch) (ChannelView, error) {
	return ChannelView{}, nil
}

// DeleteChannel deletes a channel by id or alias and returns it as it was, with DeletedAt set.
func (c *Core) DeleteChannel(ctx context.Context, who eureka.Identity, name string) (ChannelView, error) {
	return ChannelView{}, nil
}

// ListChannels returns the declared channels a query selects, with their numbers of subscribers.
func (c *Core) ListChannels(ctx context.Context, who eureka.Identity, q eureka.ChannelQuery) (eureka.Page[ChannelView], error) {
	return eureka.Page[ChannelView]{}, nil
}
