package core

import (
	"context"

	"eureka"
)

// may returns nil when the identity has the scope now.
func (c *Core) may(who eureka.Identity, scope eureka.Scope) error {
	return who.Can(scope, c.nowMillis())
}

// reach resolves a channel's name for an identity that must have the scope for it. An identity without that learns nothing about the channel, not
// even whether it exists.
func (c *Core) reach(ctx context.Context, who eureka.Identity, scope eureka.Scope, name string) (target, error) {
	if err := checkChannelName(name); err != nil {
		return target{}, err
	}
	if err := c.may(who, scope); err != nil {
		return target{}, err
	}
	t, err := c.resolve(ctx, name)
	if err != nil && eureka.CodeOf(err) != eureka.CodeNotFound {
		return target{}, err
	}
	if denied := who.CanReach(scope, c.nowMillis(), name, t.id, t.alias); denied != nil {
		return target{}, denied
	}
	return t, err
}

// reachEvent checks that an identity may report an event: its channels must cover service:modelType, service:modelType:modelId, or the
// channel that the event names.
func (c *Core) reachEvent(who eureka.Identity, ev eureka.Event) error {
	names := []string{ev.ChannelID, eureka.ModelName(ev.Service, ev.ModelType, ""), eureka.ModelName(ev.Service, ev.ModelType, ev.ModelID)}
	if ev.ChannelID != "" {
		// Naming a channel is a second way to reach one, so it is checked by itself.
		names = names[:1]
	}
	if names[0] == "" && names[1] == "" && names[2] == "" {
		names[1] = ev.Service + ":" + ev.ModelType // no channel has this name, but a pattern may cover it
	}
	return who.CanReach(eureka.ScopePublish, c.nowMillis(), names...)
}
