package natsengine_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/nats-io/nats-server/v2/server"

	"eureka"
	"eureka/internal/auth"
	"eureka/internal/core"
	"eureka/internal/engine/natsengine"
	"eureka/internal/gateway"
	"eureka/internal/porttest"
	"eureka/internal/rule"
)

// node is one node of the service as the engine meets it: a real hub behind a real gateway.
type node struct {
	id     string
	hub    *gateway.Hub
	engine *natsengine.Engine
	server *httptest.Server
	taken  atomic.Int64 // how often a credential was taken back

	mu  sync.Mutex
	ids []string // of the sockets that connected, in order
}

func openNode(t *testing.T, o natsengine.Options) *node {
	t.Helper()
	return openNodeWith(t, gateway.SocketsAuto, o)
}

// openNodeWith is openNode with sockets that are driven in one way.
func openNodeWith(t *testing.T, how gateway.Sockets, o natsengine.Options) *node {
	t.Helper()
	rules := rule.New(rule.Options{})
	n := &node{id: natsengine.NewNodeID(), hub: gateway.NewHub(gateway.HubOptions{NewSelector: func() gateway.Selector { return rules.NewSet() }})}
	o.Rules = rules
	o.Node = n.id
	o.CredentialsChanged = func() { n.taken.Add(1) }
	if hub, ok := o.Registry.(*gateway.Hub); ok {
		n.hub = hub // with a delivery of the test's own
	} else {
		o.Registry, o.Delivery, o.Replays = n.hub, n.hub, n.hub
	}
	o.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var err error
	if n.engine, err = natsengine.Open(ctx, o); err != nil {
		t.Fatal(err)
	}
	origins, err := auth.NewOrigins(nil)
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(gateway.Options{
		Hub: n.hub, Handler: n, Origins: origins, Sockets: how, Identify: auth.OpenIdentity, Log: o.Log, NewID: func() string { return natsengine.NewSocketID(n.id) },
		Limits: gateway.Limits{QueueBytes: 64 << 20, QueueFrames: 1 << 20}, // this suite is about the engine, not about slow readers
	})
	if err != nil {
		t.Fatal(err)
	}
	n.server = httptest.NewServer(g)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = g.Drain(ctx) // clients of a failed test may not leave in time
		n.server.Close()
		if err := n.engine.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return n
}

// Connect, Frame and Disconnect are all of core that this suite needs: sockets come and go.
func (n *node) Connect(ctx context.Context, r core.ConnectRequest) (core.ConnectResult, error) {
	n.mu.Lock()
	n.ids = append(n.ids, r.SocketID)
	n.mu.Unlock()
	return core.ConnectResult{}, n.engine.Sockets().Add(ctx, eureka.Socket{ID: r.SocketID, Node: n.id, ConnectedAt: time.Now().UnixMilli()})
}

func (n *node) Frame(context.Context, core.FrameRequest) core.FrameResult { return core.FrameResult{} }

func (n *node) Disconnect(ctx context.Context, id string, _ eureka.CloseCode, _ string) error {
	if _, err := n.engine.Sockets().Remove(ctx, id); eureka.CodeOf(err) != eureka.CodeNotFound {
		return err
	}
	return nil
}

// client is a real WebSocket client that keeps what it receives.
type client struct {
	id     string
	mu     sync.Mutex
	frames []string
	code   eureka.CloseCode
	closed bool
}

