package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"eureka"
	"eureka/internal/core"
)

// ChannelBody is what a client may say of a channel. On an update a field that is absent stays and null clears it.
type ChannelBody struct {
	ID        string     `json:"id,omitempty" doc:"Must repeat the id of the path when present."`
	Alias     *string    `json:"alias,omitempty" nullable:"true" doc:"A second name. By default service:modelType[:modelId] when that is free."`
	Service   *string    `json:"service,omitempty" nullable:"true" example:"orders-api" doc:"The service whose events the channel carries."`
	ModelType *string    `json:"modelType,omitempty" nullable:"true" example:"order" doc:"The kind of model."`
	ModelID   *string    `json:"modelId,omitempty" nullable:"true" doc:"One model alone; absent for all of the type."`
	Name      *string    `json:"name,omitempty" nullable:"true" doc:"A name for people."`
	Desc      *string    `json:"desc,omitempty" nullable:"true" doc:"A description for people."`
	Presence  *bool      `json:"presence,omitempty" nullable:"true" doc:"Subscribers see who joins and leaves."`
	Filter    *string    `json:"filter,omitempty" nullable:"true" example:"data.total > 100" doc:"A rule (CEL, a bool): which messages come to the channel."`
	Transform *string    `json:"transform,omitempty" nullable:"true" example:"{'id': data.id, 'status': data.status}" doc:"A rule (CEL, any JSON value): what takes the place of a message's data. What it leaves out reaches nobody."`
	Access    *Access    `json:"access,omitempty" nullable:"true" doc:"Rules (CEL, bools) on who may use the channel; null for none."`
	History   *Retention `json:"history,omitempty" nullable:"true" doc:"What the channel retains; null for nothing."`
	Revision  *int64     `json:"revision,omitempty" minimum:"0" doc:"On an update: the revision that was read; a newer one is a conflict."`
}

// ChannelPath names a channel.
type ChannelPath struct {
	ID string `path:"id" example:"1000001" doc:"The channel's id or alias."`
}

type createChannel struct {
	ID   string       `path:"id" example:"0" doc:"0 for the next number, or an id of one's own."`
	Body *ChannelBody `doc:"May be empty."`
}

type updateChannel struct {
	ChannelPath
	Body    ChannelBody
	RawBody []byte
}

type listChannels struct {
	ListQuery
	RawQuery
	Sort      string `query:"sort" example:"createdAt:desc" doc:"field:asc or field:desc; createdAt:desc by default."`
	Q         string `query:"q" doc:"Free text: every word must occur."`
	ID        string `query:"id" doc:"Filter. For each filter: a value, several of them (repeat the parameter), nothing for missing, ! for present."`
	Alias     string `query:"alias" doc:"Filter."`
	Service   string `query:"service" doc:"Filter."`
	ModelType string `query:"modelType" doc:"Filter."`
	ModelID   string `query:"modelId" doc:"Filter."`
	Name      string `query:"name" doc:"Filter."`
	Desc      string `query:"desc" doc:"Filter."`
	Presence  string `query:"presence" doc:"Filter: true or false."`
	CreatedAt string `query:"createdAt" doc:"Filter."`
	UpdatedAt string `query:"updatedAt" doc:"Filter."`
}

type search struct {
	ListQuery
	Q    string `query:"q" required:"true" doc:"Free text: every word must occur."`
	Type string `query:"type" enum:"channel" default:"channel" doc:"What to search."`
}

func (a *api) channelOperations(h huma.API) {
	create := operation("create-channel", http.MethodPost, "/channels/{id}", "channels", "Create a channel")
	create.DefaultStatus = http.StatusOK // as the original answers
	create.Errors = append(create.Errors, http.StatusConflict)
	handle(h, create, a.createChannel)
	handle(h, operation("list-channels", http.MethodGet, "/channels", "channels", "List channels"), a.listChannels)
	handle(h, operation("show-channel", http.MethodGet, "/channels/{id}", "channels", "Read a channel"), a.showChannel)
	update := operation("update-channel", http.MethodPut, "/channels/{id}", "channels", "Change some of a channel's fields")
	update.Errors = append(update.Errors, http.StatusConflict)
	handle(h, update, a.updateChannel)
	remove := operation("delete-channel", http.MethodDelete, "/channels/{id}", "channels", "Delete a channel and end its subscriptions")
	remove.DefaultStatus = http.StatusOK
	handle(h, remove, a.deleteChannel)
	handle(h, operation("search", http.MethodGet, "/search", "channels", "Search channels by free text"), a.search)
}

