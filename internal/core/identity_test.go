package core_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"eureka"
	"eureka/internal/core"
	"eureka/internal/engine/natsengine"
	"eureka/internal/gateway"
)

// keeper is the real engine's sockets, which keep identities too. It is a fake in that: an engine that does so is held against the port's suite.
type keeper struct {
	eureka.Sockets

	identities map[string]eureka.Identity
	err        error
}

func (k *keeper) Add(ctx context.Context, s eureka.Socket) error {
	k.identities[s.ID] = s.Identity
	return k.Sockets.Add(ctx, s)
}

func (k *keeper) Identities(context.Context, ...string) (map[string]eureka.Identity, error) {
	return k.identities, k.err
}

func (k *keeper) SetIdentity(_ context.Context, id string, who eureka.Identity) error {
	if k.err == nil {
		k.identities[id] = who
	}
	return k.err
}

// TestIdentitiesAreKept: an engine that keeps who is behind a socket is told at connect and at refresh; when it cannot, the refresh has failed.
func TestIdentitiesAreKept(t *testing.T) {
	hub, log := gateway.NewHub(gateway.HubOptions{}), slog.New(slog.DiscardHandler)
	engine, err := natsengine.Open(t.Context(), natsengine.Options{DataDir: t.TempDir(), Node: node, Registry: hub, Delivery: hub, Replays: hub, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	first := eureka.Identity{User: "ann", Scopes: eureka.ScopeAll, Channels: []string{"*"}, TokenID: "1"}
	second := eureka.Identity{User: "ann", Scopes: eureka.ScopeSubscribe, Channels: []string{"room"}, TokenID: "2"}
	kept := &keeper{Sockets: engine.Sockets(), identities: map[string]eureka.Identity{}}
	c, err := core.New(core.Options{
		Ports: core.Ports{Channels: engine.Channels(), Sockets: kept, Fanout: engine.Fanout(), Sender: engine.Sender(), History: engine.History(), Requests: engine.Requests(), Credentials: engine.Credentials()},
		Node:  node, AllowUndeclared: true, Log: log,
		Verify: func(context.Context, string) (eureka.Identity, error) { return second, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	const id = node + "1"
	if _, err := c.Connect(t.Context(), core.ConnectRequest{SocketID: id, Identity: first}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]eureka.Identity{id: first}, kept.identities); diff != "" {
		t.Errorf("at connect (-want +got):\n%s", diff)
	}
	request := core.FrameRequest{SocketID: id, Identity: first, Text: []byte(`{"action":"refresh","ref":7,"token":"x"}`)}
	kept.err = eureka.Errorf(eureka.CodeUnavailable, "the store does not answer")
	result := c.Frame(t.Context(), request)
	want := `{"action":"error","ref":7,"error":{"code":"unavailable","message":"the store does not answer"}}`
	if result.Identity != nil || len(result.Frames) != 1 || string(result.Frames[0]) != want {
		t.Errorf("not kept: %+v %s", result.Identity, result.Frames)
	}
	kept.err = nil
	result = c.Frame(t.Context(), request)
	if diff := cmp.Diff(&second, result.Identity); diff != "" || len(result.Frames) != 1 {
		t.Errorf("%s (-want +got):\n%s", result.Frames, diff)
	}
	if diff := cmp.Diff(map[string]eureka.Identity{id: second}, kept.identities); diff != "" {
		t.Errorf("at refresh (-want +got):\n%s", diff)
	}
}
