package natsengine_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"eureka"
	"eureka/internal/engine/natsengine"
)

// cable carries a node's connection to NATS, and can be pulled.
type cable struct {
	address  string // where the node connects to
	listener net.Listener
	mu       sync.Mutex
	pulled   bool
	open     map[net.Conn]bool
}

func newCable(t *testing.T, to string) *cable {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{address: listener.Addr().String(), listener: listener, open: map[net.Conn]bool{}}
	t.Cleanup(func() {
		_ = listener.Close()
		c.pull(true)
	})
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", to)
			if err != nil || !c.add(near, far) {
				_ = near.Close()
				continue
			}
			for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
				go func() {
					_, _ = io.Copy(pair[0], pair[1])
					_, _ = pair[0].Close(), pair[1].Close()
				}()
			}
		}
	}()
	return c
}

func (c *cable) add(near, far net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pulled {
		_ = far.Close()
		return false
	}
	c.open[near], c.open[far] = true, true
	return true
}

// pull breaks the connections that there are and refuses new ones, until it is put back.
func (c *cable) pull(out bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulled = out
	for conn := range c.open {
		_ = conn.Close()
		delete(c.open, conn)
	}
}

func key(id string) eureka.APIKey {
	return eureka.APIKey{ID: id, Name: id, Hash: make([]byte, 32), Scopes: eureka.ScopePublish, Channels: []string{"*"}, CreatedAt: 1}
}

// TestRevocationsDuringAnOutage: a node that cannot hear of revocations goes on, and knows them when it is back.
func TestRevocationsDuringAnOutage(t *testing.T) {
	server := natsengine.StartServer(t, t.TempDir())
	wire := newCable(t, strings.TrimPrefix(server.ClientURL(), "nats://"))
	cut := openNode(t, natsengine.Options{URL: "nats://" + wire.address})
	other := openNode(t, natsengine.Options{URL: server.ClientURL()})
	for _, id := range []string{"keeps0000000", "loses0000000"} {
		if err := other.engine.Credentials().AddKey(t.Context(), key(id)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the key is known", func() bool { _, ok := cut.engine.Key(id); return ok })
	}
	wire.pull(true)
	eventually(t, "the node knows that it is cut off", func() bool { return cut.engine.Ready(t.Context()) != nil })
	if err := other.engine.Credentials().DeleteKey(t.Context(), "loses0000000"); err != nil {
		t.Fatal(err)
	}
	if err := other.engine.Credentials().Revoke(t.Context(), eureka.Revocation{User: "ann", At: 5000}); err != nil {
		t.Fatal(err)
	}
	if _, ok := cut.engine.Key("keeps0000000"); !ok {
		t.Error("a node without NATS forgets its keys")
	}
	if err := cut.engine.Credentials().AddKey(t.Context(), key("new000000000")); eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("a key is added without NATS: %v", err)
	}
	if err := cut.engine.Credentials().DeleteKey(t.Context(), "keeps0000000"); eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("a key is removed without NATS: %v", err)
	}
	if _, ok := cut.engine.Key("keeps0000000"); !ok {
		t.Error("a key that could not be removed is refused")
	}
	told := cut.taken.Load()
	wire.pull(false)
	eventually(t, "the node has caught up, and was told", func() bool {
		_, lost := cut.engine.Key("loses0000000")
		_, kept := cut.engine.Key("keeps0000000")
		return kept && !lost && cut.engine.Revoked(eureka.Identity{User: "ann", IssuedAt: 1}) && cut.taken.Load() > told
	})
	// It hears the news again, too.
	if err := other.engine.Credentials().DeleteKey(t.Context(), "keeps0000000"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what comes later is heard", func() bool { _, ok := cut.engine.Key("keeps0000000"); return !ok })
}

