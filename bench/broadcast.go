//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"eureka/internal/loadgen"
	"eureka/internal/pause"
)

// broadcastChannel is what all sockets of the largest broadcast listen to.
const broadcastChannel = "all"

// Of the largest broadcast.
const (
	connectPatience = 5 * time.Minute
	arrivalPatience = 20 * time.Second
)

// barBroadcast holds as many idle sockets as it is told and sends them one message. Where a process may not open so many files there are
// several nodes on one NATS, each with a generator of its own.
func (b *bench) barBroadcast(ctx context.Context, f *figures) error {
	most := min(processFiles(), b.huge)
	nodes := (b.huge + most - 1) / most
	broker, err := b.broker()
	if err != nil {
		return err
	}
	defer broker.Shutdown()
	sharing := make([]node, nodes)
	for i := range sharing {
		sharing[i].sockets = (b.huge + i) / nodes
	}
	defer func() {
		for _, n := range sharing {
			n.end()
		}
	}()
	began := time.Now()
	for i := range sharing {
		b.say("broadcast: node %d of %d, %d sockets", i+1, nodes, sharing[i].sockets)
		if err := b.fillNode(ctx, &sharing[i], broker.ClientURL()); err != nil {
			return err
		}
	}
	connected := time.Since(began)
	var resident int64
	for _, n := range sharing {
		m, err := n.server.resident()
		if err != nil {
			return err
		}
		resident += m - n.before
	}
	b.say("broadcast: publishing")
	body := fmt.Appendf(nil, `{"data":%s}`, loadgen.FirstMessage(128))
	if _, err := sharing[0].server.call(ctx, caller, http.MethodPost, "/channels/"+broadcastChannel+"/broadcast", body); err != nil {
		return err
	}
	if err := pause.For(ctx, arrivalPatience); err != nil {
		return err
	}
	var received, doubled, ended int64
	var last float64
	for i := range sharing {
		report, err := sharing[i].report()
		if err != nil {
			return err
		}
		ended += report.Memory.ClosedMeanwhile
		if d := report.Delivery; d != nil {
			received, doubled, last = received+d.Received, doubled+d.Duplicates, max(last, d.Latency.Max)
		}
	}
	r := bounded("broadcast", fmt.Sprintf("to %d idle sockets: not arrived, doubled", b.huge), "messages", float64(int64(b.huge)-received+doubled), 0)
	if nodes > 1 {
		r.Note = fmt.Sprintf("%d nodes on one NATS: one process may open no more than %d files here", nodes, processFiles())
	}
	f.Bars = append(f.Bars, r, bounded("broadcast", "sockets that ended meanwhile", "sockets", float64(ended), 0),
		figure("broadcast", "the last one arrived after", "ms", last),
		figure("broadcast", "resident memory of the nodes, as soon as all are connected", "bytes per socket", float64(resident)/float64(b.huge)),
		figure("broadcast", "connecting them took", "s", connected.Seconds()))
	return nil
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
		return nil, errors.New("the NATS of the broadcast does not start")
	}
	return broker, nil
}

// fillNode starts a node and returns when it holds its sockets.
func (b *bench) fillNode(ctx context.Context, n *node, nats string) (err error) {
	if n.server, err = b.contend(ctx, eurekaName, "--nats", nats); err != nil {
		return err
	}
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

// sockets is how many the service says it holds, -1 when it does not answer.
func (s *server) sockets(ctx context.Context) int {
	text, err := s.call(ctx, caller, http.MethodGet, "/hello", nil)
	var hello struct{ Sockets int }
	if err != nil || json.Unmarshal(text, &hello) != nil {
		return -1
	}
	return hello.Sockets
}
