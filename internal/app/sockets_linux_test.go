package app_test

import (
	"bufio"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"
)

// TestSocketsSetting: sockets have a goroutine each if the setting says so, and otherwise none.
func TestSocketsSetting(t *testing.T) {
	for setting, each := range map[string]bool{"auto": false, "goroutines": true} {
		t.Run(setting, func(t *testing.T) {
			n := serve(t, "--sockets="+setting)
			const sockets = 60
			before := runtime.NumGoroutine()
			for range sockets {
				c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", n.app.Addr())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = c.Close() })
				if _, err := c.Write([]byte("GET /?channels=A HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
					"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")); err != nil {
					t.Fatal(err)
				}
				response, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
					t.Fatal(response, err)
				}
				_ = response.Body.Close()
			}
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			grown := func() int { return runtime.NumGoroutine() - before }
			for deadline := time.Now().Add(patience); each != (grown() >= sockets-10) || !each && grown() > sockets/2; <-tick.C {
				if time.Now().After(deadline) {
					t.Fatalf("with %d sockets there are %d more goroutines", sockets, grown())
				}
			}
		})
	}
}
