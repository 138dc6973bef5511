package apigw_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"eureka"
	"eureka/internal/auth"
	"eureka/internal/awslocal"
	"eureka/internal/core"
	"eureka/internal/edge/apigw"
)

// TestWelcome: what follows a connect is queued, in its order, and tried again for as long as API Gateway does not know the socket yet.
func TestWelcome(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	const id = "VFQVwfO-DoECHqw="
	w.sockets.say(id, answer{410, "GoneException", ""}, answer{})
	w.connect(w.function, id, map[string][]string{"channels": {"room,no channel", "hall"}, "info": {""}, "user": {"ann"}})
	if now, delayed := w.q.holds(); now != "0" || delayed != "1" {
		t.Errorf("queued at once: %s, later: %s; API Gateway would refuse the post", now, delayed)
	}
	w.expect(id)
	w.work(w.function, 2)
	w.expect(id, `{"action":"error","channel":"no channel","error":{"code":"invalid",…`, `{"action":"info","data":{"id":"VFQVwfO-DoECHqw=","connectionId":"VFQVwfO-DoECHqw=","connectedAt":…`)
	if got := w.sockets.got(id)[1]; !strings.Contains(got, `"user":"ann","channels":["room","hall"],"node":"dev","reconnectBy":`) {
		t.Errorf("info: %s", got)
	}
	w.connect(w.function, "quiet=", query("room"))
	w.q.empty()
}

// TestResumeAtConnect: "subscribed" comes before what was missed, even when it has to be sent twice, and live messages come behind.
func TestResumeAtConnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	who := eureka.Everyone("")
	if _, err := w.core.CreateChannel(t.Context(), who, eureka.Channel{ID: "log", History: &eureka.Retention{Size: 10, TTL: eureka.Duration(time.Hour)}}); err != nil {
		t.Fatal(err)
	}
	publish := func(text string) string {
		t.Helper()
		r, err := w.core.Publish(t.Context(), who, core.PublishRequest{Channel: "log", Data: json.RawMessage(text)})
		if err != nil {
			t.Fatal(err)
		}
		return r.ID
	}
	first := publish("1")
	publish("2")
	publish("3")
	const id = "back="
	w.sockets.say(id, answer{410, "GoneException", ""}, answer{})
	w.connect(w.function, id, query("log@"+first))
	publish("4")
	w.work(w.function, 3) // refused, sent, replayed
	publish("5")
	w.expect(id,
		`{"action":"subscribed","channel":"log","data":{"cursor":"`+first+`","recovered":true}}`,
		`{"channel":"log","action":"message","event":"message","data":2,…`, `{"channel":"log","action":"message","event":"message","data":3,…`,
		`{"channel":"log","action":"message","event":"message","data":4,…`, `{"channel":"log","action":"message","event":"message","data":5,…`)
	w.q.empty()
}

// TestRefusals: a refused handshake gets the status of its reason and leaves nothing behind.
func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	revoked := w.token("eve", nil)
	if _, err := w.core.Revoke(t.Context(), eureka.Everyone(""), eureka.Revocation{TokenID: "id-eve"}); err != nil {
		t.Fatal(err)
	}
	good := w.token("ann", nil)
	w.connect(w.function, "first=", query("room"), bearer(good))
	for name, tt := range map[string]struct {
		id     string
		header []string
		query  map[string][]string
		status int
		code   eureka.Code
	}{
		"page of elsewhere": {"a=", []string{bearer(good), "Origin: https://evil.example.com"}, nil, 403, eureka.CodeForbidden},
		"no credential":     {"a=", nil, nil, 401, eureka.CodeUnauthenticated},
		"wrong credential":  {"a=", []string{bearer(good + "x")}, nil, 401, eureka.CodeUnauthenticated},
		"expired": {"a=", []string{bearer(w.token("ann", func(id *eureka.Identity) {
			id.IssuedAt, id.ExpiresAt = id.IssuedAt-2*time.Hour.Milliseconds(), id.IssuedAt-time.Hour.Milliseconds()
		}))}, nil, 401, eureka.CodeUnauthenticated},
		"revoked":         {"a=", []string{bearer(revoked)}, nil, 401, eureka.CodeUnauthenticated},
		"two credentials": {"a=", []string{bearer(good)}, map[string][]string{"access_token": {good}}, 400, eureka.CodeInvalid},
		"a taken id":      {"first=", []string{bearer(w.token("bob", nil))}, nil, 409, eureka.CodeConflict},
		"an id too long":  {strings.Repeat("i", 129), []string{bearer(good)}, nil, 400, eureka.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			a := invoke[socketAnswer](t, w.ws, handshake(tt.id, tt.query, tt.header...))
			var body struct {
				Code   eureka.Code
				Status int
				Detail string
			}
			if err := json.Unmarshal([]byte(a.Body), &body); err != nil || a.StatusCode != tt.status || body.Code != tt.code || body.Status != tt.status || body.Detail == "" {
				t.Errorf("%d %s", a.StatusCode, a.Body)
			}
			if tt.id == "a=" && w.lives("a=") {
				t.Error("the socket is there")
			}
		})
	}
	if reply := w.say(w.function, "first=", `{"action":"info"}`); !strings.Contains(reply, `"user":"ann"`) {
		t.Errorf("the first one has %s", reply)
	}
	a := invoke[socketAnswer](t, w.ws, handshake("b=", nil, "Sec-WebSocket-Protocol: eureka.v1, bearer."+good, "Origin: https://app.example.com"))
	if a.StatusCode != http.StatusOK || a.Headers["Sec-WebSocket-Protocol"] != "eureka.v1" {
		t.Errorf("a browser: %d %v", a.StatusCode, a.Headers)
	}
}

