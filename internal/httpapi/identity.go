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

// publicRoutes are what anybody may ask for, origins apart: whether the service lives, how to use it, and what topics deliver, whose signature is their
// credential. Metrics are not among them, for
// any address: behind a proxy every request comes from the same one.
var publicRoutes = []string{
	"GET /{$}", "GET /hello", "GET /healthz", "GET /readyz", "GET /docs", "GET /docs/{file}", "GET /openapi.json", "GET /openapi.yaml",
	"POST " + snsPath,
}

// identified finds out who asks. CodeUnauthenticated when nobody says and the route is not public.
func (a *api) identified(r *http.Request, route string) (*http.Request, error) {
	if slices.Contains(publicRoutes, route) {
		return r, nil
	}
	id, err := a.options.Identify(r)
	if err != nil {
		return r, err
	}
	return r.WithContext(context.WithValue(r.Context(), identityKey{}, id)), nil
}
