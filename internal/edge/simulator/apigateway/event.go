package apigateway

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"eureka/internal/edge/simulator/sigv4"
)

// identity is who a request came from, as events and GET @connections have it.
type identity struct {
	AccountID string `json:"accountId,omitempty"`
	Caller    string `json:"caller,omitempty"`
	AccessKey string `json:"accessKey,omitempty"`
	SourceIP  string `json:"sourceIp"`
	UserArn   string `json:"userArn,omitempty"`
	UserAgent string `json:"userAgent,omitempty"`
	User      string `json:"user,omitempty"`
}

// webSocketEvent is what the functions of a WebSocket API get.
type webSocketEvent struct {
	Headers                         map[string]string   `json:"headers,omitempty"`
	MultiValueHeaders               map[string][]string `json:"multiValueHeaders,omitempty"`
	QueryStringParameters           map[string]string   `json:"queryStringParameters,omitempty"`
	MultiValueQueryStringParameters map[string][]string `json:"multiValueQueryStringParameters,omitempty"`
	RequestContext                  webSocketContext    `json:"requestContext"`
	Body                            string              `json:"body,omitempty"`
	IsBase64Encoded                 bool                `json:"isBase64Encoded"`
}

type webSocketContext struct {
	RouteKey             string   `json:"routeKey"`
	DisconnectStatusCode int      `json:"disconnectStatusCode,omitempty"`
	MessageID            string   `json:"messageId,omitempty"`
	EventType            string   `json:"eventType"`
	ExtendedRequestID    string   `json:"extendedRequestId"`
	RequestTime          string   `json:"requestTime"`
	MessageDirection     string   `json:"messageDirection"`
	DisconnectReason     *string  `json:"disconnectReason,omitempty"`
	Stage                string   `json:"stage"`
	ConnectedAt          int64    `json:"connectedAt"`
	RequestTimeEpoch     int64    `json:"requestTimeEpoch"`
	Identity             identity `json:"identity"`
	RequestID            string   `json:"requestId"`
	DomainName           string   `json:"domainName"`
	ConnectionID         string   `json:"connectionId"`
	APIID                string   `json:"apiId"`
}

// event returns an event of a route, with what all routes have.
func (g *Gateway) event(c *connection, route, eventType string) webSocketEvent {
	now, id := g.options.Now(), newID()
	return webSocketEvent{RequestContext: webSocketContext{
		RouteKey: route, EventType: eventType, ExtendedRequestID: id, RequestID: id, MessageDirection: "IN",
		RequestTime: requestTime(now), RequestTimeEpoch: now.UnixMilli(), ConnectedAt: c.connectedAt.UnixMilli(),
		Stage: g.options.Stage, Identity: c.identity, DomainName: hostname(c.host), ConnectionID: c.id, APIID: apiID,
	}}
}

func (g *Gateway) connectEvent(c *connection, r *http.Request) webSocketEvent {
	e := g.event(c, "$connect", "CONNECT")
	e.Headers, e.MultiValueHeaders = map[string]string{}, map[string][]string{}
	put := func(name string, values []string) {
		e.Headers[name], e.MultiValueHeaders[name] = values[len(values)-1], values
	}
	for name, values := range r.Header {
		switch name {
		case "Connection", "Upgrade":
		default:
			put(spelling(name), values)
		}
	}
	put("Host", []string{r.Host})
	put("X-Amzn-Trace-Id", []string{traceHeader(g.options.Now())})
	forwarded := forward(r)
	put("X-Forwarded-For", []string{forwarded.addresses})
	put("X-Forwarded-Port", []string{forwarded.port})
	put("X-Forwarded-Proto", []string{forwarded.proto})
	if query := parseQuery(r.URL.RawQuery); len(query) > 0 {
		e.MultiValueQueryStringParameters, e.QueryStringParameters = query, map[string]string{}
		for name, values := range query {
			e.QueryStringParameters[name] = values[len(values)-1]
		}
	}
	return e
}

