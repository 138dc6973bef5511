package apigateway_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi"
	"github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi/types"
	"github.com/aws/smithy-go"
	"github.com/coder/websocket"

	"eureka/internal/edge/simulator/apigateway"
	"eureka/internal/edge/simulator/meter"
	"eureka/internal/edge/simulator/sigv4"
	"eureka/internal/edge/simulator/simtest"
)

// TestManagement: the AWS SDK posts, reads and deletes, and knows the errors.
func TestManagement(t *testing.T) {
	w := open(t, nil, nil)
	c, _, err := w.dial("/dev", &websocket.DialOptions{HTTPHeader: http.Header{"User-Agent": {"test/2"}}})
	if err != nil {
		t.Fatal(err)
	}
	e := w.await("$connect", 0).RequestContext
	id, client := e.ConnectionID, w.sdk(w.user)
	long := strings.Repeat("ü", 64<<10) // 128 KB
	for _, text := range []string{"hello", "", long} {
		if err := w.post(id, text); err != nil {
			t.Fatal(err)
		}
		if got := read(t, c); got != text {
			t.Errorf("%.50q arrived as %.50q", text, got)
		}
	}
	got, err := client.GetConnection(t.Context(), &apigatewaymanagementapi.GetConnectionInput{ConnectionId: &id})
	if err != nil {
		t.Fatal(err)
	}
	if got.ConnectedAt.UnixMilli() != e.ConnectedAt || got.LastActiveAt.Before(*got.ConnectedAt) || *got.Identity.SourceIp != "127.0.0.1" || *got.Identity.UserAgent != "test/2" {
		t.Errorf("%s %s %+v", got.ConnectedAt, got.LastActiveAt, got.Identity)
	}
	var tooLarge *types.PayloadTooLargeException
	if err := w.post(id, long+"x"); !errors.As(err, &tooLarge) {
		t.Errorf("too large: %v", err)
	}
	var api smithy.APIError
	if err := w.post(id, "\xff"); !errors.As(err, &api) || api.ErrorCode() != "BadRequestException" {
		t.Errorf("no UTF-8: %v", err)
	}
	if err := w.post("nobody", "x"); !errors.As(err, &api) || api.ErrorCode() != "BadRequestException" {
		t.Errorf("no id: %v", err)
	}
	if _, err := client.DeleteConnection(t.Context(), &apigatewaymanagementapi.DeleteConnectionInput{ConnectionId: &id}); err != nil {
		t.Error(err)
	}
	if got := closed(t, c); got != websocket.StatusNormalClosure {
		t.Errorf("closed with %d", got)
	}
	if r := w.await("$disconnect", 0).RequestContext; r.DisconnectStatusCode != 1000 || *r.DisconnectReason != "Connection Closed Normally" {
		t.Errorf("%+v", r)
	}
	var gone *types.GoneException
	for name, err := range map[string]error{
		"post": w.post(id, "x"),
		"get": func() error {
			_, err := client.GetConnection(t.Context(), &apigatewaymanagementapi.GetConnectionInput{ConnectionId: &id})
			return err
		}(),
		"delete": func() error {
			_, err := client.DeleteConnection(t.Context(), &apigatewaymanagementapi.DeleteConnectionInput{ConnectionId: &id})
			return err
		}(),
	} {
		if !errors.As(err, &gone) {
			t.Errorf("%s on one that is gone: %v", name, err)
		}
	}
	for counter, want := range map[string]float64{"/200": 3, "/410": 1, "/413": 1, "/400": 2, "": 7} {
		if n := w.count(meter.Posts + meter.Counter(counter)); n != want {
			t.Errorf("connections.post%s is %v", counter, n)
		}
	}
}

