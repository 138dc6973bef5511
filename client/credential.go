package client

import (
	"context"
	"net/http"

	"eureka"
)

// Key is an API key as the service shows it. Times are epoch milliseconds.
type Key struct {
	ID        string   `json:"id,omitempty"`
	Name      string   `json:"name"`
	Scopes    []string `json:"scopes"`
	Channels  []string `json:"channels,omitempty"` // patterns; nil in a new key means all
	User      string   `json:"user,omitempty"`
	CreatedAt int64    `json:"createdAt,omitempty"`
	ExpiresAt int64    `json:"expiresAt,omitempty"` // 0 for never
	Key       string   `json:"key,omitempty"`       // the credential itself, in the answer of CreateKey alone
}

// CreateKey creates an API key from k's name, scopes, channels, user and end. The answer is the only place where its credential is shown.
func (c *Client) CreateKey(ctx context.Context, k Key) (Key, error) {
	var out Key
	return out, c.call(ctx, http.MethodPost, c.path("keys"), nil, k, &out)
}

// Keys lists the API keys, oldest first.
func (c *Client) Keys(ctx context.Context) ([]Key, error) {
	var out List[Key]
	err := c.call(ctx, http.MethodGet, c.path("keys"), nil, nil, &out)
	return out.List, err
}

// RevokeKey removes an API key; the service closes its sockets.
func (c *Client) RevokeKey(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, c.path("keys", id), nil, nil, nil)
}

// Revoke takes back the token with an id, or all credentials that a user was given until now; one of r's two is set.
func (c *Client) Revoke(ctx context.Context, r eureka.Revocation) (eureka.Revocation, error) {
	in := map[string]string{}
	if r.TokenID != "" {
		in["tokenId"] = r.TokenID
	}
	if r.User != "" {
		in["user"] = r.User
	}
	var out eureka.Revocation
	return out, c.call(ctx, http.MethodPost, c.path("revocations"), nil, in, &out)
}

// Revocations lists what is revoked, newest first.
func (c *Client) Revocations(ctx context.Context) ([]eureka.Revocation, error) {
	var out List[eureka.Revocation]
	err := c.call(ctx, http.MethodGet, c.path("revocations"), nil, nil, &out)
	return out.List, err
}
