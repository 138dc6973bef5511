package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"eureka"
	"eureka/internal/core"
)

// EventBody is one event as a service reports it. The field names are the original's.
type EventBody struct {
	ID        string          `json:"id,omitempty" doc:"The reporter's identity of the event: the same id of a service within five minutes is accepted once."`
	ChannelID string          `json:"channelId,omitempty" doc:"A channel to deliver to beside those of the service and model."`
	Service   string          `json:"service,omitempty" example:"orders-api" doc:"The service that reports; needed without channelId."`
	ModelType string          `json:"modelType,omitempty" example:"order" doc:"The kind of model; needed without channelId."`
	ModelID   string          `json:"modelId,omitempty" doc:"The model that it happened to."`
	Event     string          `json:"event,omitempty" example:"create" doc:"What happened; message by default."`
	Data      json.RawMessage `json:"data" doc:"Any JSON value."`
	TS        json.RawMessage `json:"ts,omitempty" doc:"When it happened: epoch milliseconds, or YYYY-MM-DD HH:mm:ss in UTC."`
}

// Accepted says what became of reported events.
type Accepted struct {
	Accepted int      `json:"accepted" doc:"Events that were taken."`
	Channels []string `json:"channels" doc:"Ids of the channels they were delivered on."`
}

// CloudEventBody is an event as a CloudEvent of version 1.0 in its JSON form; it is here for the document alone.
type CloudEventBody struct {
	SpecVersion     string          `json:"specversion" enum:"1.0"`
	ID              string          `json:"id" doc:"With source, its identity: accepted once in five minutes."`
	Source          string          `json:"source" example:"/orders"`
	Type            string          `json:"type" example:"orders-api.order.create" doc:"service.modelType or service.modelType.event; anything else where service and modeltype, or channelid, say where it goes."`
	Subject         string          `json:"subject,omitempty" doc:"The model that it happened to."`
	Time            string          `json:"time,omitempty" format:"date-time"`
	DataContentType string          `json:"datacontenttype,omitempty"`
	Data            json.RawMessage `json:"data,omitempty" doc:"Any JSON value."`
	DataBase64      string          `json:"data_base64,omitempty" doc:"JSON or, as datacontenttype says, text, in base64; instead of data."`
	Service         string          `json:"service,omitempty" doc:"Extension attribute."`
	ModelType       string          `json:"modeltype,omitempty" doc:"Extension attribute."`
	ModelID         string          `json:"modelid,omitempty" doc:"Extension attribute; subject by default."`
	Event           string          `json:"event,omitempty" doc:"Extension attribute: what happened."`
	ChannelID       string          `json:"channelid,omitempty" doc:"Extension attribute: a channel to deliver to."`
}

// BroadcastBody is a message for a channel. With channel 0 it is an event: service and modelType say where it goes.
type BroadcastBody struct {
	ID        string          `json:"id,omitempty" doc:"The publisher's identity of the message: the same id within five minutes publishes once. Idempotency-Key comes first."`
	Data      json.RawMessage `json:"data" doc:"Any JSON value."`
	Event     string          `json:"event,omitempty" example:"message" doc:"What happened; message by default."`
	Except    []string        `json:"except,omitempty" maxItems:"1000" doc:"Ids of sockets that do not get it."`
	Service   string          `json:"service,omitempty" doc:"With channel 0: the service that reports."`
	ModelType string          `json:"modelType,omitempty" doc:"With channel 0: the kind of model."`
	ModelID   string          `json:"modelId,omitempty" doc:"With channel 0: the model that it happened to."`
}

// Broadcasted says what became of a broadcast.
type Broadcasted struct {
	Channel   string   `json:"channel,omitempty" doc:"Id of the channel."`
	ID        string   `json:"id,omitempty" doc:"The message's cursor, on a channel with history."`
	Delivered *int     `json:"delivered,omitempty" doc:"Sockets on all nodes that it was handed to, or is under way to. Left out while nobody knows: where a queue delivers to a large channel."`
	Filtered  bool     `json:"filtered,omitempty" doc:"The channel's rules keep it out: nobody gets it."`
	Accepted  int      `json:"accepted,omitempty" doc:"With channel 0: 1."`
	Channels  []string `json:"channels,omitempty" doc:"With channel 0: ids of the channels it was delivered on."`
}

type broadcast struct {
	Channel string `path:"id" example:"1000001" doc:"The channel's id or alias; 0 routes by service and model."`
	Key     string `header:"Idempotency-Key" maxLength:"255" doc:"The same key within five minutes publishes once and gets the same answer."`
	Body    BroadcastBody
}

func (a *api) eventOperations(h huma.API) {
	for _, path := range []string{"/channels/{id}/broadcast", "/sockets/{id}/broadcast"} {
		id, summary := "broadcast", "Deliver a message to a channel's subscribers"
		if path == "/sockets/{id}/broadcast" {
			id, summary = "broadcast-original", summary+" (the original's path)"
		}
		op := operation(id, http.MethodPost, path, "events", summary)
		op.DefaultStatus = http.StatusOK
		op.Errors = append(op.Errors, http.StatusConflict, http.StatusRequestEntityTooLarge)
		handle(h, op, a.broadcast)
	}
	a.reportOperations(h)
}

func (a *api) broadcast(ctx context.Context, in *broadcast) (Broadcasted, error) {
	b := in.Body
	if err := core.CheckKey("Idempotency-Key", in.Key); err != nil {
		return Broadcasted{}, err
	}
	if in.Channel == eureka.NewID {
		if len(b.Except) > 0 {
			return Broadcasted{}, eureka.FieldError("except", "cannot be combined with channel 0")
		}
		ev := eureka.Event{ID: b.ID, Service: b.Service, ModelType: b.ModelType, ModelID: b.ModelID, Event: b.Event, Data: b.Data}
		if in.Key != "" {
			ev.ID = "" // the key comes first
		}
		result, err := a.core.RouteKeyed(ctx, who(ctx), ev, in.Key)
		return Broadcasted{Accepted: 1, Channels: result.Channels}, err
	}
	key := in.Key
	if key == "" {
		key = b.ID
	}
	if b.Service != "" || b.ModelType != "" || b.ModelID != "" {
		return Broadcasted{}, eureka.FieldError("service", "and the model belong to channel 0; here the path names the channel")
	}
	result, err := a.core.Publish(ctx, who(ctx), core.PublishRequest{
		Channel: in.Channel, Event: b.Event, Data: b.Data, Except: b.Except, Counted: true, Key: key,
	})
	out := Broadcasted{Channel: result.Channel, ID: result.ID, Filtered: result.Filtered}
	if !result.Unknown {
		out.Delivered = &result.Delivered
	}
	return out, err
}

func indent(v any) ([]byte, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("httpapi: the document cannot be encoded: %w", err)
	}
	return append(text, '\n'), nil
}