// TestSignature: @connections is for those who sign, with a key that the simulator knows.
func TestSignature(t *testing.T) {
	w := open(t, nil, nil)
	c := w.connect("/dev")
	id := w.await("$connect", 0).RequestContext.ConnectionID
	for name, tt := range map[string]struct {
		key  sigv4.Key
		want string
	}{
		"wrong secret": {sigv4.Key{ID: w.user.ID, Secret: "x"}, "InvalidSignatureException"},
		"unknown":      {sigv4.Key{ID: "AKIANOBODY", Secret: "x"}, "UnrecognizedClientException"},
		"wrong token":  {sigv4.Key{ID: w.user.ID, Secret: w.user.Secret, Token: "x"}, "UnrecognizedClientException"},
	} {
		_, err := w.sdk(tt.key).PostToConnection(t.Context(), &apigatewaymanagementapi.PostToConnectionInput{ConnectionId: &id, Data: []byte("x")})
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != tt.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	for path, want := range map[string]int{
		"/dev/@connections/" + strings.ReplaceAll(id, "=", "%3D"): 403, "/dev/@connections/%ff%zz": 0,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/x", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Opaque = path
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if want != 0 && (response.StatusCode != want || response.Header.Get("X-Amzn-Errortype") != "MissingAuthenticationTokenException" || !strings.Contains(string(body), "Missing Authentication Token")) {
			t.Errorf("%s: %d %s", path, response.StatusCode, body)
		}
	}
	if w.count("connections.post/403") != 4 {
		t.Errorf("%v refused", w.count("connections.post/403"))
	}
	if err := w.post(id, "signed"); err != nil || read(t, c) != "signed" {
		t.Error(err)
	}
}

// TestOtherMethods: there is nothing else below @connections.
func TestOtherMethods(t *testing.T) {
	w := open(t, nil, nil)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, w.url+"/dev/@connections/x", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusNotFound {
		t.Error(response.Status)
	}
}

// TestNoPostDuringConnect: a socket is gone until its $connect has been answered, and for good when it is refused.
func TestNoPostDuringConnect(t *testing.T) {
	var w *world
	errs := make(chan error, 2)
	w = open(t, nil, func(_ context.Context, e request) simtest.Answer {
		if e.RequestContext.RouteKey == "$connect" {
			errs <- w.post(e.RequestContext.ConnectionID, "early")
			if e.QueryStringParameters["refuse"] != "" {
				return reply(answer{StatusCode: 403})
			}
		}
		return simtest.Answer{}
	})
	c := w.connect("/dev")
	var gone *types.GoneException
	if err := <-errs; !errors.As(err, &gone) {
		t.Errorf("during the connect: %v", err)
	}
	if err := w.post(w.events()[0].RequestContext.ConnectionID, "late"); err != nil || read(t, c) != "late" {
		t.Errorf("right after it: %v", err)
	}
	if _, _, err := w.dial("/dev?refuse=1", nil); err == nil {
		t.Error("a refused client is in")
	}
	if err := <-errs; !errors.As(err, &gone) {
		t.Errorf("during a connect that is refused: %v", err)
	}
	if err := w.post(w.await("$connect", 1).RequestContext.ConnectionID, "x"); !errors.As(err, &gone) {
		t.Errorf("a refused one: %v", err)
	}
	if len(w.Connections()) != 1 {
		t.Errorf("%v", w.Connections())
	}
}

// TestThrottledPosts: 429 is what the SDK knows as LimitExceededException, by quota and by fault.
func TestThrottledPosts(t *testing.T) {
	w := open(t, func(o *apigateway.Options) { o.Limits.RequestRate, o.Limits.RequestBurst = 0, 3 }, nil)
	c := w.connect("/dev")
	id := w.await("$connect", 0).RequestContext.ConnectionID
	w.fault("throttle=1,skip=1,count=2")
	var limited *types.LimitExceededException
	for i, want := range []bool{true, false, false, true, true, false} {
		err := w.post(id, "x")
		if (err == nil) != want || (!want && !errors.As(err, &limited)) {
			t.Errorf("post %d: %v", i, err)
		}
	}
	if s := w.faults.States()[0]; s.Happened != 2 || w.count("connections.post/429") != 3 {
		t.Errorf("%+v, %v", s, w.count("connections.post/429"))
	}
	for range 3 {
		read(t, c)
	}
	// The SDK's own retries get through a storm.
	w.faults.Clear()
	w2 := open(t, nil, nil)
	c = w2.connect("/dev")
	w2.fault("throttle=1,count=2")
	id = w2.await("$connect", 0).RequestContext.ConnectionID
	client := w2.sdk(w2.user)
	_, err := client.PostToConnection(t.Context(), &apigatewaymanagementapi.PostToConnectionInput{ConnectionId: &id, Data: []byte("through")}, func(o *apigatewaymanagementapi.Options) {
		o.Retryer = aws.NopRetryer{}
		o.Retryer = fast{}
	})
	if err != nil || read(t, c) != "through" {
		t.Error(err)
	}
}

// fast retries what the SDK takes for retryable, without waiting.
type fast struct{ aws.NopRetryer }

func (fast) IsErrorRetryable(err error) bool {
	var limited *types.LimitExceededException
	return errors.As(err, &limited)
}
func (fast) MaxAttempts() int                             { return 3 }
func (fast) RetryDelay(int, error) (time.Duration, error) { return 0, nil }
func (fast) GetInitialToken() func(error) error           { return func(error) error { return nil } }
func (fast) GetRetryToken(context.Context, error) (func(error) error, error) {
	return func(error) error { return nil }, nil
}

// TestGoneFault: a socket breaks in the middle of a broadcast, and only that one.
func TestGoneFault(t *testing.T) {
	w := open(t, nil, nil)
	clients := map[string]*websocket.Conn{}
	for i := range 3 {
		c := w.connect("/dev")
		clients[w.await("$connect", i).RequestContext.ConnectionID] = c
	}
	w.fault("gone=1,skip=1,count=1")
	var broken string
	for id := range clients {
		var gone *types.GoneException
		if err := w.post(id, "x"); errors.As(err, &gone) {
			if broken != "" {
				t.Error("two broke")
			}
			broken = id
		} else if err != nil {
			t.Error(err)
		}
	}
	if e := w.await("$disconnect", 0).RequestContext; e.ConnectionID != broken || e.DisconnectStatusCode != 1006 {
		t.Errorf("%s broke; %+v", broken, e)
	}
	if got := closed(t, clients[broken]); got != -1 {
		t.Errorf("its client sees %d", got)
	}
}

// TestLostDisconnect: the function never hears of an end, and the next is reported again.
func TestLostDisconnect(t *testing.T) {
	w := open(t, nil, nil)
	w.fault("lost-disconnect=1,count=1")
	first, second := w.connect("/dev"), w.connect("/dev")
	lost := w.await("$connect", 0).RequestContext.ConnectionID
	_ = first.Close(1000, "")
	eventually(t, "the first end", func() bool { return len(w.Connections()) == 1 })
	_ = second.Close(1000, "")
	w.await("$disconnect", 0)
	w.Close()
	for _, e := range w.events() {
		if e.RequestContext.RouteKey == "$disconnect" && e.RequestContext.ConnectionID == lost {
			t.Error("the lost $disconnect came")
		}
	}
	if err := w.post(lost, "x"); err == nil {
		t.Error("the lost socket takes posts")
	}
}

// TestDuplicateID: two connects with one id; the younger has it, the older breaks unreported.
func TestDuplicateID(t *testing.T) {
	w := open(t, nil, nil)
	old := w.connect("/dev")
	w.fault("duplicate-id=1,count=1")
	young := w.connect("/dev")
	a, b := w.await("$connect", 0).RequestContext, w.await("$connect", 1).RequestContext
	if a.ConnectionID != b.ConnectionID {
		t.Fatalf("%s, %s", a.ConnectionID, b.ConnectionID)
	}
	if got := closed(t, old); got != -1 {
		t.Errorf("the older sees %d", got)
	}
	if err := w.post(a.ConnectionID, "x"); err != nil || read(t, young) != "x" {
		t.Error(err)
	}
	if n := len(w.events()); n != 2 {
		t.Errorf("%d events", n)
	}
	w.fault("double-connect=1,count=1")
	w.connect("/dev")
	if x, y := w.await("$connect", 2).RequestContext, w.await("$connect", 3).RequestContext; x.ConnectionID != y.ConnectionID {
		t.Errorf("the second $connect is of %s, not %s", y.ConnectionID, x.ConnectionID)
	}
}

// TestKilledByPosts: a function is killed when it has made as many posts as the fault says; those arrive.
func TestKilledByPosts(t *testing.T) {
	var ids []string
	w := open(t, nil, func(_ context.Context, e request) simtest.Answer {
		if e.Body != "broadcast" {
			return simtest.Answer{}
		}
		var posts []simtest.Post
		for _, id := range ids {
			posts = append(posts, simtest.Post{ID: id, Data: "news"})
		}
		return simtest.Answer{Posts: posts, Response: `{"statusCode":200,"body":"done"}`}
	})
	var clients []*websocket.Conn
	for i := range 4 {
		clients = append(clients, w.connect("/dev"))
		ids = append(ids, w.await("$connect", i).RequestContext.ConnectionID)
	}
	sender := w.connect("/dev")
	w.fault("kill=1,count=1,posts=2")
	write(t, sender, "broadcast")
	if got := read(t, sender); !strings.Contains(got, "Internal server error") {
		t.Error(got)
	}
	for _, c := range clients[:2] {
		if got := read(t, c); got != "news" {
			t.Error(got)
		}
	}
	if n := w.count("connections.post/200"); n != 2 {
		t.Errorf("%v posts", n)
	}
	write(t, sender, "broadcast")
	if got := read(t, sender); got != "done" {
		t.Errorf("again: %s", got)
	}
	for _, c := range clients {
		if got := read(t, c); got != "news" {
			t.Error(got)
		}
	}
}

// TestSlowPost: a post takes its time, and others go on meanwhile.
func TestSlowPost(t *testing.T) {
	w := open(t, nil, nil)
	c := w.connect("/dev")
	id := w.await("$connect", 0).RequestContext.ConnectionID
	w.fault("slow-post=1,count=1,delay=1h")
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := w.sdk(w.user).PostToConnection(ctx, &apigatewaymanagementapi.PostToConnectionInput{ConnectionId: &id, Data: []byte("slow")})
		failed <- err
	}()
	eventually(t, "the slow post", func() bool { return w.faults.States()[0].Happened == 1 })
	if err := w.post(id, "quick"); err != nil || read(t, c) != "quick" {
		t.Error(err)
	}
	cancel()
	if <-failed == nil {
		t.Error("the slow post is through")
	}
	w.faults.Clear()
	w.fault("slow-post=1,delay=5ms")
	began := time.Now()
	if err := w.post(id, "later"); err != nil || read(t, c) != "later" || time.Since(began) < 5*time.Millisecond {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

// TestCrowd: sockets without clients connect through the function, count what they get, and leave with a $disconnect each.
func TestCrowd(t *testing.T) {
	w := open(t, nil, func(_ context.Context, e request) simtest.Answer {
		if e.QueryStringParameters["channels"] == "closed" {
			return reply(answer{StatusCode: 403})
		}
		return simtest.Answer{}
	})
	if err := w.Join(t.Context(), 8, 4, "/dev?channels=A", http.Header{"X-Who": {"crowd"}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Join(t.Context(), 2, 1, "/dev?channels=closed", nil); err == nil {
		t.Error("a closed door lets the crowd in")
	}
	seen := map[string]bool{}
	for _, e := range w.events()[:8] {
		if e.QueryStringParameters["channels"] != "A" || e.Headers["X-Who"] != "crowd" || !strings.HasPrefix(e.RequestContext.Identity.SourceIP, "203.0.113.") {
			t.Errorf("%+v", e)
		}
		seen[e.RequestContext.ConnectionID] = true
	}
	if len(seen) != 8 || len(w.Connections()) != 8 {
		t.Errorf("%d ids, %d open", len(seen), len(w.Connections()))
	}
	for id := range seen {
		if err := w.post(id, "hello"); err != nil {
			t.Error(err)
		}
	}
	s := w.Crowd(true)
	if s.Sockets != 8 || s.Refused != 2 || s.Messages != 8 || s.Bytes != 40 || s.Last.Before(s.First) || s.First.IsZero() {
		t.Errorf("%+v", s)
	}
	if s.Least != 1 || s.Doubles != 0 || s.Orders != 1 {
		t.Errorf("each got one message, the same: %+v", s)
	}
	if s = w.Crowd(false); s.Messages != 0 || s.Sockets != 8 || s.Least != 0 || s.Orders != 1 {
		t.Errorf("after a reset: %+v", s)
	}
	checkOrders(t, w, slices.Sorted(maps.Keys(seen)))
	w.Leave(3)
	if e := w.events(); len(e) != 8+2+8 || e[17].RequestContext.RouteKey != "$disconnect" {
		t.Errorf("%d events", len(e))
	}
	if s = w.Crowd(false); s.Sockets != 0 || s.Least != 0 || s.Orders != 0 {
		t.Errorf("%+v", s)
	}
}

// checkOrders: the crowd tells who got the fewest different messages, how many came again, and how many sequences there were.
func checkOrders(t *testing.T, w *world, ids []string) {
	t.Helper()
	say := func(id string, texts ...string) {
		for _, text := range texts {
			if err := w.post(id, text); err != nil {
				t.Error(err)
			}
		}
	}
	for _, id := range ids[:6] {
		say(id, "one", "two")
	}
	say(ids[6], "one", "one", "two") // what comes again does not count
	say(ids[7], "two", "one")
	if s := w.Crowd(false); s.Messages != 17 || s.Least != 2 || s.Doubles != 1 || s.Orders != 2 {
		t.Errorf("%+v", s)
	}
	say(ids[0], "three")
	say(ids[7], "two", "one")
	if s := w.Crowd(false); s.Least != 2 || s.Doubles != 3 || s.Orders != 3 {
		t.Errorf("%+v", s)
	}
}
