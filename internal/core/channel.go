package core

import (
	"context"
	"log/slog"

	"eureka"
)

// ChannelView is a channel with what is known about it at the moment.
type ChannelView struct {
	eureka.Channel
	// Subscribed is the number of live subscribers on all nodes; nil when a node that should say does not answer.
	Subscribed *int `json:"subscribed,omitempty"`
	// Messages is about how many messages the channel retains; nil without history, or when it cannot be told now.
	Messages *int `json:"messages,omitempty" doc:"About how many messages it retains; absent without history, or when that cannot be told now."`
	// LastError is the last failure of one of its rules that this process saw since they changed; nil for none, and for callers who do not manage channels.
	LastError *RuleFailure `json:"lastError,omitempty"`
}

// ChannelPatch changes the fields that are not nil.
type ChannelPatch struct {
	Alias, Service, ModelType, ModelID, Name, Desc *string
	Presence                                       *bool
	Filter, Transform                              *string
	Access                                         *AccessPatch
	History                                        **eureka.Retention // a nil *eureka.Retention switches history off
	Revision                                       uint64             // when not 0, the revision the caller saw: a newer one is CodeConflict
}

// AccessPatch changes the rules of access that are not nil.
type AccessPatch struct{ Subscribe, Publish *string }

// maxUpdateTries bounds how often an update without a revision is tried again after another writer came first.
const maxUpdateTries = 20

// CreateChannel declares a channel. An id of "" or "0" takes the next number.
func (c *Core) CreateChannel(ctx context.Context, who eureka.Identity, ch eureka.Channel) (ChannelView, error) {
	if err := c.may(who, eureka.ScopeManage); err != nil {
		return ChannelView{}, err
	}
	ch.History = withDefaults(ch.History)
	if ch.Access != nil && *ch.Access == (eureka.Access{}) {
		ch.Access = nil
	}
	if err := ch.Validate(); err != nil {
		return ChannelView{}, err
	}
	if err := c.checkRules(ch); err != nil {
		return ChannelView{}, err
	}
	now := c.nowMillis()
	ch.CreatedAt, ch.UpdatedAt, ch.DeletedAt, ch.Revision = now, now, 0, 0
	created, err := c.ports.Channels.Create(ctx, ch)
	if err != nil {
		return ChannelView{}, err
	}
	c.failures.forget(created.ID)
	if created.History != nil {
		c.forget(ctx, created.ID) // of a channel that had this id before
	}
	return c.view(ctx, created), nil
}

// Channel returns a declared channel by id or alias with its number of subscribers.
func (c *Core) Channel(ctx context.Context, who eureka.Identity, name string) (ChannelView, error) {
	manages := c.may(who, eureka.ScopeManage) == nil
	if !manages {
		if _, err := c.reach(ctx, who, eureka.ScopeSubscribe, name); err != nil {
			return ChannelView{}, err
		}
	}
	ch, err := c.channel(ctx, name)
	if err != nil {
		return ChannelView{}, err
	}
	view := c.view(ctx, ch)
	if !manages {
		view.LastError = nil // it quotes what a rule stumbled over, which may be what a transform leaves out
	}
	return view, nil
}

// UpdateChannel changes a channel's fields and returns it as it is then. Without a revision in the patch the last writer wins field by field.
// CodeUnavailable also when history was switched off and not removed: the same call again does the rest.
func (c *Core) UpdateChannel(ctx context.Context, who eureka.Identity, name string, p ChannelPatch) (ChannelView, error) {
	if err := c.may(who, eureka.ScopeManage); err != nil {
		return ChannelView{}, err
	}
	for try := 1; ; try++ {
		ch, err := c.channel(ctx, name)
		if err != nil {
			return ChannelView{}, err
		}
		if p.Revision != 0 && p.Revision != ch.Revision {
			return ChannelView{}, eureka.Errorf(eureka.CodeConflict, "channel %q is at revision %d, not %d; read it again", name, ch.Revision, p.Revision)
		}
		p.apply(&ch)
		ch.UpdatedAt = max(c.nowMillis(), ch.UpdatedAt)
		if err := ch.Validate(); err != nil {
			return ChannelView{}, err
		}
		if p.changesRules() {
			if err := c.checkRules(ch); err != nil {
				return ChannelView{}, err
			}
		}
		updated, err := c.ports.Channels.Update(ctx, ch)
		switch {
		case err == nil:
			return c.updated(ctx, p, updated)
		case eureka.CodeOf(err) != eureka.CodeConflict || p.Revision != 0 || try == maxUpdateTries || !c.moved(ctx, ch):
			return ChannelView{}, err
		}
	}
}

// updated does what follows from a change that was made.
func (c *Core) updated(ctx context.Context, p ChannelPatch, ch eureka.Channel) (ChannelView, error) {
	if p.changesRules() {
		c.failures.forget(ch.ID)
	}
	if p.History != nil && ch.History == nil {
		// Were it switched on again, what was published in between would be a hole that nobody notices.
		if err := c.ports.History.Forget(context.WithoutCancel(ctx), ch.ID); err != nil {
			return ChannelView{}, eureka.WrapError(eureka.CodeUnavailable, err, "history is switched off, but what was retained could not be removed; try again")
		}
	}
	return c.view(ctx, ch), nil
}

// moved reports whether another writer changed the channel since it was read; a conflict without that is about the alias and stays.
func (c *Core) moved(ctx context.Context, ch eureka.Channel) bool {
	now, err := c.ports.Channels.Get(ctx, ch.ID)
	return err != nil || now.Revision != ch.Revision
}

