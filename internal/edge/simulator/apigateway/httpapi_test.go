package apigateway_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"eureka/internal/edge/simulator/apigateway"
	"eureka/internal/edge/simulator/sigv4"
	"eureka/internal/edge/simulator/simtest"
)

// last is the newest event of the HTTP API, strictly decoded.
func (w *world) last() events.APIGatewayV2HTTPRequest {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	decoder := json.NewDecoder(strings.NewReader(w.calls[len(w.calls)-1].Event))
	decoder.DisallowUnknownFields()
	var e events.APIGatewayV2HTTPRequest
	if err := decoder.Decode(&e); err != nil {
		w.t.Errorf("%v in %s", err, w.calls[len(w.calls)-1].Event)
	}
	return e
}

// result is an answer whose body has been read.
type result struct {
	StatusCode    int
	Header        http.Header
	ContentLength int64
}

func (w *world) do(method, target, body string, header http.Header) (result, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+target, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if header != nil {
		r.Header = header
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return result{response.StatusCode, response.Header, response.ContentLength}, string(text)
}

func TestHTTPEvent(t *testing.T) {
	w := open(t, nil, nil)
	r, _ := w.do("POST", "/channels/a%2Fb%20c?x=1&x=2&y=%C3%A4+z&flag", `{"a":1}`, http.Header{
		"Content-Type": {"application/json; charset=utf-8"}, "User-Agent": {"test/3"}, "X-Many": {"1", "2"}, "Cookie": {"a=1; b=2", "c=3"},
		"Authorization": {"Bearer t"}, "X-Forwarded-For": {"198.51.100.7"}, "Te": {"trailers"},
	})
	e := w.last()
	want := events.APIGatewayV2HTTPRequest{
		Version: "2.0", RouteKey: "$default", RawPath: "/channels/a/b c", RawQueryString: "x=1&x=2&y=%C3%A4+z&flag",
		Cookies:               []string{"a=1", "b=2", "c=3"},
		QueryStringParameters: map[string]string{"x": "1,2", "y": "ä z", "flag": ""},
		Headers: map[string]string{
			"accept-encoding": "gzip", "authorization": "Bearer t", "content-length": "7", "content-type": "application/json; charset=utf-8",
			"host": strings.TrimPrefix(w.url, "http://"), "user-agent": "test/3", "x-many": "1,2",
			"x-forwarded-for": "198.51.100.7, 127.0.0.1", "x-forwarded-proto": "http",
			"x-forwarded-port": w.url[strings.LastIndexByte(w.url, ':')+1:], "x-amzn-trace-id": e.Headers["x-amzn-trace-id"],
		},
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			AccountID: "123456789012", APIID: "eurekasim0", DomainName: "127.0.0.1", DomainPrefix: "127", RouteKey: "$default", Stage: "$default",
			RequestID: r.Header.Get("Apigw-Requestid"), Time: e.RequestContext.Time, TimeEpoch: e.RequestContext.TimeEpoch,
			HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{
				Method: "POST", Path: "/channels/a/b c", Protocol: "HTTP/1.1", SourceIP: "127.0.0.1", UserAgent: "test/3",
			},
		},
		Body: `{"a":1}`,
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Error(diff)
	}
	if !strings.HasPrefix(e.Headers["x-amzn-trace-id"], "Root=1-") || e.RequestContext.TimeEpoch == 0 || e.RequestContext.Time == "" {
		t.Errorf("%+v", e)
	}
	// HTTP APIs hand the path over decoded, and cut at a question mark that was none.
	if w.do("GET", "/a%3Fb=c%23d", "", nil); w.last().RawPath != "/a" {
		t.Errorf("%q", w.last().RawPath)
	}
	if w.do("GET", "/dev/x", "", nil); w.last().RawPath != "/dev/x" || w.last().Body != "" || w.last().IsBase64Encoded {
		t.Errorf("%+v", w.last())
	}
	if w.do(http.MethodOptions, "", "", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"h2c"}}); w.last().RawPath != "/" || w.last().RequestContext.HTTP.Method != http.MethodOptions {
		t.Errorf("%+v", w.last())
	}
}

