package apigateway_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"eureka/internal/edge/simulator/apigateway"
	"eureka/internal/edge/simulator/simtest"
)

func TestConnectEvent(t *testing.T) {
	w := open(t, nil, nil)
	before := time.Now()
	c, _, err := w.dial("/dev?channels=A%2CB&channels=C&empty=&flag&x=%C3%A4+b", &websocket.DialOptions{HTTPHeader: http.Header{
		"User-Agent": {"test/1"}, "Origin": {w.url}, "Cookie": {"a=b"}, "X-Many": {"1", "2"}, "X-Forwarded-For": {"198.51.100.7"},
	}, Subprotocols: []string{"eureka.v1", "bearer.x"}})
	if err != nil {
		t.Fatal(err)
	}
	e := w.await("$connect", 0)
	q := e.MultiValueQueryStringParameters
	if diff := cmp.Diff(map[string][]string{"channels": {"A,B", "C"}, "empty": {""}, "flag": {""}, "x": {"ä b"}}, q); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"channels": "C", "empty": "", "flag": "", "x": "ä b"}, e.QueryStringParameters); diff != "" {
		t.Error(diff)
	}
	host := strings.TrimPrefix(w.url, "http://")
	for name, want := range map[string]string{
		"Host": host, "User-Agent": "test/1", "Origin": w.url, "Cookie": "a=b", "X-Many": "2", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Protocol": "eureka.v1,bearer.x", "X-Forwarded-For": "198.51.100.7, 127.0.0.1", "X-Forwarded-Proto": "http",
	} {
		if e.Headers[name] != want {
			t.Errorf("%s is %q, want %q", name, e.Headers[name], want)
		}
	}
	if diff := cmp.Diff([]string{"1", "2"}, e.MultiValueHeaders["X-Many"]); diff != "" {
		t.Error(diff)
	}
	if e.Headers["Sec-WebSocket-Key"] == "" || !strings.HasPrefix(e.Headers["X-Amzn-Trace-Id"], "Root=1-") || e.Headers["Upgrade"] != "" {
		t.Errorf("%v", e.Headers)
	}
	r := e.RequestContext
	if r.EventType != "CONNECT" || r.Stage != "dev" || r.MessageDirection != "IN" || r.DomainName != "127.0.0.1" || r.APIID == "" ||
		r.Identity.SourceIP != "127.0.0.1" || r.Identity.UserAgent != "test/1" || r.RequestID == "" || r.RequestID != r.ExtendedRequestID {
		t.Errorf("%+v", r)
	}
	if len(r.ConnectionID) != 16 || !strings.HasSuffix(r.ConnectionID, "=") {
		t.Errorf("the connection id is %q", r.ConnectionID)
	}
	if at := time.UnixMilli(r.ConnectedAt); at.Before(before.Add(-time.Second)) || at.After(time.Now()) || r.RequestTimeEpoch < r.ConnectedAt {
		t.Errorf("connected at %s, requested at %d", at, r.RequestTimeEpoch)
	}
	if _, err := time.Parse("02/Jan/2006:15:04:05 -0700", r.RequestTime); err != nil {
		t.Error(err)
	}
	write(t, c, `{"action":"ping"}`)
	m := w.await("$default", 0)
	if m.Body != `{"action":"ping"}` || m.RequestContext.EventType != "MESSAGE" || m.RequestContext.ConnectionID != r.ConnectionID ||
		m.RequestContext.MessageID == "" || m.RequestContext.ConnectedAt != r.ConnectedAt || len(m.Headers) != 0 || m.QueryStringParameters != nil ||
		m.RequestContext.Identity.SourceIP != "127.0.0.1" || m.RequestContext.RequestID == r.RequestID {
		t.Errorf("%+v", m)
	}
}

