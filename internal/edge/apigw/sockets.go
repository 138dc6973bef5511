package apigw

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"eureka"
	"eureka/internal/auth"
	"eureka/internal/core"
	"eureka/internal/engine/dynamo"
	"eureka/internal/problem"
	"eureka/internal/protocol"
)

// The kinds of a WebSocket API's events.
const (
	eventConnect    = "CONNECT"
	eventMessage    = "MESSAGE"
	eventDisconnect = "DISCONNECT"
)

// welcomeDelay is how long after a handshake its first frames are sent: API Gateway refuses posts until $connect has been answered.
const welcomeDelay = time.Second

// maxReportAge is how far the time of a handshake may be from this function's clock: its event waits for seconds at most, and clocks differ by less.
const maxReportAge = 5 * time.Minute

// Handler is what the edge asks of the core.
type Handler interface {
	Connect(ctx context.Context, r core.ConnectRequest) (core.ConnectResult, error)
	Frame(ctx context.Context, r core.FrameRequest) core.FrameResult
	Disconnect(ctx context.Context, socketID string, code eureka.CloseCode, reason string) error
}

// SocketsOptions configure Sockets. All are required but Now.
type SocketsOptions struct {
	Handler Handler
	Access  Access
	Origins *auth.Origins
	Sender  eureka.Sender // closes sockets
	Poster  dynamo.Poster // frames beyond the one that an event's answer carries
	Queue   *Queue        // frames that must wait
	Now     func() time.Time
	Log     *slog.Logger
}

// Sockets is the role ws: the routes $connect, $default and $disconnect of a WebSocket API.
type Sockets struct{ options SocketsOptions }

// NewSockets returns the handler of the role.
func NewSockets(o SocketsOptions) (*Sockets, error) {
	if o.Handler == nil || o.Access == nil || o.Origins == nil || o.Sender == nil || o.Poster == nil || o.Queue == nil || o.Log == nil {
		return nil, errors.New("apigw: an option is missing")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Sockets{o}, nil
}

// Invoke implements lambda.Handler.
func (s *Sockets) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	return invoke(ctx, payload, s.handle)
}

type (
	socketEvent  = events.APIGatewayWebsocketProxyRequest
	socketAnswer = events.APIGatewayProxyResponse
)

func (s *Sockets) handle(ctx context.Context, ev socketEvent) (socketAnswer, error) {
	if ev.RequestContext.ConnectionID == "" {
		return socketAnswer{}, eureka.Errorf(eureka.CodeInvalid, "the event names no connection")
	}
	switch ev.RequestContext.EventType {
	case eventConnect:
		return s.connect(ctx, ev), nil
	case eventMessage:
		return s.frame(ctx, ev), nil
	case eventDisconnect:
		return s.disconnect(ctx, ev), nil
	default:
		return socketAnswer{}, eureka.Errorf(eureka.CodeInvalid, "there is no event type %q", ev.RequestContext.EventType)
	}
}

// connect answers a handshake: its status is what the client gets. The page's origin, the identity and core's Connect are checked in this order.
func (s *Sockets) connect(ctx context.Context, ev socketEvent) socketAnswer {
	r := handshake(ctx, ev)
	if err := s.accept(ctx, r, ev); err != nil {
		s.logRefusal(ctx, err)
		return refused(err)
	}
	answer := socketAnswer{StatusCode: http.StatusOK}
	if offers(r.Header, protocol.Subprotocol) {
		// A browser that offered protocols hangs up unless one of them is chosen; the one with the token never is.
		answer.Headers = map[string]string{"Sec-WebSocket-Protocol": protocol.Subprotocol}
	}
	return answer
}

func (s *Sockets) accept(ctx context.Context, r *http.Request, ev socketEvent) error {
	if !s.options.Origins.Allowed(r) {
		return eureka.Errorf(eureka.CodeForbidden, "pages of origin %q may not connect (setting allowed_origins)", eureka.CutAgent(r.Header.Get("Origin")))
	}
	identity, err := s.options.Access.Handshake(r)
	if err != nil {
		return err
	}
	id := ev.RequestContext.ConnectionID
	holding, held := withHeld(ctx)
	result, err := s.options.Handler.Connect(holding, core.ConnectRequest{
		SocketID: id, Identity: identity, Query: r.URL.Query(), Remote: eureka.CutAgent(ev.RequestContext.Identity.SourceIP),
		Origin: eureka.CutAgent(r.Header.Get("Origin")), Agent: eureka.CutAgent(r.UserAgent()), ConnectedAt: s.connectedAt(ev),
	})
	if err != nil {
		return err
	}
	s.options.Access.Changed(id, identity)
	err = s.welcome(ctx, id, result.Frames, held.taken())
	if err != nil && !result.Again {
		// What the client asked for would be missing without a word; it may try again.
		if cleanup := s.options.Handler.Disconnect(context.WithoutCancel(ctx), id, eureka.CloseUnavailable, "connect failed"); cleanup != nil {
			s.options.Log.Warn("a refused socket could not be removed", slog.String("socket", id), slog.Any("error", cleanup))
		}
	}
	return err
}

