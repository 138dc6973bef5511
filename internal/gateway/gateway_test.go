package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"eureka"
	"eureka/internal/auth"
	"eureka/internal/core"
)

// patience is how long a test waits for something that should happen soon, on a loaded machine too.
const patience = 20 * time.Second

// handler is a fake of core: it echoes frames, subscribes on "sub NAME", takes another identity on "become TOKEN", and panics on "panic". The real core has its own tests.
type handler struct {
	hub       *Hub
	result    core.ConnectResult
	refusal   error
	connected atomic.Int64
	ended     sync.Map // socket id → close code
	endings   atomic.Int64
	inFrame   func(id string) // called while a frame is handled
	inConnect func(id string) // called while a handshake is handled, when its socket is there
	early     func()          // called when it begins
	inEnd     func()          // called while the end of a socket is handled
}

func (h *handler) Connect(_ context.Context, r core.ConnectRequest) (core.ConnectResult, error) {
	if h.refusal != nil {
		return core.ConnectResult{}, h.refusal
	}
	if h.early != nil {
		h.early()
	}
	h.connected.Add(1)
	if err := h.hub.Add(eureka.Socket{ID: r.SocketID, ConnectedAt: 1, Agent: r.Agent}); err != nil {
		return core.ConnectResult{}, err
	}
	for _, name := range r.Query["channels"] {
		if _, err := h.hub.Subscribe(eureka.Subscription{SocketID: r.SocketID, ChannelID: name, Name: name}); err != nil {
			return core.ConnectResult{}, err
		}
	}
	if h.inConnect != nil {
		h.inConnect(r.SocketID)
	}
	return h.result, nil
}

func (h *handler) Frame(_ context.Context, r core.FrameRequest) core.FrameResult {
	text := string(r.Text)
	if name, ok := strings.CutPrefix(text, "sub "); ok {
		if _, err := h.hub.Subscribe(eureka.Subscription{SocketID: r.SocketID, ChannelID: name, Name: name}); err != nil {
			return answer("error " + err.Error())
		}
		if h.inFrame != nil {
			h.inFrame(r.SocketID)
		}
		return answer("subscribed " + name)
	}
	if token, ok := strings.CutPrefix(text, "become "); ok {
		return core.FrameResult{Frames: [][]byte{[]byte("refreshed")}, Identity: &eureka.Identity{TokenID: token}}
	}
	if text == "panic" {
		panic("on purpose")
	}
	return answer("echo " + text)
}

func answer(text string) core.FrameResult { return core.FrameResult{Frames: [][]byte{[]byte(text)}} }

func (h *handler) Disconnect(_ context.Context, id string, code eureka.CloseCode, _ string) error {
	h.endings.Add(1)
	h.ended.Store(id, code)
	if h.inEnd != nil {
		h.inEnd()
	}
	_, err := h.hub.Remove(id)
	return err
}

// world is a gateway on a real listener.
type world struct {
	t       testing.TB
	hub     *Hub
	handler *handler
	gateway *Gateway
	server  *httptest.Server
	who     func(*http.Request) (eureka.Identity, error)
	revoked func(eureka.Identity) bool
}

// both runs a test with event loops, where the system has them, and with goroutines.
func both(t *testing.T, test func(t *testing.T, how Sockets)) {
	t.Helper()
	t.Run("loops", func(t *testing.T) { test(t, SocketsAuto) })
	t.Run("goroutines", func(t *testing.T) { test(t, SocketsGoroutines) })
}