// TestConnectAnswer: the function decides who comes in, and with which subprotocol.
func TestConnectAnswer(t *testing.T) {
	next := simtest.Answer{}
	var mu sync.Mutex
	w := open(t, func(o *apigateway.Options) { o.Limits.Integration = 2 * time.Second }, func(ctx context.Context, e request) simtest.Answer {
		if e.RequestContext.RouteKey != "$connect" {
			return simtest.Answer{}
		}
		mu.Lock()
		a := next
		mu.Unlock()
		if a.Response == "hang" {
			<-ctx.Done()
		}
		return a
	})
	for name, tt := range map[string]struct {
		answer   simtest.Answer
		status   int
		protocol string
		message  string
	}{
		"in":                {reply(answer{StatusCode: 200}), 101, "", ""},
		"in with 204":       {reply(answer{StatusCode: 204}), 101, "", ""},
		"protocol":          {reply(answer{StatusCode: 200, Headers: map[string]any{"sec-websocket-protocol": "eureka.v1"}}), 101, "eureka.v1", ""},
		"protocol of many":  {reply(answer{StatusCode: 200, MultiValueHeaders: map[string][]string{"Sec-WebSocket-Protocol": {"eureka.v1"}}}), 101, "eureka.v1", ""},
		"protocol of none":  {reply(answer{StatusCode: 200, Headers: map[string]any{"Sec-WebSocket-Protocol": "other"}}), 101, "", ""},
		"unauthenticated":   {reply(answer{StatusCode: 401, Body: "secret"}), 401, "", "Unauthorized"},
		"forbidden":         {reply(answer{StatusCode: 403}), 403, "", "Forbidden"},
		"redirect":          {reply(answer{StatusCode: 302}), 302, "", "Found"},
		"server error":      {reply(answer{StatusCode: 503}), 503, "", "Internal server error"},
		"throws":            {simtest.Answer{Error: "x"}, 502, "", "Internal server error"},
		"exits":             {simtest.Answer{Exit: 1}, 502, "", "Internal server error"},
		"no status":         {simtest.Answer{Response: `{"body":"x"}`}, 502, "", "Internal server error"},
		"text":              {simtest.Answer{Response: `"hello"`}, 502, "", "Internal server error"},
		"status as a text":  {simtest.Answer{Response: `{"statusCode":"200"}`}, 101, "", ""},
		"answers too late":  {simtest.Answer{Response: "hang"}, 504, "", "Internal server error"},
		"status of nothing": {simtest.Answer{Response: `{"statusCode":7}`}, 502, "", "Internal server error"},
	} {
		mu.Lock()
		next = tt.answer
		mu.Unlock()
		c, r, err := w.dial("/dev", &websocket.DialOptions{Subprotocols: []string{"eureka.v1", "bearer.x"}})
		if r.status == 0 {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if r.status != tt.status {
			t.Errorf("%s: status %d, want %d", name, r.status, tt.status)
			continue
		}
		if err == nil {
			if c.Subprotocol() != tt.protocol {
				t.Errorf("%s: subprotocol %q", name, c.Subprotocol())
			}
			_ = c.CloseNow()
			continue
		}
		var m struct{ Message, ConnectionID, RequestID string }
		if err := json.Unmarshal([]byte(r.body), &m); err != nil || m.Message != tt.message || len(m.ConnectionID) != 16 || m.RequestID == "" {
			t.Errorf("%s: %s, %v", name, r.body, err)
		}
	}
}

// TestPaths: the stage and the root are doors, nothing else is, and a bad handshake is refused before the function hears of it.
func TestPaths(t *testing.T) {
	w := open(t, func(o *apigateway.Options) { o.Limits.ConnectBurst, o.Limits.ConnectRate = 3, 0 }, nil)
	for _, target := range []string{"/", "/dev", "/dev/?a=b"} {
		w.connect(target)
	}
	n := len(w.events())
	handshake := func(target string, change func(http.Header)) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+target, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
		if change != nil {
			change(r.Header)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	for name, tt := range map[string]struct {
		got, want int
	}{
		"another stage": {handshake("/prod", nil), 403},
		"below":         {handshake("/dev/x", nil), 403},
		"no key":        {handshake("/dev", func(h http.Header) { h.Del("Sec-WebSocket-Key") }), 400},
		"short key":     {handshake("/dev", func(h http.Header) { h.Set("Sec-WebSocket-Key", "YQ==") }), 400},
		"old version":   {handshake("/dev", func(h http.Header) { h.Set("Sec-WebSocket-Version", "8") }), 400},
		"long URL":      {handshake("/dev?a="+strings.Repeat("x", 4096), nil), 414},
		"too many":      {handshake("/dev", nil), 429},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %d, want %d", name, tt.got, tt.want)
		}
	}
	if got := len(w.events()); got != n {
		t.Errorf("the function heard of %d refused handshakes", got-n)
	}
	if w.count("websocket.connects") != 3 || w.count("websocket.refused") != 7 {
		t.Errorf("%v", w.meter.Read().Counts)
	}
}

// TestRouteResponse: what the function answers to a message goes back, and a failure is told in AWS's words.
func TestRouteResponse(t *testing.T) {
	w := open(t, func(o *apigateway.Options) { o.Limits.Integration = 2 * time.Second }, func(ctx context.Context, e request) simtest.Answer {
		switch e.Body {
		case "nothing":
			return reply(answer{StatusCode: 200})
		case "null":
			return simtest.Answer{Response: "null"}
		case "base64":
			return reply(answer{StatusCode: 200, Body: "aGVsbG8=", IsBase64Encoded: true})
		case "bad base64":
			return reply(answer{StatusCode: 200, Body: "!", IsBase64Encoded: true})
		case "status":
			return reply(answer{StatusCode: 500, Body: "of a failure"})
		case "throw":
			return simtest.Answer{Error: "x"}
		case "large":
			return reply(answer{StatusCode: 200, Body: strings.Repeat("y", 128<<10)})
		case "too large":
			return reply(answer{StatusCode: 200, Body: strings.Repeat("y", 128<<10+1)})
		case "hang":
			<-ctx.Done()
		}
		return reply(answer{StatusCode: 200, Body: "echo " + e.Body})
	})
	c := w.connect("/dev")
	id := w.await("$connect", 0).RequestContext.ConnectionID
	for i, tt := range [][2]string{
		{"a", "echo a"}, {"base64", "hello"}, {"status", "of a failure"}, {"large", strings.Repeat("y", 128<<10)},
		{"throw", "Internal server error"}, {"null", "Internal server error"}, {"bad base64", "Internal server error"},
		{"too large", "Internal server error"}, {"hang", "Endpoint request timed out"},
	} {
		write(t, c, "nothing") // and nothing comes
		write(t, c, tt[0])
		got := read(t, c)
		if i < 4 {
			if got != tt[1] {
				t.Errorf("%s: %.100q", tt[0], got)
			}
			continue
		}
		var m struct{ Message, ConnectionID, RequestID string }
		if err := json.Unmarshal([]byte(got), &m); err != nil || m.Message != tt[1] || m.ConnectionID != id || m.RequestID == "" {
			t.Errorf("%s: %.200q, %v", tt[0], got, err)
		}
	}
}

// TestSizes: 32 KB a frame, 128 KB a message, text alone; metered in steps of 32 KB.
func TestSizes(t *testing.T) {
	w := open(t, nil, func(_ context.Context, e request) simtest.Answer {
		if e.RequestContext.RouteKey == "$default" {
			return reply(answer{StatusCode: 200, Body: "ok"})
		}
		return simtest.Answer{}
	})
	send := func(kind websocket.MessageType, frames ...int) *websocket.Conn {
		c := w.connect("/dev")
		writer, err := c.Writer(t.Context(), kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range frames {
			if _, err := writer.Write([]byte(strings.Repeat("x", n))); err != nil {
				break // it may be closed already
			}
		}
		_ = writer.Close()
		return c
	}
	const k = 1 << 10
	for name, tt := range map[string]struct {
		kind   websocket.MessageType
		frames []int
		code   websocket.StatusCode
	}{
		"a full frame":     {websocket.MessageText, []int{32 * k}, 0},
		"a full message":   {websocket.MessageText, []int{32 * k, 32 * k, 32 * k, 32 * k}, 0},
		"frame too big":    {websocket.MessageText, []int{32*k + 1}, websocket.StatusMessageTooBig},
		"second too big":   {websocket.MessageText, []int{1, 32*k + 1}, websocket.StatusMessageTooBig},
		"message too big":  {websocket.MessageText, []int{32 * k, 32 * k, 32 * k, 32 * k, 1}, websocket.StatusMessageTooBig},
		"binary":           {websocket.MessageBinary, []int{3}, websocket.StatusUnsupportedData},
		"much behind that": {websocket.MessageBinary, []int{3, 32 * k, 32 * k, 32 * k, 32 * k, 32 * k, 32 * k, 32 * k}, websocket.StatusUnsupportedData},
	} {
		ends := w.count("websocket.ends")
		metered := w.count("websocket.metered")
		c := send(tt.kind, tt.frames...)
		if tt.code == 0 {
			if got := read(t, c); got != "ok" {
				t.Errorf("%s: %q", name, got)
			}
			if got, want := w.count("websocket.metered")-metered, float64(len(tt.frames)+1); got != want {
				t.Errorf("%s: metered %v, want %v", name, got, want)
			}
			continue
		}
		if got := closed(t, c); got != tt.code {
			t.Errorf("%s: closed with %d, want %d", name, got, tt.code)
		}
		e := w.await("$disconnect", int(ends))
		if e.RequestContext.DisconnectStatusCode != int64(tt.code) || e.RequestContext.DisconnectReason == nil {
			t.Errorf("%s: %+v", name, e.RequestContext)
		}
	}
}

// TestDisconnect: every end is reported once, with its code and reason.
func TestDisconnect(t *testing.T) {
	w := open(t, nil, nil)
	for i, tt := range []struct {
		name   string
		end    func(c *websocket.Conn, id string)
		code   int64
		reason string
		client websocket.StatusCode
	}{
		{"normal", func(c *websocket.Conn, _ string) { _ = c.Close(1000, "bye") }, 1000, "bye", 0},
		{"own code", func(c *websocket.Conn, _ string) { _ = c.Close(4321, "mine") }, 4321, "mine", 0},
		{"without a code", func(c *websocket.Conn, _ string) { _ = c.Close(websocket.StatusNoStatusRcvd, "") }, 1005, "Client-side close frame status not set", 0},
		{"cut", func(c *websocket.Conn, _ string) { _ = c.CloseNow() }, 1006, "", 0},
		{"network", func(_ *websocket.Conn, id string) { w.Cut(id, false) }, 1006, "", -1},
		{"age", func(_ *websocket.Conn, id string) { w.Age(id) }, 1001, "Going away", 1001},
	} {
		c := w.connect("/dev")
		id := w.await("$connect", i).RequestContext.ConnectionID
		tt.end(c, id)
		e := w.await("$disconnect", i)
		r := e.RequestContext
		if r.ConnectionID != id || r.EventType != "DISCONNECT" || r.DisconnectStatusCode != tt.code || r.DisconnectReason == nil || *r.DisconnectReason != tt.reason {
			t.Errorf("%s: %+v", tt.name, r)
		}
		if e.Headers["x-restapi"] != "" || len(e.Headers) != 4 || e.Headers["Host"] == "" {
			t.Errorf("%s: headers %v", tt.name, e.Headers)
		}
		if tt.client != 0 {
			if got := closed(t, c); got != tt.client {
				t.Errorf("%s: the client sees %d", tt.name, got)
			}
		}
	}
	if n := len(w.Connections()); n != 0 {
		t.Errorf("%d sockets are left", n)
	}
	if len(w.events()) != 12 {
		t.Errorf("%d events", len(w.events()))
	}
	if w.Cut("x", false) || w.Age("x") {
		t.Error("a socket that is not there ends")
	}
}

// TestAge: two hours are the end, at whatever factor.
func TestAge(t *testing.T) {
	w := open(t, func(o *apigateway.Options) { o.Limits = o.Limits.Faster(24000) }, func(_ context.Context, e request) simtest.Answer {
		if e.Body != "" {
			return reply(answer{StatusCode: 200, Body: "ok"})
		}
		return simtest.Answer{}
	}) // 0.3 s
	c := w.connect("/dev")
	for { // it is busy to the end
		err := c.Write(t.Context(), websocket.MessageText, []byte("x"))
		if err == nil {
			_, _, err = c.Read(t.Context())
		}
		if code := websocket.CloseStatus(err); code != -1 {
			if code != websocket.StatusGoingAway {
				t.Errorf("closed with %d", code)
			}
			break
		}
	}
	if e := w.await("$disconnect", 0).RequestContext; e.DisconnectStatusCode != 1001 || *e.DisconnectReason != "Going away" {
		t.Errorf("%+v", e)
	}
}

// TestIdle: ten minutes without a message in either direction are the end; pings do not count.
func TestIdle(t *testing.T) {
	w := open(t, func(o *apigateway.Options) { o.Limits.Idle = 30 * time.Millisecond }, func(_ context.Context, e request) simtest.Answer {
		if e.Body != "" {
			return reply(answer{StatusCode: 200, Body: "ok"})
		}
		return simtest.Answer{}
	})
	w.mu.Lock()
	w.clock = time.Now() // it stands still from now on
	w.mu.Unlock()
	c := w.connect("/dev")
	for range 10 {
		write(t, c, "x")
		if got := read(t, c); got != "ok" {
			t.Fatal(got)
		}
	}
	id := w.await("$connect", 0).RequestContext.ConnectionID
	if err := w.post(id, "still there"); err != nil || read(t, c) != "still there" {
		t.Fatal(err)
	}
	go func() { // it pings to the end
		for c.Ping(t.Context()) == nil {
		}
	}()
	w.advance(time.Second)
	if got := closed(t, c); got != websocket.StatusGoingAway {
		t.Errorf("closed with %d", got)
	}
	if e := w.await("$disconnect", 0).RequestContext; e.DisconnectStatusCode != 1001 {
		t.Errorf("%+v", e)
	}
}

// TestParallel: messages of one client run side by side, and the second may be answered first.
func TestParallel(t *testing.T) {
	second := make(chan struct{})
	w := open(t, nil, func(ctx context.Context, e request) simtest.Answer {
		switch e.Body {
		case "first":
			select {
			case <-second:
			case <-ctx.Done():
			}
		case "second":
			defer close(second)
		}
		return reply(answer{StatusCode: 200, Body: e.Body})
	})
	c := w.connect("/dev")
	write(t, c, "first")
	w.await("$default", 0)
	write(t, c, "second")
	got := []string{read(t, c), read(t, c)}
	if got[0]+got[1] != "secondfirst" && got[0]+got[1] != "firstsecond" {
		t.Errorf("%q", got)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if a, b := w.calls[1].PID, w.calls[2].PID; a == b {
		t.Errorf("process %d had both", a)
	}
}

// TestThrottled: more messages than functions may run are answered with an error, none is lost silently.
func TestThrottled(t *testing.T) {
	gate := make(chan struct{})
	w := open(t, nil, func(ctx context.Context, e request) simtest.Answer {
		if e.Body != "" {
			select {
			case <-gate:
			case <-ctx.Done():
			}
		}
		return reply(answer{StatusCode: 200, Body: "done"})
	})
	c := w.connect("/dev")
	for range 8 {
		write(t, c, "x")
	}
	w.await("$default", 7)
	write(t, c, "one more")
	if got := read(t, c); !strings.Contains(got, "Internal server error") {
		t.Error(got)
	}
	close(gate)
	for range 8 {
		if got := read(t, c); got != "done" {
			t.Error(got)
		}
	}
	if w.count("lambda.throttles") != 1 {
		t.Errorf("%v throttled", w.count("lambda.throttles"))
	}
}
