package loadgen

import (
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"eureka"
)

func writef(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }

// good are options that can be.
func good(url string) Options {
	return Options{
		Scenario: Fanout, Protocol: Eureka, URL: url, Sockets: 10, Channels: 1, PerSocket: 1, Channel: "bench", Connecting: 4, Cycles: 1, Size: 128,
		InFlight: 1, For: 100 * time.Millisecond, Missed: 1, Wait: 10 * time.Second,
	}
}

func TestOptions(t *testing.T) {
	if err := good("http://127.0.0.1:1").Validate(); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		set  func(*Options)
		want string // start of the message
	}{
		"scenario":          {func(o *Options) { o.Scenario = "all" }, "scenario: "},
		"protocol":          {func(o *Options) { o.Protocol = "mqtt" }, "protocol: "},
		"storm elsewhere":   {func(o *Options) { o.Scenario, o.Protocol = Storm, Centrifugo }, "protocol: a storm"},
		"no sockets":        {func(o *Options) { o.Sockets = 0 }, "sockets: must be between 1"},
		"too many sockets":  {func(o *Options) { o.Sockets = maxSockets + 1 }, "sockets: "},
		"no channel":        {func(o *Options) { o.Channels = 0 }, "channels: "},
		"more than all":     {func(o *Options) { o.PerSocket = 2 }, "per_socket: must be between 1 and 1"},
		"small messages":    {func(o *Options) { o.Size = minSize - 1 }, "size: "},
		"large messages":    {func(o *Options) { o.Size = maxSize + 1 }, "size: "},
		"nothing under way": {func(o *Options) { o.InFlight = 0 }, "in_flight: "},
		"many counters": {func(o *Options) {
			o.Sockets, o.Channels, o.PerSocket = 1_000_000, 1000, 1000
		}, "sockets: with that many"},
		"rate":            {func(o *Options) { o.Rate = -1 }, "rate: "},
		"no rate":         {func(o *Options) { o.Rate = math.NaN() }, "rate: "},
		"no time":         {func(o *Options) { o.For = 0 }, "for: "},
		"no patience":     {func(o *Options) { o.Wait = 0 }, "wait: "},
		"missed":          {func(o *Options) { o.Missed = 0 }, "missed: "},
		"channel's name":  {func(o *Options) { o.Channel = "a b" }, "channel: "},
		"TLS":             {func(o *Options) { o.URL = "https://h" }, "url: the load generator does not speak TLS"},
		"no address":      {func(o *Options) { o.URL = "nonsense" }, "url: "},
		"another address": {func(o *Options) { o.URL = "ftp://h" }, "url: "},
	} {
		o := good("http://127.0.0.1:1")
		tt.set(&o)
		if err := o.Validate(); eureka.CodeOf(err) != eureka.CodeInvalid || !strings.HasPrefix(eureka.MessageOf(err), tt.want) {
			t.Errorf("%s: %v, want %s…", name, err, tt.want)
		}
	}
}

func TestTargets(t *testing.T) {
	for url, want := range map[string]target{
		"http://h:1":      {"h:1", ""},
		"ws://h":          {"h:80", ""},
		"http://h:1/dev/": {"h:1", "/dev"},
		"http://[::1]:2":  {"[::1]:2", ""},
	} {
		if got, err := (Options{URL: url}).target(); got != want || err != nil {
			t.Errorf("%s: %+v, %v", url, got, err)
		}
	}
}

