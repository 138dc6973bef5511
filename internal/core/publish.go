package core

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"eureka"
	"eureka/internal/protocol"
)

// PublishRequest is one message for one channel.
type PublishRequest struct {
	Channel string // id, alias or, where allowed, an undeclared id
	Event   string // "" means eureka.DefaultEvent
	Data    json.RawMessage
	Except  []string // socket ids that do not get it
	Counted bool     // fill PublishResult.Delivered
	Key     string   // the same key within five minutes publishes once and gets the same result; "" for none
}

// PublishResult is what became of a publish.
type PublishResult struct {
	Channel   string `json:"channel"`      // the channel's id
	ID        string `json:"id,omitempty"` // the message's cursor, on a channel with history
	Delivered int    `json:"delivered"`    // sockets the message was handed to or is under way to, when the request was Counted
	// Unknown says that workers deliver the message, and that nobody knows yet to how many; Delivered is 0.
	Unknown bool `json:"unknown,omitempty"`
	// Filtered says that the message does not come to the channel: its filter does not pass it, or one of its rules failed on it.
	Filtered bool `json:"filtered,omitempty"`
}

// Publish delivers one message to the subscribers of a channel.
func (c *Core) Publish(ctx context.Context, who eureka.Identity, r PublishRequest) (PublishResult, error) {
	t, err := c.reach(ctx, who, eureka.ScopePublish, r.Channel)
	if err != nil {
		return PublishResult{}, err
	}
	if err := CheckKey("Idempotency-Key", r.Key); err != nil {
		return PublishResult{}, err
	}
	if err := checkExcept(r.Except); err != nil {
		return PublishResult{}, err
	}
	m, err := c.message(r.Event, r.Data)
	if err != nil {
		return PublishResult{}, err
	}
	if err := c.mayPublish(who, t, m); err != nil {
		return PublishResult{}, err
	}
	m.ChannelID, m.Except, m.Counted, m.Retention = t.id, r.Except, r.Counted, t.history
	request := ""
	if r.Key != "" {
		m.Key = onceKey("publish", who.User, t.id, r.Key)
		request = fingerprint([]any{m.Event, m.Data, m.Except})
	}
	return once(ctx, c, m.Key, request, func(ctx context.Context) (PublishResult, error) {
		m, ok := c.rewrite(c.rules.On(eureka.RuleSubject{Facts: m.Facts()}), t, m)
		if !ok {
			return PublishResult{Channel: t.id, Filtered: true}, nil
		}
		d, err := c.ports.Fanout.Deliver(ctx, m)
		if err != nil {
			return PublishResult{}, err
		}
		return PublishResult{Channel: t.id, ID: d.Cursor.String(), Delivered: d.Sent + d.Deferred, Unknown: d.Unknown}, nil
	})
}

// Direct is a message for sockets rather than a channel.
type Direct struct {
	Event string // "" means eureka.DefaultEvent
	Data  json.RawMessage
}

// RouteResult says where an event went.
type RouteResult struct {
	Channels []string `json:"channels"` // ids of the declared channels it was delivered on, and of the undeclared ones where someone listens
}

// Route delivers an event to every declared channel of its service, modelType and modelId, to the undeclared channels
// service:modelType and service:modelType:modelId, and to ev.ChannelID when it names one. A channel gets it once. When a
// delivery fails the others are made all the same and the error is returned, so that the reporter tries again: an event with an id then goes to those
// alone that did not take it, as far as this process remembers. Such an event is
// accepted once in five minutes for its service and the channel that it names, on all nodes, and gets the same result again; CodeConflict when the
// id came with another event.
func (c *Core) Route(ctx context.Context, who eureka.Identity, ev eureka.Event) (RouteResult, error) {
	return c.RouteKeyed(ctx, who, ev, "")
}

// RouteKeyed is Route for a request with an idempotency key of its sender's: an event without an id of its own is known by that, and CodeConflict when
// the key came with another event. The key is checked by the caller; "" is none.
func (c *Core) RouteKeyed(ctx context.Context, who eureka.Identity, ev eureka.Event, key string) (RouteResult, error) {
	if err := ev.Validate(); err != nil {
		return RouteResult{}, err
	}
	if err := c.reachEvent(ctx, who, ev); err != nil {
		return RouteResult{}, err
	}
	m, err := c.message(ev.Event, ev.Data)
	if err != nil {
		return RouteResult{}, err
	}
	if ev.TS != 0 {
		m.TS = ev.TS
	}
	m.Origin = eureka.Origin{Service: ev.Service, ModelType: ev.ModelType, ModelID: ev.ModelID}
	targets, err := c.targets(ctx, ev)
	if err != nil {
		return RouteResult{}, err
	}
	if targets, err = c.publishable(who, targets, ev, m); err != nil {
		return RouteResult{}, err
	}
	request := ""
	switch {
	case ev.ID != "":
		named := ""
		if ev.ChannelID != "" {
			named = targets[0].id // by whichever of its names
		}
		m.Key = onceKey("event", ev.Service, named, ev.ID)
		request = fingerprint([]any{ev.ModelType, ev.ModelID, m.Event, m.Data})
	case key != "":
		ev.Data = m.Data
		m.Key, request = onceKey("request", who.User, key), fingerprint(ev)
	}
	return once(ctx, c, m.Key, request, func(ctx context.Context) (RouteResult, error) {
		return c.deliverTo(ctx, targets, m, attempt{m.Key, request})
	})
}

