package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
)

// Retained is a message that a channel keeps.
type Retained struct {
	ID    string          `json:"id"` // its cursor
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
	TS    int64           `json:"ts"` // epoch milliseconds
}

// History is a part of a channel's history, oldest first.
type History struct {
	Channel string     `json:"channel"`
	List    []Retained `json:"list"`
	Cursor  string     `json:"cursor"` // where the next read goes on
	More    bool       `json:"more"`   // there is more behind Cursor already
}

// History reads at most limit messages behind a cursor, or the newest when since is "". CodeGap when those behind it are not all there.
func (c *Client) History(ctx context.Context, channel, since string, limit int) (History, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if since != "" {
		query.Set("since", since)
	}
	var out History
	return out, c.call(ctx, http.MethodGet, c.path("channels", channel, "messages"), query, nil, &out)
}
