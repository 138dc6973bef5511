//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"eureka/internal/pause"
)

// Of the figures on TLS.
const (
	tlsSockets   = 5000
	tlsDialers   = 16 // handshakes under way at once
	tlsHandshake = 30 * time.Second
)

// seldom has sockets stay silent while their memory is measured: nothing answers pings here.
var seldom = []string{"--ping-interval", "30m", "--idle-timeout", "1h"}

// barTLS is what an idle socket takes with TLS, beside a goroutine per socket without it and the event loop. The same client holds all of them.
func (b *bench) barTLS(ctx context.Context, f *figures) error {
	flags, trusted, err := b.certificate()
	if err != nil {
		return err
	}
	ways := []struct {
		name    string
		trusted *tls.Config
		args    []string
	}{
		{"event loop", nil, nil},
		{"a goroutine per socket", nil, []string{"--sockets", "goroutines"}},
		{"TLS", trusted, flags},
	}
	var plain float64
	for _, way := range ways {
		b.say("tls: %d sockets, %s", tlsSockets, way.name)
		h, err := b.held(ctx, way.trusted, way.args...)
		if err != nil {
			return err
		}
		if plain == 0 {
			plain = h.settled
		}
		r := compared("tls", fmt.Sprintf("%d idle, authenticated sockets with one subscription, %s, after %d s", tlsSockets, way.name, idleSettle), "bytes per socket", h.settled, plain, "event loop", 0)
		r.Verdict = stated
		f.Bars = append(f.Bars, r,
			figure("tls", way.name+": as soon as all are connected", "bytes per socket", h.connected),
			figure("tls", way.name+": kernel slab, both ends of each connection", "bytes per socket", h.kernel),
			figure("tls", way.name+": handshake, token and subscription", "CPU µs per socket", h.micros))
	}
	return nil
}

// holding is what sockets take, each.
type holding struct{ connected, settled, kernel, micros float64 }

// held measures a fresh service that holds sockets.
func (b *bench) held(ctx context.Context, trusted *tls.Config, args ...string) (h holding, err error) {
	s, err := b.guarded(ctx, trusted, append(args, seldom...)...)
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	before, err := s.weigh()
	if err != nil {
		return h, err
	}
	conns := make([]net.Conn, tlsSockets)
	defer hangUp(conns)
	if err := s.hold(ctx, conns); err != nil {
		return h, err
	}
	connected, err := s.weigh()
	if err != nil {
		return h, err
	}
	if err := pause.For(ctx, idleSettle*time.Second); err != nil {
		return h, err
	}
	settled, err := s.weigh()
	if err != nil {
		return h, err
	}
	if n := s.sockets(ctx); n != tlsSockets {
		return h, fmt.Errorf("the service holds %d of %d sockets", n, tlsSockets)
	}
	each := func(n int64) float64 { return float64(n) / tlsSockets }
	return holding{
		connected: each(connected.resident - before.resident), settled: each(settled.resident - before.resident),
		kernel: each(connected.slab - before.slab), micros: each((connected.cpu - before.cpu).Microseconds()),
	}, nil
}

// weight is what a contender has taken.
type weight struct {
	resident, slab int64 // bytes; slab is of the whole machine
	cpu            time.Duration
}

func (s *server) weigh() (w weight, err error) {
	if w.resident, err = s.resident(); err != nil {
		return w, err
	}
	if w.slab, err = slab(); err != nil {
		return w, err
	}
	w.cpu, err = s.cpu()
	return w, err
}

// hold opens sockets and lets them be. They have no goroutines here.
func (s *server) hold(ctx context.Context, conns []net.Conn) error {
	failed := make([]error, tlsDialers)
	var dialing sync.WaitGroup
	for w := range tlsDialers {
		dialing.Go(func() {
			for i := w; i < len(conns) && failed[w] == nil; i += tlsDialers {
				conns[i], failed[w] = s.shake(ctx)
			}
		})
	}
	dialing.Wait()
	return errors.Join(failed...)
}

// shake opens one socket with the contender's credentials, and returns when it is upgraded.
func (s *server) shake(ctx context.Context) (conn net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, tlsHandshake)
	defer cancel()
	if conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", s.address); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil { // no port is left behind in TIME_WAIT
		return nil, err
	}
	if s.trusted != nil {
		secure := tls.Client(conn, s.trusted)
		conn = secure
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
	}
	end, _ := ctx.Deadline()
	if err := conn.SetDeadline(end); err != nil {
		return nil, err
	}
	_, err = io.WriteString(conn, "GET /?channels=bench HTTP/1.1\r\nHost: "+s.address+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nUser-Agent: eureka-bench\r\nAuthorization: Bearer "+s.token+"\r\n\r\n")
	if err != nil {
		return nil, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil) //nolint:bodyclose // what follows the answer are the socket's frames
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("%s answered a handshake with %s", s.name, answer.Status)
	}
	return conn, conn.SetDeadline(time.Time{})
}

func hangUp(conns []net.Conn) {
	for _, c := range conns {
		if c != nil {
			_ = c.Close() // nothing is sent any more
		}
	}
}

// client is for calls that are not measured.
func (s *server) client(patience time.Duration) *http.Client {
	if s.trusted == nil {
		return &http.Client{Timeout: patience}
	}
	return &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: s.trusted}}
}

// certificate writes a certificate for 127.0.0.1 that has signed itself, and returns the flags that name it and what trusts it.
func (b *bench) certificate() (flags []string, trusted *tls.Config, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	for _, part := range []struct {
		name string
		pem.Block
	}{{"cert", pem.Block{Type: "CERTIFICATE", Bytes: der}}, {"key", pem.Block{Type: "PRIVATE KEY", Bytes: secret}}} {
		file, text := filepath.Join(b.dir, part.name+".pem"), pem.EncodeToMemory(&part.Block)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return nil, nil, err
		}
		pool.AppendCertsFromPEM(text) // takes certificates alone
		flags = append(flags, "--tls-"+part.name, file)
	}
	return flags, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}, nil
}
