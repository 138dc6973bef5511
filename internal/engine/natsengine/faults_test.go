package natsengine_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"eureka"
	"eureka/internal/engine/natsengine"
	"eureka/internal/gateway"
	"eureka/internal/porttest"
)

const patience = 30 * time.Second

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to pass: %s", what)
		}
		<-tick.C
	}
}

func (n *node) subscribe(t *testing.T, s porttest.LiveSocket, channel string) {
	t.Helper()
	sub := eureka.Subscription{SocketID: s.ID(), ChannelID: channel, Name: channel}
	if _, err := n.engine.Sockets().Subscribe(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
}

func (n *node) deliver(ctx context.Context, channel string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	_, err = n.engine.Fanout().Deliver(ctx, eureka.Message{ChannelID: channel, Action: eureka.ActionMessage, Data: text})
	return err
}

func has(s porttest.LiveSocket, text string) bool {
	return strings.Contains(strings.Join(s.Frames(), "\n"), text)
}

func TestNATSGoesAwayAndComesBackUnderTraffic(t *testing.T) {
	dir := t.TempDir()
	server := natsengine.StartServer(t, dir)
	n := openNode(t, natsengine.Options{URL: server.ClientURL()})
	s := n.dial(t)
	n.subscribe(t, s, "A")
	var refused, accepted int
	var mu sync.Mutex
	stop := make(chan struct{})
	var traffic sync.WaitGroup
	traffic.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			err := n.deliver(t.Context(), "A", i)
			mu.Lock()
			if err == nil {
				accepted++
			} else if refused++; eureka.CodeOf(err) != eureka.CodeUnavailable {
				t.Errorf("refused with %v", err)
			}
			mu.Unlock()
		}
	})
	eventually(t, "messages flow", func() bool { return len(s.Frames()) > 20 })
	address, ok := server.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatal("the server has no TCP address")
	}
	natsengine.StopServer(server)
	eventually(t, "publishes are refused", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return refused > 20
	})
	if eureka.CodeOf(n.engine.Ready(t.Context())) != eureka.CodeUnavailable {
		t.Error("the engine says it is ready without NATS")
	}
	natsengine.StartServerOn(t, dir, address.Port)
	eventually(t, "the engine is ready again", func() bool { return n.engine.Ready(t.Context()) == nil })
	eventually(t, "the subscriber hears of the gap", func() bool { return has(s, `"code":"gap"`) })
	before := len(s.Frames())
	eventually(t, "messages flow again by themselves", func() bool { return len(s.Frames()) > before+20 })
	close(stop)
	traffic.Wait()
}

func TestANodeThatDiesIsLeftOut(t *testing.T) {
	server := natsengine.StartServer(t, t.TempDir())
	survivor := openNode(t, natsengine.Options{URL: server.ClientURL()})
	victim := openNode(t, natsengine.Options{URL: server.ClientURL()})
	kept, lost := survivor.dial(t), victim.dial(t)
	total := func() int {
		page, err := survivor.engine.Sockets().List(t.Context(), eureka.SocketQuery{})
		if err != nil {
			if eureka.CodeOf(err) != eureka.CodeUnavailable || !strings.Contains(eureka.MessageOf(err), victim.id) {
				t.Errorf("the list failed with %v", err)
			}
			return -1 // rather an error than a list with a hole
		}
		return page.Total
	}
	eventually(t, "both nodes' sockets are listed", func() bool { return total() == 2 })
	victim.engine.Crash()
	eventually(t, "the dead node's sockets are gone", func() bool { return total() == 1 })
	if err := survivor.engine.Sender().Send(t.Context(), lost.ID(), []byte(`1`)); eureka.CodeOf(err) != eureka.CodeGone {
		t.Errorf("sending to a socket of the dead node: %v", err)
	}
	if err := survivor.engine.Sender().Send(t.Context(), kept.ID(), []byte(`1`)); err != nil {
		t.Errorf("sending to a socket of the live node: %v", err)
	}
}

