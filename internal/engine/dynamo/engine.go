package dynamo

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"eureka"
)

// Poster reaches one socket: API Gateway's @connections.
type Poster interface {
	// Post sends one encoded text frame. CodeGone when the socket has ended or does not live yet; CodeRateLimited or CodeUnavailable when it
	// may be tried again; CodeTooLarge.
	Post(ctx context.Context, socketID string, frame []byte) error
	// Close ends the socket. CodeGone as in Post.
	Close(ctx context.Context, socketID string) error
}

// Queue takes work for another call of a function.
type Queue interface {
	// Enqueue stores tasks, each to be given to [Engine.Work] at least once, not before delay (at most 15 minutes) has passed. Either all
	// are stored or an error is returned; CodeUnavailable.
	Enqueue(ctx context.Context, delay time.Duration, tasks ...Task) error
}

// Options configure an Engine.
type Options struct {
	Client *dynamodb.Client
	Table  string // its name
	Poster Poster
	Queue  Queue
	// Gone is told of each socket that a post found ended, so that its end is reported. It may be told twice; nil for nobody.
	Gone func(ctx context.Context, socketID string)
	// Rules evaluate the filters of subscriptions; nil: subscriptions with a filter are refused with CodeUnavailable.
	Rules eureka.Rules
	Now   func() time.Time // nil means time.Now
	Log   *slog.Logger
	// Meter is told of the capacity units that each request consumed, by many at once; nil for nobody.
	Meter func(read, write float64)
}

// Engine is the ports on one table. It is safe for concurrent use, and holds nothing that another one would miss.
type Engine struct {
	options  Options
	table    table
	instance string // tells this engine's claims from those of others
	keys     *Keys
	limits   listLimits
	looks    looks
	texts    knownTexts
	oneOf    func(n int) bool // true once in n times, by chance
}

// Open returns an Engine; it makes no request.
func Open(o Options) (*Engine, error) {
	if o.Client == nil || o.Table == "" || o.Poster == nil || o.Queue == nil || o.Log == nil {
		return nil, errors.New("dynamo: an option is missing")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	e := &Engine{options: o, table: newTable(o.Client, o.Table, o.Meter), instance: rand.Text(), limits: defaultListLimits, oneOf: oneOf}
	e.keys = newKeys(e)
	return e, nil
}

func oneOf(n int) bool { return mathrand.N(n) == 0 } //nolint:gosec // it only spreads

func (e *Engine) nowMillis() int64 { return e.options.Now().UnixMilli() }

// The ports.
var (
	_ eureka.Channels          = (*channels)(nil)
	_ eureka.Sockets           = (*sockets)(nil)
	_ eureka.SubscriberCounter = (*sockets)(nil)
	_ eureka.Fanout            = (*fanout)(nil)
	_ eureka.Sender            = (*sender)(nil)
	_ eureka.History           = (*history)(nil)
	_ eureka.Requests          = (*requests)(nil)
	_ eureka.Credentials       = (*credentials)(nil)
)

// Channels implements the port.
func (e *Engine) Channels() eureka.Channels { return (*channels)(e) }

// Sockets implements the port; what it returns implements eureka.SubscriberCounter too.
func (e *Engine) Sockets() eureka.Sockets { return (*sockets)(e) }

// Fanout implements the port.
func (e *Engine) Fanout() eureka.Fanout { return (*fanout)(e) }

// Sender implements the port.
func (e *Engine) Sender() eureka.Sender { return (*sender)(e) }

// History implements the port.
func (e *Engine) History() eureka.History { return (*history)(e) }

// Requests implements the port.
func (e *Engine) Requests() eureka.Requests { return (*requests)(e) }

// Credentials implements the port.
func (e *Engine) Credentials() eureka.Credentials { return (*credentials)(e) }
