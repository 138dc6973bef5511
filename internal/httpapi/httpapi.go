// Package httpapi is the HTTP API: channels, sockets, broadcasts, events, health, and the document that describes them.
//
// It is one http.Handler on the core, used by every mode. It reads requests, asks the core and writes answers: it decides
// nothing about channels or sockets, holds no connection open, and never shows the text of a foreign error.
package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"

	"eureka"
	"eureka/internal/core"
	"eureka/internal/mock"
)

// DefaultMaxBody is the largest request body in bytes when the options name none.
const DefaultMaxBody = 1 << 20

// Options configure the API. Core, OriginAllowed, Hello, Ready and Log are required.
type Options struct {
	Core          *core.Core
	OriginAllowed func(*http.Request) bool // whether the browser page behind a request may use the API
	// Identify says who is behind a request. Paths that anybody may read (health, documents) do without.
	Identify   func(*http.Request) (eureka.Identity, error)
	Hello      func() Hello                // what GET /hello says
	Ready      func(context.Context) error // nil while the node takes traffic
	SocketURL  string                      // where clients open sockets; "" for the host that serves the API
	Gatherer   prometheus.Gatherer         // what GET /metrics shows; nil for nothing
	Registerer prometheus.Registerer       // nil for no metrics of the API itself
	Mocks      *mock.Player                // nil: calls of /mocks are refused
	NoMocks    string                      // why there are no Mocks, a sentence for clients
	MaxBody    int64                       // bytes; 0 means DefaultMaxBody
	Limited    func(setting string)        // told the setting whose limit refused a request; nil for nobody
	Reported   func(Tally)                 // told what became of the events of a request to /events; nil for nobody
	// SNS takes what topics deliver; it decides itself who may. nil: topics are told that there is nothing at its path.
	SNS http.Handler
	Log *slog.Logger
}

// Hello is the answer of GET /hello.
type Hello struct {
	Name    string `json:"name" doc:"Name of the service."`
	Version string `json:"version" doc:"Its version."`
	Mode    string `json:"mode" doc:"How it runs: self-hosted or serverless."`
	Node    string `json:"node" doc:"Id of the node that answers."`
	Uptime  int64  `json:"uptime" doc:"Milliseconds since the node started."`
	Sockets int    `json:"sockets" doc:"Sockets this node holds."`
}

// api is what the operations share.
type api struct {
	core    *core.Core
	options Options
}

// New returns the API's handler.
func New(o Options) (http.Handler, error) {
	if o.Core == nil || o.OriginAllowed == nil || o.Identify == nil || o.Hello == nil || o.Ready == nil || o.Log == nil {
		return nil, errors.New("httpapi: an option is missing")
	}
	if o.MaxBody <= 0 {
		o.MaxBody = DefaultMaxBody
	}
	a := &api{core: o.Core, options: o}
	mux := http.NewServeMux()
	a.register(mux)
	a.plain(mux)
	return a.middleware(mux), nil
}

// OpenAPI returns the document that GET /openapi.json serves, indented.
func OpenAPI() ([]byte, error) {
	a := &api{}
	return indent(a.register(http.NewServeMux()).OpenAPI())
}

// register puts every documented operation on the mux.
func (a *api) register(mux *http.ServeMux) huma.API {
	useOurErrors()
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	h := humago.New(mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Eureka Sockets", Version: "1",
				Description: "Real-time sockets for microservices: services report events here, and clients that subscribed over WebSocket receive them.",
				License:     &huma.License{Name: "MIT", Identifier: "MIT"},
			},
			Components: &huma.Components{Schemas: registry, SecuritySchemes: securitySchemes()},
			Security:   []map[string][]string{{"bearer": {}}, {"apiKey": {}}, {}},
			Tags: []*huma.Tag{
				{Name: "channels", Description: "Named streams of messages."},
				{Name: "sockets", Description: "Live client connections."},
				{Name: "events", Description: "What services report, routed to channels."},
				{Name: "credentials", Description: "API keys and revocations."},
				{Name: "mocks", Description: "Sample events that play at a rate, for development."},
				{Name: "health", Description: "How the service is."},
				{Name: "connections", Description: "API Gateway's management API, for AWS clients with an endpoint URL."},
			},
		},
		OpenAPIPath:                  "/openapi",
		Formats:                      map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	})
	a.channelOperations(h)
	a.historyOperations(h)
	a.ruleOperations(h)
	a.socketOperations(h)
	a.eventOperations(h)
	a.credentialOperations(h)
	a.mockOperations(h)
	a.healthOperations(h)
	describeConnections(h.OpenAPI())
	return h
}

// securitySchemes are the ways to show a credential. A service without authentication needs none, so the document makes them optional.
func securitySchemes() map[string]*huma.SecurityScheme {
	return map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", Description: "A token (JWT), an API key, or the admin key of the settings."},
		"apiKey": {Type: "apiKey", In: "header", Name: "X-Api-Key", Description: "The same credentials in a header of their own."},
	}
}

// operation fills in what every operation has.
func operation(id, method, path, tag, summary string) huma.Operation {
	op := huma.Operation{
		OperationID: id, Method: method, Path: path, Tags: []string{tag}, Summary: summary,
		Errors: []int{http.StatusBadRequest, http.StatusNotFound, http.StatusServiceUnavailable},
	}
	if slices.Contains(publicRoutes, method+" "+path) {
		op.Security = []map[string][]string{} // none, said for itself
	} else {
		op.Errors = append(op.Errors, http.StatusUnauthorized, http.StatusForbidden)
	}
	return op
}

// body is an answer with a JSON body.
type body[T any] struct{ Body T }

// handle registers an operation whose errors become problem details.
func handle[I, O any](h huma.API, op huma.Operation, f func(context.Context, *I) (O, error)) {
	huma.Register(h, op, func(ctx context.Context, in *I) (*body[O], error) {
		out, err := f(ctx, in)
		if err != nil {
			return nil, details(ctx, err)
		}
		return &body[O]{out}, nil
	})
}
