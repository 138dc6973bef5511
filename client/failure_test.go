package client_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"eureka"
	"eureka/client"
)

// TestWrongTLS: calls and listening say what is wrong with the address or the certificate, and that no second try mends it.
func TestWrongTLS(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes fail here
	secure.StartTLS()
	t.Cleanup(secure.Close)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	for name, tt := range map[string]struct{ base, want string }{
		"a certificate that nobody vouches for": {secure.URL, "SSL_CERT_FILE"},
		"http to a service with TLS":            {strings.Replace(secure.URL, "https", "http", 1), "speaks TLS; write its address with https://"},
		"https to a service without":            {strings.Replace(plain.URL, "http", "https", 1), "speaks no TLS; write its address with http://"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := client.New(tt.base)
			if err != nil {
				t.Fatal(err)
			}
			_, called := c.Channel(t.Context(), "a")
			listened := c.Listen(t.Context(), client.Listener{Channels: []string{"a"}, OnFrame: func(client.Frame) error { return nil }})
			for _, err := range []error{called, listened} {
				if eureka.CodeOf(err) != eureka.CodeInvalid || !strings.Contains(eureka.MessageOf(err), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
			}
		})
	}
}
