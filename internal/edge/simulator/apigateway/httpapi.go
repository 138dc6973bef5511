package apigateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"eureka/internal/edge/simulator/lambda"
	"eureka/internal/edge/simulator/meter"
	"eureka/internal/edge/simulator/sigv4"
)

// httpEvent is what the function of an HTTP API gets, in payload format 2.0.
type httpEvent struct {
	Version               string            `json:"version"`
	RouteKey              string            `json:"routeKey"`
	RawPath               string            `json:"rawPath"`
	RawQueryString        string            `json:"rawQueryString"`
	Cookies               []string          `json:"cookies,omitempty"`
	Headers               map[string]string `json:"headers"`
	QueryStringParameters map[string]string `json:"queryStringParameters,omitempty"`
	RequestContext        httpContext       `json:"requestContext"`
	Body                  string            `json:"body,omitempty"`
	IsBase64Encoded       bool              `json:"isBase64Encoded"`
}

type httpContext struct {
	AccountID    string          `json:"accountId"`
	APIID        string          `json:"apiId"`
	Authorizer   *httpAuthorizer `json:"authorizer,omitempty"`
	DomainName   string          `json:"domainName"`
	DomainPrefix string          `json:"domainPrefix"`
	HTTP         httpLine        `json:"http"`
	RequestID    string          `json:"requestId"`
	RouteKey     string          `json:"routeKey"`
	Stage        string          `json:"stage"`
	Time         string          `json:"time"`
	TimeEpoch    int64           `json:"timeEpoch"`
}

type httpLine struct {
	Method    string `json:"method"`
	Path      string `json:"path"`
	Protocol  string `json:"protocol"`
	SourceIP  string `json:"sourceIp"`
	UserAgent string `json:"userAgent"`
}

type httpAuthorizer struct {
	IAM httpIAM `json:"iam"`
}

type httpIAM struct {
	AccessKey string `json:"accessKey"`
	AccountID string `json:"accountId"`
	CallerID  string `json:"callerId"`
	UserARN   string `json:"userArn"`
	UserID    string `json:"userId"`
}

const defaultRoute = "$default"

// serveHTTPAPI answers a request by the function.
func (g *Gateway) serveHTTPAPI(w http.ResponseWriter, r *http.Request) {
	id := newID()
	w.Header().Set("Apigw-Requestid", id)
	status, text := g.httpAPI(w, r, id)
	g.options.Meter.Add(meter.HTTPRequests, 1)
	if text != "" {
		refuse(w, status, "", message{Message: text})
	}
}

// httpAPI answers a request, or returns what to refuse it with.
func (g *Gateway) httpAPI(w http.ResponseWriter, r *http.Request, id string) (status int, refusal string) {
	size := 0
	for name, values := range r.Header {
		for _, value := range values {
			size += len(name) + len(value) + len(": \r\n")
		}
	}
	if size > g.options.Limits.MaxHeaders {
		return http.StatusRequestHeaderFieldsTooLarge, "Request Header Fields Too Large"
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(g.options.Limits.MaxBody)+1))
	if err != nil {
		return http.StatusBadRequest, "Bad Request"
	}
	g.options.Meter.Add(meter.HTTPMetered, metered(len(body), 512<<10))
	if len(body) > g.options.Limits.MaxBody {
		return http.StatusRequestEntityTooLarge, "Request Entity Too Large"
	}
	if !g.requests.take(g.options.Now()) {
		return http.StatusTooManyRequests, "Too Many Requests"
	}
	var signer *sigv4.Key
	if g.options.IAM {
		key, err := g.verifier.Verify(r, body)
		if err != nil {
			return http.StatusForbidden, "Forbidden"
		}
		signer = &key
	}
	event, err := json.Marshal(g.httpEvent(r, body, id, signer))
	if err != nil {
		return http.StatusInternalServerError, "Internal Server Error"
	}
	if len(event) > lambda.MaxPayload {
		return http.StatusRequestEntityTooLarge, "Request Entity Too Large"
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), g.options.Limits.HTTPIntegration)
	defer cancel()
	result, err := g.options.HTTP.Invoke(ctx, event)
	if err != nil {
		g.options.Log.Warn("an integration failed", slog.String("route", r.Method+" "+r.URL.Path), slog.Any("error", err))
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, lambda.ErrThrottled) {
			return http.StatusServiceUnavailable, "Service Unavailable"
		}
		return http.StatusInternalServerError, "Internal Server Error"
	}
	answer, err := readHTTPAnswer(result.Payload)
	if err != nil {
		g.options.Log.Warn("an integration answered nonsense", slog.Any("error", err))
		return http.StatusInternalServerError, "Internal Server Error"
	}
	g.options.Meter.Add(meter.BytesOut, float64(len(answer.body))/1e9)
	answer.write(w)
	return answer.status, ""
}