// failing refuses handshakes and answers frames as a test says.
type failing struct {
	noting

	err    error
	frames [][]byte
	panics bool
}

func (f *failing) Connect(context.Context, core.ConnectRequest) (core.ConnectResult, error) {
	return core.ConnectResult{Frames: f.frames}, f.err
}

func (f *failing) Frame(context.Context, core.FrameRequest) core.FrameResult {
	if f.panics {
		panic("a defect")
	}
	return core.FrameResult{Frames: f.frames}
}

func (f *failing) socketsOf(t *testing.T, c *connections, queue *apigw.Queue) *apigw.Sockets {
	t.Helper()
	origins, err := auth.NewOrigins(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := apigw.NewSockets(apigw.SocketsOptions{
		Handler: f, Access: apigw.Open{}, Origins: origins, Sender: f, Poster: newPoster(t, c.url()), Queue: queue, Log: testLog(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRefusedByCore: each kind of error has its status, and foreign ones do not show.
func TestRefusedByCore(t *testing.T) {
	t.Parallel()
	for _, code := range eureka.Codes() {
		f := &failing{err: eureka.WrapError(code, http.ErrBodyNotAllowed, "words")}
		a := invoke[socketAnswer](t, f.socketsOf(t, newConnections(t), apigw.NewQueue(nil, "")), handshake("a=", nil))
		if a.StatusCode != code.Outcome().HTTPStatus || !strings.Contains(a.Body, "words") || strings.Contains(a.Body, http.ErrBodyNotAllowed.Error()) {
			t.Errorf("%s: %d %s", code, a.StatusCode, a.Body)
		}
	}
}

// TestWelcomeLost: when what follows a connect cannot be queued, the handshake fails and the socket is gone: the client tries again.
func TestWelcomeLost(t *testing.T) {
	t.Parallel()
	down := sqs.New(sqs.Options{BaseEndpoint: aws.String("http://127.0.0.1:1"), Region: awslocal.Region, Credentials: staticCredentials(), RetryMaxAttempts: 1})
	f := &failing{frames: [][]byte{[]byte(`{}`)}}
	a := invoke[socketAnswer](t, f.socketsOf(t, newConnections(t), apigw.NewQueue(down, "http://127.0.0.1:1/q")), handshake("a=", nil))
	if a.StatusCode != http.StatusServiceUnavailable || f.String() != "disconnect a= 4505 \"connect failed\"\n" {
		t.Errorf("%d %s, %s", a.StatusCode, a.Body, f.String())
	}
}

// TestReplies: the answer carries one frame; those before it are posted, and when that fails all are queued in their order.
func TestReplies(t *testing.T) {
	t.Parallel()
	f := &failing{frames: [][]byte{[]byte(`1`), []byte(`2`), []byte(`3`)}}
	c, q := newConnections(t), newQueue(t)
	s := f.socketsOf(t, c, apigw.NewQueue(q.client, q.url))
	w := &world{t: t, sockets: c, q: q}
	reply := func(id string) string { return w.say(function{ws: s}, id, `{"action":"x"}`) }
	if got := reply("a="); got != "3" || !slices.Equal(c.got("a="), []string{"1", "2"}) {
		t.Errorf("answered %q, posted %v", got, c.got("a="))
	}
	c.say("gone=", answer{410, "GoneException", ""})
	if got := reply("gone="); got != "" {
		t.Errorf("to one that is gone: %q", got)
	}
	q.empty()
	c.say("busy=", answer{}, answer{429, "LimitExceededException", ""})
	if got := reply("busy="); got != "" || !slices.Equal(c.got("busy="), []string{"1"}) {
		t.Errorf("answered %q, posted %v", got, c.got("busy="))
	}
	tasks := tasksOf(t, q.receive(1))
	if len(tasks) != 1 || tasks[0].Sockets[0] != "busy=" || string(tasks[0].Frames[0]) != "2" || string(tasks[0].Frames[1]) != "3" {
		t.Errorf("queued %+v", tasks)
	}
	f.panics = true
	if got := reply("a="); got != "" || !strings.Contains(f.String(), "close a= 1011") {
		t.Errorf("a panic: %q, %s", got, f.String())
	}
}

// TestFrames: subscribe, publish and presence between two sockets, through two functions.
func TestFrames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	other := w.start()
	if _, err := w.core.CreateChannel(t.Context(), eureka.Everyone(""), eureka.Channel{ID: "room", Presence: true}); err != nil {
		t.Fatal(err)
	}
	w.connect(w.function, "a=", nil)
	w.connect(other, "b=", query("room"))
	for _, tt := range []struct{ id, text, want string }{
		{"a=", `{"action":"ping","ref":1,"data":{"x":"é"}}`, `{"action":"pong","ref":1,"data":{"x":"é"}}`},
		{"a=", `{"action":"subscribe","channel":"room","ref":"s"}`, `{"action":"subscribed","ref":"s","channel":"room","data":{"subscribers":2}}`},
		{"b=", `{"action":"publish","channel":"room","data":1,"echo":false}`, `{"action":"published","channel":"room","data":{}}`},
		{"a=", `{"action":"pong"}`, ``},
		{"a=", `hello`, `{"action":"error","error":{"code":"invalid","message":"the frame is not valid JSON (at byte 1)"}}`},
		{"a=", `{"action":"refresh","token":"x"}`, `{"action":"error","error":{"code":"forbidden","message":"the service has no authentication: there is nothing to refresh"}}`},
	} {
		if got := w.say(other, tt.id, tt.text); got != tt.want {
			t.Errorf("%s\n got %s\nwant %s", tt.text, got, tt.want)
		}
	}
	w.expect("a=", `{"channel":"room","action":"message","event":"message","data":1,…`)
	w.disconnect(w.function, "a=")
	w.disconnect(other, "a=")
	w.expect("b=", `{"channel":"room","action":"join","data":{"id":"a=","user":""}}`, `{"channel":"room","action":"leave","data":{"id":"a=","user":""}}`)
	if got := w.say(w.function, "a=", `{"action":"info","ref":2}`); got != `{"action":"error","ref":2,"error":{"code":"gone","message":"this socket has ended"}}` {
		t.Errorf("a frame that came late: %s", got)
	}
}

// TestCredentialsEnd: at a frame of a socket whose credential has expired, was revoked or deleted, in the function that has seen it and in another one.
func TestCredentialsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	other := w.start()
	admin := eureka.Everyone("")
	key, apiKey := auth.NewKey(eureka.APIKey{Name: "k", User: "svc", Scopes: eureka.ScopeSubscribe, Channels: []string{"*"}})
	if _, err := w.core.CreateKey(t.Context(), admin, key); err != nil {
		t.Fatal(err)
	}
	for id, credential := range map[string]string{"ann=": w.token("ann", nil), "bob=": w.token("bob", nil), "svc=": apiKey, "ops=": adminKey} {
		w.connect(w.function, id, query("room"), bearer(credential))
		if got := w.say(other, id, `{"action":"ping"}`); got != `{"action":"pong"}` {
			t.Errorf("%s: %s", id, got)
		}
	}
	if got := w.say(w.function, "svc=", `{"action":"publish","channel":"room","data":1}`); !strings.Contains(got, `"code":"forbidden"`) {
		t.Errorf("beyond its scopes: %s", got)
	}
	if _, err := w.core.Revoke(t.Context(), admin, eureka.Revocation{User: "bob"}); err != nil {
		t.Fatal(err)
	}
	if err := w.core.DeleteKey(t.Context(), admin, key.ID); err != nil {
		t.Fatal(err)
	}
	w.later(11 * time.Second) // the other function has a copy of credentials for so long
	for _, id := range []string{"bob=", "svc="} {
		if got := w.say(other, id, `{"action":"subscribe","channel":"secret"}`); got != "" || !w.sockets.wasClosed(id) {
			t.Errorf("%s: %q, closed %v", id, got, w.sockets.wasClosed(id))
		}
		w.expect(id, bye(eureka.CloseUnauthenticated, "the credential was revoked", false))
	}
	w.later(time.Hour)
	if got := w.say(w.function, "ann=", `{"action":"ping"}`); got != "" || !w.sockets.wasClosed("ann=") {
		t.Errorf("expired: %q", got)
	}
	w.expect("ann=", bye(eureka.CloseUnauthenticated, "the credential has expired", false))
	if got := w.say(other, "ops=", `{"action":"ping"}`); got != `{"action":"pong"}` {
		t.Errorf("the admin: %s", got)
	}
}

// TestRefresh: a new token goes on where the old one ends, in every function, and takes away what it does not cover.
func TestRefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	other := w.start()
	w.connect(w.function, "a=", query("room", "hall"), bearer(w.token("ann", nil)))
	if got := w.say(other, "a=", `{"action":"ping"}`); got != `{"action":"pong"}` {
		t.Error(got) // it remembers the first credential
	}
	w.later(30 * time.Minute)
	fresh := w.token("ann", func(id *eureka.Identity) { id.Channels = []string{"room"} })
	if got := w.say(w.function, "a=", `{"action":"refresh","token":"`+w.token("bob", nil)+`"}`); !strings.Contains(got, `"code":"forbidden"`) {
		t.Errorf("another user's: %s", got)
	}
	if got := w.say(w.function, "a=", `{"action":"refresh","token":"`+fresh+`","ref":1}`); !strings.HasPrefix(got, `{"action":"refreshed","ref":1,"data":{"expiresAt":`) {
		t.Errorf("%s", got)
	}
	w.expect("a=", `{"action":"error","channel":"hall","error":{"code":"forbidden",…`)
	w.later(45 * time.Minute)
	for name, f := range map[string]function{"this function": w.function, "the other one": other, "a new one": w.start()} {
		if got := w.say(f, "a=", `{"action":"ping"}`); got != `{"action":"pong"}` {
			t.Errorf("%s: %s", name, got)
		}
		if got := w.say(f, "a=", `{"action":"subscribe","channel":"hall"}`); !strings.Contains(got, `"code":"forbidden"`) {
			t.Errorf("%s, beyond the new token: %s", name, got)
		}
	}
}

// TestForgotten: a connection whose socket the service has let go is told to come back, and closed.
func TestForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	w.connect(w.function, "a=", nil, bearer(adminKey))
	w.disconnect(w.function, "a=")
	if got := w.say(w.start(), "a=", `{"action":"ping"}`); got != "" || !w.sockets.wasClosed("a=") {
		t.Errorf("%q, closed %v", got, w.sockets.wasClosed("a="))
	}
	w.expect("a=", bye(eureka.CloseUnavailable, "the service does not know this socket any more; connect again", true))
}

// TestSchedule: an end that nobody reported is reported once, and sockets that send nothing are closed when their credential has ended.
func TestSchedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	admin := eureka.Everyone("")
	if _, err := w.core.CreateChannel(t.Context(), admin, eureka.Channel{ID: "room", Presence: true}); err != nil {
		t.Fatal(err)
	}
	w.connect(w.function, "lost=", query("room"), bearer(adminKey))
	w.connect(w.function, "idle=", nil, bearer(w.token("ann", func(id *eureka.Identity) { id.ExpiresAt += time.Hour.Milliseconds() })))
	w.later(time.Hour)
	w.connect(w.function, "live=", query("room"), bearer(adminKey))
	w.connect(w.function, "eve=", nil, bearer(w.token("eve", func(id *eureka.Identity) { id.ExpiresAt += time.Hour.Milliseconds() })))
	if got := swept(t, w.schedule); got != `{"ended":0,"closed":0,"failed":0}` {
		t.Errorf("nothing to do: %s", got)
	}
	if _, err := w.core.Revoke(t.Context(), admin, eureka.Revocation{User: "eve"}); err != nil {
		t.Fatal(err)
	}
	w.later(time.Hour + time.Second)
	if got := swept(t, w.schedule); got != `{"ended":2,"closed":1,"failed":0}` {
		t.Errorf("%s", got)
	}
	w.expect("eve=", bye(eureka.CloseUnauthenticated, "the credential was revoked", false))
	w.expect("live=", `{"channel":"room","action":"leave","data":{"id":"lost=","user":""}}`)
	if w.lives("lost=") || w.lives("idle=") || !w.lives("live=") {
		t.Error("the wrong sockets live")
	}
	w.disconnect(w.function, "eve=")
	if got := swept(t, w.schedule); got != `{"ended":0,"closed":0,"failed":0}` {
		t.Errorf("again: %s", got)
	}
}

