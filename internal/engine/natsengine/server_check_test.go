package natsengine

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// serverOn starts a server on a data directory for a test that looks at its files.
func serverOn(t *testing.T, dir string, syncs time.Duration) (*embedded, jetstream.JetStream) {
	t.Helper()
	e, err := startEmbedded(Options{DataDir: dir, SyncInterval: syncs, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect("", nats.InProcessServer(e.server))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return e, js
}

func stopEmbedded(t *testing.T, e *embedded) {
	t.Helper()
	if err := e.stop(); err != nil {
		t.Fatal(err)
	}
}

// TestExpiredIsNotDamaged: what expired while the server was away is gone for a good reason, in a bucket too.
func TestExpiredIsNotDamaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, js := serverOn(t, dir, time.Second)
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "short", TTL: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), "key", []byte("value")); err != nil {
		t.Fatal(err)
	}
	stopEmbedded(t, e)
	file := filepath.Join(e.streams(), "KV_short", "msgs", "1.blk")
	info, err := os.Stat(file)
	if err != nil || info.Size() == 0 {
		t.Fatalf("%v, %v", info, err)
	}
	eventually(t, "the value has expired", func() bool { return time.Since(info.ModTime()) > 1100*time.Millisecond })
	e, _ = serverOn(t, dir, time.Second)
	defer stopEmbedded(t, e)
	if left, err := os.Stat(file); err == nil && left.Size() >= info.Size() {
		t.Fatalf("the file is still there: %d bytes of %d", left.Size(), info.Size())
	}
	if err := e.check(); err != nil {
		t.Error(err)
	}
}

// TestCompactedIsNotDamaged: NATS may write a file anew, without what was deleted, before the files are compared.
func TestCompactedIsNotDamaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, js := serverOn(t, dir, time.Hour)
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
	if err != nil {
		t.Fatal(err)
	}
	publish := func(subject string, n int) {
		for range n {
			if _, err := js.Publish(t.Context(), subject, bytes.Repeat([]byte("x"), 256<<10)); err != nil {
				t.Fatal(err)
			}
		}
	}
	file := func(name string) string { return filepath.Join(e.streams(), "S", "msgs", name) }
	publish("s.kept", 1)
	publish("s.gone", 24)
	// While the file is the last one it stays as it is.
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject("s.gone")); err != nil {
		t.Fatal(err)
	}
	for _, err := os.Stat(file("2.blk")); err != nil; _, err = os.Stat(file("2.blk")) {
		publish("s.kept", 1)
	}
	stopEmbedded(t, e)
	before, err := os.Stat(file("1.blk"))
	if err != nil {
		t.Fatal(err)
	}
	e, _ = serverOn(t, dir, 10*time.Millisecond)
	defer stopEmbedded(t, e)
	eventually(t, "the file is written anew", func() bool {
		info, err := os.Stat(file("1.blk"))
		return err == nil && before.Size()-info.Size() > maxTornTail
	})
	if err := e.check(); err != nil {
		t.Error(err)
	}
}