// TestHTTPBodies: a few types arrive as text, all others in base64.
func TestHTTPBodies(t *testing.T) {
	w := open(t, nil, nil)
	for kind, text := range map[string]bool{
		"application/json": true, "application/json;charset=utf-8": true, "text/plain": true, "text/csv": true, "application/xml": true,
		"application/javascript": true, "": false, "application/x-www-form-urlencoded": false, "application/cloudevents+json": false,
		"application/octet-stream": false, "multipart/form-data; boundary=x": false, "nonsense;;;": false,
	} {
		header := http.Header{}
		if kind != "" {
			header.Set("Content-Type", kind)
		}
		w.do("POST", "/", "grüße", header)
		e, want := w.last(), "grüße"
		if !text {
			want = base64.StdEncoding.EncodeToString([]byte(want))
		}
		if e.IsBase64Encoded == text || e.Body != want {
			t.Errorf("%q: %v %q", kind, e.IsBase64Encoded, e.Body)
		}
	}
	w.do("POST", "/", "\xff\xfe", http.Header{"Content-Type": {"text/plain"}})
	if e := w.last(); !e.IsBase64Encoded || e.Body != "//4=" {
		t.Errorf("no UTF-8: %+v", e)
	}
	w.do("POST", "/", "x", http.Header{"Content-Type": {"text/plain"}, "Content-Encoding": {"gzip"}})
	if e := w.last(); !e.IsBase64Encoded {
		t.Errorf("encoded: %+v", e)
	}
}

// TestHTTPAnswers: what a function answers, and what goes out for it.
func TestHTTPAnswers(t *testing.T) {
	var mu sync.Mutex
	var next simtest.Answer
	set := func(a simtest.Answer) {
		mu.Lock()
		defer mu.Unlock()
		next = a
	}
	w := open(t, func(o *apigateway.Options) { o.Limits.HTTPIntegration = 2 * time.Second }, func(ctx context.Context, _ request) simtest.Answer {
		mu.Lock()
		a := next
		mu.Unlock()
		if a.Response == "hang" {
			<-ctx.Done()
		}
		return a
	})
	for name, tt := range map[string]struct {
		answer simtest.Answer
		status int
		kind   string
		body   string
	}{
		"full":           {reply(answer{StatusCode: 201, Headers: map[string]any{"content-type": "text/html", "X-N": 7}, Body: "<p>"}), 201, "text/html", "<p>"},
		"without a type": {reply(answer{StatusCode: 200, Body: "x"}), 200, "text/plain;charset=UTF-8", "x"},
		"base64":         {reply(answer{StatusCode: 200, Headers: map[string]any{"Content-Type": "image/png"}, Body: "//4=", IsBase64Encoded: true}), 200, "image/png", "\xff\xfe"},
		"bad base64":     {reply(answer{StatusCode: 200, Body: "!", IsBase64Encoded: true}), 500, "application/json", `{"message":"Internal Server Error"}`},
		"inferred":       {simtest.Answer{Response: `{"a":1}`}, 200, "application/json", `{"a":1}`},
		"inferred text":  {simtest.Answer{Response: `"hello"`}, 200, "application/json", "hello"},
		"inferred list":  {simtest.Answer{Response: `[1]`}, 200, "application/json", "[1]"},
		"bad status":     {simtest.Answer{Response: `{"statusCode":"x"}`}, 500, "application/json", `{"message":"Internal Server Error"}`},
		"bad body":       {simtest.Answer{Response: `{"statusCode":200,"body":{}}`}, 500, "application/json", `{"message":"Internal Server Error"}`},
		"no JSON":        {simtest.Answer{Response: `nonsense`}, 500, "application/json", `{"message":"Internal Server Error"}`},
		"throws":         {simtest.Answer{Error: "secret"}, 500, "application/json", `{"message":"Internal Server Error"}`},
		"hangs":          {simtest.Answer{Response: "hang"}, 503, "application/json", `{"message":"Service Unavailable"}`},
		"problem":        {reply(answer{StatusCode: 404, Headers: map[string]any{"Content-Type": "application/problem+json"}, Body: "{}"}), 404, "application/problem+json", "{}"},
		"nothing":        {reply(answer{StatusCode: 204}), 204, "", ""},
	} {
		set(tt.answer)
		r, body := w.do("GET", "/", "", nil)
		if r.StatusCode != tt.status || r.Header.Get("Content-Type") != tt.kind || body != tt.body || r.Header.Get("Apigw-Requestid") == "" {
			t.Errorf("%s: %d %q %q", name, r.StatusCode, r.Header.Get("Content-Type"), body)
		}
		if name == "full" && r.Header.Get("X-N") != "7" {
			t.Errorf("%v", r.Header)
		}
	}
	set(reply(answer{
		StatusCode: 200, Cookies: []string{"a=1; Path=/", "b=2"}, Body: "x",
		Headers: map[string]any{"Content-Length": "999", "Connection": "close", "Transfer-Encoding": "chunked", "set-cookie": "c=3"},
	}))
	r, body := w.do("GET", "/", "", nil)
	if diff := cmp.Diff([]string{"c=3", "a=1; Path=/", "b=2"}, r.Header.Values("Set-Cookie")); diff != "" || body != "x" || r.ContentLength != 1 {
		t.Errorf("%s %q %d", diff, body, r.ContentLength)
	}
	if r, body = w.do("HEAD", "/", "", nil); r.StatusCode != http.StatusOK || body != "" {
		t.Errorf("HEAD: %d %q", r.StatusCode, body)
	}
}

