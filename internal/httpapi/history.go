package httpapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"eureka/internal/core"
)

type readHistory struct {
	ChannelPath
	Since  string `query:"since" doc:"The id of a message, or the cursor of an earlier answer: what came behind it, oldest first. Without it: the newest messages."`
	Filter string `query:"filter" doc:"A rule (CEL, a bool) that messages must pass to be in the list; the cursor passes the others too."`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Messages at the most."`
}

func (a *api) historyOperations(h huma.API) {
	op := operation("read-history", http.MethodGet, "/channels/{id}/messages", "channels", "Read the messages that a channel retains")
	op.Errors = append(op.Errors, http.StatusGone)
	handle(h, op, func(ctx context.Context, in *readHistory) (core.HistoryResult, error) {
		return a.core.History(ctx, who(ctx), core.HistoryRequest{Channel: in.ID, Since: in.Since, Limit: in.Limit, Filter: in.Filter})
	})
}