func newWorld(t testing.TB, how Sockets, limits Limits) *world {
	t.Helper()
	w := &world{t: t, hub: NewHub(HubOptions{}), who: auth.OpenIdentity, revoked: func(eureka.Identity) bool { return false }}
	w.handler = &handler{hub: w.hub}
	origins, err := auth.NewOrigins(nil)
	if err != nil {
		t.Fatal(err)
	}
	var ids atomic.Int64
	w.gateway, err = New(Options{
		Hub: w.hub, Handler: w.handler, Origins: origins, Sockets: how, Limits: limits, Log: slog.New(slog.DiscardHandler),
		Identify: func(r *http.Request) (eureka.Identity, error) { return w.who(r) }, Revoked: func(id eureka.Identity) bool { return w.revoked(id) },
		NewID: func() string { return fmt.Sprintf("s%d", ids.Add(1)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.server = httptest.NewServer(w.gateway)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = w.gateway.Drain(ctx) // a test may have drained, or left sockets on purpose
		w.server.Close()
	})
	return w
}

func (w *world) dial(query string) *websocket.Conn {
	w.t.Helper()
	c, response, err := websocket.Dial(w.t.Context(), w.server.URL+"/"+query, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if response.Body != nil {
		_ = response.Body.Close()
	}
	c.SetReadLimit(-1)
	w.t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

func (w *world) read(c *websocket.Conn) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	_, text, err := c.Read(ctx)
	if err != nil {
		w.t.Fatalf("no frame: %v", err)
	}
	return string(text)
}

func (w *world) write(c *websocket.Conn, text string) {
	w.t.Helper()
	if err := c.Write(w.t.Context(), websocket.MessageText, []byte(text)); err != nil {
		w.t.Fatal(err)
	}
}

// closed reads to the end and returns the close code and the last frame before it.
func (w *world) closed(c *websocket.Conn) (code eureka.CloseCode, last string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for {
		_, text, err := c.Read(ctx)
		if err == nil {
			last = string(text)
			continue
		}
		var end websocket.CloseError
		if !errors.As(err, &end) {
			w.t.Fatalf("no close frame: %v", err)
		}
		return eureka.CloseCode(end.Code), last
	}
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to pass: %s", what)
		}
		<-tick.C
	}
}

const rawHandshake = "GET /?channels=A HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// raw is handshake for a connection that ends with the test.
func (w *world) raw(early []byte) (net.Conn, *bufio.Reader) {
	w.t.Helper()
	c, reader := w.handshake(early)
	w.t.Cleanup(func() { _ = c.Close() })
	return c, reader
}

// handshake connects without a WebSocket library, to send what no library would.
func (w *world) handshake(early []byte) (net.Conn, *bufio.Reader) {
	w.t.Helper()
	c, err := (&net.Dialer{}).DialContext(w.t.Context(), "tcp", w.server.Listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		w.t.Fatal(err)
	}
	if _, err := c.Write(append([]byte(rawHandshake+"\r\n"), early...)); err != nil {
		w.t.Fatal(err)
	}
	reader := bufio.NewReader(c)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols || response.Header.Get("Sec-Websocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		w.t.Fatalf("handshake answered %s %v", response.Status, response.Header)
	}
	return c, reader
}

// frame builds a masked client frame.
func frame(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(b, 0, 0, 0, 0) // a mask of zeros changes nothing
	return append(b, payload...)
}

// next reads one server frame.
func next(r *bufio.Reader) (opcode byte, payload []byte, err error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, nil, err
	}
	size := uint64(head[1])
	if size >= 126 {
		extended := make([]byte, map[uint64]int{126: 2, 127: 8}[size])
		if _, err := io.ReadFull(r, extended); err != nil {
			return 0, nil, err
		}
		size = 0
		for _, b := range extended {
			size = size<<8 | uint64(b)
		}
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(r, payload)
	return head[0] & 0xf, payload, err
}

// closeCode reads until the server's close frame.
func closeCode(t *testing.T, r *bufio.Reader) eureka.CloseCode {
	t.Helper()
	for {
		opcode, payload, err := next(r)
		if err != nil {
			t.Fatalf("no close frame: %v", err)
		}
		if opcode == 8 {
			if len(payload) < 2 {
				return eureka.CloseNoStatus
			}
			return eureka.CloseCode(binary.BigEndian.Uint16(payload))
		}
	}
}

func TestFaultsCloseWithTheirCode(t *testing.T) { both(t, testFaultsCloseWithTheirCode) }

func testFaultsCloseWithTheirCode(t *testing.T, how Sockets) {
	big := strings.Repeat("x", eureka.MaxFrameBytes)
	for _, tt := range []struct {
		name   string
		stream []byte
		want   eureka.CloseCode
	}{
		{"binary", frame(0x82, "x"), eureka.CloseUnsupported},
		{"invalid UTF-8", frame(0x81, "\xff"), eureka.CloseInvalidUTF8},
		{"invalid UTF-8 over fragments", append(frame(0x01, "\xed"), frame(0x80, "x")...), eureka.CloseInvalidUTF8},
		{"reserved bits", frame(0xf1, "x"), eureka.CloseProtocol},
		{"reserved opcode", frame(0x85, "x"), eureka.CloseProtocol},
		{"unmasked", []byte{0x81, 1, 'x'}, eureka.CloseProtocol},
		{"too big", frame(0x81, big+"x"), eureka.CloseTooBig},
		{"too big in fragments", append(frame(0x01, big), frame(0x80, "x")...), eureka.CloseTooBig},
		{"2^63 bytes", []byte{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0}, eureka.CloseTooBig},
		{"half a code", frame(0x88, "\x03"), eureka.CloseProtocol},
		{"a normal close", frame(0x88, "\x03\xe8"), eureka.CloseNormal},
		{"a close without a code", frame(0x88, ""), eureka.CloseNoStatus},
		{"garbage", []byte("GET / HTTP/1.1\r\n\r\n"), eureka.CloseProtocol},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, how, Limits{})
			c, r := w.raw(nil)
			bystander := w.dial("")
			go func() { _, _ = c.Write(tt.stream) }() // the server may stop reading before all is written
			if got := closeCode(t, r); got != tt.want {
				t.Errorf("closed with %d, want %d", got, tt.want)
			}
			_ = c.Close()
			eventually(t, "the socket is gone", func() bool { return w.hub.Sockets() == 1 && w.handler.endings.Load() == 1 })
			if got, _ := w.handler.ended.Load("s1"); got != tt.want {
				t.Errorf("core heard of code %v, want %d", got, tt.want)
			}
			w.write(bystander, "still here")
			if got := w.read(bystander); got != "echo still here" {
				t.Errorf("the other socket got %q", got)
			}
		})
	}
}

