package app

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"eureka"
	"eureka/internal/config"
)

// listen opens the address, with TLS when the settings have a certificate. The log hears when the process runs out of descriptors.
func listen(ctx context.Context, s config.Settings, log *slog.Logger) (net.Listener, error) {
	var secure *tls.Config
	if s.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(s.TLSCert, s.TLSKey)
		if err != nil {
			return nil, eureka.WrapError(eureka.CodeInvalid, err, "tls_cert, tls_key: the certificate %s and the key %s cannot be used: %s", s.TLSCert, s.TLSKey, err)
		}
		// WebSocket needs HTTP/1.1.
		secure = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	}
	var sockets net.ListenConfig
	listener, err := sockets.Listen(ctx, "tcp", s.Listen)
	switch {
	case err == nil:
		listener = &patient{Listener: listener, log: log}
		if secure != nil {
			listener = tls.NewListener(listener, secure)
		}
		return listener, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, eureka.WrapError(eureka.CodeConflict, err, "the address %s is in use by another process", s.Listen)
	case errors.Is(err, syscall.EACCES):
		return nil, eureka.WrapError(eureka.CodeForbidden, err, "listening on %s is not permitted", s.Listen)
	default:
		return nil, eureka.WrapError(eureka.CodeInvalid, err, "cannot listen on %s", s.Listen)
	}
}

// quiet is how long nothing more is said of descriptors that have run out: they come and go then.
const quiet = time.Minute

// patient is a listener whose process may run out of descriptors. net/http tries again then, less and less often, up to once a second; this says
// so, once.
type patient struct {
	net.Listener

	log  *slog.Logger
	mu   sync.Mutex
	said time.Time
}

// Accept implements net.Listener.
func (p *patient) Accept() (net.Conn, error) {
	c, err := p.Listener.Accept()
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		p.warn(time.Now())
	}
	return c, err
}

func (p *patient) warn(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.said) > quiet {
		p.said = now
		p.log.Warn("no connection can be accepted: the process has as many open files as it may (see ulimit -n); those that are open go on")
	}
}
