package core

import (
	"context"

	"eureka"
)

// may returns nil when the identity has the scope now.
func (c *Core) may(who eureka.Identity, scope eureka.Scope) error {
	return who.Can(scope, c.nowMillis())
}

// reach resolves a channel's name for an identity that must have the scope for it, and may subscribe as the channel's rule says when that is the
// scope; the rule on publishing needs the message. An identity without that learns nothing about the channel, not
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
	if err == nil && scope == eureka.ScopeSubscribe {
		err = c.mayListen(who, t)
	}
	return t, err
}

// reachEvent checks that an identity may report an event: it must cover each name that the event goes to, which are the channel that
// the event names, service:modelType and service:modelType:modelId.
func (c *Core) reachEvent(ctx context.Context, who eureka.Identity, ev eureka.Event) error {
	if ev.ChannelID != "" {
		if _, err := c.reach(ctx, who, eureka.ScopePublish, ev.ChannelID); err != nil {
			return err
		}
	}
	if ev.Service == "" || ev.ModelType == "" {
		return nil
	}
	// Not eureka.ModelName: that a name is too long for a channel of its own does not keep the event from those of its model.
	names := []string{ev.Service + ":" + ev.ModelType}
	if ev.ModelID != "" {
		names = append(names, names[0]+":"+ev.ModelID)
	}
	for _, name := range names {
		err := who.CanReach(eureka.ScopePublish, c.nowMillis(), name)
		if eureka.CodeOf(err) == eureka.CodeForbidden && who.Scopes&eureka.ScopePublish != 0 {
			return eureka.Errorf(eureka.CodeForbidden, "the event goes to the channels of %q, which the credential does not cover", clip(name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