func TestFragmentsAndPings(t *testing.T) { both(t, testFragmentsAndPings) }

func testFragmentsAndPings(t *testing.T, how Sockets) {
	w := newWorld(t, how, Limits{})
	c, r := w.raw(nil)
	stream := bytes.Join([][]byte{frame(0x01, "he"), frame(0x89, "p"), frame(0x00, "l"), frame(0x80, "lo")}, nil)
	for _, b := range stream { // byte by byte: half frames are normal
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	var seen []string
	for len(seen) < 2 {
		opcode, payload, err := next(r)
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, fmt.Sprintf("%d %s", opcode, payload))
	}
	if seen[0] != "10 p" || seen[1] != "1 echo hello" {
		t.Errorf("got %v", seen)
	}
}

func TestFrameBehindTheHandshakeInOnePacket(t *testing.T) {
	both(t, testFrameBehindTheHandshakeInOnePacket)
}

func testFrameBehindTheHandshakeInOnePacket(t *testing.T, how Sockets) {
	w := newWorld(t, how, Limits{})
	_, r := w.raw(frame(0x81, "early"))
	if _, payload, err := next(r); err != nil || string(payload) != "echo early" {
		t.Errorf("got %q, %v", payload, err)
	}
}

func TestFloodOfPingsIsAnsweredWithoutAQueue(t *testing.T) {
	both(t, testFloodOfPingsIsAnsweredWithoutAQueue)
}

func testFloodOfPingsIsAnsweredWithoutAQueue(t *testing.T, how Sockets) {
	w := newWorld(t, how, Limits{})
	c, r := w.raw(nil)
	go func() {
		flood := bytes.Repeat(frame(0x89, ""), 10000)
		_, _ = c.Write(append(flood, frame(0x89, "last")...)) // a failure shows as a missing pong
	}()
	for {
		opcode, payload, err := next(r)
		if err != nil || opcode != 10 {
			t.Fatalf("opcode %d, %v", opcode, err)
		}
		if string(payload) == "last" {
			return
		}
	}
}

func TestRefusedHandshakes(t *testing.T) { both(t, testRefusedHandshakes) }

func testRefusedHandshakes(t *testing.T, how Sockets) {
	for _, tt := range []struct {
		name    string
		method  string
		header  map[string]string
		refusal error
		status  int
		code    eureka.Code
	}{
		{"foreign page", "GET", map[string]string{"Origin": "https://evil.example"}, nil, 403, eureka.CodeForbidden},
		{"version", "GET", map[string]string{"Sec-WebSocket-Version": "8"}, nil, 400, eureka.CodeInvalid},
		{"key", "GET", map[string]string{"Sec-WebSocket-Key": "short"}, nil, 400, eureka.CodeInvalid},
		{"no upgrade", "GET", map[string]string{"Connection": "close"}, nil, 400, eureka.CodeInvalid},
		{"method", "POST", nil, nil, 400, eureka.CodeInvalid},
		{"core says no", "GET", nil, eureka.Errorf(eureka.CodeUnavailable, "not now"), 503, eureka.CodeUnavailable},
		{"core fails", "GET", nil, errors.New("secret"), 500, eureka.CodeInternal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, how, Limits{})
			w.handler.refusal = tt.refusal
			request, err := http.NewRequestWithContext(t.Context(), tt.method, w.server.URL+"/", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			for key, value := range map[string]string{
				"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
			} {
				request.Header.Set(key, value)
			}
			for key, value := range tt.header {
				request.Header.Set(key, value)
			}
			response, err := http.DefaultTransport.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil || response.StatusCode != tt.status || !strings.Contains(string(text), `"code":"`+string(tt.code)+`"`) || strings.Contains(string(text), "secret") {
				t.Errorf("answered %s %s, %v", response.Status, text, err)
			}
			pending := 0
			w.hub.pending.Range(func(any, any) bool { pending++; return true })
			if w.hub.Sockets() != 0 || pending != 0 || w.gateway.registry.count() != 0 {
				t.Error("a refused handshake left something behind")
			}
		})
	}
}

func TestSlowHeadersHoldNobodyUp(t *testing.T) { both(t, testSlowHeadersHoldNobodyUp) }

func testSlowHeadersHoldNobodyUp(t *testing.T, how Sockets) {
	w := newWorld(t, how, Limits{})
	slow, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", w.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slow.Close() }()
	if _, err := slow.Write([]byte(rawHandshake)); err != nil { // never finished
		t.Fatal(err)
	}
	c := w.dial("")
	w.write(c, "x")
	if got := w.read(c); got != "echo x" {
		t.Errorf("got %q", got)
	}
}
