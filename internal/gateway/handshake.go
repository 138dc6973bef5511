package gateway

import (
	"context"
	"crypto/sha1" //nolint:gosec // RFC 6455 section 1.3 demands SHA-1; it guards nothing
	"encoding/base64"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"eureka"
	"eureka/internal/core"
	"eureka/internal/problem"
	"eureka/internal/protocol"
)

// acceptSuffix is the constant of RFC 6455 section 1.3.
const acceptSuffix = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// ServeHTTP answers a WebSocket handshake: the page's origin, the request itself, the identity and core's Connect are
// checked in this order, and each refusal is a problem+json answer, before anything is upgraded.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if answered, err := g.accept(w, r); err != nil {
		g.metrics.connects.WithLabelValues(string(eureka.CodeOf(err))).Inc()
		if eureka.CodeOf(err) == eureka.CodeInternal {
			g.options.Log.Error("a handshake failed", slog.Any("error", err))
		}
		if !answered {
			problem.Write(w, err)
		}
	}
}

// accept reports whether the connection is out of net/http's hands; otherwise an error is still to be written.
func (g *Gateway) accept(w http.ResponseWriter, r *http.Request) (answered bool, err error) {
	s, path, answer, err := g.admit(w, r)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), g.limits.HandshakeTimeout)
	result, err := g.connect(ctx, s, r)
	cancel()
	if err != nil {
		return false, err
	}
	early, hijacked, err := upgrade(w, s, path, answer)
	if err != nil {
		g.endedWith(s, eureka.CloseAbnormal, "the connection ended during the handshake") //nolint:contextcheck // see there
		return hijacked, err
	}
	g.metrics.connects.WithLabelValues("ok").Inc()
	g.connected.Add(1)
	g.bind(s, result)
	// The handler returns so that net/http frees its buffers; the socket goes on by itself.
	path.start(s, early)
	return true, nil
}

// bind lets a stream write to its connection. When that panics the stream ends, as soon as somebody reads it.
func (g *Gateway) bind(s *stream, result core.ConnectResult) {
	defer func() {
		if fault := recover(); fault != nil {
			g.failed(s, fault)
		}
	}()
	s.expiresAt = result.ExpiresAt
	s.bind()
	s.release(result.Frames)
	g.checkRevoked(s)
}

// admit checks a handshake and makes the stream, which is registered then.
func (g *Gateway) admit(w http.ResponseWriter, r *http.Request) (s *stream, to path, answer []byte, err error) {
	if !g.options.Origins.Allowed(r) {
		return nil, nil, nil, eureka.Errorf(eureka.CodeForbidden, "pages of origin %q may not connect (setting allowed_origins)", eureka.CutAgent(r.Header.Get("Origin")))
	}
	if limit := g.admission.handshake(g.registry.count()); limit != "" {
		return nil, nil, nil, g.refuse(limit)
	}
	key, err := checkHandshake(r)
	if err != nil {
		w.Header().Set("Sec-WebSocket-Version", "13")
		return nil, nil, nil, err
	}
	identity, err := g.options.Identify(r)
	if err != nil {
		return nil, nil, nil, err
	}
	to = g.path(r)
	identity.User = strings.Clone(identity.User) // it may be a part of the whole request
	s = newStream(g, to)
	s.identity.Store(&identity)
	if err := g.register(s); err != nil {
		return nil, nil, nil, err
	}
	return s, to, answerTo(r, key), nil
}

// connect asks core for a registered stream. After an error nothing of it is left.
func (g *Gateway) connect(ctx context.Context, s *stream, r *http.Request) (result core.ConnectResult, err error) {
	s.id = g.options.NewID()
	g.options.Hub.attach(s.id, s)
	defer func() { //nolint:contextcheck // a socket's end is reported whatever becomes of its handshake
		if fault := recover(); fault != nil {
			g.panicked(s, fault)
			g.options.Hub.detach(s.id)
			g.endedWith(s, eureka.CloseInternal, "internal error")
			err = eureka.Errorf(eureka.CodeInternal, "the handshake of socket %s panicked", s.id)
		}
	}()
	result, err = g.options.Handler.Connect(ctx, core.ConnectRequest{
		SocketID: s.id, Identity: *s.identity.Load(), Query: r.URL.Query(),
		Remote: remote(r), Origin: eureka.CutAgent(r.Header.Get("Origin")), Agent: eureka.CutAgent(r.UserAgent()),
	})
	if err != nil {
		g.options.Hub.detach(s.id)
		g.unregister(s)
	}
	return result, err
}