// TestDialects: what is sent to each kind of service, and what its answers mean.
func TestDialects(t *testing.T) {
	o := good("http://h:1/stage")
	o.Token, o.APIKey = "tok", "key"
	e := newDialect(o)
	request := string(e.upgrade(nil, []string{"a", "b"}, nil, false))
	if !strings.HasPrefix(request, "GET /stage/?channels=a,b HTTP/1.1\r\nHost: h:1\r\n") || !strings.Contains(request, "\r\nAuthorization: Bearer tok\r\n") || !strings.HasSuffix(request, "\r\n\r\n") {
		t.Errorf("%q", request)
	}
	if request = string(e.upgrade(nil, []string{"a"}, []byte("x.1"), true)); !strings.Contains(request, "channels=a@x.1 ") {
		t.Errorf("%q", request)
	}
	if request = string(e.post(nil, "a", []byte(`{}`))); !strings.HasPrefix(request, "POST /stage/channels/a/broadcast HTTP/1.1") ||
		!strings.Contains(request, "Bearer key\r\n") || !strings.HasSuffix(request, "Content-Length: 11\r\n\r\n"+`{"data":{}}`) {
		t.Errorf("%q", request)
	}
	o.Protocol = Centrifugo
	c := newDialect(o)
	if frames, n := c.greet(nil, []string{"a", "b"}); n != 3 || !strings.Contains(string(frames), `{"id":1,"connect":{"token":"tok"}}`+"\n"+`{"id":2,"subscribe":{"channel":"a"}}`+"\n"+`{"id":3,`) {
		t.Errorf("%q, %d", frames, n)
	}
	if request = string(c.post(nil, "a", []byte(`{}`))); !strings.Contains(request, "/api/publish") || !strings.Contains(request, "X-API-Key: key\r\n") || !strings.HasSuffix(request, `{"channel":"a","data":{}}`) {
		t.Errorf("%q", request)
	}
	for _, tt := range []struct {
		d       dialect
		payload string
		want    meaning
	}{
		{e, `{"action":"subscribed","channel":"a","data":{"cursor":"x.2","recovered":true}}`, meaning{confirmed: 1, cursor: []byte("x.2"), recovered: true}},
		{e, `{"action":"subscribed","channel":"a","data":{"recovered":false}}`, meaning{confirmed: 1, lost: true}},
		{e, `{"action":"error","channel":"a","error":{"code":"forbidden","message":"no"}}`, meaning{failure: "a: no", code: eureka.CodeForbidden}},
		{e, `{"action":"bye","data":{"code":4503,"reason":"slow"}}`, meaning{failure: "closed with 4503: slow", code: eureka.CodeUnavailable}},
		{e, `{"action":"info"}`, meaning{}},
		{c, `{"id":1,"connect":{}}` + "\n" + `{"id":2,"subscribe":{}}`, meaning{confirmed: 2}},
		{c, `{}`, meaning{reply: "{}"}},
		{c, `{"id":2,"error":{"code":103,"message":"permission denied"}}`, meaning{failure: `{"id":2,"error":{"code":103,"message":"permission denied"}}`, code: eureka.CodeForbidden}},
	} {
		if got := tt.d.read([]byte(tt.payload)); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.payload, got, tt.want)
		}
	}
	for _, tt := range []struct {
		d      dialect
		status int
		answer string
		want   eureka.Code
	}{
		{e, 200, "{}", ""}, {e, 503, `{"code":"unavailable","detail":"full"}`, eureka.CodeUnavailable}, {e, 404, "<html>", eureka.CodeNotFound},
		{c, 200, `{"result":{}}`, ""}, {c, 200, `{"error":{"code":102}}`, eureka.CodeUnavailable}, {c, 401, "", eureka.CodeUnauthenticated},
	} {
		if got := eureka.CodeOf(tt.d.refused(tt.status, []byte(tt.answer))); got != tt.want {
			t.Errorf("%d %s: %s, want %s", tt.status, tt.answer, got, tt.want)
		}
	}
	if got := cursorOf([]byte(`{"channel":"a","data":{"id":"no"},"ts":1,"id":"x.3"}`)); string(got) != "x.3" {
		t.Errorf("the cursor is %s", got)
	}
	if frame, _ := c.greet(nil, manyNames(2000)); len(frame) < 2*commandBytes || frame[0] != 0x81 || frame[1] != 0x80|126 {
		t.Errorf("2,000 subscriptions make %d bytes", len(frame))
	}
}

func manyNames(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprint("channel-", i))
	}
	return names
}