func TestANewAliasTakesItsSubscribersAlong(t *testing.T) {
	server := natsengine.StartServer(t, t.TempDir())
	first := openNode(t, natsengine.Options{URL: server.ClientURL()})
	second := openNode(t, natsengine.Options{URL: server.ClientURL()})
	a, b := first.dial(t), second.dial(t)
	first.subscribe(t, a, "orders-api:order")
	second.subscribe(t, b, "orders-api:order")
	ch, err := first.engine.Channels().Create(t.Context(), eureka.Channel{Service: "orders-api", ModelType: "order"})
	if err != nil || ch.ID != "1000001" {
		t.Fatalf("%+v, %v", ch, err)
	}
	for i, s := range []porttest.LiveSocket{a, b} {
		eventually(t, "a subscriber from before hears the channel", func() bool {
			if err := first.deliver(t.Context(), ch.ID, "declared"); err != nil {
				t.Fatal(err)
			}
			return has(s, `{"channel":"orders-api:order","action":"message","data":"declared"`)
		})
		if s.Frames()[0] == "" {
			t.Errorf("socket %d got an empty frame", i)
		}
	}
	if _, err := second.engine.Channels().Delete(t.Context(), ch.ID, 1); err != nil {
		t.Fatal(err)
	}
	for _, s := range []porttest.LiveSocket{a, b} {
		eventually(t, "a subscriber hears of the end", func() bool { return has(s, `"code":"gone"`) })
	}
	eventually(t, "nobody is subscribed any more", func() bool {
		page, err := first.engine.Sockets().List(t.Context(), eureka.SocketQuery{Channel: ch.ID})
		return err == nil && page.Total == 0
	})
}

// stuck is a fake delivery that blocks on its first message, since a real hub never does for long enough to fill a queue.
type stuck struct {
	*gateway.Hub

	release chan struct{}
	mu      sync.Mutex
	gaps    int
}

func (s *stuck) Deliver(_ string, b gateway.Broadcast) (int, int) {
	if strings.Contains(string(b.Body), `"code":"gap"`) {
		s.mu.Lock()
		s.gaps++
		s.mu.Unlock()
		return 1, 1
	}
	<-s.release
	return 1, 1
}

