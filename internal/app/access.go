package app

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"

	"eureka"
	"eureka/internal/auth"
)

// access says who is behind a request: by credentials, or, on an open service, by what the client calls itself.
type access struct {
	authenticator *auth.Authenticator // nil on an open service
	hosts         *auth.Hosts
}

// newAccess makes what the settings ask for. Keys that cannot be fetched now are fetched when they are needed.
func (a *App) newAccess(ctx context.Context) (*access, error) {
	s := a.options.Settings
	hosts, err := auth.NewHosts(s.AllowedHosts, s.Insecure)
	if err != nil || !s.Authenticated() {
		return &access{hosts: hosts}, err
	}
	tokens, err := s.Tokens(auth.TokenOptions{Log: a.options.Log})
	if err != nil {
		return nil, err
	}
	if tokens != nil {
		if err := tokens.Warm(ctx); err != nil {
			a.options.Log.Warn("the keys of tokens cannot be fetched yet", slog.Any("error", err))
		}
	}
	authenticator, err := auth.NewAuthenticator(auth.AuthenticatorOptions{Tokens: tokens, AdminKey: s.AdminKey, Keys: a.engine})
	return &access{authenticator: authenticator}, err
}

// handshake is who is behind a WebSocket handshake.
func (x *access) handshake(r *http.Request) (eureka.Identity, error) {
	if x.authenticator != nil {
		return x.authenticator.Handshake(r)
	}
	return auth.OpenIdentity(r)
}

// request is who is behind an HTTP request.
func (x *access) request(r *http.Request) (eureka.Identity, error) {
	if x.authenticator != nil {
		return x.authenticator.Request(r)
	}
	return eureka.Everyone(""), nil
}

// verify returns the check of a credential, nil on an open service.
func (x *access) verify() func(context.Context, string) (eureka.Identity, error) {
	if x.authenticator == nil {
		return nil
	}
	return x.authenticator.Verify
}

// revoked reports whether a credential was taken back.
func (x *access) revoked(id eureka.Identity) bool {
	if x.authenticator == nil {
		return false
	}
	id.ExpiresAt = 0 // the gateway closes what has expired by itself, and says so
	return x.authenticator.Check(id) != nil
}

// revoker looks for revoked sockets: once after the last change, however many changes come while it looks.
type revoker struct {
	waiting atomic.Bool
	mu      sync.Mutex
}

// run calls look in a goroutine, unless a call is waiting already.
func (r *revoker) run(look func()) {
	if r.waiting.Swap(true) {
		return
	}
	go func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.waiting.Store(false) // what changes from now on may be missed by this look
		look()
	}()
}

// guard refuses requests to other host names than the service's, before anything else sees them.
func (x *access) guard(next http.Handler, refuse func(http.ResponseWriter, error)) http.Handler {
	if x.authenticator != nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := x.hosts.Allowed(r); err != nil {
			refuse(w, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}
