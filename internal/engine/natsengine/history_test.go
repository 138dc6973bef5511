package natsengine_test

import (
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"eureka/internal/engine/natsengine"
	"eureka/internal/porttest"
)

// histories runs the suite of history.
func histories(t *testing.T, long int, open opener) {
	t.Helper()
	harness := func(t *testing.T) porttest.LiveHarness {
		h := porttest.LiveHarness{AtOnce: true, Long: long}
		for _, n := range open(t) {
			h.Nodes = append(h.Nodes, porttest.LiveNode{
				Sockets: n.engine.Sockets(), Fanout: n.engine.Fanout(), Sender: n.engine.Sender(), Connect: n.dial,
				History: n.engine.History(), Channels: n.engine.Channels(),
			})
		}
		return h
	}
	t.Run("History", func(t *testing.T) { porttest.History(t, harness) })
	t.Run("Filters", func(t *testing.T) { porttest.Filters(t, harness) })
}

func TestHistoryEmbedded(t *testing.T) {
	t.Parallel()
	histories(t, 5000, func(t *testing.T) []*node {
		t.Parallel()
		return []*node{openNode(t, natsengine.Options{DataDir: t.TempDir()})}
	})
}

func TestHistoryExternal(t *testing.T) {
	t.Parallel()
	s := natsengine.StartServer(t, t.TempDir())
	histories(t, 5000, openOn([]*server.Server{s, s}, 1))
}

func TestHistoryCluster(t *testing.T) {
	t.Parallel()
	histories(t, 2500, openOn(natsengine.StartCluster(t, 3), 3))
}