func TestANodeThatCannotKeepUpTellsItsSubscribers(t *testing.T) {
	delivery := &stuck{Hub: gateway.NewHub(gateway.HubOptions{}), release: make(chan struct{})}
	id := natsengine.NewNodeID()
	e, err := natsengine.Open(t.Context(), natsengine.Options{
		DataDir: t.TempDir(), Node: id, Registry: delivery.Hub, Delivery: delivery, Replays: delivery, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{id: id, hub: delivery.Hub, engine: e}
	socket := natsengine.NewSocketID(id)
	if err := e.Sockets().Add(t.Context(), eureka.Socket{ID: socket}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Sockets().Subscribe(t.Context(), eureka.Subscription{SocketID: socket, ChannelID: "A", Name: "A"}); err != nil {
		t.Fatal(err)
	}
	for i := range natsengine.InboxSize + 10_000 {
		if err := n.deliver(t.Context(), "A", i); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the gap is told", func() bool {
		delivery.mu.Lock()
		defer delivery.mu.Unlock()
		return delivery.gaps > 0
	})
	close(delivery.release)
	if err := e.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func open(dir string) (*natsengine.Engine, error) {
	hub := gateway.NewHub(gateway.HubOptions{})
	return natsengine.Open(context.Background(), natsengine.Options{
		DataDir: dir, Node: natsengine.NewNodeID(), Registry: hub, Delivery: hub, Replays: hub, Log: slog.New(slog.DiscardHandler),
	})
}

// filled makes a data directory with a channel in it.
func filled(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	e, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Channels().Create(t.Context(), eureka.Channel{ID: "kept"}); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestDataDirectoryFaults(t *testing.T) {
	for _, tt := range []struct {
		name    string
		spoil   func(t *testing.T, dir string) string // returns the directory to open
		code    eureka.Code
		message string
	}{
		{"in use", func(t *testing.T, dir string) string {
			e, err := open(dir)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = e.Close(context.Background()) })
			return dir
		}, eureka.CodeConflict, "in use by another process"},
		{"a file", func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "file")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}, eureka.CodeInvalid, "is not a directory"},
		{"damaged description", func(t *testing.T, dir string) string {
			spoilAll(t, dir, "meta.inf", func([]byte) []byte { return []byte("{not json") })
			return dir
		}, eureka.CodeInternal, "damaged"},
		{"damaged sum", func(t *testing.T, dir string) string {
			spoilAll(t, dir, "meta.sum", func([]byte) []byte { return []byte("0000000000000000") })
			return dir
		}, eureka.CodeInternal, "damaged"},
		{"damaged messages", func(t *testing.T, dir string) string {
			spoilAll(t, dir, "*.blk", func(b []byte) []byte {
				for i := range b {
					b[i] ^= 0x5a
				}
				return b
			})
			spoilAll(t, dir, "index.db", func([]byte) []byte { return nil })
			return dir
		}, eureka.CodeInternal, "damaged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, err := open(tt.spoil(t, filled(t)))
			if err == nil {
				_ = e.Close(t.Context())
			}
			if eureka.CodeOf(err) != tt.code || !strings.Contains(eureka.MessageOf(err), tt.message) {
				t.Errorf("opened with %v, want %s: …%s…", err, tt.code, tt.message)
			}
		})
	}
	t.Run("all answers to requests expired meanwhile", func(t *testing.T) {
		const life = 300 * time.Millisecond
		dir := t.TempDir()
		e, err := open(dir)
		if err != nil {
			t.Fatal(err)
		}
		_, claimErr := e.Requests().Begin(t.Context(), "key")
		if err := errors.Join(claimErr, e.ForgetRequestsAfter(t.Context(), life), e.Close(t.Context())); err != nil {
			t.Fatal(err)
		}
		closed := time.Now()
		eventually(t, "they have expired", func() bool { return time.Since(closed) > life })
		if e, err = open(dir); err != nil {
			t.Fatal(err)
		}
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("untouched", func(t *testing.T) {
		e, err := open(filled(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Channels().Get(t.Context(), "kept"); err != nil {
			t.Error(err)
		}
		if err := errors.Join(e.Close(t.Context()), e.Close(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

func spoilAll(t *testing.T, dir, pattern string, spoil func([]byte) []byte) {
	t.Helper()
	spoiled := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if match, _ := filepath.Match(pattern, d.Name()); !match || d.IsDir() {
			return nil
		}
		spoiled++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, spoil(text), 0o600)
	})
	if err != nil || spoiled == 0 {
		t.Fatalf("spoiled %d files, %v", spoiled, err)
	}
}

func TestExternalServerRefused(t *testing.T) {
	hub := gateway.NewHub(gateway.HubOptions{})
	_, err := natsengine.Open(t.Context(), natsengine.Options{
		URL: "nats://ann:secret@127.0.0.1:1", Node: natsengine.NewNodeID(), Registry: hub, Delivery: hub, Replays: hub, Log: slog.New(slog.DiscardHandler),
	})
	if eureka.CodeOf(err) != eureka.CodeUnavailable || strings.Contains(eureka.MessageOf(err), "secret") {
		t.Errorf("got %v", err)
	}
}

func TestTwoNodesWithOneID(t *testing.T) {
	server := natsengine.StartServer(t, t.TempDir())
	first := openNode(t, natsengine.Options{URL: server.ClientURL()})
	hub := gateway.NewHub(gateway.HubOptions{})
	_, err := natsengine.Open(t.Context(), natsengine.Options{
		URL: server.ClientURL(), Node: first.id, Registry: hub, Delivery: hub, Replays: hub, Log: slog.New(slog.DiscardHandler),
	})
	if eureka.CodeOf(err) != eureka.CodeConflict || !strings.Contains(eureka.MessageOf(err), first.id) {
		t.Errorf("the second opened with %v", err)
	}
	eventually(t, "the first is ready when the second has left", func() bool { return first.engine.Ready(t.Context()) == nil })
}