// path is a driver, and how streams come to it.
type path interface {
	driver
	// take makes the stream's connection its own and writes the answer to the handshake. After an error the connection is closed.
	take(s *stream, c net.Conn, answer []byte) error
	// start reads the stream from now on; early is what has come already.
	start(s *stream, early []byte)
}

// path chooses how a connection will be driven.
func (g *Gateway) path(r *http.Request) path {
	if r.TLS == nil {
		if l := g.loops.next(); l != nil {
			return l
		}
	}
	return &reader{}
}

// checkHandshake checks the request against RFC 6455 section 4.2.1 and returns its key.
func checkHandshake(r *http.Request) (string, error) {
	switch {
	case r.Method != http.MethodGet:
		return "", eureka.Errorf(eureka.CodeInvalid, "a WebSocket handshake is a GET request")
	case !r.ProtoAtLeast(1, 1) || r.ProtoMajor != 1:
		return "", eureka.Errorf(eureka.CodeInvalid, "a WebSocket handshake needs HTTP/1.1")
	case !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket"):
		return "", eureka.Errorf(eureka.CodeInvalid, "the headers Connection: Upgrade and Upgrade: websocket are needed")
	case r.Header.Get("Sec-Websocket-Version") != "13":
		return "", eureka.FieldError("Sec-WebSocket-Version", "must be 13")
	}
	key := r.Header.Get("Sec-Websocket-Key")
	if raw, err := base64.StdEncoding.DecodeString(key); err != nil || len(raw) != 16 {
		return "", eureka.FieldError("Sec-WebSocket-Key", "must be 16 bytes in base64")
	}
	return key, nil
}

func hasToken(h http.Header, name, token string) bool {
	for _, value := range h.Values(name) {
		for part := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// answerTo is the answer that accepts a handshake.
func answerTo(r *http.Request, key string) []byte {
	sum := sha1.Sum([]byte(key + acceptSuffix)) //nolint:gosec // see the import
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n"
	// A browser that offered protocols hangs up unless one of them is chosen; the one with the token never is.
	if hasToken(r.Header, "Sec-Websocket-Protocol", protocol.Subprotocol) {
		answer += "Sec-WebSocket-Protocol: " + protocol.Subprotocol + "\r\n"
	}
	return []byte(answer + "\r\n")
}

// upgrade takes the connection from net/http, which hijacked tells, and answers the handshake. early is what the client sent behind its request.
func upgrade(w http.ResponseWriter, s *stream, to path, answer []byte) (early []byte, hijacked bool, err error) {
	c, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, false, eureka.WrapError(eureka.CodeInternal, err, "the connection cannot be upgraded")
	}
	if n := buffered.Reader.Buffered(); n > 0 {
		early, _ = buffered.Peek(n) // n bytes are there
		early = append([]byte(nil), early...)
	}
	return early, true, to.take(s, c, answer)
}

// writeAnswer writes the answer to a handshake. After an error the connection is closed.
func writeAnswer(c net.Conn, answer []byte) error {
	err := c.SetDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		_, err = c.Write(answer)
	}
	if err == nil {
		err = c.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = c.Close()
		return eureka.WrapError(eureka.CodeGone, err, "the client went away during its handshake")
	}
	return nil
}

func (g *Gateway) refuse(limit string) error {
	g.options.Limited(limit)
	return limited(limit)
}

// checkRevoked ends a socket whose credential was revoked while nobody could find the socket by it.
func (g *Gateway) checkRevoked(s *stream) {
	if id := s.identity.Load(); g.options.Revoked != nil && g.options.Revoked(*id) {
		s.end(eureka.CloseUnauthenticated, "the credential was revoked", 0)
	}
}

// remote is the client's address without its port, which says nothing about the client.
func remote(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return eureka.CutAgent(host)
}