func swept(t *testing.T, h invoker) string {
	t.Helper()
	return string(invoke[json.RawMessage](t, h, map[string]any{"source": "aws.events", "detail-type": "Scheduled Event"}))
}

// TestConnectTwice: of two connects with one id at the same time, one socket comes out.
func TestConnectTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	statuses := make([]int, 8)
	var running sync.WaitGroup
	for i := range statuses {
		running.Go(func() {
			statuses[i] = invoke[socketAnswer](t, w.ws, handshake("one=", query("room"))).StatusCode
		})
	}
	running.Wait()
	slices.Sort(statuses)
	if !slices.Equal(statuses, []int{200, 409, 409, 409, 409, 409, 409, 409}) || !w.lives("one=") {
		t.Errorf("%v", statuses)
	}
}

// TestConnectReportedTwice: API Gateway may report one handshake twice, even at the same time. Both are answered well, and one socket is there that has
// what it asked for; another connection with the id is refused.
func TestConnectReportedTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	event := func(at time.Time, ip string) events.APIGatewayWebsocketProxyRequest {
		ev := handshake("one=", map[string][]string{"channels": {"room"}, "info": {""}}, bearer(w.token("ann", nil)), "Sec-WebSocket-Protocol: eureka.v1")
		ev.RequestContext.ConnectedAt, ev.RequestContext.Identity.SourceIP = at.UnixMilli(), ip
		return ev
	}
	at := w.Now().Add(-time.Second)
	first := event(at, "192.0.2.1")
	var answers [4]socketAnswer
	var running sync.WaitGroup
	for i := range answers {
		running.Go(func() { answers[i] = invoke[socketAnswer](t, w.start().ws, first) })
	}
	running.Wait()
	for _, a := range answers {
		if a.StatusCode != http.StatusOK || a.Headers["Sec-WebSocket-Protocol"] != "eureka.v1" {
			t.Errorf("%d %s", a.StatusCode, a.Body)
		}
	}
	for name, ev := range map[string]events.APIGatewayWebsocketProxyRequest{
		"a later one": event(at.Add(time.Millisecond), "192.0.2.1"), "one from elsewhere": event(at, "192.0.2.2"),
	} {
		if a := invoke[socketAnswer](t, w.ws, ev); a.StatusCode != http.StatusConflict {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.Body)
		}
	}
	socket, err := w.core.Socket(t.Context(), eureka.Everyone(""), "one=")
	if err != nil || len(socket.Subscriptions) != 1 || socket.ConnectedAt != at.UnixMilli() {
		t.Errorf("%+v: %v", socket, err)
	}
	w.work(w.function, len(answers)) // what each of them queued for the socket: it may come twice
	if _, err := w.core.Publish(t.Context(), eureka.Everyone(""), core.PublishRequest{Channel: "room", Data: json.RawMessage(`1`)}); err != nil {
		t.Fatal(err)
	}
	const info = `{"action":"info","data":{"id":"one="…`
	w.expect("one=", info, info, info, info, `{"channel":"room","action":"message","event":"message","data":1…`)
	w.disconnect(w.function, "one=")
	if w.lives("one=") {
		t.Error("it lives on")
	}
}

// TestConnectedAt: a time that cannot be is not taken for the socket's.
func TestConnectedAt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	for i, at := range []int64{0, -1, math.MaxInt64, math.MinInt64, w.Now().Add(-time.Hour).UnixMilli(), w.Now().Add(time.Hour).UnixMilli()} {
		id := fmt.Sprintf("odd%d=", i)
		ev := handshake(id, nil)
		ev.RequestContext.ConnectedAt = at
		if a := invoke[socketAnswer](t, w.ws, ev); a.StatusCode != http.StatusOK {
			t.Errorf("%d: %d %s", at, a.StatusCode, a.Body)
		}
		socket, err := w.core.Socket(t.Context(), eureka.Everyone(""), id)
		if age := w.Now().UnixMilli() - socket.ConnectedAt; err != nil || age < 0 || age > time.Minute.Milliseconds() {
			t.Errorf("%d: %d, %v", at, socket.ConnectedAt, err)
		}
	}
}
