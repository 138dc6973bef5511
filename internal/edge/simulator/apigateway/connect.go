package apigateway

import (
	"context"
	"crypto/sha1" //nolint:gosec // RFC 6455 section 1.3 demands SHA-1; it guards nothing
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"eureka"
	"eureka/internal/edge/simulator/fault"
	"eureka/internal/edge/simulator/lambda"
	"eureka/internal/edge/simulator/meter"
	"eureka/internal/edge/simulator/sigv4"
	"eureka/internal/wire"
)

// acceptSuffix is the constant of RFC 6455 section 1.3.
const acceptSuffix = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

func isUpgrade(r *http.Request) bool {
	return hasToken(r.Header, "Connection", "upgrade") && hasToken(r.Header, "Upgrade", "websocket")
}

func hasToken(h http.Header, name, token string) bool {
	return slices.ContainsFunc(tokens(h, name), func(t string) bool { return strings.EqualFold(t, token) })
}

// tokens are the items of a header that is a list.
func tokens(h http.Header, name string) []string {
	var out []string
	for _, value := range h.Values(name) {
		for part := range strings.SplitSeq(value, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
	}
	return out
}

// serveConnect lets a client in or not: the function's answer to $connect decides.
func (g *Gateway) serveConnect(w http.ResponseWriter, r *http.Request) {
	c := &connection{id: newID(), connectedAt: g.options.Now(), host: r.Host}
	m := message{ConnectionID: c.id, RequestID: newID()}
	refused := func(status int, kind, text string) {
		g.options.Meter.Add(meter.Refused, 1)
		m.Message = text
		refuse(w, status, kind, m)
	}
	if status, kind, text := g.checkHandshake(r); status != 0 {
		refused(status, kind, text)
		return
	}
	var signer *sigv4.Key
	if g.options.IAM {
		key, err := g.verifier.Verify(r, nil)
		if err != nil {
			refused(http.StatusForbidden, refusalType(err), refusalText(err))
			return
		}
		signer = &key
	}
	c.identity = identify(r, signer, g.options.Account)
	if !g.begin() {
		refused(http.StatusServiceUnavailable, "", "Service Unavailable")
		return
	}
	defer g.work.Done()
	protocol, status := g.connect(r, c)
	if status >= http.StatusInternalServerError {
		refused(status, "", "Internal server error")
		return
	} else if status != 0 {
		refused(status, "", http.StatusText(status))
		return
	}
	conn, early, err := hijack(w)
	if establishing := g.establish(c, conn, switching(r, protocol)); err == nil {
		err = establishing
	}
	if err != nil { // the function knows the socket, and must hear of its end
		g.end(c, ending{code: closeAbnormal})
		return
	}
	if g.begin() {
		go func() {
			defer g.work.Done()
			g.read(c, early)
		}()
	} else {
		c.cut()
	}
}

// checkHandshake returns what to refuse a handshake with before anybody is asked; the status is 0 when there is nothing.
func (g *Gateway) checkHandshake(r *http.Request) (status int, kind, text string) {
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-Websocket-Key"))
	path := strings.TrimSuffix(r.URL.Path, "/")
	switch {
	case len(r.URL.RequestURI()) > g.options.Limits.MaxURL:
		return http.StatusRequestURITooLong, "", "Request URI Too Long"
	case path != "" && path != "/"+g.options.Stage: // as for a stage that does not exist
		return http.StatusForbidden, "ForbiddenException", "Forbidden"
	case r.Method != http.MethodGet || r.Header.Get("Sec-Websocket-Version") != "13" || err != nil || len(key) != 16:
		return http.StatusBadRequest, "BadRequestException", "Bad Request"
	case !g.connects.take(g.options.Now()):
		return http.StatusTooManyRequests, "LimitExceededException", "Too Many Requests"
	}
	return 0, "", ""
}

// connect asks the function about a new client. The status is 0 when the client may come in, with the subprotocol that was chosen.
func (g *Gateway) connect(r *http.Request, c *connection) (protocol string, status int) {
	if _, hit := g.options.Faults.Hit(fault.DuplicateID, ""); hit {
		g.mu.Lock()
		if g.newest != nil {
			c.id = g.newest.id
		}
		g.mu.Unlock()
	}
	event := g.connectEvent(c, r)
	// A client that hangs up does not stop the function.
	answer, err := g.invoke(g.base, event)
	if _, hit := g.options.Faults.Hit(fault.DoubleConnect, ""); hit && err == nil {
		answer, err = g.invoke(g.base, event)
	}
	if err != nil {
		return "", statusOf(err)
	}
	if status, err = answer.status(); err != nil {
		return "", http.StatusBadGateway
	}
	if status < 200 || status > 299 {
		return "", status
	}
	protocol = answer.header("Sec-WebSocket-Protocol")
	if !slices.Contains(tokens(r.Header, "Sec-Websocket-Protocol"), protocol) {
		protocol = ""
	}
	return protocol, 0
}

// statusOf is the status of a handshake whose function failed.
func statusOf(err error) int {
	var failed *lambda.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	case errors.As(err, &failed):
		return http.StatusBadGateway
	default: // throttled
		return http.StatusInternalServerError
	}
}

