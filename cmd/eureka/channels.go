package main

import (
	"net/url"
	"strconv"
	"time"

	"eureka"
	"eureka/client"
)

type channelsCmd struct {
	Create createChannelCmd `cmd:"" help:"Create a channel."`
	List   listChannelsCmd  `cmd:"" help:"List channels."`
	Show   showChannelCmd   `cmd:"" help:"Show a channel."`
	Update updateChannelCmd `cmd:"" help:"Change some of a channel's fields; an empty value clears one."`
	Delete deleteChannelCmd `cmd:"" help:"Delete a channel and end its subscriptions."`
}

// channelFields are what can be said of a channel. A field that is nil was not given.
type channelFields struct {
	Alias     *string `help:"A second name."`
	Service   *string `help:"The service whose events it carries."`
	ModelType *string `help:"The kind of model."`
	ModelID   *string `name:"model-id" help:"One model alone."`
	Name      *string `help:"A name for people."`
	Desc      *string `help:"A description for people."`
	Filter    *string `help:"A rule: which messages come to the channel, such as 'data.total > 100'."`
	Transform *string `help:"A rule: what takes the place of a message's data, such as '{\"id\": data.id}'."`
	Presence  *bool   `help:"Subscribers see who joins and leaves." negatable:""`

	History    *bool   `help:"Keep the newest messages, for clients that were away." negatable:""`
	HistoryMax *int    `name:"history-size" help:"Messages that are kept, 1000 by default; implies --history." placeholder:"N"`
	HistoryTTL *string `name:"history-ttl" help:"How long each is kept, 10m by default; implies --history." placeholder:"DURATION"`
}

func (f channelFields) given() map[string]any {
	fields := map[string]any{}
	for key, value := range map[string]*string{
		"alias": f.Alias, "service": f.Service, "modelType": f.ModelType, "modelId": f.ModelID, "name": f.Name, "desc": f.Desc,
		"filter": f.Filter, "transform": f.Transform,
	} {
		if value != nil {
			fields[key] = *value
		}
	}
	if f.Presence != nil {
		fields["presence"] = *f.Presence
	}
	switch history := map[string]any{}; {
	case f.HistoryMax != nil || f.HistoryTTL != nil:
		if f.HistoryMax != nil {
			history["size"] = *f.HistoryMax
		}
		if f.HistoryTTL != nil {
			history["ttl"] = *f.HistoryTTL
		}
		fields["history"] = history
	case f.History != nil && *f.History:
		fields["history"] = history
	case f.History != nil:
		fields["history"] = nil
	}
	return fields
}

type createChannelCmd struct {
	channelFields

	ID string `arg:"" optional:"" help:"An id of your own; without it the channel gets the next number."`
}

// Run creates a channel.
func (c *createChannelCmd) Run(s *session) error {
	service, err := s.client()
	if err != nil {
		return err
	}
	ch, err := service.CreateChannel(s.ctx, c.ID, c.given())
	return s.showChannel(ch, err)
}

type listChannelsCmd struct {
	Where map[string]string `help:"Filter by a field, such as service=orders-api; ! as the value means present, nothing missing." placeholder:"FIELD=VALUE"`
	Query string            `name:"q" short:"q" help:"Free text: every word must occur."`
	Sort  string            `help:"field:asc or field:desc." default:"createdAt:desc"`
	Limit int               `help:"Channels of a page." default:"20"`
	Page  int               `help:"Page number, from 0." default:"0"`
	After string            `help:"Go on behind this position, the next of an earlier page."`

	Watch    bool          `short:"w" help:"Look again and again: a table that stays up to date on a terminal, else a line for each channel that is added, changes or leaves the list."`
	Interval time.Duration `help:"Time between two looks of --watch." default:"2s"`
}

// Run lists channels.
func (c *listChannelsCmd) Run(s *session) error {
	service, err := s.client()
	if err != nil {
		return err
	}
	query := parameters(c.Where)
	paging(query, c.Limit, c.Page, c.After)
	query.Set("sort", c.Sort)
	if c.Query != "" {
		query.Set("q", c.Query)
	}
	if c.Watch {
		return s.watch(service, query, c.Interval)
	}
	list, err := service.Channels(s.ctx, query)
	if err != nil {
		return s.interrupted(err)
	}
	if s.json {
		return s.printJSON(list)
	}
	if err := s.table(channelRows(list.List)); err != nil {
		return err
	}
	return s.more(len(list.List), list.Total, list.Next)
}

