package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"eureka"
	"eureka/internal/app"
	"eureka/internal/config"
)

type serveCmd struct {
	config.Settings

	Config string `help:"YAML file of settings." env:"EUREKA_CONFIG" placeholder:"FILE"`
}

// Run runs the service until a signal or a failure ends it.
func (c *serveCmd) Run(s *session) error {
	a, err := app.New(app.Options{Settings: c.Settings, Version: version(), Log: s.logger(c.Settings)})
	if err != nil {
		return err
	}
	starting, cancel := context.WithCancel(s.ctx)
	defer cancel()
	started := make(chan error, 1)
	go func() { started <- a.Start(starting) }()
	select {
	case err = <-started:
	case <-s.signals:
		cancel()
		if <-started == nil {
			_ = a.Stop(starting) // already cancelled: it cuts what there is
		}
		return errInterrupted
	}
	if err != nil {
		return nextStep(err, c.Settings)
	}
	c.announce(s, a)
	select {
	case <-s.signals:
	case err = <-a.Failed():
	}
	return c.stop(s, a, err)
}

// stop drains the sockets within the grace period; a second signal cuts them.
func (c *serveCmd) stop(s *session, a *app.App, failure error) error {
	_, _ = fmt.Fprintf(s.stderr, "eureka: stopping; sockets have %s to leave, a second signal ends them now\n", c.DrainTimeout)
	began := time.Now()
	ctx, cancel := context.WithTimeout(s.ctx, max(c.DrainTimeout, time.Millisecond))
	defer cancel()
	go func() {
		select {
		case <-s.signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := a.Stop(ctx)
	if failure != nil {
		return failure
	}
	if err != nil && ctx.Err() == nil {
		return err
	}
	_, _ = fmt.Fprintf(s.stderr, "eureka: stopped after %s\n", time.Since(began).Round(time.Millisecond))
	return nil
}

func (c *serveCmd) announce(s *session, a *app.App) {
	if s.json {
		_ = s.printJSON(map[string]any{
			"listening": a.Addr(), "node": a.Node(), "version": version(), "http": "http" + secure(a) + "://" + a.Addr(), "ws": "ws" + secure(a) + "://" + a.Addr(),
		})
		return
	}
	storage := "NATS in this process, state in " + c.DataDir
	if c.NATS != "" {
		storage = "NATS at " + natsURL(c.Settings)
	}
	host := shown(a.Addr())
	access := "open, no authentication: loopback only"
	switch {
	case c.Authenticated():
		access = "with credentials alone"
	case c.Insecure:
		access = "open, no authentication: INSECURE: everyone who reaches the port may do everything"
	}
	extras := ""
	if from := eventSources(c.Settings); from != "" {
		extras = "\n  events      " + from
	}
	if at := a.ProfileAddr(); at != "" {
		extras += "\n  profiles    http://" + at + "/debug/pprof/"
	}
	_, _ = fmt.Fprintf(s.stderr, `eureka %s, node %s
  listening   http%[7]s://%[3]s  ws%[7]s://%[3]s  (docs at http%[7]s://%[3]s/docs)
  engine      %[4]s
  access      %[5]s%[8]s

  try         %[6]s

`, version(), a.Node(), host, storage, access, strings.Join(c.hints(secure(a)+"://"+host), "\n              "), secure(a), extras)
}

// eventSources names where events come from beside POST /events; empty when nowhere.
func eventSources(s config.Settings) string {
	var from []string
	if len(s.SNSTopics) > 0 {
		from = append(from, "SNS at /events/sns")
	}
	if n := len(s.SQSQueues); n > 0 {
		from = append(from, fmt.Sprintf("SQS, queues: %d", n))
	}
	if s.NATSEvents != "" && s.NATSEvents != config.NATSEventsOff {
		from = append(from, "NATS "+s.EventsSubject()+" ("+s.NATSEvents+")")
	}
	return strings.Join(from, "; ")
}

// secure is what TLS adds to the names of schemes.
func secure(a *app.App) string {
	if a.Secure() {
		return "s"
	}
	return ""
}

// hints are commands to begin with; host has the rest of the scheme in front.
func (c *serveCmd) hints(host string) []string {
	if !c.Authenticated() {
		return []string{
			"wscat -c 'ws" + host + "?channels=1000001'",
			`curl -d '{"data":{"message":"hello"}}' http` + host + "/sockets/1000001/broadcast",
		}
	}
	var hints []string
	if c.AdminKey != "" {
		hints = append(hints, `curl -H "X-Api-Key: $EUREKA_ADMIN_KEY" -d '{"name":"my-service","scopes":["publish"]}' http`+host+"/keys")
	}
	return append(hints, `wscat -H "Authorization: Bearer $EUREKA_TOKEN" -c 'ws`+host+"?channels=1000001'")
}

// natsURL is the address of the external NATS without its credentials.
func natsURL(settings config.Settings) string {
	for _, d := range config.Declarations() {
		if d.Key == "nats" {
			return d.Value(settings)
		}
	}
	return ""
}

// shown is an address to click on: localhost instead of the wildcard or loopback address.
func shown(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); ip != nil && (ip.IsUnspecified() || ip.IsLoopback()) {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// nextStep adds to an error of the start what its reader can do.
func nextStep(err error, settings config.Settings) error {
	code, message := eureka.CodeOf(err), eureka.MessageOf(err)
	switch code {
	case eureka.CodeConflict:
		message += "; stop that process, or choose another with --listen or --data-dir"
	case eureka.CodeForbidden:
		message += "; choose another with --listen or --data-dir, or change its permissions"
	case eureka.CodeUnavailable:
		if settings.NATS != "" {
			message += " at " + natsURL(settings) + "; check that it runs, or leave --nats out to run one inside the process"
		}
	default:
	}
	// The cause stays the foreign one: the message itself is not to be read twice.
	var own *eureka.Error
	if errors.As(err, &own) {
		err = own.Err
	}
	return &eureka.Error{Code: code, Message: message, Err: err}
}

func (s *session) logger(settings config.Settings) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(settings.LogLevel)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if settings.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(s.stderr, options))
	}
	return slog.New(slog.NewTextHandler(s.stderr, options))
}

// parameters turns key=value arguments into query parameters.
func parameters(pairs map[string]string) url.Values {
	query := url.Values{}
	for key, value := range pairs {
		query.Add(key, value)
	}
	return query
}
