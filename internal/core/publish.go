package core

import (
	"context"
	"encoding/json"

	"eureka"
)

// PublishRequest is one message for one channel.
type PublishRequest struct {
	Channel string // id, alias or, where allowed, an undeclared id
	Event   string // "" means eureka.DefaultEvent
	Data    json.RawMessage
	Except  []string // socket ids that do not get it
	Counted bool     // fill PublishResult.Delivered
}

// PublishResult is what became of a publish.
type PublishResult struct {
	Channel   string // the channel's id
	Delivered int    // sockets the message was handed to, when the request was Counted
}

// Publish delivers one message to the subscribers of a channel.
func (c *Core) Publish(ctx context.Context, who eureka.Identity, r PublishRequest) (PublishResult, error) {
	return PublishResult{}, nil
}

// Direct is a message for sockets rather than a channel.
type Direct struct {
	Event string // "" means eureka.DefaultEvent
	Data  json.RawMessage
}

// RouteResult says where an event went.
type RouteResult struct {
	Channels  []string // ids of the channels it was delivered on
	Delivered int      // sockets it was handed to
}

// Route delivers an event to every declared channel of its service, modelType and modelId, to the undeclared channels
// service:modelType and service:modelType:modelId, and to ev.ChannelID when it names one.
func (c *Core) Route(ctx context.Context, who eureka.Identity, ev eureka.Event) (RouteResult, error) {
	return RouteResult{}, nil
}
