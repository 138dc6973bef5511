package natsengine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"eureka"
	"eureka/internal/core"
	"eureka/internal/engine/natsengine"
)

// crashing is a fanout whose node dies when a message is stored, before anybody is told.
type crashing struct {
	eureka.Fanout

	crash func()
}

func (c *crashing) Deliver(ctx context.Context, m eureka.Message) (eureka.Delivery, error) {
	d, err := c.Fanout.Deliver(ctx, m)
	if c.crash != nil {
		c.crash()
	}
	return d, err
}

func newCore(t *testing.T, e *natsengine.Engine, f eureka.Fanout) *core.Core {
	t.Helper()
	c, err := core.New(core.Options{
		Ports: core.Ports{Channels: e.Channels(), Sockets: e.Sockets(), Fanout: f, Sender: e.Sender(), History: e.History(), Requests: e.Requests(), Credentials: e.Credentials()},
		Node:  "aaaaaaaa", AllowUndeclared: true, Log: discard(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func publishKeyed(ctx context.Context, c *core.Core, key string) (core.PublishResult, error) {
	return c.Publish(ctx, eureka.Everyone(""), core.PublishRequest{Channel: "A", Data: json.RawMessage(`1`), Key: key, Counted: true})
}

func mustPublishKeyed(t *testing.T, c *core.Core, key string) core.PublishResult {
	t.Helper()
	result, err := publishKeyed(t.Context(), c, key)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func wantStored(t *testing.T, e *natsengine.Engine, want int) {
	t.Helper()
	page, err := e.History().Newest(t.Context(), "A", 100)
	if err != nil || len(page.Messages) != want {
		t.Errorf("%d messages are stored, want %d; %v", len(page.Messages), want, err)
	}
}

// TestSameKeyAfterARestart: also when the answer was lost, the message is known.
func TestSameKeyAfterARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openShifted(t, natsengine.Options{DataDir: dir}, 0)
	retain(t, "A", retention, s.Engine)
	first := mustPublishKeyed(t, newCore(t, s.Engine, s.Fanout()), "k")
	for _, lost := range []bool{false, true} {
		if lost {
			if err := s.Unkeep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s = openShifted(t, natsengine.Options{DataDir: dir}, 0)
		again := mustPublishKeyed(t, newCore(t, s.Engine, s.Fanout()), "k")
		if again != first {
			t.Errorf("the answer lost: %v: answered %+v, and after a restart %+v", lost, first, again)
		}
		wantStored(t, s.Engine, 1)
	}
}

// TestSameKeyAfterACrash: a node that dies between storing a message and keeping the answer leaves a claim, which another takes over in time.
func TestSameKeyAfterACrash(t *testing.T) {
	t.Parallel()
	nats := natsengine.StartServer(t, t.TempDir())
	victim, survivor := openShiftedOn(t, nats), openShiftedOn(t, nats)
	retain(t, "A", retention, victim.Engine, survivor.Engine)
	var stored eureka.Delivery
	f := &crashing{Fanout: victim.Fanout()}
	f.crash = victim.Crash
	if result, err := publishKeyed(t.Context(), newCore(t, victim.Engine, f), "k"); err == nil {
		stored.Cursor, err = eureka.ParseCursor("id", result.ID)
		if err != nil {
			t.Fatal(err)
		}
	}
	wantStored(t, survivor.Engine, 1)
	c := newCore(t, survivor.Engine, survivor.Fanout())
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if result, err := publishKeyed(short, c, "k"); eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("while the other node may be at it: %+v, %v", result, err)
	}
	survivor.pass(eureka.RequestLease + time.Second)
	taken := mustPublishKeyed(t, c, "k")
	if stored.Cursor != (eureka.Cursor{}) && taken.ID != stored.Cursor.String() {
		t.Errorf("stored at %s, answered with %s", stored.Cursor, taken.ID)
	}
	if again := mustPublishKeyed(t, c, "k"); again != taken {
		t.Errorf("answered %+v, then %+v", taken, again)
	}
	survivor.pass(-eureka.RequestLease - time.Second)
	page, err := survivor.History().Newest(t.Context(), "A", 10)
	if err != nil || len(page.Messages) != 1 || page.Messages[0].Cursor.String() != taken.ID {
		t.Errorf("stored is %+v, answered was %+v; %v", page, taken, err)
	}
}

// TestSameKeyOnAllNodes: whichever nodes get a request at the same time, it is accepted once.
func TestSameKeyOnAllNodes(t *testing.T) {
	t.Parallel()
	servers := natsengine.StartCluster(t, 3)
	var nodes []*node
	var cores []*core.Core
	var engines []*natsengine.Engine
	namespace := "t" + natsengine.NewNodeID()
	for _, s := range servers {
		n := openNode(t, natsengine.Options{URL: s.ClientURL(), Namespace: namespace, Replicas: 3})
		nodes, engines, cores = append(nodes, n), append(engines, n.engine), append(cores, newCore(t, n.engine, n.engine.Fanout()))
	}
	retain(t, "A", retention, engines...)
	listener := nodes[1].dial(t)
	nodes[1].subscribe(t, listener, "A")
	const keys = 20
	for key := range keys {
		answers := make(chan core.PublishResult, len(cores)*2)
		for i := range len(cores) * 2 {
			go func() {
				result, err := publishKeyed(t.Context(), cores[i%len(cores)], fmt.Sprint("k", key))
				if err != nil {
					t.Errorf("key %d: %v", key, err)
				}
				answers <- result
			}()
		}
		first := <-answers
		for range len(cores)*2 - 1 {
			if other := <-answers; other != first {
				t.Errorf("key %d: answered %+v, and %+v", key, first, other)
			}
		}
	}
	wantStored(t, nodes[2].engine, keys)
	eventually(t, "each arrives", func() bool { return len(listener.Frames()) >= keys })
	if n := len(listener.Frames()); n != keys {
		t.Errorf("%d messages arrive, want %d", n, keys)
	}
}
