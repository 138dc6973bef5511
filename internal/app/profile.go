package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof" // what it registers on the default mux is served nowhere

	"eureka/internal/auth"
	"eureka/internal/config"
	"eureka/internal/problem"
)

// profiles serves /debug/pprof/ on a loopback address of its own.
type profiles struct {
	listener net.Listener
	server   *http.Server
}

// startProfiles returns nil when the address is empty.
func startProfiles(ctx context.Context, address string, log *slog.Logger) (*profiles, error) {
	if address == "" {
		return nil, nil //nolint:nilnil // no profiles are no error; all methods take nil
	}
	listener, err := listen(ctx, config.Settings{Listen: address}, log)
	if err != nil {
		return nil, err
	}
	// A page in a browser on this machine may reach loopback under another name, and must not read profiles.
	hosts, err := auth.NewHosts(nil, false)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	p := &profiles{listener: listener, server: &http.Server{
		ReadHeaderTimeout: readTimeout,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := hosts.Allowed(r); err != nil {
				problem.Write(w, err)
				return
			}
			mux.ServeHTTP(w, r)
		}),
	}}
	go func() { _ = p.server.Serve(listener) }() // the service goes on without profiles
	return p, nil
}

// stop ends it at once; a profile that is being made is cut.
func (p *profiles) stop() {
	if p != nil {
		_ = p.server.Close()
	}
}

func (p *profiles) address() string {
	if p == nil {
		return ""
	}
	return p.listener.Addr().String()
}