// DeleteChannel deletes a channel by id or alias and returns it as it was, with DeletedAt set.
func (c *Core) DeleteChannel(ctx context.Context, who eureka.Identity, name string) (ChannelView, error) {
	if err := c.may(who, eureka.ScopeManage); err != nil {
		return ChannelView{}, err
	}
	ch, err := c.channel(ctx, name)
	if err != nil {
		return ChannelView{}, err
	}
	view := c.view(ctx, ch)
	deleted, err := c.ports.Channels.Delete(ctx, ch.ID, c.nowMillis())
	if err != nil {
		return ChannelView{}, err
	}
	if deleted.History != nil {
		c.forget(ctx, deleted.ID)
	}
	view.Channel = deleted
	return view, nil
}

// ListChannels returns the declared channels a query selects, with their numbers of subscribers.
func (c *Core) ListChannels(ctx context.Context, who eureka.Identity, q eureka.ChannelQuery) (eureka.Page[ChannelView], error) {
	if err := c.may(who, eureka.ScopeManage); err != nil {
		return eureka.Page[ChannelView]{}, err
	}
	if err := q.Validate(); err != nil {
		return eureka.Page[ChannelView]{}, err
	}
	page, err := c.ports.Channels.List(ctx, q)
	if err != nil {
		return eureka.Page[ChannelView]{}, err
	}
	ids := make([]string, 0, len(page.Items))
	for _, ch := range page.Items {
		ids = append(ids, ch.ID)
	}
	counts, err := c.count(ctx, ids)
	if err != nil {
		c.log.Warn("subscribers could not be counted", slog.Any("error", err))
	}
	retained := c.retained(ctx, page.Items)
	views := make([]ChannelView, 0, len(page.Items))
	for _, ch := range page.Items {
		view := ChannelView{Channel: ch, Messages: retained[ch.ID], LastError: c.failures.of(ch.ID)}
		if err == nil {
			n := counts[ch.ID]
			view.Subscribed = &n
		}
		views = append(views, view)
	}
	return eureka.Page[ChannelView]{Total: page.Total, Items: views, Next: page.Next}, nil
}

func (c *Core) view(ctx context.Context, ch eureka.Channel) ChannelView {
	return ChannelView{Channel: ch, Subscribed: c.countOne(ctx, ch.ID), Messages: c.retained(ctx, []eureka.Channel{ch})[ch.ID], LastError: c.failures.of(ch.ID)}
}

// retained returns how many messages the channels with history retain, of which that is known now.
func (c *Core) retained(ctx context.Context, channels []eureka.Channel) map[string]*int {
	counter, ok := c.ports.History.(eureka.MessageCounter)
	keeping := make([]eureka.Channel, 0, len(channels))
	for _, ch := range channels {
		if ch.History != nil {
			keeping = append(keeping, ch)
		}
	}
	if !ok || len(keeping) == 0 {
		return nil
	}
	counts, err := counter.CountMessages(ctx, keeping)
	if err != nil {
		c.log.Warn("retained messages could not be counted", slog.Any("error", err))
		return nil
	}
	known := make(map[string]*int, len(counts))
	for id, n := range counts {
		known[id] = &n
	}
	return known
}

func (c *Core) channel(ctx context.Context, name string) (eureka.Channel, error) {
	if err := checkChannelName(name); err != nil {
		return eureka.Channel{}, err
	}
	ch, err := c.ports.Channels.Get(ctx, name)
	if eureka.CodeOf(err) == eureka.CodeNotFound {
		return eureka.Channel{}, eureka.Errorf(eureka.CodeNotFound, "there is no channel %q", name)
	}
	return ch, err
}

// countOne returns a channel's number of subscribers, nil when it cannot be known now.
func (c *Core) countOne(ctx context.Context, id string) *int {
	counts, err := c.count(ctx, []string{id})
	if err != nil {
		c.log.Warn("subscribers could not be counted", slog.String("channel", id), slog.Any("error", err))
		return nil
	}
	n := counts[id]
	return &n
}

func (c *Core) count(ctx context.Context, ids []string) (map[string]int, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	if counter, ok := c.ports.Sockets.(eureka.SubscriberCounter); ok {
		return counter.CountSubscribers(ctx, ids)
	}
	counts := make(map[string]int, len(ids))
	for _, id := range ids {
		page, err := c.ports.Sockets.List(ctx, eureka.SocketQuery{Channel: id, Paging: eureka.Paging{Limit: -1}})
		if err != nil {
			return nil, err
		}
		counts[id] = page.Total
	}
	return counts, nil
}

func (p ChannelPatch) apply(ch *eureka.Channel) {
	for _, f := range []struct{ from, to *string }{
		{p.Alias, &ch.Alias},
		{p.Service, &ch.Service},
		{p.ModelType, &ch.ModelType},
		{p.ModelID, &ch.ModelID},
		{p.Name, &ch.Name},
		{p.Desc, &ch.Desc},
		{p.Filter, &ch.Filter},
		{p.Transform, &ch.Transform},
	} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	if p.Presence != nil {
		ch.Presence = *p.Presence
	}
	if p.Access != nil {
		ch.Access = p.Access.applied(accessOf(*ch))
	}
	if p.History != nil {
		ch.History = withDefaults(*p.History)
	}
}

// applied returns the rules of access as they are then, nil for none.
func (p AccessPatch) applied(a eureka.Access) *eureka.Access {
	if p.Subscribe != nil {
		a.Subscribe = *p.Subscribe
	}
	if p.Publish != nil {
		a.Publish = *p.Publish
	}
	if a == (eureka.Access{}) {
		return nil
	}
	return &a
}

func (p ChannelPatch) changesRules() bool {
	return p.Filter != nil || p.Transform != nil || p.Access != nil
}

func withDefaults(r *eureka.Retention) *eureka.Retention {
	if r == nil {
		return nil
	}
	full := r.WithDefaults()
	return &full
}
