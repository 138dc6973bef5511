package natsengine

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"eureka"
	"eureka/internal/protocol"
)

// nodeIDLength is the length of a node's id, with which the ids of its sockets start.
const nodeIDLength = 8

// Registry is the sockets this node holds and what they listen to; the gateway's hub is one. Its methods never block.
type Registry interface {
	// Add records a socket; CodeConflict when the id is there.
	Add(s eureka.Socket) error
	// Remove forgets a socket; CodeNotFound for everyone but one caller.
	Remove(id string) (eureka.Socket, error)
	// Subscribe adds a subscription, or replaces one (added is false then); CodeNotFound without the socket.
	Subscribe(sub eureka.Subscription) (added bool, err error)
	// Unsubscribe ends a subscription; CodeNotFound when there is none.
	Unsubscribe(socketID, channelID string) error
	// List returns this node's live sockets.
	List(q eureka.SocketQuery) (eureka.Page[eureka.Socket], error)
}

// Delivery reaches the sockets this node holds; the gateway's hub is one. Its methods never block.
type Delivery interface {
	// Deliver hands a message to the channel's subscribers on this node.
	Deliver(channelID string, b protocol.Broadcast) (matched, sent int)
	// Count is how many of this node's sockets Deliver would match if none had a filter.
	Count(channelID string, except []string) int
	// Send queues a text frame; CodeGone when the socket has ended.
	Send(socketID string, frame []byte) error
	// Close ends a socket; CodeGone when it has ended.
	Close(socketID string, code eureka.CloseCode, reason string) error
	// Move re-homes the subscriptions of one channel id to another ("" ends them) and returns how many left the first and how
	// many the second gained.
	Move(from, to string) (left, gained int)
}

// Options configure an Engine.
type Options struct {
	URL       string // "" runs a NATS server in this process; else the URL of an external one (a comma list is allowed)
	DataDir   string // where the server in this process keeps its state
	Node      string // this node's id, from NewNodeID; socket ids start with it
	Namespace string // prefix of subjects, buckets and streams; default "eureka"
	Replicas  int    // of buckets and streams on a NATS cluster; default 1
	// SyncAlways writes each stored message to the disk before it is confirmed; else all that is new is written every SyncInterval
	// (default 1 s), and a machine that goes down loses up to that much. With an external NATS its own configuration counts.
	SyncAlways   bool
	SyncInterval time.Duration
	// CredentialsChanged is called when a key was removed or a revocation came; nil for nobody. It must not block.
	CredentialsChanged func()
	HistoryBytes       int64 // of all channels' history on disk; over it publishing with history is refused. 0 for what the disk takes
	CacheBytes         int64 // of newest messages kept in memory for sockets that resume; default 64 MiB
	Registry           Registry
	Delivery           Delivery
	Replays            Replays
	Rules              eureka.Rules // evaluates the filters of sockets that resume; without it those get nothing
	Log                *slog.Logger
	Metrics            prometheus.Registerer // nil for none

	now func() time.Time // of tests; time.Now
}

// Engine is the ports of package eureka on NATS. Open makes one.
type Engine struct {
	options     Options
	embedded    *embedded // nil with an external server
	nc          *nats.Conn
	js          jetstream.JetStream
	metrics     *metrics
	channels    *channelStore
	bus         *bus
	history     *history
	requests    *requests
	credentials *credentials
	peers       *peers
	dir         *directory

	closeOnce sync.Once
	closeErr  error
}

// NewNodeID makes a node id: 8 characters of a-z and 2-7.
func NewNodeID() string { return randomID(nodeIDLength) }

// NewSocketID makes the id of a socket that a node holds. It cannot be guessed: 80 bits are random.
func NewSocketID(node string) string { return node + randomID(16) }

func randomID(n int) string {
	raw := make([]byte, n*5/8)
	_, _ = rand.Read(raw) // never fails, by its contract
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw))[:n]
}

func validNodeID(s string) bool {
	return len(s) == nodeIDLength && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '2' || r > '7')
	})
}

func (o Options) check() error {
	switch {
	case o.Registry == nil || o.Delivery == nil || o.Log == nil:
		return errors.New("natsengine: an option is missing")
	case !validNodeID(o.Node):
		return eureka.FieldError("node", "must be %d characters of a-z and 2-7", nodeIDLength)
	case o.Replicas < 0 || o.Replicas > 5:
		return eureka.FieldError("replicas", "must be between 1 and 5")
	case o.Namespace != "" && (escapeToken(o.Namespace) != o.Namespace || len(o.Namespace) > 32):
		return eureka.FieldError("namespace", "must be at most 32 characters of A-Z a-z 0-9 _ and -")
	case o.URL == "" && o.DataDir == "":
		return eureka.FieldError("data_dir", "is empty")
	case o.URL == "" && o.Replicas > 1:
		return eureka.FieldError("replicas", "must be 1 with the NATS server in this process; more need an external cluster (setting nats)")
	default:
		return nil
	}
}