func (n *node) dial(t *testing.T) porttest.LiveSocket {
	t.Helper()
	conn, response, err := websocket.Dial(t.Context(), n.server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if response.Body != nil {
		_ = response.Body.Close()
	}
	conn.SetReadLimit(-1)
	t.Cleanup(func() { _ = conn.CloseNow() })
	n.mu.Lock()
	c := &client{id: n.ids[len(n.ids)-1]}
	n.mu.Unlock()
	go func() {
		for {
			_, text, err := conn.Read(context.Background())
			c.mu.Lock()
			var end websocket.CloseError
			switch {
			case err == nil:
				c.frames = append(c.frames, string(text))
			case errors.As(err, &end):
				c.code, c.closed = eureka.CloseCode(end.Code), true
			default:
				c.code, c.closed = eureka.CloseAbnormal, true
			}
			c.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return c
}

func (c *client) ID() string { return c.id }

func (c *client) Frames() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.frames...)
}

func (c *client) Closed() (eureka.CloseCode, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.code, c.closed
}

// opener opens the nodes of one fresh service.
type opener func(t *testing.T) []*node

// suites runs all suites. oneServer says that the nodes share one NATS server, which knows a subscription when Subscribe returns; other
// servers of a cluster hear of it later.
func suites(t *testing.T, oneServer bool, open opener) {
	t.Helper()
	t.Run("Sockets", func(t *testing.T) {
		porttest.Sockets(t, func(t *testing.T) porttest.SocketsHarness {
			var h porttest.SocketsHarness
			for _, n := range open(t) {
				h.Nodes = append(h.Nodes, porttest.SocketsNode{
					Sockets: n.engine.Sockets(), NewID: func() string { return natsengine.NewSocketID(n.id) },
				})
			}
			return h
		})
	})
	t.Run("Credentials", func(t *testing.T) {
		porttest.Credentials(t, func(t *testing.T) porttest.CredentialsHarness {
			var h porttest.CredentialsHarness
			for _, n := range open(t) {
				h.Nodes = append(h.Nodes, porttest.CredentialsNode{
					Credentials: n.engine.Credentials(), Key: n.engine.Key, Revoked: n.engine.Revoked, Taken: func() int { return int(n.taken.Load()) },
				})
			}
			return h
		})
	})
	deliveries(t, oneServer, open)
}

// deliveries runs the suites of what sockets get.
func deliveries(t *testing.T, oneServer bool, open opener) {
	t.Helper()
	live := func(t *testing.T) porttest.LiveHarness {
		h := porttest.LiveHarness{AtOnce: oneServer}
		for _, n := range open(t) {
			h.Nodes = append(h.Nodes, porttest.LiveNode{
				Sockets: n.engine.Sockets(), Fanout: n.engine.Fanout(), Sender: n.engine.Sender(), Connect: n.dial, Channels: n.engine.Channels(),
			})
		}
		return h
	}
	t.Run("Fanout", func(t *testing.T) { porttest.Fanout(t, live) })
	t.Run("Sender", func(t *testing.T) { porttest.Sender(t, live) })
}

func TestEmbedded(t *testing.T) {
	suites(t, true, func(t *testing.T) []*node {
		t.Parallel()
		return []*node{openNode(t, natsengine.Options{DataDir: t.TempDir()})}
	})
}

// TestGoroutines runs what concerns sockets on the path of other systems and of TLS.
func TestGoroutines(t *testing.T) {
	open := func(t *testing.T) []*node {
		t.Parallel()
		return []*node{openNodeWith(t, gateway.SocketsGoroutines, natsengine.Options{DataDir: t.TempDir()})}
	}
	deliveries(t, true, open)
	histories(t, 5000, open)
}

func TestExternal(t *testing.T) {
	s := natsengine.StartServer(t, t.TempDir())
	suites(t, true, openOn([]*server.Server{s, s}, 1))
}

func TestCluster(t *testing.T) {
	suites(t, false, openOn(natsengine.StartCluster(t, 3), 3))
}

func openOn(servers []*server.Server, replicas int) opener {
	return func(t *testing.T) []*node {
		t.Parallel()
		namespace := "t" + natsengine.NewNodeID()
		var nodes []*node
		for _, s := range servers {
			nodes = append(nodes, openNode(t, natsengine.Options{URL: s.ClientURL(), Namespace: namespace, Replicas: replicas}))
		}
		return nodes
	}
}
