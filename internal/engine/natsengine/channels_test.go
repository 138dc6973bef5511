package natsengine

import (
	"context"
	"log/slog"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"eureka"
	"eureka/internal/porttest"
)

func TestChannelsEmbedded(t *testing.T) {
	s := startServer(t, t.TempDir())
	porttest.Channels(t, func(t *testing.T) porttest.ChannelsHarness {
		t.Parallel()
		name := namespace(t)
		nc, err := nats.Connect("", nats.InProcessServer(s))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		return porttest.ChannelsHarness{Nodes: []eureka.Channels{openStore(t, storeOptions{JS: js, Namespace: name})}}
	})
}

func TestChannelsExternal(t *testing.T) {
	s := startServer(t, t.TempDir())
	porttest.Channels(t, func(t *testing.T) porttest.ChannelsHarness {
		return harness(t, []*server.Server{s, s}, 1)
	})
}

// harness opens one store per server over connections of their own.
func harness(t *testing.T, servers []*server.Server, replicas int) porttest.ChannelsHarness {
	t.Helper()
	t.Parallel() // the suite waits for NATS most of the time
	name := namespace(t)
	var h porttest.ChannelsHarness
	for _, s := range servers {
		h.Nodes = append(h.Nodes, openStore(t, storeOptions{JS: dialJetStream(t, s), Namespace: name, Replicas: replicas}))
	}
	return h
}

func openStore(t testing.TB, o storeOptions) *channelStore {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	s, err := newChannelStore(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}
