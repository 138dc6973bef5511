package natsengine

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// testPatience is how long a test waits for something that should happen soon, on a loaded machine too.
const testPatience = 30 * time.Second

// startServer starts a NATS server with JetStream on a free port of the loopback interface; its state is in dir.
func startServer(t testing.TB, dir string) *server.Server {
	t.Helper()
	return startServerOn(t, dir, server.RANDOM_PORT)
}

// startServerOn is startServer on a given port, to come back where an earlier server was.
func startServerOn(t testing.TB, dir string, port int) *server.Server {
	t.Helper()
	return runServer(t, &server.Options{
		Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true,
	})
}

// startCluster starts n clustered NATS servers with JetStream and waits until they have a leader.
func startCluster(t testing.TB, n int) []*server.Server {
	t.Helper()
	ports := freePorts(t, n)
	var routes []*url.URL
	for _, port := range ports {
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", port)})
	}
	var servers []*server.Server
	for i := range n {
		o := &server.Options{
			ServerName: fmt.Sprintf("node%d", i+1), Host: "127.0.0.1", Port: server.RANDOM_PORT,
			JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true, Routes: routes,
		}
		o.Cluster.Name, o.Cluster.Host, o.Cluster.Port = "test", "127.0.0.1", ports[i]
		s, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { stopServer(s) })
		servers = append(servers, s)
	}
	eventually(t, "the cluster has a leader and all its nodes", func() bool {
		for _, s := range servers {
			if s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == n {
				return true
			}
		}
		return false
	})
	return servers
}

func runServer(t testing.TB, o *server.Options) *server.Server {
	t.Helper()
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { stopServer(s) })
	if !s.ReadyForConnections(testPatience) {
		t.Fatal("the NATS server did not get ready")
	}
	return s
}

func stopServer(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// dial connects to a server the way the service does: it goes on trying for ever when the server is away.
func dial(t testing.TB, s *server.Server) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(s.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond),
		nats.ReconnectJitter(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// dialJetStream is dial with JetStream on top.
func dialJetStream(t testing.TB, s *server.Server) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(dial(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func freePorts(t testing.TB, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// eventually polls until ok or testPatience is over.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testPatience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// namespace makes a namespace of its own for a test, so that tests can share a server.
func namespace(t testing.TB) string {
	t.Helper()
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune(tokenLetters, r) && r != '=' {
			return r
		}
		return '-'
	}, t.Name())
	return fmt.Sprintf("%.60s-%x", name, time.Now().UnixNano())
}
