package apigw_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"eureka"
	"eureka/internal/auth"
	"eureka/internal/core"
	"eureka/internal/edge/apigw"
	"eureka/internal/engine/dynamo"
)

// adminKey is the credential of the tests' operator.
const adminKey = "an admin key of at least 32 characters"

// world is the roles ws, fanout and schedule on the real core, engine, table and queue, and the fake @connections. Each role may be had again, as
// another function.
type world struct {
	t       *testing.T
	sockets *connections
	q       *testQueue
	queue   *apigw.Queue
	log     *slog.Logger
	mu      sync.Mutex
	ahead   time.Duration // of the real time is that of all functions
	open    bool
	table   func() (*dynamo.Engine, error)

	function // the first one
}

// function is one process.
type function struct {
	engine        *dynamo.Engine
	core          *core.Core
	authenticator *auth.Authenticator
	ws            *apigw.Sockets
	tasks         *apigw.Tasks
	schedule      *apigw.Schedule
}

// newWorld starts a world whose service takes tokens and keys, or is open.
func newWorld(t *testing.T, open bool) *world {
	t.Helper()
	w := &world{t: t, sockets: newConnections(t), q: newQueue(t), open: open, log: testLog(t)}
	client, table := newTable(t)
	w.queue = apigw.NewQueue(w.q.client, w.q.url)
	poster := newPoster(t, w.sockets.url())
	w.table = func() (*dynamo.Engine, error) {
		return dynamo.Open(dynamo.Options{
			Client: client, Table: table, Poster: poster, Queue: w.queue, Now: w.Now, Log: w.log,
			Gone: func(ctx context.Context, id string) {
				if err := w.core.Disconnect(ctx, id, eureka.CloseAbnormal, "the connection broke"); err != nil {
					t.Error(err)
				}
			},
		})
	}
	w.function = w.start()
	return w
}

// Now is the time of all functions.
func (w *world) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.ahead)
}

// later moves the time.
func (w *world) later(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead += d
}

// start makes another function, which remembers nothing.
func (w *world) start() function {
	w.t.Helper()
	must := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	var f function
	var err error
	f.engine, err = w.table()
	must(err)
	var access apigw.Access = apigw.Open{}
	var service *apigw.Service
	var verify func(context.Context, string) (eureka.Identity, error)
	if !w.open {
		tokens, err := auth.NewTokens(auth.TokenOptions{Issuers: []auth.Issuer{{Secret: secret}}, Now: w.Now})
		must(err)
		f.authenticator, err = auth.NewAuthenticator(auth.AuthenticatorOptions{Tokens: tokens, AdminKey: adminKey, Keys: f.engine.Keys(), Now: w.Now})
		must(err)
		kept, ok := f.engine.Sockets().(eureka.SocketIdentities)
		if !ok {
			w.t.Fatal("the engine keeps no identities")
		}
		service, err = apigw.NewService(apigw.ServiceOptions{Checker: f.authenticator, Refresh: f.engine.Keys().Refresh, Kept: kept, Now: w.Now})
		must(err)
		access, verify = service, f.authenticator.Verify
	}
	f.core, err = core.New(core.Options{
		Ports: core.Ports{
			Channels: f.engine.Channels(), Sockets: f.engine.Sockets(), Fanout: f.engine.Fanout(), Sender: f.engine.Sender(),
			History: f.engine.History(), Requests: f.engine.Requests(), Credentials: f.engine.Credentials(),
		},
		Node: stage, AllowUndeclared: true, MaxAge: 2 * time.Hour, Verify: verify, Now: w.Now, Log: w.log,
	})
	must(err)
	origins, err := auth.NewOrigins([]string{"https://app.example.com"})
	must(err)
	f.ws, err = apigw.NewSockets(apigw.SocketsOptions{
		Handler: f.core, Access: access, Origins: origins, Sender: f.engine.Sender(), Poster: newPoster(w.t, w.sockets.url()), Queue: w.queue, Now: w.Now, Log: w.log,
	})
	must(err)
	f.tasks, err = apigw.NewTasks(f.engine, w.queue, w.log)
	must(err)
	f.schedule, err = apigw.NewSchedule(apigw.ScheduleOptions{Sweeper: f.engine, Handler: f.core, Sender: f.engine.Sender(), Service: service, Log: w.log})
	must(err)
	return f
}

