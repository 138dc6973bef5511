package httpapi

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"eureka"
	"eureka/internal/auth"
)

// KeyBody is what a client says of a new API key.
type KeyBody struct {
	Name      string   `json:"name" example:"orders-api" doc:"What the key is for."`
	Scopes    []string `json:"scopes" doc:"What its holder may do: subscribe, publish, manage."`
	Channels  []string `json:"channels,omitempty" maxItems:"200" doc:"Patterns of the channels it may subscribe to and publish on; all by default."`
	User      string   `json:"user,omitempty" doc:"The user that its sockets belong to."`
	ExpiresAt int64    `json:"expiresAt,omitempty" minimum:"0" doc:"Epoch milliseconds; never by default."`
}

// KeyView is an API key as the API shows it.
type KeyView struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	Scopes    []string `json:"scopes"`
	Channels  []string `json:"channels"`
	User      string   `json:"user,omitempty"`
	CreatedAt int64    `json:"createdAt"`
	ExpiresAt int64    `json:"expiresAt,omitempty"`
	Key       string   `json:"key,omitempty" doc:"The credential itself, shown once, when it is created."`
}

// RevocationBody says what to revoke.
type RevocationBody struct {
	TokenID string `json:"tokenId,omitempty" doc:"The jti of a token."`
	User    string `json:"user,omitempty" doc:"All credentials that this user was given until now."`
}

type createKey struct{ Body KeyBody }

type keyPath struct {
	ID string `path:"id" doc:"The key's id."`
}

type revoke struct{ Body RevocationBody }

// All is a list that is never long enough for pages.
type All[T any] struct {
	List []T `json:"list"`
}

func (a *api) credentialOperations(h huma.API) {
	create := operation("create-key", http.MethodPost, "/keys", "credentials", "Create an API key")
	create.DefaultStatus = http.StatusOK
	handle(h, create, func(ctx context.Context, in *createKey) (KeyView, error) {
		k, err := in.Body.key()
		if err != nil {
			return KeyView{}, err
		}
		k, credential := auth.NewKey(k)
		k, err = a.core.CreateKey(ctx, who(ctx), k)
		view := keyView(k)
		view.Key = credential
		return view, err
	})
	handle(h, operation("list-keys", http.MethodGet, "/keys", "credentials", "List the API keys, without their secrets"), func(ctx context.Context, _ *struct{}) (All[KeyView], error) {
		keys, err := a.core.Keys(ctx, who(ctx))
		out := All[KeyView]{List: make([]KeyView, 0, len(keys))}
		for _, k := range keys {
			out.List = append(out.List, keyView(k))
		}
		return out, err
	})
	remove := operation("revoke-key", http.MethodDelete, "/keys/{id}", "credentials", "Revoke an API key and close its sockets")
	remove.DefaultStatus = http.StatusNoContent
	huma.Register(h, remove, func(ctx context.Context, in *keyPath) (*struct{}, error) {
		if err := a.core.DeleteKey(ctx, who(ctx), in.ID); err != nil {
			return nil, details(ctx, err)
		}
		return nil, nil
	})
	take := operation("revoke", http.MethodPost, "/revocations", "credentials", "Revoke a token, or all of a user's credentials, and close their sockets")
	take.DefaultStatus = http.StatusOK
	handle(h, take, func(ctx context.Context, in *revoke) (eureka.Revocation, error) {
		return a.core.Revoke(ctx, who(ctx), eureka.Revocation{TokenID: in.Body.TokenID, User: in.Body.User})
	})
	handle(h, operation("list-revocations", http.MethodGet, "/revocations", "credentials", "List what is revoked"), func(ctx context.Context, _ *struct{}) (All[eureka.Revocation], error) {
		list, err := a.core.Revocations(ctx, who(ctx))
		return All[eureka.Revocation]{List: list}, err
	})
}

func (b KeyBody) key() (eureka.APIKey, error) {
	scopes, known := eureka.ParseScopes(strings.Join(b.Scopes, " "))
	if !known {
		return eureka.APIKey{}, eureka.FieldError("scopes", "must be of %s", strings.Join(eureka.ScopeNames(), ", "))
	}
	k := eureka.APIKey{Name: b.Name, User: b.User, Scopes: scopes, Channels: b.Channels, ExpiresAt: b.ExpiresAt}
	if k.Channels == nil {
		k.Channels = []string{"*"}
	}
	return k, nil
}

func keyView(k eureka.APIKey) KeyView {
	return KeyView{
		ID: k.ID, Name: k.Name, Scopes: strings.Fields(k.Scopes.String()), Channels: k.Channels, User: k.User,
		CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt,
	}
}
