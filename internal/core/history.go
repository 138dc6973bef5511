package core

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"

	"eureka"
	"eureka/internal/protocol"
)

// DefaultHistoryPage is how many messages a read of history returns when the caller does not say.
const DefaultHistoryPage = 100

// HistoryRequest asks for a part of a channel's history.
type HistoryRequest struct {
	Channel string // id or alias
	Since   string // a cursor; "" for the newest messages
	Limit   int    // 1 to eureka.MaxHistoryPage; 0 means DefaultHistoryPage
	Filter  string // a rule that messages must pass beside the credential's own; "" for none
}

// HistoryMessage is one message as history shows it.
type HistoryMessage struct {
	ID    string          `json:"id" doc:"Its cursor."`
	Event string          `json:"event" doc:"What happened."`
	Data  json.RawMessage `json:"data" doc:"Any JSON value."`
	TS    int64           `json:"ts" doc:"Epoch milliseconds."`
}

// HistoryResult is a part of a channel's history, oldest first.
type HistoryResult struct {
	Channel string           `json:"channel" doc:"Id of the channel."`
	List    []HistoryMessage `json:"list" doc:"The messages, oldest first."`
	Cursor  string           `json:"cursor" doc:"Where the next read goes on: what since takes."`
	More    bool             `json:"more" doc:"There are more messages behind cursor already."`
}

// History returns messages that a channel retains, those left out that do not pass the filters: Limit is of what is read, so that the list may be
// shorter although there is more. CodeGap when those behind the cursor are no longer all there.
func (c *Core) History(ctx context.Context, who eureka.Identity, r HistoryRequest) (HistoryResult, error) {
	t, err := c.reach(ctx, who, eureka.ScopeSubscribe, r.Channel)
	if err != nil {
		return HistoryResult{}, err
	}
	if t.history == nil {
		return HistoryResult{}, eureka.Errorf(eureka.CodeForbidden,
			`channel %q keeps no history; create or update it with "history": {"size": 1000, "ttl": "10m"}`, r.Channel)
	}
	filter, err := c.filterFor(who, t, r.Channel, r.Filter)
	if err != nil {
		return HistoryResult{}, err
	}
	if r.Limit == 0 {
		r.Limit = DefaultHistoryPage
	}
	if r.Limit < 1 || r.Limit > eureka.MaxHistoryPage {
		return HistoryResult{}, eureka.FieldError("limit", "must be 1 to %d", eureka.MaxHistoryPage)
	}
	var page eureka.HistoryPage
	if r.Since == "" {
		page, err = c.ports.History.Newest(ctx, t.id, r.Limit)
	} else {
		since, parseErr := eureka.ParseCursor("since", r.Since)
		if parseErr != nil {
			return HistoryResult{}, parseErr
		}
		page, err = c.ports.History.After(ctx, t.id, since, r.Limit)
	}
	if err != nil {
		return HistoryResult{}, err
	}
	result := HistoryResult{Channel: t.id, List: make([]HistoryMessage, 0, len(page.Messages)), Cursor: page.Cursor.String(), More: page.More}
	for _, m := range page.Messages {
		if filter != "" {
			// What a failing filter does not pass is not shown; the failure is counted.
			if passed, err := c.rules.On(eureka.RuleSubject{Facts: m.Facts()}).Passes(eureka.RuleSubscription, filter); err != nil || !passed {
				continue
			}
		}
		result.List = append(result.List, HistoryMessage{ID: m.Cursor.String(), Event: m.Event, Data: m.Data, TS: m.TS})
	}
	return result, nil
}

func (c *Core) frameHistory(ctx context.Context, r FrameRequest, f protocol.ClientFrame) (protocol.Reply, error) {
	since, err := f.SinceText()
	if err != nil {
		return protocol.Reply{}, err
	}
	limit, err := f.LimitNumber()
	if err != nil {
		return protocol.Reply{}, err
	}
	filter, err := f.FilterText()
	if err != nil {
		return protocol.Reply{}, err
	}
	result, err := c.History(ctx, r.Identity, HistoryRequest{Channel: f.Channel, Since: since, Limit: limit, Filter: filter})
	if err != nil {
		return protocol.Reply{}, err
	}
	return protocol.Reply{Action: protocol.ActionHistory, Channel: f.Channel, Data: historyData(result, since == "")}, nil
}

// historyData is as much of a result as fits a frame. Of the newest messages the oldest are left out, of those behind a cursor the last, which
// the next read brings.
func historyData(result HistoryResult, newest bool) json.RawMessage {
	entries, room := make([][]byte, 0, len(result.List)), protocol.HistoryRoom
	for i := range result.List {
		m := &result.List[i]
		if newest {
			m = &result.List[len(result.List)-1-i]
		}
		text := protocol.HistoryEntry(m.ID, m.Event, m.Data, m.TS)
		if room -= len(text) + 1; room < 0 && i > 0 {
			if !newest {
				result.More, result.Cursor = true, result.List[i-1].ID
			}
			break
		}
		entries = append(entries, text)
	}
	if newest {
		slices.Reverse(entries)
	}
	return protocol.HistoryData(entries, result.Cursor, result.More)
}

// forget removes what a channel retained before it was deleted or created anew. What cannot be removed now goes with its TTL.
func (c *Core) forget(ctx context.Context, channelID string) {
	if err := c.ports.History.Forget(context.WithoutCancel(ctx), channelID); err != nil {
		c.log.Warn("the history of a channel could not be removed; it goes when its messages expire", slog.String("channel", channelID), slog.Any("error", err))
	}
}
