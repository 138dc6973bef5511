package chaos

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// natsVariable makes this test binary a NATS server: PORT:DIR.
const natsVariable = "CHAOS_NATS"

func TestMain(m *testing.M) {
	if what := os.Getenv(natsVariable); what != "" {
		if err := serveNATS(what); err != nil {
			panic(err)
		}
		return
	}
	m.Run()
}

// serveNATS is the external NATS of a cluster, in a process of its own so that it can be killed. It ends with SIGTERM, or when the process that started it
// is gone.
func serveNATS(what string) error {
	text, dir, _ := strings.Cut(what, ":")
	port, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true})
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		return errors.New("NATS does not get ready")
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	alone := make(chan struct{})
	go func() {
		defer close(alone)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	select {
	case <-asked:
	case <-alone:
	}
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

func newNATS(w *world, port int) (*process, error) {
	path, err := os.Executable()
	return &process{
		world: w, name: "nats", args: []string{path}, env: []string{fmt.Sprintf("%s=%d:%s", natsVariable, port, filepath.Join(w.dir, "nats"))},
	}, err
}

// startNATS starts the external NATS and waits until it takes connections.
func (w *world) startNATS() {
	w.nats.start()
	began := w.now()
	for w.nats.running() && w.now()-began < patience {
		conn, err := (&net.Dialer{}).DialContext(w.t.Context(), "tcp", w.natsAddress)
		if err == nil {
			_ = conn.Close()
			return
		}
		if !rest(w.t.Context(), pollInterval) {
			return
		}
	}
	w.wrong("NATS does not get ready")
}
