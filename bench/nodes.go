//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"eureka/internal/loadgen"
	"eureka/internal/pause"
)

// barNodes is the resident memory of idle, authenticated sockets with one subscription, as many as are asked for on this machine: on several
// nodes of one NATS where one process may not open so many files.
func (b *bench) barNodes(ctx context.Context, f *figures) error {
	c, err := b.cluster(b.large)
	if err != nil {
		return err
	}
	defer c.end()
	kernel, err := slab()
	if err != nil {
		return err
	}
	if err := c.fill(ctx, b, func(ctx context.Context, nats string) (*server, error) { return b.authenticated(ctx, "--nats", nats) }); err != nil {
		return err
	}
	connected, err := c.growth()
	if err != nil {
		return err
	}
	held, err := slab()
	if err != nil {
		return err
	}
	if err := pause.For(ctx, idleSettle*time.Second); err != nil {
		return err
	}
	settled, err := c.growth()
	if err != nil {
		return err
	}
	var ended int64
	for i := range c.nodes {
		report, err := c.nodes[i].report()
		if err != nil {
			return err
		}
		ended += report.Memory.ClosedMeanwhile
	}
	each := func(bytes int64) float64 { return float64(bytes) / float64(b.large) }
	r := bounded("nodes", fmt.Sprintf("%d idle, authenticated sockets with one subscription, %d s after the last", b.large, idleSettle), "bytes per socket", each(settled), maxPerSocket)
	r.Note = c.note()
	f.Bars = append(f.Bars, r, bounded("nodes", "sockets that ended meanwhile", "sockets", float64(ended), 0),
		figure("nodes", "as soon as all are connected", "bytes per socket", each(connected)),
		figure("nodes", "kernel slab, both ends of each connection", "bytes per socket", each(held-kernel)))
	return nil
}

// cluster is nodes on one NATS, with a generator each.
type cluster struct {
	broker *natsserver.Server
	nodes  []node
}

// cluster has a share of so many sockets for each node, as few nodes as can hold them.
func (b *bench) cluster(sockets int) (*cluster, error) {
	most := min(processFiles(), sockets)
	n := (sockets + most - 1) / most
	broker, err := b.broker()
	if err != nil {
		return nil, err
	}
	c := &cluster{broker: broker, nodes: make([]node, n)}
	for i := range c.nodes {
		c.nodes[i].sockets = (sockets + i) / n
	}
	return c, nil
}

// fill starts the nodes, one when the other holds its sockets.
func (c *cluster) fill(ctx context.Context, b *bench, begin func(ctx context.Context, nats string) (*server, error)) error {
	for i := range c.nodes {
		n := &c.nodes[i]
		b.say("node %d of %d, %d sockets", i+1, len(c.nodes), n.sockets)
		var err error
		if n.server, err = begin(ctx, c.broker.ClientURL()); err != nil {
			return err
		}
		if err := b.fillNode(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// growth is the resident memory that sockets have added to the nodes, in bytes.
func (c *cluster) growth() (bytes int64, err error) {
	for _, n := range c.nodes {
		m, err := n.server.resident()
		if err != nil {
			return 0, err
		}
		bytes += m - n.before
	}
	return bytes, nil
}

// note says why there are several nodes; "" when there is one.
func (c *cluster) note() string {
	if len(c.nodes) == 1 {
		return ""
	}
	return fmt.Sprintf("%d nodes on one NATS: one process may open no more than %d files here", len(c.nodes), processFiles())
}

func (c *cluster) end() {
	for _, n := range c.nodes {
		n.end()
	}
	c.broker.Shutdown()
}

// node is one node with its share of the sockets.
type node struct {
	sockets   int
	server    *server
	generator *generator
	before    int64
}

func (b *bench) broker() (*natsserver.Server, error) {
	broker, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, JetStream: true, StoreDir: filepath.Join(b.dir, "nats"), NoLog: true, NoSigs: true,
	})
	if err != nil {
		return nil, err
	}
	go broker.Start()
	if !broker.ReadyForConnections(30 * time.Second) {
		return nil, errors.New("the NATS of the nodes does not start")
	}
	return broker, nil
}

// contendOn starts a node without credentials.
func (b *bench) contendOn(ctx context.Context, nats string) (*server, error) {
	return b.contend(ctx, eurekaName, "--nats", nats)
}

// fillNode returns when a node holds its sockets.
func (b *bench) fillNode(ctx context.Context, n *node) (err error) {
	if n.before, err = n.server.resident(); err != nil {
		return err
	}
	n.generator, err = b.generator(ctx, n.server, "idle", "--sockets", strconv.Itoa(n.sockets), "--channel", broadcastChannel, "--settle", "1h", "--wait", "1m")
	if err != nil {
		return err
	}
	return waitUntil(connectPatience, func() bool { return n.server.sockets(ctx) == n.sockets }, func() error {
		return fmt.Errorf("the node holds %d of %d sockets", n.server.sockets(ctx), n.sockets)
	})
}

// report ends a node's generator and returns what it has seen.
func (n *node) report() (report loadgen.Report, err error) {
	if err := n.generator.command.Process.Signal(syscall.SIGINT); err != nil {
		return report, err
	}
	_ = n.generator.command.Wait() // it says that it was interrupted
	if err := json.NewDecoder(bytes.NewReader(n.generator.out.Bytes())).Decode(&report); err != nil {
		return report, fmt.Errorf("no report: %w\n%s", err, n.generator.log.Bytes())
	}
	return report, nil
}

func (n *node) end() {
	if n.generator != nil && n.generator.command.ProcessState == nil {
		_ = n.generator.command.Process.Kill()
		_ = n.generator.command.Wait()
	}
	if n.server != nil {
		_ = n.server.command.Process.Kill() // draining so many sockets is not measured
		_ = n.server.command.Wait()
	}
}
