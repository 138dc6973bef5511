package app_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"eureka"
	"eureka/internal/app"
)

// certificate writes a certificate for 127.0.0.1 and its key, and returns the flags that name them and a pool that trusts it.
func certificate(t *testing.T) (flags []string, trusted *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	trusted = x509.NewCertPool()
	for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: secret}} {
		file, text := filepath.Join(t.TempDir(), name+".pem"), pem.EncodeToMemory(block)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if name == "cert" && !trusted.AppendCertsFromPEM(text) {
			t.Fatal("the certificate cannot be trusted")
		}
		flags = append(flags, "--tls-"+name+"="+file)
	}
	return flags, trusted
}

// TestTLS: sockets and the API speak TLS, and nothing else.
func TestTLS(t *testing.T) {
	flags, trusted := certificate(t)
	n := serve(t, flags...)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}}}
	defer client.CloseIdleConnections()
	address := "https://" + n.app.Addr()
	c, response, err := websocket.Dial(t.Context(), address+"/?channels=A", &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	if response.Body != nil {
		_ = response.Body.Close()
	}
	defer func() { _ = c.CloseNow() }()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+"/channels/A/broadcast", strings.NewReader(`{"data":"secret"}`))
	if err != nil {
		t.Fatal(err)
	}
	response, err = client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK || response.TLS == nil {
		t.Errorf("the broadcast was answered %s", response.Status)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, text, err := c.Read(ctx); err != nil || !strings.Contains(string(text), `"secret"`) {
		t.Errorf("got %s, %v", text, err)
	}
	if err := c.Write(ctx, websocket.MessageText, []byte(`{"action":"ping"}`)); err != nil {
		t.Fatal(err)
	}
	if _, text, err := c.Read(ctx); err != nil || !strings.Contains(string(text), `"pong"`) {
		t.Errorf("got %s, %v", text, err)
	}
	if _, response, err := websocket.Dial(ctx, "http://"+n.app.Addr()+"/", nil); err == nil || response == nil || response.StatusCode != http.StatusBadRequest {
		t.Errorf("a socket without TLS: %v, %v", response, err)
	} else {
		_ = response.Body.Close()
	}
}

func TestCertificatesThatCannotBeUsed(t *testing.T) {
	for _, flags := range [][]string{
		{"--tls-cert=nowhere.pem", "--tls-key=nowhere.pem"},
		{"--tls-cert=nowhere.pem"},
	} {
		a, err := app.New(app.Options{Settings: settings(t, flags...), Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			err = a.Start(t.Context())
		}
		if eureka.CodeOf(err) != eureka.CodeInvalid || !strings.Contains(eureka.MessageOf(err), "tls_cert") {
			t.Errorf("%v: %v", flags, err)
		}
	}
}