// token is a token of a user for an hour, with changes.
func (w *world) token(user string, change func(*eureka.Identity)) string {
	w.t.Helper()
	id := eureka.Identity{
		User: user, Scopes: eureka.ScopeSubscribe | eureka.ScopePublish, Channels: []string{"*"}, TokenID: "id-" + user,
		IssuedAt: w.Now().UnixMilli(), ExpiresAt: w.Now().Add(time.Hour).UnixMilli(),
	}
	if change != nil {
		change(&id)
	}
	text, err := auth.MintHS256(secret, id, "", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

// handshake is a $connect event. query is name=value, comma-separated values of header are lines "Name: value".
func handshake(id string, query map[string][]string, header ...string) events.APIGatewayWebsocketProxyRequest {
	ev := events.APIGatewayWebsocketProxyRequest{MultiValueHeaders: map[string][]string{}, MultiValueQueryStringParameters: query}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		ev.MultiValueHeaders[name] = append(ev.MultiValueHeaders[name], value)
	}
	ev.RequestContext.EventType, ev.RequestContext.RouteKey, ev.RequestContext.ConnectionID, ev.RequestContext.Stage = "CONNECT", "$connect", id, stage
	return ev
}

type socketAnswer = events.APIGatewayProxyResponse

// connect makes a handshake that must succeed.
func (w *world) connect(f function, id string, query map[string][]string, header ...string) {
	w.t.Helper()
	if a := invoke[socketAnswer](w.t, f.ws, handshake(id, query, header...)); a.StatusCode != http.StatusOK {
		w.t.Fatalf("connect %s: %d %s", id, a.StatusCode, a.Body)
	}
}

// say sends a client's frame and returns what comes back as the answer.
func (w *world) say(f function, id, text string) string {
	w.t.Helper()
	ev := events.APIGatewayWebsocketProxyRequest{Body: text}
	ev.RequestContext.EventType, ev.RequestContext.RouteKey, ev.RequestContext.ConnectionID = "MESSAGE", "$default", id
	a := invoke[socketAnswer](w.t, f.ws, ev)
	if a.StatusCode != http.StatusOK {
		w.t.Errorf("%s: %d", text, a.StatusCode)
	}
	return a.Body
}

func (w *world) disconnect(f function, id string) {
	w.t.Helper()
	ev := events.APIGatewayWebsocketProxyRequest{}
	ev.RequestContext.EventType, ev.RequestContext.RouteKey, ev.RequestContext.ConnectionID, ev.RequestContext.DisconnectStatusCode = "DISCONNECT", "$disconnect", id, 1001
	if a := invoke[socketAnswer](w.t, f.ws, ev); a.StatusCode != http.StatusOK {
		w.t.Errorf("disconnect: %d", a.StatusCode)
	}
}

// work gives n messages of the queue of tasks to the function, one by one as they come.
func (w *world) work(f function, n int) {
	w.t.Helper()
	for n > 0 {
		ev := w.q.receive(1)
		if failed := failures(ev, invoke[events.SQSEventResponse](w.t, f.tasks, ev)); failed != "" {
			w.t.Errorf("the work on %s failed", ev.Records[0].Body)
		}
		n -= len(ev.Records)
	}
}

// expect compares what a socket has got with what it should have; "…" at the end of a wanted frame stands for anything.
func (w *world) expect(id string, want ...string) {
	w.t.Helper()
	got := w.sockets.got(id)
	ok := len(got) == len(want)
	for i := 0; ok && i < len(want); i++ {
		prefix, open := strings.CutSuffix(want[i], "…")
		ok = got[i] == want[i] || (open && strings.HasPrefix(got[i], prefix))
	}
	if !ok {
		w.t.Errorf("%s got\n\t%s\nwant\n\t%s", id, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// lives reports whether the service knows the socket.
func (w *world) lives(id string) bool {
	w.t.Helper()
	_, err := w.core.Socket(w.t.Context(), eureka.Everyone(""), id)
	if err != nil && eureka.CodeOf(err) != eureka.CodeNotFound {
		w.t.Fatal(err)
	}
	return err == nil
}

func query(channels ...string) map[string][]string { return map[string][]string{"channels": channels} }

func bearer(token string) string { return "Authorization: Bearer " + token }

func bye(code eureka.CloseCode, reason string, reconnect bool) string {
	return fmt.Sprintf(`{"action":"bye","data":{"code":%d,"reason":%q,"reconnect":%t,"after":0}}`, code, reason, reconnect)
}
