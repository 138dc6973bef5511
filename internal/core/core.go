// Package core has the use cases of the service: connect, frame, disconnect, publish, route, and what the HTTP API does with channels and
// sockets.
//
// It is stateless and stands on the ports of package eureka alone, so that the same code runs behind sockets that this
// process holds and behind API Gateway. It never imports an engine, an edge or the gateway, never opens a connection, and
// never asks in which mode it runs.
package core

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"eureka"
)

// Ports are the capabilities an engine and an edge give the core. All are required.
type Ports struct {
	Channels eureka.Channels
	Sockets  eureka.Sockets
	Fanout   eureka.Fanout
	Sender   eureka.Sender
	History  eureka.History
	Requests eureka.Requests
	// Credentials are API keys and revocations.
	Credentials eureka.Credentials
}

// Options configure a Core.
type Options struct {
	Ports Ports
	Node  string // name of this node, shown by info
	// AllowUndeclared lets clients subscribe to and publish on well-formed channel ids that nobody created.
	AllowUndeclared bool
	// MaxSubscriptions is how many channels one socket may listen to; 0 means DefaultMaxSubscriptions.
	MaxSubscriptions int
	// MaxAge is how long a socket may live; 0 means for ever. It sets Socket.ExpiresAt and reconnectBy.
	MaxAge time.Duration
	// Verify says who a token stands for, for the refresh action; nil when the service has no authentication.
	Verify func(ctx context.Context, token string) (eureka.Identity, error)
	// Limited is told the setting whose limit refused something; nil for nobody.
	Limited func(setting string)
	// Rules compiles and evaluates rules; nil: channels and subscriptions cannot have any.
	Rules eureka.Rules
	Now   func() time.Time // nil means time.Now
	Log   *slog.Logger
}

// DefaultMaxSubscriptions is how many channels one socket may listen to by default.
const DefaultMaxSubscriptions = 1000

// Core runs the use cases. It is safe for concurrent use.
type Core struct {
	ports            Ports
	node             string
	allowUndeclared  bool
	maxSubscriptions int
	maxAge           time.Duration
	verify           func(ctx context.Context, token string) (eureka.Identity, error)
	limited          func(setting string)
	rules            eureka.Rules
	failures         *failures
	progress         *progress
	now              func() time.Time
	log              *slog.Logger
}

// New returns a Core on the given ports; it fails when one is missing.
func New(o Options) (*Core, error) {
	switch {
	case o.Ports.Channels == nil, o.Ports.Sockets == nil, o.Ports.Fanout == nil, o.Ports.Sender == nil,
		o.Ports.History == nil, o.Ports.Requests == nil, o.Ports.Credentials == nil:
		return nil, errors.New("core: a port is missing")
	case o.Log == nil:
		return nil, errors.New("core: no logger")
	}
	c := &Core{
		ports: o.Ports, node: o.Node, allowUndeclared: o.AllowUndeclared,
		maxSubscriptions: o.MaxSubscriptions, maxAge: o.MaxAge, verify: o.Verify, limited: o.Limited, now: o.Now, log: o.Log,
		rules: o.Rules, failures: newFailures(), progress: newProgress(),
	}
	if c.maxSubscriptions <= 0 {
		c.maxSubscriptions = DefaultMaxSubscriptions
	}
	if c.limited == nil {
		c.limited = func(string) {}
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.rules == nil {
		c.rules = noRules{}
	}
	return c, nil
}

func (c *Core) nowMillis() int64 { return c.now().UnixMilli() }
