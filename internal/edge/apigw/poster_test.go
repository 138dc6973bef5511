package apigw_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi"

	"eureka"
	"eureka/internal/edge/apigw"
)

const (
	accessKey = "AKIDEXAMPLE"
	secretKey = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	token     = "a session's token"
	region    = "eu-west-1"
	stage     = "dev"
)

// connections is a scripted stand-in of @connections. It is a fake: it knows sockets by what a test says of them, but checks paths and signatures as
// AWS documents them.
type connections struct {
	server *httptest.Server

	mu      sync.Mutex
	answers map[string][]answer // by socket id, in turn; the last one stays
	frames  map[string][]string // by socket id
	closed  []string
	faults  []string
}

// answer is what @connections says next about a socket.
type answer struct {
	status int
	kind   string
	body   string
}

func newConnections(t testing.TB) *connections {
	c := &connections{answers: map[string][]answer{}, frames: map[string][]string{}}
	c.server = httptest.NewServer(c)
	t.Cleanup(func() {
		c.server.Close()
		for _, fault := range c.faults {
			t.Error(fault)
		}
	})
	return c
}

// url is the management URL of the stage.
func (c *connections) url() string { return c.server.URL + "/" + stage }

func (c *connections) say(id string, answers ...answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers[id] = answers
}

func (c *connections) got(id string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.frames[id])
}

func (c *connections) wasClosed(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.closed, id)
}

// ServeHTTP implements http.Handler.
func (c *connections) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	fault := func(format string, args ...any) { c.faults = append(c.faults, fmt.Sprintf(format, args...)) }
	if err != nil {
		fault("a body cannot be read: %v", err)
	}
	if why := checkSignature(r, body); why != "" {
		fault("%s %s: %s", r.Method, r.RequestURI, why)
	}
	id, ok := strings.CutPrefix(r.URL.Path, "/"+stage+"/@connections/")
	if !ok || strings.ContainsAny(strings.TrimPrefix(r.URL.EscapedPath(), "/"+stage+"/@connections/"), "=/+ ") {
		fault("the path is %s", r.URL.EscapedPath())
	}
	if next := c.answers[id]; len(next) > 0 {
		if len(next) > 1 {
			c.answers[id] = next[1:]
		}
		if a := next[0]; a.status != 0 {
			w.Header().Set("X-Amzn-Errortype", a.kind)
			w.WriteHeader(a.status)
			_, _ = io.WriteString(w, a.body)
			return
		}
	}
	switch r.Method {
	case http.MethodPost:
		c.frames[id] = append(c.frames[id], string(body))
	case http.MethodDelete:
		c.closed = append(c.closed, id)
		w.WriteHeader(http.StatusNoContent)
	default:
		fault("method %s", r.Method)
	}
}

// checkSignature is AWS's Signature Version 4 as its documentation has it, for a request without a query. It returns what is wrong, "" for nothing.
func checkSignature(r *http.Request, body []byte) string {
	var scope, signed, signature string
	for part := range strings.SplitSeq(strings.TrimPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 "), ", ") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "Credential":
			scope = strings.TrimPrefix(value, accessKey+"/")
		case "SignedHeaders":
			signed = value
		case "Signature":
			signature = value
		}
	}
	at := r.Header.Get("X-Amz-Date")
	if len(at) != len("20060102T150405Z") || scope != at[:8]+"/"+region+"/execute-api/aws4_request" {
		return fmt.Sprintf("date %q, scope %q", at, scope)
	}
	names := strings.Split(signed, ";")
	if !slices.IsSorted(names) || !slices.Contains(names, "host") || !slices.Contains(names, "x-amz-date") || !slices.Contains(names, "x-amz-security-token") {
		return "signed headers " + signed
	}
	if r.Header.Get("X-Amz-Security-Token") != token {
		return "the session's token is missing"
	}
	sum := sha256.Sum256(body)
	// Every service but S3 escapes the path, as it was sent, once more.
	path := strings.NewReplacer("%", "%25", "@", "%40", "=", "%3D").Replace(r.URL.EscapedPath())
	canonical := r.Method + "\n" + path + "\n\n"
	for _, name := range names {
		value := r.Header.Get(name)
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = fmt.Sprint(r.ContentLength)
		}
		canonical += name + ":" + strings.TrimSpace(value) + "\n"
	}
	canonical += "\n" + signed + "\n" + hex.EncodeToString(sum[:])
	digest := sha256.Sum256([]byte(canonical))
	key := []byte("AWS4" + secretKey)
	for _, part := range strings.Split(scope, "/") {
		key = mac(key, part)
	}
	if want := hex.EncodeToString(mac(key, "AWS4-HMAC-SHA256\n"+at+"\n"+scope+"\n"+hex.EncodeToString(digest[:]))); want != signature {
		return "the signature does not match " + canonical
	}
	return ""
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func staticCredentials() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(accessKey, secretKey, token)
}

