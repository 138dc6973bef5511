// Package client talks to a Eureka Sockets service: its HTTP API, and its sockets.
//
// It is what the command line is made of. Errors of the service arrive as *eureka.Error with the code the service gave. It never
// retries an HTTP call by itself, and never buffers more than the limits it names.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"eureka"
)

// DefaultURL is where a service runs that was started without settings.
const DefaultURL = "http://localhost:8832"

// Limits of a call.
const (
	callTimeout = 30 * time.Second
	maxAnswer   = 16 << 20 // bytes
)

// Client calls one service. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// Channel is a channel as the service shows it.
type Channel struct {
	eureka.Channel
	Subscribed *int         `json:"subscribed,omitempty"` // live subscribers; nil when the service could not count them
	LastError  *RuleFailure `json:"lastError,omitempty"`  // of its rules, as the node saw that answered; nil for none
	Messages   *int         `json:"messages,omitempty"`   // about how many it retains; nil without history, or when the service could not tell
}

// RuleFailure is the last failure of one of a channel's rules.
type RuleFailure struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
	At      int64  `json:"at"` // epoch milliseconds
}

// RuleTrial is what a rule makes of a sample.
type RuleTrial struct {
	Valid   bool            `json:"valid"`
	Error   string          `json:"error,omitempty"`   // of the rule, with line and column, or on the sample
	Result  json.RawMessage `json:"result,omitempty"`  // on the sample
	Missing string          `json:"missing,omitempty"` // a field that the sample lacks
}

// Socket is a socket as the service shows it. Times are epoch milliseconds.
type Socket struct {
	ID          string   `json:"id"`
	User        string   `json:"user,omitempty"`
	Node        string   `json:"node"`
	Remote      string   `json:"remote,omitempty"`
	Origin      string   `json:"origin,omitempty"`
	Agent       string   `json:"agent,omitempty"`
	ConnectedAt int64    `json:"connectedAt"`
	ReconnectBy int64    `json:"reconnectBy,omitempty"`
	Channels    []string `json:"channels"`
}

// List is one page of a list.
type List[T any] struct {
	Total int    `json:"total"`
	Page  int    `json:"page"`
	Limit int    `json:"limit"`
	List  []T    `json:"list"`
	Next  string `json:"next,omitempty"`
}

// Message is what to publish.
type Message struct {
	Data  json.RawMessage `json:"data"`            // one JSON value
	Event string          `json:"event,omitempty"` // "" means message
	Key   string          `json:"id,omitempty"`    // of a publish: the same one within five minutes publishes once; "" for none
}

// Published says what became of a message.
type Published struct {
	Channel   string `json:"channel"`
	ID        string `json:"id,omitempty"`        // its cursor, when the channel keeps history
	Delivered *int   `json:"delivered,omitempty"` // sockets it was handed to, or is under way to; nil while nobody knows: a large channel, serverless
	Filtered  bool   `json:"filtered,omitempty"`  // the channel's rules keep it out
}

// New returns a client of the service at base, such as http://localhost:8832. CodeInvalid when that is no HTTP URL.
func New(base string) (*Client, error) {
	u, err := url.Parse(strings.TrimRight(base, "/"))
	if err == nil && (u.Scheme == "ws" || u.Scheme == "wss") {
		u.Scheme = strings.Replace(u.Scheme, "ws", "http", 1) // what the service prints for wscat is its address too
	}
	if err != nil {
		return nil, eureka.FieldError("url", "is no address; write it as %s", DefaultURL) // not repeated: it may have a password in it
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, eureka.FieldError("url", "%q is no address of a service; write it as %s", u.Redacted(), DefaultURL)
	}
	return &Client{base: u, http: &http.Client{Timeout: callTimeout}}, nil
}

// WithToken returns a client that shows the service a credential: a token or an API key. It never follows a redirect, so that the credential
// reaches the named service alone.
func (c *Client) WithToken(token string) *Client {
	plain := *c.http
	plain.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{base: c.base, token: token, http: &plain}
}

// Publish delivers a message to a channel's subscribers.
func (c *Client) Publish(ctx context.Context, channel string, m Message) (Published, error) {
	var out Published
	return out, c.call(ctx, http.MethodPost, c.path("channels", channel, "broadcast"), nil, m, &out)
}

// Event is what a service reports. ID is its identity: the same one within five minutes is accepted once.
type Event struct {
	ID        string          `json:"id,omitempty"`
	ChannelID string          `json:"channelId,omitempty"` // a channel to deliver to beside those of the service and model
	Service   string          `json:"service,omitempty"`
	ModelType string          `json:"modelType,omitempty"`
	ModelID   string          `json:"modelId,omitempty"`
	Event     string          `json:"event,omitempty"` // "" means message
	Data      json.RawMessage `json:"data"`
	TS        int64           `json:"ts,omitempty"` // epoch milliseconds; 0 means now
}