func (a *api) createChannel(ctx context.Context, in *createChannel) (core.ChannelView, error) {
	ch := eureka.Channel{}
	if in.Body != nil {
		if in.Body.ID != "" && in.Body.ID != in.ID {
			return core.ChannelView{}, eureka.FieldError("id", "differs from the id of the path")
		}
		if in.Body.Revision != nil {
			return core.ChannelView{}, eureka.FieldError("revision", "belongs to an update")
		}
		p := in.Body.patch()
		history, err := in.Body.History.retention()
		if err != nil {
			return core.ChannelView{}, err
		}
		ch = eureka.Channel{
			History: history,
			Alias:   text(p.Alias), Service: text(p.Service), ModelType: text(p.ModelType), ModelID: text(p.ModelID),
			Name: text(p.Name), Desc: text(p.Desc), Presence: p.Presence != nil && *p.Presence,
			Filter: text(p.Filter), Transform: text(p.Transform), Access: in.Body.Access.rules(),
		}
	}
	ch.ID = in.ID
	return a.core.CreateChannel(ctx, who(ctx), ch)
}

func (a *api) listChannels(ctx context.Context, in *listChannels) (List[core.ChannelView], error) {
	sort, err := sorting(in.Sort)
	if err != nil {
		return List[core.ChannelView]{}, err
	}
	return a.channelList(ctx, eureka.ChannelQuery{
		Where: conditions(in.values, eureka.ChannelFilterFields), Text: in.Q, Sort: sort, Paging: in.paging(),
	})
}

func (a *api) search(ctx context.Context, in *search) (List[core.ChannelView], error) {
	return a.channelList(ctx, eureka.ChannelQuery{Text: in.Q, Paging: in.paging()})
}

func (a *api) channelList(ctx context.Context, q eureka.ChannelQuery) (List[core.ChannelView], error) {
	page, err := a.core.ListChannels(ctx, who(ctx), q)
	if err != nil {
		return List[core.ChannelView]{}, err
	}
	return listOf(q.Paging, page, func(v core.ChannelView) core.ChannelView { return v }), nil
}

func (a *api) showChannel(ctx context.Context, in *ChannelPath) (core.ChannelView, error) {
	return a.core.Channel(ctx, who(ctx), in.ID)
}

func (a *api) updateChannel(ctx context.Context, in *updateChannel) (core.ChannelView, error) {
	if in.Body.ID != "" && in.Body.ID != in.ID {
		return core.ChannelView{}, eureka.FieldError("id", "cannot be changed")
	}
	p := in.Body.patch()
	if in.Body.History != nil {
		history, err := in.Body.History.retention()
		if err != nil {
			return core.ChannelView{}, err
		}
		p.History = &history
	}
	cleared, err := nulls(in.RawBody)
	if err != nil {
		return core.ChannelView{}, err
	}
	p.clear(cleared)
	return a.core.UpdateChannel(ctx, who(ctx), in.ID, p.ChannelPatch)
}

func (a *api) deleteChannel(ctx context.Context, in *ChannelPath) (core.ChannelView, error) {
	return a.core.DeleteChannel(ctx, who(ctx), in.ID)
}

// patch is a core.ChannelPatch whose fields can be cleared by name.
type patch struct{ core.ChannelPatch }

func (b ChannelBody) patch() patch {
	p := patch{core.ChannelPatch{
		Alias: b.Alias, Service: b.Service, ModelType: b.ModelType, ModelID: b.ModelID, Name: b.Name, Desc: b.Desc, Presence: b.Presence,
		Filter: b.Filter, Transform: b.Transform,
	}}
	if b.Access != nil {
		access := b.Access.rules()
		p.Access = &core.AccessPatch{Subscribe: &access.Subscribe, Publish: &access.Publish}
	}
	if b.Revision != nil {
		p.Revision = uint64(*b.Revision) //nolint:gosec // the minimum is 0
	}
	return p
}

func (p *patch) clear(fields []string) {
	empty, off := "", false
	for _, field := range fields {
		switch field {
		case "alias":
			p.Alias = &empty
		case "service":
			p.Service = &empty
		case "modelType":
			p.ModelType = &empty
		case "modelId":
			p.ModelID = &empty
		case "name":
			p.Name = &empty
		case "desc":
			p.Desc = &empty
		case "filter":
			p.Filter = &empty
		case "transform":
			p.Transform = &empty
		case "access":
			p.Access = &core.AccessPatch{Subscribe: &empty, Publish: &empty}
		case "presence":
			p.Presence = &off
		case "history":
			var none *eureka.Retention
			p.History = &none
		}
	}
}

// nulls returns the keys of an object whose value is null: decoding cannot tell them from absent ones.
func nulls(raw []byte) ([]string, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, eureka.FieldError("body", "is not a JSON object")
	}
	var keys []string
	for key, value := range fields {
		if bytes.Equal(value, []byte("null")) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