// Open starts or connects to NATS and returns when the engine can answer. CodeConflict: the data directory is in use;
// CodeForbidden: it cannot be written; CodeInternal: it is damaged; CodeUnavailable: NATS does not answer; CodeInvalid:
// a bad option.
func Open(ctx context.Context, o Options) (*Engine, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Namespace == "" {
		o.Namespace = "eureka"
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.SyncInterval <= 0 {
		o.SyncInterval = time.Second
	}
	if o.HistoryBytes <= 0 {
		o.HistoryBytes = -1
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 64 << 20
	}
	if o.now == nil {
		o.now = time.Now
	}
	e := &Engine{options: o, metrics: newMetrics(o.Metrics)}
	if err := e.open(ctx); err != nil {
		return nil, errors.Join(err, e.Close(context.WithoutCancel(ctx)))
	}
	return e, nil
}

func (e *Engine) open(ctx context.Context) (err error) {
	o := e.options
	if o.URL == "" {
		if e.embedded, err = startEmbedded(o); err != nil {
			return err
		}
	}
	e.bus = newBus(e)
	if err := e.connect(); err != nil { //nolint:contextcheck // what a tail reads later is no part of this call
		return err
	}
	if e.embedded != nil {
		if err := e.embedded.check(); err != nil {
			return err
		}
	}
	if e.js, err = jetstream.New(e.nc); err != nil {
		return eureka.WrapError(eureka.CodeInternal, err, "JetStream cannot be used")
	}
	e.bus.start(e.nc) //nolint:contextcheck // see above
	if e.channels, err = newChannelStore(ctx, storeOptions{
		JS: e.js, Namespace: o.Namespace, Replicas: o.Replicas, Log: o.Log, OnChange: e.channelChanged,
	}); err != nil {
		return err
	}
	if e.history, err = openHistory(ctx, e); err != nil {
		return err
	}
	if e.requests, err = openRequests(ctx, e); err != nil {
		return err
	}
	if e.credentials, err = openCredentials(ctx, e); err != nil {
		return err
	}
	e.history.start()
	e.peers = newPeers(e)
	e.dir = &directory{engine: e}
	if err := e.answer(); err != nil {
		return err
	}
	return e.peers.start(ctx)
}

// Channels returns the channel definitions.
func (e *Engine) Channels() eureka.Channels { return e.channels }

// Sockets returns the directory of the sockets on all nodes. It is also an eureka.SubscriberCounter.
func (e *Engine) Sockets() eureka.Sockets { return e.dir }

// Fanout returns the live bus.
func (e *Engine) Fanout() eureka.Fanout { return e.bus }

// History returns the messages that channels retain.
func (e *Engine) History() eureka.History { return e.history }

// Requests returns the answers to requests with a key.
func (e *Engine) Requests() eureka.Requests { return e.requests }

// Credentials returns API keys and revocations.
func (e *Engine) Credentials() eureka.Credentials { return e.credentials }

// Mocks returns the store of sample events. Its bucket is made when the first one is kept.
func (e *Engine) Mocks() eureka.Mocks { return &mocks{e} }

// Key returns an API key by its id, from this node's copy.
func (e *Engine) Key(id string) (eureka.APIKey, bool) { return e.credentials.Key(id) }

// Revoked reports whether an identity's credential was taken back, by this node's copy.
func (e *Engine) Revoked(id eureka.Identity) bool { return e.credentials.Revoked(id) }

// Sender returns the way to one socket on any node.
func (e *Engine) Sender() eureka.Sender { return &sender{e} }

// readyTimeout bounds the question whether JetStream answers.
const readyTimeout = 2 * time.Second

// Ready returns nil when the connection is up, JetStream answers and the channel replica is complete; else a
// CodeUnavailable error that says what is missing.
func (e *Engine) Ready(ctx context.Context) error {
	if !e.nc.IsConnected() {
		return eureka.Errorf(eureka.CodeUnavailable, "the connection to NATS is lost")
	}
	if e.peers.twin.Load() {
		return eureka.Errorf(eureka.CodeUnavailable, "another process uses this node's id (setting node)")
	}
	if err := e.channels.ready(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if _, err := e.js.AccountInfo(ctx); err != nil {
		return eureka.WrapError(eureka.CodeUnavailable, err, "JetStream does not answer")
	}
	return nil
}

// Close says goodbye to the other nodes and ends the connection, the server in this process and the hold on its data directory. A second call
// returns the same.
func (e *Engine) Close(context.Context) error {
	e.closeOnce.Do(func() {
		if e.peers != nil {
			e.peers.stop()
		}
		if e.history != nil {
			e.history.stop()
		}
		if e.credentials != nil {
			e.credentials.close()
		}
		if e.channels != nil {
			e.channels.close()
		}
		if e.nc != nil {
			if e.nc.IsConnected() {
				_ = e.nc.FlushTimeout(flushTimeout) // the goodbye; a server that is away cannot hear it
			}
			e.nc.Close()
		}
		if e.bus != nil {
			e.bus.stop()
		}
		if e.embedded != nil {
			e.closeErr = e.embedded.stop()
		}
	})
	return e.closeErr
}

func (e *Engine) subject(parts ...string) string {
	return e.options.Namespace + "." + strings.Join(parts, ".")
}

// channelChanged keeps subscribers where their channel is. A name that was undeclared when a client subscribed may become
// a channel's alias; a deleted channel has no subscribers.
func (e *Engine) channelChanged(old, ch *eureka.Channel) {
	switch {
	case ch == nil:
		e.bus.vacate(old.ID)
	case ch.Alias != "" && (old == nil || old.Alias != ch.Alias):
		e.bus.rehome(ch.Alias, ch.ID)
	}
}