// connectedAt is when API Gateway let the client in, by which a handshake that is reported twice is known; 0 when the event does not tell, or tells
// what cannot be: the socket's age is counted from there.
func (s *Sockets) connectedAt(ev socketEvent) int64 {
	at := ev.RequestContext.ConnectedAt
	if age := s.options.Now().Sub(time.UnixMilli(at)); age > maxReportAge || age < -maxReportAge {
		return 0
	}
	return at
}

// welcome queues what follows a handshake: its frames, and behind them the replays of what the socket missed.
func (s *Sockets) welcome(ctx context.Context, id string, frames [][]byte, replays []dynamo.Task) error {
	if len(frames) == 0 {
		return s.options.Queue.Enqueue(ctx, welcomeDelay, replays...)
	}
	return s.options.Queue.enqueueThen(ctx, welcomeDelay, dynamo.Task{
		Kind: dynamo.TaskSend, Sockets: []string{id}, Frames: frames, Since: s.options.Now().UnixMilli(),
	}, replays)
}

// disconnect reports the end of a socket. API Gateway may never tell of it, and tells once: an error is logged and left to the sweep.
func (s *Sockets) disconnect(ctx context.Context, ev socketEvent) socketAnswer {
	id := ev.RequestContext.ConnectionID
	code, reason := eureka.CloseAbnormal, ""
	if c := ev.RequestContext.DisconnectStatusCode; c >= int64(eureka.CloseNormal) && c < 5000 {
		code = eureka.CloseCode(c)
	}
	if ev.RequestContext.DisconnectReason != nil {
		reason = eureka.CutAgent(*ev.RequestContext.DisconnectReason)
	}
	if err := s.options.Handler.Disconnect(ctx, id, code, reason); err != nil {
		s.options.Log.WarnContext(ctx, "the end of a socket could not be reported", slog.String("socket", id), slog.Any("error", err))
	}
	return socketAnswer{StatusCode: http.StatusOK}
}

// handshake is the client's request as an HTTP server would have seen it.
func handshake(ctx context.Context, ev socketEvent) *http.Request {
	header := make(http.Header, len(ev.MultiValueHeaders))
	for name, values := range ev.MultiValueHeaders {
		for _, value := range values {
			header.Add(name, value)
		}
	}
	for name, value := range ev.Headers {
		if len(header.Values(name)) == 0 {
			header.Set(name, value)
		}
	}
	query := make(url.Values, len(ev.MultiValueQueryStringParameters))
	for name, values := range ev.MultiValueQueryStringParameters {
		query[name] = values
	}
	for name, value := range ev.QueryStringParameters {
		if _, there := query[name]; !there {
			query[name] = []string{value}
		}
	}
	r := &http.Request{
		Method: http.MethodGet, URL: &url.URL{Path: "/", RawQuery: query.Encode()}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: http.NoBody, Host: ev.RequestContext.DomainName, RemoteAddr: ev.RequestContext.Identity.SourceIP,
	}
	return r.WithContext(withCaller(ctx, ev.RequestContext.Identity.UserArn))
}

func offers(h http.Header, name string) bool {
	for _, value := range h.Values("Sec-Websocket-Protocol") {
		for offered := range strings.SplitSeq(value, ",") {
			if strings.TrimSpace(offered) == name {
				return true
			}
		}
	}
	return false
}

// refused is the answer that fails a handshake.
func refused(err error) socketAnswer {
	details := problem.Of(err)
	body, encodeErr := json.Marshal(details)
	if encodeErr != nil {
		body = []byte(`{}`) // strings, numbers and a bool always encode
	}
	return socketAnswer{StatusCode: details.Status, Headers: map[string]string{"Content-Type": problem.ContentType}, Body: string(body)}
}

func (s *Sockets) logRefusal(ctx context.Context, err error) {
	level := slog.LevelDebug
	if eureka.CodeOf(err).Outcome().HTTPStatus >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	s.options.Log.LogAttrs(ctx, level, "a handshake was refused", slog.String("code", string(eureka.CodeOf(err))), slog.Any("error", err))
}

// recovered logs a panic and makes an error of it; nil without one.
func recovered(log *slog.Logger, what string, fault any) error {
	if fault == nil {
		return nil
	}
	err := eureka.WrapError(eureka.CodeInternal, fmt.Errorf("panic: %v", fault), "internal error")
	log.Error("a call panicked", slog.String("what", what), slog.Any("error", err), slog.String("stack", string(debug.Stack())))
	return err
}