func (g *Gateway) messageEvent(c *connection, text []byte) webSocketEvent {
	e := g.event(c, "$default", "MESSAGE")
	e.RequestContext.MessageID = newID()
	e.Body = string(text)
	return e
}

func (g *Gateway) disconnectEvent(c *connection, end ending) webSocketEvent {
	e := g.event(c, "$disconnect", "DISCONNECT")
	e.Headers = map[string]string{"Host": c.host, "x-api-key": "", "X-Forwarded-For": "", "x-restapi": ""}
	e.MultiValueHeaders = map[string][]string{}
	for name, value := range e.Headers {
		e.MultiValueHeaders[name] = []string{value}
	}
	e.RequestContext.DisconnectStatusCode = end.code
	e.RequestContext.DisconnectReason = &end.reason
	return e
}

// spelling gives the WebSocket headers the capitals that clients write and net/http takes away.
func spelling(name string) string {
	if rest, ok := strings.CutPrefix(name, "Sec-Websocket-"); ok {
		return "Sec-WebSocket-" + rest
	}
	return name
}

// parseQuery reads a query string leniently: what cannot be decoded stays as it is.
func parseQuery(raw string) map[string][]string {
	out := map[string][]string{}
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		name, value = unescape(name), unescape(value)
		out[name] = append(out[name], value)
	}
	return out
}

func unescape(s string) string {
	decoded, err := url.QueryUnescape(s)
	if err != nil {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ToValidUTF8(decoded, "\uFFFD")
}

// forwarded is what a proxy says about the way of a request.
type forwarded struct{ addresses, port, proto string }

func forward(r *http.Request) forwarded {
	f := forwarded{addresses: sourceIP(r), port: "80", proto: "http"}
	if before := r.Header.Values("X-Forwarded-For"); len(before) > 0 {
		f.addresses = strings.Join(before, ", ") + ", " + f.addresses
	}
	if r.TLS != nil {
		f.port, f.proto = "443", "https"
	}
	if _, port, err := net.SplitHostPort(r.Host); err == nil {
		f.port = port
	}
	return f
}

func sourceIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// hostname is a Host header without its port, which AWS's domain names do not have.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

func traceHeader(now time.Time) string {
	id := strings.ReplaceAll(newID(), "=", "")
	return fmt.Sprintf("Root=1-%08x-%024x", now.Unix(), id[:12])
}

// identify is who sent a request, signed or not.
func identify(r *http.Request, key *sigv4.Key, account string) identity {
	who := identity{SourceIP: sourceIP(r), UserAgent: r.UserAgent()}
	if key != nil {
		who.AccountID, who.AccessKey, who.UserArn, who.Caller, who.User = account, key.ID, key.ARN, key.ID, key.ID
	}
	return who
}

// integrationResponse is what a function of a WebSocket API answers.
type integrationResponse struct {
	StatusCode        json.RawMessage     `json:"statusCode"`
	Headers           map[string]any      `json:"headers"`
	MultiValueHeaders map[string][]string `json:"multiValueHeaders"`
	Cookies           []string            `json:"cookies"` // of an HTTP API
	Body              string              `json:"body"`
	IsBase64Encoded   bool                `json:"isBase64Encoded"`
}

// status is the status code, as a number or as a string with one.
func (r integrationResponse) status() (int, error) {
	n, err := strconv.Atoi(strings.Trim(string(r.StatusCode), `"`))
	if err != nil || n < 200 || n > 599 {
		return 0, errors.New("the answer has no status code")
	}
	return n, nil
}

func (r integrationResponse) body() ([]byte, error) {
	if !r.IsBase64Encoded {
		return []byte(r.Body), nil
	}
	return base64.StdEncoding.DecodeString(r.Body)
}

// header returns the first value of a header, whatever its capitals.
func (r integrationResponse) header(name string) string {
	for key, value := range r.Headers {
		if strings.EqualFold(key, name) {
			return fmt.Sprint(value)
		}
	}
	for key, values := range r.MultiValueHeaders {
		if strings.EqualFold(key, name) && len(values) > 0 {
			return values[0]
		}
	}
	return ""
}