func (g *Gateway) httpEvent(r *http.Request, body []byte, id string, signer *sigv4.Key) httpEvent {
	now := g.options.Now()
	path := rawPath(r.URL)
	e := httpEvent{
		Version: "2.0", RouteKey: defaultRoute, RawPath: path, RawQueryString: r.URL.RawQuery,
		Headers: map[string]string{},
		RequestContext: httpContext{
			AccountID: g.options.Account, APIID: apiID, DomainName: hostname(r.Host), RequestID: id, RouteKey: defaultRoute, Stage: defaultRoute,
			Time: requestTime(now), TimeEpoch: now.UnixMilli(),
			HTTP: httpLine{Method: r.Method, Path: path, Protocol: "HTTP/1.1", SourceIP: sourceIP(r), UserAgent: r.UserAgent()},
		},
	}
	e.RequestContext.DomainPrefix, _, _ = strings.Cut(e.RequestContext.DomainName, ".")
	if signer != nil {
		e.RequestContext.Authorizer = &httpAuthorizer{httpIAM{
			AccessKey: signer.ID, AccountID: g.options.Account, CallerID: signer.ID, UserARN: signer.ARN, UserID: signer.ID,
		}}
	}
	for name, values := range r.Header {
		switch name {
		case "Connection", "Upgrade", "Keep-Alive", "Transfer-Encoding", "Te", "Trailer", "Proxy-Connection":
		case "Cookie":
			for _, value := range values {
				for cookie := range strings.SplitSeq(value, ";") {
					if cookie = strings.TrimSpace(cookie); cookie != "" {
						e.Cookies = append(e.Cookies, cookie)
					}
				}
			}
		default:
			e.Headers[strings.ToLower(name)] = strings.Join(values, ",")
		}
	}
	e.Headers["host"] = r.Host
	e.Headers["content-length"] = fmt.Sprint(len(body))
	e.Headers["x-amzn-trace-id"] = traceHeader(now)
	f := forward(r)
	e.Headers["x-forwarded-for"], e.Headers["x-forwarded-port"], e.Headers["x-forwarded-proto"] = f.addresses, f.port, f.proto
	if query := parseQuery(r.URL.RawQuery); len(query) > 0 {
		e.QueryStringParameters = map[string]string{}
		for name, values := range query {
			e.QueryStringParameters[name] = strings.Join(values, ",")
		}
	}
	if len(body) > 0 {
		e.IsBase64Encoded = isBinary(r.Header, body)
		e.Body = string(body)
		if e.IsBase64Encoded {
			e.Body = base64.StdEncoding.EncodeToString(body)
		}
	}
	return e
}

// rawPath is the path as HTTP APIs give it to functions, which is decoded, whatever its name; a decoded question mark ends it.
func rawPath(u *url.URL) string {
	path, _, _ := strings.Cut(strings.ToValidUTF8(u.Path, "\uFFFD"), "?")
	if path == "" {
		return "/"
	}
	return path
}

// isBinary reports whether a body arrives in base64: all but those of a few types do, such as that of a form or one of no type.
func isBinary(h http.Header, body []byte) bool {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || h.Get("Content-Encoding") != "" || !utf8.Valid(body) {
		return true
	}
	switch kind {
	case "application/json", "application/xml", "application/javascript":
		return false
	default:
		return !strings.HasPrefix(kind, "text/")
	}
}

// httpAnswer is a function's answer, as it goes to the client.
type httpAnswer struct {
	status int
	header http.Header
	body   []byte
}

// readHTTPAnswer reads what a function answered: an object with a status code, or else any JSON, which is then the body.
func readHTTPAnswer(payload []byte) (httpAnswer, error) {
	a := httpAnswer{status: http.StatusOK, header: http.Header{}}
	if !json.Valid(payload) {
		return a, errors.New("the answer is not JSON")
	}
	var r integrationResponse
	err := json.Unmarshal(payload, &r)
	if err != nil && len(payload) > 0 && payload[0] == '{' {
		return a, err
	}
	if err != nil || r.StatusCode == nil {
		a.header.Set("Content-Type", "application/json")
		a.body = payload
		if text := ""; json.Unmarshal(payload, &text) == nil {
			a.body = []byte(text)
		}
		return a, nil
	}
	if a.status, err = r.status(); err != nil {
		return a, err
	}
	if a.body, err = r.body(); err != nil {
		return a, err
	}
	for name, value := range r.Headers {
		a.header.Set(name, fmt.Sprint(value))
	}
	for _, cookie := range r.Cookies {
		a.header.Add("Set-Cookie", cookie)
	}
	if a.header.Get("Content-Type") == "" && len(a.body) > 0 {
		a.header.Set("Content-Type", "text/plain;charset=UTF-8")
	}
	return a, nil
}

func (a httpAnswer) write(w http.ResponseWriter) {
	for name, values := range a.header {
		switch http.CanonicalHeaderKey(name) {
		case "Connection", "Content-Length", "Keep-Alive", "Transfer-Encoding", "Trailer", "Upgrade":
		default:
			w.Header()[http.CanonicalHeaderKey(name)] = values
		}
	}
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // a client that is gone needs no answer
}