// TestCredentialsOfANewServer: a NATS that lost its state has no keys, and a node does not let them in from memory.
func TestCredentialsOfANewServer(t *testing.T) {
	server := natsengine.StartServer(t, t.TempDir())
	n := openNode(t, natsengine.Options{URL: server.ClientURL()})
	if err := n.engine.Credentials().AddKey(t.Context(), key("keeps0000000")); err != nil {
		t.Fatal(err)
	}
	address, ok := server.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatal("the server has no TCP address")
	}
	natsengine.StopServer(server)
	natsengine.StartServerOn(t, t.TempDir(), address.Port)
	eventually(t, "the key is gone", func() bool { _, ok := n.engine.Key("keeps0000000"); return !ok })
	eventually(t, "new keys can be made", func() bool {
		err := n.engine.Credentials().AddKey(t.Context(), key("new000000000"))
		return err == nil || eureka.CodeOf(err) == eureka.CodeConflict
	})
}

// TestCredentialsSurviveTheProcess: what was made and taken back holds after a restart.
func TestCredentialsSurviveTheProcess(t *testing.T) {
	dir := t.TempDir()
	t.Run("before", func(t *testing.T) {
		n := openNode(t, natsengine.Options{DataDir: dir})
		for _, id := range []string{"keeps0000000", "loses0000000"} {
			if err := n.engine.Credentials().AddKey(t.Context(), key(id)); err != nil {
				t.Fatal(err)
			}
		}
		if err := n.engine.Credentials().DeleteKey(t.Context(), "loses0000000"); err != nil {
			t.Fatal(err)
		}
		for _, r := range []eureka.Revocation{{TokenID: "t1", At: 1}, {User: "ann", At: 8000}, {User: "ann", At: 7000}} {
			if err := n.engine.Credentials().Revoke(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("after", func(t *testing.T) {
		n := openNode(t, natsengine.Options{DataDir: dir})
		_, kept := n.engine.Key("keeps0000000")
		_, lost := n.engine.Key("loses0000000")
		if !kept || lost || !n.engine.Revoked(eureka.Identity{TokenID: "t1"}) {
			t.Errorf("kept %v, lost %v, revoked %v", kept, lost, n.engine.Revoked(eureka.Identity{TokenID: "t1"}))
		}
		if !n.engine.Revoked(eureka.Identity{User: "ann", IssuedAt: 7500}) || n.engine.Revoked(eureka.Identity{User: "ann", IssuedAt: 8001}) {
			t.Error("the earlier one of two revocations is kept")
		}
	})
}

// TestCredentialsThatCannotBeRead: a damaged or foreign entry lets nobody in and stops nothing.
func TestCredentialsThatCannotBeRead(t *testing.T) {
	server := natsengine.StartServer(t, t.TempDir())
	n := openNode(t, natsengine.Options{URL: server.ClientURL()})
	for bucket, entries := range map[string]map[string]string{
		"eureka_keys":        {"key.bad000000000": `{`, "key.other0000000": `{"id":"elsewhere000","name":"x","scopes":7}`, "key.none00000000": `{"id":"none00000000","name":"x"}`, "strange": "x"},
		"eureka_revocations": {"user.bad": `{`, "user.ann": `{"user":"bob","at":1}`, "token.t1": `null`},
	} {
		kv := natsengine.Bucket(t, server, bucket)
		for name, text := range entries {
			if _, err := kv.PutString(t.Context(), name, text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := n.engine.Credentials().AddKey(t.Context(), key("good00000000")); err != nil {
		t.Fatal(err)
	}
	second := openNode(t, natsengine.Options{URL: server.ClientURL()})
	for _, node := range []*node{n, second} {
		eventually(t, "the good key is known", func() bool { _, ok := node.engine.Key("good00000000"); return ok })
		for _, id := range []string{"bad000000000", "other0000000", "elsewhere000", "none00000000", "strange"} {
			if _, ok := node.engine.Key(id); ok {
				t.Errorf("the key %s is taken", id)
			}
		}
		for _, id := range []eureka.Identity{{User: "bob"}, {User: "ann"}, {TokenID: "t1"}, {}} {
			if node.engine.Revoked(id) {
				t.Errorf("%+v is revoked", id)
			}
		}
	}
}
