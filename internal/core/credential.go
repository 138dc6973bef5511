package core

import (
	"context"

	"eureka"
)

// CreateKey stores an API key that its maker has completed with an id and a hash.
func (c *Core) CreateKey(ctx context.Context, who eureka.Identity, k eureka.APIKey) (eureka.APIKey, error) {
	if err := c.mayKeep(who); err != nil {
		return eureka.APIKey{}, err
	}
	if err := k.Validate(); err != nil {
		return eureka.APIKey{}, err
	}
	k.CreatedAt = c.nowMillis()
	if k.ExpiresAt != 0 && k.ExpiresAt <= k.CreatedAt {
		return eureka.APIKey{}, eureka.FieldError("expiresAt", "is in the past")
	}
	return k, c.ports.Credentials.AddKey(ctx, k)
}

// Keys returns all API keys, oldest first.
func (c *Core) Keys(ctx context.Context, who eureka.Identity) ([]eureka.APIKey, error) {
	if err := c.mayKeep(who); err != nil {
		return nil, err
	}
	return c.ports.Credentials.Keys(ctx)
}

// DeleteKey revokes an API key; sockets that connected with it are closed. CodeNotFound without it.
func (c *Core) DeleteKey(ctx context.Context, who eureka.Identity, id string) error {
	if err := c.mayKeep(who); err != nil {
		return err
	}
	return c.ports.Credentials.DeleteKey(ctx, id)
}

// Revoke takes credentials back: the token with an id, or all that a user was given until now. Sockets that connected with them are closed.
func (c *Core) Revoke(ctx context.Context, who eureka.Identity, r eureka.Revocation) (eureka.Revocation, error) {
	if err := c.mayKeep(who); err != nil {
		return eureka.Revocation{}, err
	}
	if err := r.Validate(); err != nil {
		return eureka.Revocation{}, err
	}
	r.At = c.nowMillis()
	return r, c.ports.Credentials.Revoke(ctx, r)
}

// Revocations returns all revocations, newest first.
func (c *Core) Revocations(ctx context.Context, who eureka.Identity) ([]eureka.Revocation, error) {
	if err := c.mayKeep(who); err != nil {
		return nil, err
	}
	return c.ports.Credentials.Revocations(ctx)
}

// mayKeep is may for credentials; a service without authentication has none to keep.
func (c *Core) mayKeep(who eureka.Identity) error {
	if c.verify == nil {
		return eureka.Errorf(eureka.CodeForbidden, "the service has no authentication; start it with the setting admin_key, or with keys for tokens")
	}
	return c.may(who, eureka.ScopeManage)
}
