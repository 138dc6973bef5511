package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"eureka"
	"eureka/internal/app"
	"eureka/internal/config"
)

// demoDrain is what sockets have to leave the demo's own service.
const demoDrain = 5 * time.Second

// mayServe reports whether the demo may run a service itself where none answers.
func (c *demoCmd) mayServe(s *session) bool {
	if c.Serve != nil {
		return *c.Serve
	}
	return s.token == "" && listenAddress(s.url) != ""
}

// listenAddress is where on this machine's loopback a service must listen to be reached by a URL; "" when it cannot be.
func listenAddress(base string) string {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "ws") || (u.Path != "" && u.Path != "/") {
		return ""
	}
	host, port := u.Hostname(), u.Port()
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() || port == "" {
		return ""
	}
	return net.JoinHostPort(host, port)
}

// startService runs a service with the default settings and a state that goes with it.
func (c *demoCmd) startService(s *session) (stop func(), err error) {
	address := listenAddress(s.url)
	if address == "" {
		return nil, eureka.FieldError("serve", "needs an address of this machine to listen on, such as http://localhost:8832")
	}
	dir, err := os.MkdirTemp("", "eureka-demo-")
	if err != nil {
		return nil, err
	}
	forget := func() { _ = os.RemoveAll(dir) } // a directory of temporary files
	settings, err := defaultSettings("--listen="+address, "--data-dir="+dir, "--drain-spread=100ms")
	if err != nil {
		forget()
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(s.stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	a, err := app.New(app.Options{Settings: settings, Version: version(), Log: log})
	if err == nil {
		err = a.Start(s.ctx)
	}
	if err != nil {
		forget()
		return nil, err
	}
	s.note("no service answers at " + s.url + ", so the demo runs one there until it ends")
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), demoDrain)
		defer cancel()
		if err := a.Stop(ctx); err != nil && ctx.Err() == nil {
			s.note("the demo's service did not stop well: " + eureka.MessageOf(err))
		}
		forget()
	}, nil
}

// defaultSettings are those of `serve` with these flags, in an empty environment.
func defaultSettings(flags ...string) (config.Settings, error) {
	var grammar struct{ config.Settings }
	parser, err := kong.New(&grammar, kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) {}))
	if err != nil {
		return config.Settings{}, err
	}
	ignoreEnvironment(parser.Model.Node)
	_, err = parser.Parse(flags)
	return grammar.Settings, err
}