// invoke runs the function on an event within the integration's time and reads what it answers.
func (g *Gateway) invoke(ctx context.Context, event webSocketEvent) (integrationResponse, error) {
	var answer integrationResponse
	text, err := json.Marshal(event)
	if err != nil {
		return answer, err
	}
	ctx, cancel := context.WithTimeout(ctx, g.options.Limits.Integration)
	defer cancel()
	result, err := g.options.WS.Invoke(ctx, text)
	if err != nil {
		g.options.Log.Warn("an integration failed", slog.String("route", event.RequestContext.RouteKey), slog.Any("error", err))
		return answer, err
	}
	if err := json.Unmarshal(result.Payload, &answer); err != nil {
		return answer, &lambda.Error{Type: "MalformedResponse", Message: err.Error()}
	}
	return answer, nil
}

// hijack takes the connection from net/http. early is what the client sent behind its request.
func hijack(w http.ResponseWriter) (conn net.Conn, early []byte, err error) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if n := buffered.Reader.Buffered(); n > 0 {
		peeked, _ := buffered.Peek(n) // n bytes are there
		early = append(early, peeked...)
	}
	return conn, early, conn.SetDeadline(time.Time{})
}

// switching is the answer to a handshake that lets the client in.
func switching(r *http.Request, protocol string) []byte {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + acceptSuffix)) //nolint:gosec // see the import
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n"
	if protocol != "" {
		answer += "Sec-WebSocket-Protocol: " + protocol + "\r\n"
	}
	return []byte(answer + "\r\n")
}

// read reads a client until its end.
func (g *Gateway) read(c *connection, early []byte) {
	defer c.cut()
	parser := wire.Parser{MaxMessage: g.options.Limits.MaxMessage, MaxFrame: g.options.Limits.MaxFrame}
	closing := false
	emit := func(e wire.Event) bool {
		closing = g.hear(c, e)
		return !closing
	}
	buffer := make([]byte, 4<<10)
	chunk := early
	for {
		if fault := parser.Feed(chunk, emit); fault != nil {
			g.end(c, ending{code: int(fault.Code), reason: fault.Reason, say: true})
			drain(c.conn, buffer)
			return
		}
		if closing {
			return
		}
		n, err := c.conn.Read(buffer)
		if err != nil {
			g.end(c, ending{code: closeAbnormal})
			return
		}
		chunk = buffer[:n]
	}
}

// drain reads what a faulty client still sends, for a while: closed over unread bytes, a connection is reset and the close frame lost.
func drain(conn net.Conn, buffer []byte) {
	for err := error(nil); err == nil; {
		_, err = conn.Read(buffer)
	}
}

// hear handles one thing that a client sent and reports whether it closes.
func (g *Gateway) hear(c *connection, e wire.Event) bool {
	switch e.Kind {
	case wire.Text:
		c.active(g.options.Now())
		text := append([]byte(nil), e.Payload...)
		// Messages of one client run side by side: AWS promises no order.
		if c.isOpen() && g.begin() {
			go func() {
				defer g.work.Done()
				g.message(c, text)
			}()
		}
	case wire.Ping:
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.open {
			_ = c.write(wire.PongFrame(e.Payload), writeTimeout) // the reader sees the end
		}
	case wire.Close:
		reason := e.Reason
		code := e.Code
		if code == eureka.CloseNoStatus {
			reason = "Client-side close frame status not set"
		}
		c.mu.Lock()
		if c.open {
			_ = c.write(wire.CloseFrame(code, ""), closeTimeout) // the client may have gone
		}
		c.mu.Unlock()
		g.end(c, ending{code: int(code), reason: reason})
		return true
	case wire.Pong:
	}
	return false
}

// message runs the function on one message and sends what it answers as the route's response.
func (g *Gateway) message(c *connection, text []byte) {
	m := g.options.Meter
	m.Add(meter.MessagesIn, 1)
	m.Add(meter.Metered, metered(len(text), 32<<10))
	event := g.messageEvent(c, text)
	failure := message{Message: "Internal server error", ConnectionID: c.id, RequestID: event.RequestContext.RequestID}
	if !g.requests.take(g.options.Now()) {
		failure.Message = "Limit Exceeded"
		_ = g.send(c, failure.text()) // a socket that has ended needs no answer, here and below
		return
	}
	answer, err := g.invoke(g.base, event)
	if errors.Is(err, context.DeadlineExceeded) {
		failure.Message = "Endpoint request timed out"
	}
	var body []byte
	if err == nil {
		_, err = answer.status()
	}
	if err == nil {
		body, err = answer.body()
	}
	switch {
	case err != nil || len(body) > g.options.Limits.MaxMessage:
		_ = g.send(c, failure.text())
	case len(body) > 0:
		_ = g.send(c, body)
	}
}

// disconnect tells the function that a socket has ended. AWS tries once.
func (g *Gateway) disconnect(c *connection, how ending) {
	_, _ = g.invoke(g.base, g.disconnectEvent(c, how)) // invoke has logged it
}
