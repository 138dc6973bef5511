package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"eureka"
	"eureka/internal/problem"
)

// Health is the answer of the health checks.
type Health struct {
	Status string `json:"status" example:"ok"`
}

func (a *api) healthOperations(h huma.API) {
	handle(h, operation("hello", http.MethodGet, "/hello", "health", "Say who answers"), func(context.Context, *struct{}) (Hello, error) {
		return a.options.Hello(), nil
	})
	handle(h, operation("healthz", http.MethodGet, "/healthz", "health", "Whether the process works"), func(context.Context, *struct{}) (Health, error) {
		return Health{"ok"}, nil
	})
	handle(h, operation("readyz", http.MethodGet, "/readyz", "health", "Whether the node takes traffic"), func(ctx context.Context, _ *struct{}) (Health, error) {
		if err := a.options.Ready(ctx); err != nil {
			return Health{}, err
		}
		return Health{"ok"}, nil
	})
}

// plain puts what is not JSON on the mux: texts, pages, metrics, and API Gateway's management API.
func (a *api) plain(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", a.welcome)
	mux.HandleFunc("GET /docs", docsPage)
	mux.HandleFunc("GET /docs/{file}", docsFile)
	if a.options.Gatherer != nil {
		shown := promhttp.HandlerFor(a.options.Gatherer, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
		mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
			if err := who(r.Context()).Can(eureka.ScopeManage, time.Now().UnixMilli()); err != nil {
				refuse(w, r, err)
				return
			}
			shown.ServeHTTP(w, r)
		})
	}
	if a.options.SNS != nil {
		mux.Handle("POST "+snsPath, a.options.SNS)
	}
	a.connectionRoutes(mux)
}

// welcome is what a person sees first.
func (a *api) welcome(w http.ResponseWriter, r *http.Request) {
	hello := a.options.Hello()
	secure := ""
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		secure = "s"
	}
	base, sockets := "http"+secure+"://"+hostOf(r), a.options.SocketURL
	if sockets == "" {
		sockets = "ws" + secure + "://" + hostOf(r)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	//nolint:gosec // plain text, and hostOf lets only the characters of a host through
	_, err := fmt.Fprintf(w, `%s/%s

Listen:   wscat -c '%s?channels=1000001'
Publish:  curl -d '{"data":{"message":"hello"}}' %[4]s/sockets/1000001/broadcast
API:      %[4]s/docs
`, hello.Name, hello.Version, sockets, base)
	if err != nil {
		noteError(r.Context(), err)
	}
}

// hostOf is the host the client used, if it can be shown in a text that is meant to be copied into a shell.
func hostOf(r *http.Request) string {
	for _, c := range r.Host {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '.' && c != '-' && c != ':' && c != '[' && c != ']' {
			return "localhost:8832"
		}
	}
	return r.Host
}

func writeError(w http.ResponseWriter, r *http.Request, err error) {
	noteError(r.Context(), err)
	problem.Write(w, err)
}