// deliverTo delivers a message on each of the channels, but for those that took it when the same event was tried before.
func (c *Core) deliverTo(ctx context.Context, targets []target, m eureka.Message, a attempt) (RouteResult, error) {
	result := RouteResult{Channels: []string{}}
	var errs []error
	before := c.progress.begun(a, c.now())
	var took []string                                       // besides those before
	run := c.rules.On(eureka.RuleSubject{Facts: m.Facts()}) // one for all: the data is decoded once
	for _, t := range targets {
		if counts, had := before.counts[t.id]; had {
			if counts {
				result.Channels = append(result.Channels, t.id)
			}
			continue
		}
		m, ok := c.rewrite(run, t, m)
		if !ok {
			continue
		}
		// Only for an undeclared channel the number of listeners decides whether it counts as a channel at all.
		m.ChannelID, m.Counted, m.Retention = t.id, !t.declared, t.history
		d, err := c.ports.Fanout.Deliver(ctx, m)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		took = append(took, t.id)
		if t.declared || d.Unknown || d.Matched > 0 {
			result.Channels = append(result.Channels, t.id)
		}
	}
	if len(errs) > 0 {
		c.progress.failed(a, before, took, result.Channels)
	} else {
		c.progress.accepted(a)
	}
	return result, errors.Join(errs...)
}

// publishable leaves out the channels whose rule does not let the reporter publish the message; CodeForbidden when that is the channel that the event names.
func (c *Core) publishable(who eureka.Identity, targets []target, ev eureka.Event, m eureka.Message) ([]target, error) {
	allowed := make([]target, 0, len(targets))
	for i, t := range targets {
		err := c.mayPublish(who, t, m)
		if err != nil && ev.ChannelID != "" && i == 0 {
			return nil, err
		}
		if err == nil {
			allowed = append(allowed, t)
		}
	}
	return allowed, nil
}

// targets returns the channels an event goes to, each once.
func (c *Core) targets(ctx context.Context, ev eureka.Event) ([]target, error) {
	var targets []target
	add := func(t target) {
		if !slices.ContainsFunc(targets, func(o target) bool { return o.id == t.id }) {
			targets = append(targets, t)
		}
	}
	if ev.ChannelID != "" {
		t, err := c.resolve(ctx, ev.ChannelID)
		if err != nil {
			return nil, err
		}
		add(t)
	}
	if ev.Service == "" || ev.ModelType == "" {
		return targets, nil
	}
	known := len(targets)
	if err := c.declared(ctx, ev, func(ch eureka.Channel) {
		if known == 0 || targets[0].id != ch.ID {
			targets = append(targets, targetOf(ch))
		}
	}); err != nil {
		return nil, err
	}
	if !c.allowUndeclared {
		return targets, nil
	}
	for _, name := range []string{
		eureka.ModelName(ev.Service, ev.ModelType, ""),
		eureka.ModelName(ev.Service, ev.ModelType, ev.ModelID),
	} {
		if name == "" {
			continue
		}
		_, err := c.ports.Channels.Get(ctx, name)
		switch eureka.CodeOf(err) {
		case "": // declared: it is among the matches above, or belongs to another model
		case eureka.CodeNotFound:
			add(target{id: name})
		default:
			return nil, err
		}
	}
	return targets, nil
}

// declared calls found for each declared channel of the event's service and model, once: those without a model id and
// those with the event's.
func (c *Core) declared(ctx context.Context, ev eureka.Event, found func(eureka.Channel)) error {
	if index, ok := c.ports.Channels.(eureka.ModelChannels); ok {
		channels, err := index.ChannelsOf(ctx, eureka.Origin{Service: ev.Service, ModelType: ev.ModelType, ModelID: ev.ModelID})
		for _, ch := range channels {
			found(ch)
		}
		return err
	}
	conditions := []eureka.Condition{{Field: "modelId", Match: eureka.Missing}}
	if ev.ModelID != "" {
		conditions = append(conditions, eureka.Condition{Field: "modelId", Values: []string{ev.ModelID}})
	}
	for _, model := range conditions {
		q := eureka.ChannelQuery{
			Where: []eureka.Condition{
				{Field: "service", Values: []string{ev.Service}},
				{Field: "modelType", Values: []string{ev.ModelType}},
				model,
			},
			Sort:   eureka.Sort{Field: "id"},
			Paging: eureka.Paging{Limit: eureka.MaxLimit},
		}
		for {
			page, err := c.ports.Channels.List(ctx, q)
			if err != nil {
				return err
			}
			for _, ch := range page.Items {
				found(ch)
			}
			if page.Next == "" {
				break
			}
			q.After = page.Next
		}
	}
	return nil
}

// message checks and compacts what a publisher gave and stamps it.
func (c *Core) message(event string, data json.RawMessage) (eureka.Message, error) {
	if err := eureka.CheckEvent(event); err != nil {
		return eureka.Message{}, err
	}
	if len(data) == 0 {
		return eureka.Message{}, eureka.FieldError("data", "is missing")
	}
	if len(data) > eureka.MaxFrameBytes {
		return eureka.Message{}, &eureka.Error{
			Code: eureka.CodeTooLarge, Field: "data",
			Message: "data: makes a frame over the limit of 131072 bytes",
		}
	}
	compact, err := protocol.Compact("data", data)
	if err != nil {
		return eureka.Message{}, err
	}
	if event == "" {
		event = eureka.DefaultEvent
	}
	return eureka.Message{Action: eureka.ActionMessage, Event: event, Data: compact, TS: c.nowMillis()}, nil
}