func newPoster(t testing.TB, url string) *apigw.Poster {
	t.Helper()
	p, err := apigw.NewPoster(apigw.PosterOptions{URL: url, Region: region, Credentials: staticCredentials()})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPoster: what @connections answers, and what the engine is told.
func TestPoster(t *testing.T) {
	c := newConnections(t)
	p := newPoster(t, c.url())
	const gone, limit = "GoneException", "LimitExceededException"
	for id, tt := range map[string]struct {
		answer answer
		want   eureka.Code
	}{
		"VFQVwfO-DoECHqw=":  {answer{}, ""},
		"a+/b c%3D?#é=":     {answer{}, ""},
		"gone=":             {answer{410, gone, `{"message":null}`}, eureka.CodeGone},
		"no such form":      {answer{400, "BadRequestException", `{"message": "Invalid connectionId: no such form"}`}, eureka.CodeGone},
		"another 400=":      {answer{400, "BadRequestException", `{"message": "Invalid stage"}`}, eureka.CodeUnavailable},
		"throttled=":        {answer{429, limit, `{"message":"Rate exceeded"}`}, eureka.CodeRateLimited},
		"large=":            {answer{413, "PayloadTooLargeException", ``}, eureka.CodeTooLarge},
		"forbidden=":        {answer{403, "ForbiddenException", `{"Message":"User is not authorized"}`}, eureka.CodeUnavailable},
		"down=":             {answer{503, "", strings.Repeat("x", 100_000)}, eureka.CodeUnavailable},
		"a page elsewhere=": {answer{302, "", ``}, eureka.CodeUnavailable},
	} {
		t.Run(id, func(t *testing.T) {
			c.say(id, tt.answer)
			err := p.Post(t.Context(), id, []byte(`{"a":"é"}`))
			if got := eureka.CodeOf(err); got != tt.want {
				t.Errorf("post: %v, want %q", err, tt.want)
			}
			if strings.Contains(eureka.MessageOf(err), "message") || strings.Contains(eureka.MessageOf(err), "Exception") {
				t.Errorf("foreign text: %s", eureka.MessageOf(err))
			}
			if frames := c.got(id); (tt.want == "") != slices.Equal(frames, []string{`{"a":"é"}`}) {
				t.Errorf("it has %q", frames)
			}
			if got := eureka.CodeOf(p.Close(t.Context(), id)); got != tt.want || c.wasClosed(id) != (tt.want == "") {
				t.Errorf("close: %q, closed %v", got, c.wasClosed(id))
			}
		})
	}
	for name, got := range map[string]error{
		"no id":     p.Post(t.Context(), "", []byte(`{}`)),
		"too large": p.Post(t.Context(), "large-here=", bytes.Repeat([]byte("x"), eureka.MaxFrameBytes+1)),
	} {
		want := map[string]eureka.Code{"no id": eureka.CodeGone, "too large": eureka.CodeTooLarge}[name]
		if eureka.CodeOf(got) != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestPosterUnreachable: nobody there, nobody who answers, and a caller who has no time left.
func TestPosterUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	silent := newPoster(t, "http://"+listener.Addr().String()+"/dev")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := silent.Post(ctx, "a=", []byte(`{}`)); eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("silent: %v", err)
	}
	_ = listener.Close()
	if err := silent.Post(t.Context(), "a=", []byte(`{}`)); eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("nobody: %v", err)
	}
	for _, url := range []string{"", "dev", "ftp://a/b", "https://", "https://a/b?c=d", "https://u:p@a/b"} {
		if _, err := apigw.NewPoster(apigw.PosterOptions{URL: url, Region: region, Credentials: staticCredentials()}); eureka.CodeOf(err) != eureka.CodeInvalid {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// TestPosterKeepsConnections: posts side by side share few connections over HTTP/2.
func TestPosterKeepsConnections(t *testing.T) {
	var mu sync.Mutex
	opened, protocols := 0, map[string]int{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		protocols[r.Proto]++
		mu.Unlock()
	}))
	server.EnableHTTP2 = true
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			mu.Lock()
			opened++
			mu.Unlock()
		}
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	client := apigw.NewClient(true)
	transport, _ := client.Transport.(*http.Transport)
	trusted, _ := server.Client().Transport.(*http.Transport)
	transport.TLSClientConfig.RootCAs = trusted.TLSClientConfig.RootCAs
	p, err := apigw.NewPoster(apigw.PosterOptions{URL: server.URL + "/dev", Region: region, Credentials: staticCredentials(), Client: client})
	if err != nil {
		t.Fatal(err)
	}
	const posts = 400
	for range 2 {
		var running sync.WaitGroup
		for range posts / 2 {
			running.Go(func() {
				if err := p.Post(t.Context(), "a=", []byte(`{}`)); err != nil {
					t.Error(err)
				}
			})
		}
		running.Wait()
	}
	mu.Lock()
	defer mu.Unlock()
	if protocols["HTTP/2.0"] != posts || opened > 64 {
		t.Errorf("%v over %d connections", protocols, opened)
	}
}

// BenchmarkPost is a post without its network: what signing and the client cost, ours beside the AWS SDK's.
func BenchmarkPost(b *testing.B) {
	answered := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, r.Body)
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
	})}
	frame := bytes.Repeat([]byte("x"), 500)
	b.Run("ours", func(b *testing.B) {
		p, err := apigw.NewPoster(apigw.PosterOptions{
			URL: "https://a.execute-api.eu-west-1.amazonaws.com/dev", Region: region, Credentials: staticCredentials(), Client: answered,
		})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if err := p.Post(b.Context(), "VFQVwfO-DoECHqw=", frame); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sdk", func(b *testing.B) {
		client := apigatewaymanagementapi.New(apigatewaymanagementapi.Options{
			Region: region, BaseEndpoint: aws.String("https://a.execute-api.eu-west-1.amazonaws.com/dev"), Credentials: staticCredentials(), HTTPClient: answered,
		})
		b.ReportAllocs()
		for b.Loop() {
			if _, err := client.PostToConnection(b.Context(), &apigatewaymanagementapi.PostToConnectionInput{ConnectionId: aws.String("VFQVwfO-DoECHqw="), Data: frame}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