// Accepted says what became of reported events.
type Accepted struct {
	Accepted int      `json:"accepted"`
	Channels []string `json:"channels"` // ids of the channels they were delivered on
}

// Report reports an event, which the service routes to the channels of its service and model.
func (c *Client) Report(ctx context.Context, ev Event) (Accepted, error) {
	var out Accepted
	return out, c.call(ctx, http.MethodPost, c.path("events"), nil, ev, &out)
}

// CreateChannel creates a channel from the given fields; an id of "" takes the next number.
func (c *Client) CreateChannel(ctx context.Context, id string, fields map[string]any) (Channel, error) {
	if id == "" {
		id = eureka.NewID
	}
	var out Channel
	return out, c.call(ctx, http.MethodPost, c.path("channels", id), nil, fields, &out)
}

// CheckRule tries a rule on a sample, the body of POST /rules/check.
func (c *Client) CheckRule(ctx context.Context, request map[string]any) (RuleTrial, error) {
	var out RuleTrial
	return out, c.call(ctx, http.MethodPost, c.path("rules", "check"), nil, request, &out)
}

// Channels lists channels; the query's parameters are those of GET /channels.
func (c *Client) Channels(ctx context.Context, query url.Values) (List[Channel], error) {
	var out List[Channel]
	return out, c.call(ctx, http.MethodGet, c.path("channels"), query, nil, &out)
}

// Channel reads a channel by id or alias.
func (c *Client) Channel(ctx context.Context, id string) (Channel, error) {
	var out Channel
	return out, c.call(ctx, http.MethodGet, c.path("channels", id), nil, nil, &out)
}

// UpdateChannel changes the given fields; a nil value clears one.
func (c *Client) UpdateChannel(ctx context.Context, id string, fields map[string]any) (Channel, error) {
	var out Channel
	return out, c.call(ctx, http.MethodPut, c.path("channels", id), nil, fields, &out)
}

// DeleteChannel deletes a channel by id or alias.
func (c *Client) DeleteChannel(ctx context.Context, id string) (Channel, error) {
	var out Channel
	return out, c.call(ctx, http.MethodDelete, c.path("channels", id), nil, nil, &out)
}

// Sockets lists live sockets; the query's parameters are those of GET /sockets.
func (c *Client) Sockets(ctx context.Context, query url.Values) (List[Socket], error) {
	var out List[Socket]
	return out, c.call(ctx, http.MethodGet, c.path("sockets"), query, nil, &out)
}

// Socket reads a live socket.
func (c *Client) Socket(ctx context.Context, id string) (Socket, error) {
	var out Socket
	return out, c.call(ctx, http.MethodGet, c.path("sockets", id), nil, nil, &out)
}

// Send sends a message to one socket.
func (c *Client) Send(ctx context.Context, id string, m Message) error {
	return c.call(ctx, http.MethodPost, c.path("sockets", id, "send"), nil, m, nil)
}

// Disconnect ends a socket and returns it as it was.
func (c *Client) Disconnect(ctx context.Context, id string) (Socket, error) {
	var out Socket
	return out, c.call(ctx, http.MethodDelete, c.path("sockets", id), nil, nil, &out)
}

func (c *Client) path(parts ...string) *url.URL { return c.base.JoinPath(escaped(parts)...) }

// escaped keeps what a person typed as an id from being read as a path.
func escaped(parts []string) []string {
	out := make([]string, len(parts))
	for i, part := range parts {
		out[i] = url.PathEscape(part)
		if part == "." || part == ".." {
			out[i] = strings.ReplaceAll(part, ".", "%2E")
		}
	}
	return out
}

func (c *Client) call(ctx context.Context, method string, u *url.URL, query url.Values, in, out any) error {
	var body io.Reader = http.NoBody
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return eureka.WrapError(eureka.CodeInvalid, err, "the request is not valid JSON")
		}
		body = bytes.NewReader(text)
	}
	u.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return eureka.WrapError(eureka.CodeInvalid, err, "the request cannot be made")
	}
	request.Header.Set("Content-Type", "application/json")
	c.authorize(request.Header)
	response, err := c.http.Do(request)
	if err != nil {
		return c.unreachable(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return c.unreachable(err)
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return refused(response.StatusCode, text)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return eureka.WrapError(eureka.CodeInternal, err, "%s does not answer like a Eureka Sockets service", c.base.Redacted())
	}
	return nil
}

func (c *Client) authorize(header http.Header) {
	if c.token != "" {
		header.Set("Authorization", "Bearer "+c.token)
	}
}
