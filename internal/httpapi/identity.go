package httpapi

import (
	"context"
	"net/http"
	"slices"

	"eureka"
)

type identityKey struct{}

// who is behind the request; the zero identity, which may do nothing, on paths that anybody may read.
func who(ctx context.Context) eureka.Identity {
	id, _ := ctx.Value(identityKey{}).(eureka.Identity)
	return id
}

// publicPaths are what anybody may read: whether the service lives, and how to use it. Origins are checked there too.
var publicPaths = []string{"/", "/hello", "/healthz", "/readyz", "/docs", "/openapi.json", "/openapi.yaml"}

// identified finds out who asks. CodeUnauthenticated when nobody says and the path is not public.
func (a *api) identified(r *http.Request) (*http.Request, error) {
	if slices.Contains(publicPaths, r.URL.Path) || (len(r.URL.Path) > 6 && r.URL.Path[:6] == "/docs/") {
		return r, nil
	}
	id, err := a.options.Identify(r)
	if err != nil {
		return r, err
	}
	return r.WithContext(context.WithValue(r.Context(), identityKey{}, id)), nil
}