// channelRows are a table of channels, its head included.
func channelRows(channels []client.Channel) [][]string {
	rows := [][]string{{"ID", "ALIAS", "SERVICE", "MODEL", "SUBSCRIBED", "MESSAGES", "NAME", "CREATED"}}
	for _, ch := range channels {
		model := ch.ModelType
		if ch.ModelID != "" {
			model += "/" + ch.ModelID
		}
		rows = append(rows, []string{ch.ID, ch.Alias, ch.Service, model, count(ch.Subscribed), kept(ch), ch.Name, moment(ch.CreatedAt)})
	}
	return rows
}

// kept is how many messages a channel retains, nothing without history.
func kept(ch client.Channel) string {
	if ch.History == nil {
		return ""
	}
	return count(ch.Messages)
}

type showChannelCmd struct {
	Channel string `arg:"" help:"Id or alias of the channel."`
}

// Run shows a channel.
func (c *showChannelCmd) Run(s *session) error {
	service, err := s.client()
	if err != nil {
		return err
	}
	ch, err := service.Channel(s.ctx, c.Channel)
	return s.showChannel(ch, err)
}

type updateChannelCmd struct {
	channelFields

	Channel  string `arg:"" help:"Id or alias of the channel."`
	Revision int64  `help:"The revision you saw: refuse when it changed since."`
}

// Run changes a channel.
func (c *updateChannelCmd) Run(s *session) error {
	service, err := s.client()
	if err != nil {
		return err
	}
	fields := c.given()
	if c.Revision != 0 {
		fields["revision"] = c.Revision
	}
	ch, err := service.UpdateChannel(s.ctx, c.Channel, fields)
	return s.showChannel(ch, err)
}

type deleteChannelCmd struct {
	Channel string `arg:"" help:"Id or alias of the channel."`
}

// Run deletes a channel.
func (c *deleteChannelCmd) Run(s *session) error {
	service, err := s.client()
	if err != nil {
		return err
	}
	ch, err := service.DeleteChannel(s.ctx, c.Channel)
	if err != nil {
		return s.interrupted(err)
	}
	if s.json {
		return s.printJSON(ch)
	}
	return s.printf("deleted %s\n", ch.ID)
}

func (s *session) showChannel(ch client.Channel, err error) error {
	if err != nil {
		return s.interrupted(err)
	}
	if s.json {
		return s.printJSON(ch)
	}
	return s.table([][]string{
		{"id", ch.ID},
		{"alias", ch.Alias},
		{"service", ch.Service},
		{"modelType", ch.ModelType},
		{"modelId", ch.ModelID},
		{"name", ch.Name},
		{"desc", ch.Desc},
		{"presence", strconv.FormatBool(ch.Presence)},
		{"filter", ch.Filter},
		{"transform", ch.Transform},
		{"history", retention(ch.History)},
		{"last error", failure(ch.LastError)},
		{"subscribed", count(ch.Subscribed)},
		{"messages", kept(ch)},
		{"revision", strconv.FormatUint(ch.Revision, 10)},
		{"created", moment(ch.CreatedAt)},
		{"updated", moment(ch.UpdatedAt)},
	})
}

func failure(f *client.RuleFailure) string {
	if f == nil {
		return "none"
	}
	return f.Kind + ", " + moment(f.At) + ": " + f.Message
}

func retention(r *eureka.Retention) string {
	if r == nil {
		return "none"
	}
	return "the newest " + strconv.Itoa(r.Size) + " messages, for " + r.TTL.String()
}

func paging(query url.Values, limit, page int, after string) {
	query.Set("limit", strconv.Itoa(limit))
	if after != "" {
		query.Set("after", after)
		return
	}
	query.Set("page", strconv.Itoa(page))
}

// more tells what a page leaves out.
func (s *session) more(shown, total int, next string) error {
	if next == "" {
		return s.printf("%d of %d\n", shown, total)
	}
	return s.printf("%d of %d, go on with --after %s\n", shown, total, next)
}