// TestHTTPLimits: 10 MB a request, 6 MB an event, 10,240 bytes of headers.
func TestHTTPLimits(t *testing.T) {
	w := open(t, func(o *apigateway.Options) { o.Limits.RequestRate, o.Limits.RequestBurst = 0, 3 }, nil)
	text := http.Header{"Content-Type": {"text/plain"}}
	for _, tt := range []struct {
		name   string
		size   int
		header http.Header
		status int
	}{
		{"5 MB", 5 << 20, text, 200},
		{"an event over 6 MB", 5 << 20, http.Header{}, 413}, // in base64 it grows by a third
		{"over 10 MB", 10<<20 + 1, text, 413},
		{"headers", 0, http.Header{"X-A": {strings.Repeat("x", 10240)}}, 431},
		{"the third", 0, nil, 200},
		{"too many", 0, nil, 429},
	} {
		r, body := w.do("POST", "/", strings.Repeat("x", tt.size), tt.header)
		if r.StatusCode != tt.status {
			t.Errorf("%s: %d %s", tt.name, r.StatusCode, body)
		}
	}
	if n := w.count("http.requests"); n != 6 {
		t.Errorf("%v requests", n)
	}
	if n := w.count("http.metered"); n != 10+10+21+1+1 {
		t.Errorf("%v metered", n)
	}
}

// TestIAM: with AWS_IAM as authorization, both APIs take signed requests alone and tell the function who signed.
func TestIAM(t *testing.T) {
	w := open(t, func(o *apigateway.Options) { o.IAM = true }, nil)
	sign := func(method, target, body string, key sigv4.Key) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), method, w.url+target, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(body))
		if err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret}, r, hex.EncodeToString(sum[:]), "execute-api", "eu-west-1", time.Now()); err != nil {
			t.Fatal(err)
		}
		return r
	}
	wrong := w.user
	wrong.Secret = "x"
	for name, tt := range map[string]struct {
		key    sigv4.Key
		status int
	}{"right": {w.user, 200}, "wrong": {wrong, 403}} {
		response, err := http.DefaultClient.Do(sign("POST", "/events", "[]", tt.key))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != tt.status {
			t.Errorf("%s: %d %s", name, response.StatusCode, body)
		}
		c, r, err := w.dial("/dev?a=b", &websocket.DialOptions{HTTPHeader: sign("GET", "/dev?a=b", "", tt.key).Header})
		if (err == nil) != (tt.status == 200) || (err != nil && r.status != tt.status) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			_ = c.CloseNow()
		}
	}
	r, _ := w.do("GET", "/", "", nil)
	if r.StatusCode != http.StatusForbidden {
		t.Errorf("unsigned: %d", r.StatusCode)
	}
	e := w.await("$connect", 0).RequestContext.Identity
	if e.UserArn != w.user.ARN || e.AccessKey != w.user.ID || e.AccountID != "123456789012" {
		t.Errorf("%+v", e)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		var e events.APIGatewayV2HTTPRequest
		if c.Role == "http" && (json.Unmarshal([]byte(c.Event), &e) != nil || e.RequestContext.Authorizer == nil || e.RequestContext.Authorizer.IAM.UserARN != w.user.ARN) {
			t.Errorf("%s", c.Event)
		}
	}
}
