package apigw

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"

	"eureka"
	"eureka/internal/problem"
)

// A function's answer may have 6 MB as JSON. In base64, which large bodies get because JSON could escape every byte of them, that leaves this.
const (
	maxAnswerBody   = 4400 << 10
	plainAnswerBody = 512 << 10
)

// defaultStage is the stage whose name is no part of the path.
const defaultStage = "$default"

// HTTP is the role http: the events of an HTTP API (payload format 2.0) as requests of an http.Handler.
type HTTP struct{ handler http.Handler }

// NewHTTP returns the handler of the role.
func NewHTTP(handler http.Handler) (*HTTP, error) {
	if handler == nil {
		return nil, errors.New("apigw: an option is missing")
	}
	return &HTTP{withoutMetrics(handler)}, nil
}

// withoutMetrics says where metrics are: a function has none that outlive its call.
func withoutMetrics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			problem.Write(w, eureka.Errorf(eureka.CodeNotFound, "functions have no metrics to fetch; they are in CloudWatch"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Invoke implements lambda.Handler.
func (h *HTTP) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	return invoke(ctx, payload, h.handle)
}

type (
	httpEvent  = events.APIGatewayV2HTTPRequest
	httpAnswer = events.APIGatewayV2HTTPResponse
)

func (h *HTTP) handle(ctx context.Context, ev httpEvent) (httpAnswer, error) {
	r, err := request(ctx, ev)
	if err != nil {
		return httpAnswer{}, err
	}
	w := &recorder{header: http.Header{}}
	h.handler.ServeHTTP(w, r)
	if w.body.Len() > maxAnswerBody {
		w = &recorder{header: http.Header{}}
		problem.Write(w, eureka.Errorf(eureka.CodeTooLarge, "the answer is larger than %d bytes, a function's limit; ask for less at a time (limit)", maxAnswerBody))
	}
	return w.answer(), nil
}

// request is the client's request as an HTTP server would have seen it.
func request(ctx context.Context, ev httpEvent) (*http.Request, error) {
	body := []byte(ev.Body)
	if ev.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(ev.Body); err != nil {
			return nil, eureka.WrapError(eureka.CodeInvalid, err, "the event's body is not base64")
		}
	}
	about := ev.RequestContext
	path := ev.RawPath // unescaped, as HTTP APIs give it
	if about.Stage != "" && about.Stage != defaultStage {
		if rest, staged := strings.CutPrefix(path, "/"+about.Stage); staged && (rest == "" || rest[0] == '/') {
			path = rest
		}
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	r := &http.Request{
		Method: about.HTTP.Method, URL: &url.URL{Path: path, RawQuery: ev.RawQueryString}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header, len(ev.Headers)+1), Body: http.NoBody, Host: about.DomainName, RemoteAddr: about.HTTP.SourceIP + ":0",
	}
	for name, value := range ev.Headers {
		r.Header.Set(name, value)
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
		r.Header.Del("Host")
	}
	if len(ev.Cookies) > 0 {
		r.Header.Set("Cookie", strings.Join(ev.Cookies, "; "))
	}
	if len(body) > 0 {
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	r.RequestURI = r.URL.RequestURI()
	caller := ""
	if about.Authorizer != nil && about.Authorizer.IAM != nil {
		caller = about.Authorizer.IAM.UserARN
	}
	return r.WithContext(withCaller(ctx, caller)), nil
}

// recorder is the http.ResponseWriter of one event.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (w *recorder) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK { // those before are no answer yet
		w.status = status
	}
}

// Write implements http.ResponseWriter.
func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if w.body.Len() > maxAnswerBody {
		return len(b), nil // the answer is an error already
	}
	return w.body.Write(b)
}

func (w *recorder) answer() httpAnswer {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	body := w.body.Bytes()
	if _, typed := w.header["Content-Type"]; !typed && len(body) > 0 {
		w.header.Set("Content-Type", http.DetectContentType(body)) // as net/http's own server
	}
	a := httpAnswer{StatusCode: w.status, Headers: make(map[string]string, len(w.header)), Cookies: w.header.Values("Set-Cookie")}
	for name, values := range w.header {
		if name != "Set-Cookie" {
			a.Headers[name] = strings.Join(values, ", ")
		}
	}
	if len(body) > plainAnswerBody || !utf8.Valid(body) {
		a.Body, a.IsBase64Encoded = base64.StdEncoding.EncodeToString(body), true
	} else {
		a.Body = string(body)
	}
	return a
}
