package gateway

import (
	"bytes"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// bare hides what a loop needs of a connection.
type bare struct{ net.Listener }

func (b bare) Accept() (net.Conn, error) {
	c, err := b.Listener.Accept()
	return struct{ net.Conn }{c}, err
}

// TestWithoutADescriptor: when there is none for the socket the client hears it, the log of net/http does not, and nothing is left.
func TestWithoutADescriptor(t *testing.T) {
	w := newWorld(t, SocketsAuto, Limits{})
	var logged bytes.Buffer
	done := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		defer close(done)
		w.gateway.ServeHTTP(rw, r)
	}))
	server.Listener, server.Config.ErrorLog = bare{server.Listener}, log.New(&logged, "", 0)
	server.Start()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write([]byte(rawHandshake + "\r\n")); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 503 ") {
		t.Errorf("answered %q, %v", answer, err)
	}
	<-done
	server.Close()
	if w.gateway.registry.count() != 0 || w.hub.Sockets() != 0 {
		t.Error("something is left")
	}
	if logged.Len() > 0 {
		t.Errorf("it logged %s", logged.String())
	}
}
