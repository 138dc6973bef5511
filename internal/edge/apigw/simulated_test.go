package apigw_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/coder/websocket"

	"eureka"
	"eureka/client"
	"eureka/internal/auth"
	"eureka/internal/edge/simulator"
	"eureka/internal/edge/simulator/fault"
)

// simulated is the real functions behind the simulator: real processes, real WebSockets, and @connections that checks signatures by code of its own.
type simulated struct {
	*simulator.Simulator

	t  *testing.T
	at simulator.Endpoints
}

func newSimulated(t *testing.T, stage, authentication string, env map[string]string) *simulated {
	t.Helper()
	s := &simulated{t: t}
	dynamo, queues := localDynamo.at(t), localQueues.at(t)
	bootstrap, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	s.Simulator, err = simulator.Start(t.Context(), simulator.Options{
		Listen: "127.0.0.1:0", Control: "127.0.0.1:0", Stage: stage, Auth: authentication, Env: env, Bootstrap: bootstrap, DynamoDB: dynamo, Queues: queues,
		Log: testLog(t), Output: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	s.at = s.Endpoints()
	return s
}

// built is the folder of the functions' binary, which all tests share.
var built string

var binary = sync.OnceValues(func() (string, error) {
	var err error
	if built, err = os.MkdirTemp("", "eureka-lambda"); err != nil {
		return "", err
	}
	path := filepath.Join(built, "bootstrap")
	if out, err := exec.CommandContext(context.Background(), "go", "build", "-tags=lambda.norpc", "-o", path, "eureka/cmd/eureka-lambda").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

// call makes an HTTP request and returns its status and body.
func (s *simulated) call(method, path, body, key string) (status int, text string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.at.HTTP+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", key)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

// dial opens a socket, or returns the status that refused it.
func (s *simulated) dial(query string, o *websocket.DialOptions) (*websocket.Conn, int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	c, answer, err := websocket.Dial(ctx, s.at.WebSocket+query, o) //nolint:bodyclose // a handshake's answer has none to close
	if err != nil {
		if answer == nil {
			s.t.Fatal(err)
		}
		return nil, answer.StatusCode
	}
	s.t.Cleanup(func() { _ = c.CloseNow() })
	return c, answer.StatusCode
}

// next is a socket's next frame; "" when it was closed. API Gateway's empty answers are passed by.
func (s *simulated) next(c *websocket.Conn) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for {
		_, text, err := c.Read(ctx)
		if ctx.Err() != nil {
			s.t.Fatal("no frame comes")
		}
		if err != nil || len(text) > 0 {
			return string(text)
		}
	}
}

// TestSimulatedResume: at connect and by a frame, what was missed comes behind "subscribed", in order and once.
func TestSimulatedResume(t *testing.T) {
	t.Parallel()
	s := newSimulated(t, "resume", "none", nil)
	if status, text := s.call("POST", "/channels/log", `{"history":{}}`, ""); status != http.StatusOK {
		t.Fatal(text)
	}
	var ids []string
	publish := func(n string) {
		t.Helper()
		_, text := s.call("POST", "/channels/log/broadcast", `{"data":`+n+`}`, "")
		var answer struct{ ID string }
		if err := json.Unmarshal([]byte(text), &answer); err != nil || answer.ID == "" {
			t.Fatalf("%s: %v", text, err)
		}
		ids = append(ids, answer.ID)
	}
	for _, n := range []string{"1", "2", "3"} {
		publish(n)
	}
	expect := func(c *websocket.Conn, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if got := s.next(c); !strings.Contains(got, part) {
				t.Errorf("%s, want %s", got, part)
			}
		}
	}
	atConnect, _ := s.dial("?info&channels=log@"+ids[0], nil)
	expect(atConnect, `"recovered":true`, `"action":"info"`, `"data":2`, `"data":3`)
	byFrame, _ := s.dial("", nil)
	if err := byFrame.Write(t.Context(), websocket.MessageText, []byte(`{"action":"subscribe","channel":"log","since":"`+ids[1]+`"}`)); err != nil {
		t.Fatal(err)
	}
	expect(byFrame, `"recovered":true`, `"data":3`)
	publish("4")
	expect(atConnect, `"data":4`)
	expect(byFrame, `"data":4`)
}

// TestSimulatedListen: the Go client whose handshake API Gateway reports twice gets what it missed once, comes back when the service says so, and stays
// away when an operator ends it, although API Gateway closes all sockets with one code.
func TestSimulatedListen(t *testing.T) {
	t.Parallel()
	s := newSimulated(t, "listen", "none", nil)
	if status, text := s.call("POST", "/channels/log", `{"history":{}}`, ""); status != http.StatusOK {
		t.Fatal(text)
	}
	publish := func(n string) (id string) {
		t.Helper()
		_, text := s.call("POST", "/channels/log/broadcast", `{"data":`+n+`}`, "")
		var answer struct{ ID string }
		if err := json.Unmarshal([]byte(text), &answer); err != nil || answer.ID == "" {
			t.Fatalf("%s: %v", text, err)
		}
		return answer.ID
	}
	first := publish("1")
	publish("2")
	rule, err := fault.Parse("double-connect=1")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PutFault(rule); err != nil {
		t.Fatal(err)
	}
	api, err := client.New(s.at.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan client.Frame, 100)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- api.Listen(ctx, client.Listener{
			Channels: []string{"log"}, Since: map[string]string{"log": first},
			OnFrame: func(f client.Frame) error { got <- f; return nil },
		})
	}()
	expect := func(want string) {
		t.Helper()
		select {
		case f := <-got:
			if string(f.Data) != want {
				t.Errorf("got %s, want %s", f.Raw, want)
			}
		case err := <-ended:
			t.Fatalf("ended with %v before %s", err, want)
		}
	}
	other := func(than string) (id string) { // the one socket, once it is not the one of before
		t.Helper()
		for {
			list, err := api.Sockets(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(list.List) == 1 && list.List[0].ID != than {
				return list.List[0].ID
			}
		}
	}
	expect("2")
	publish("3")
	expect("3")
	old := other("")
	age, err := http.NewRequestWithContext(ctx, http.MethodDelete, s.at.Control+"/connections/"+url.PathEscape(old)+"?how=age", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(age)
	if err != nil || answer.Body.Close() != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(answer, err)
	}
	publish("4")
	expect("4")
	if _, err := api.Disconnect(ctx, other(old)); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; eureka.CodeOf(err) != eureka.CodeGone || !strings.Contains(eureka.MessageOf(err), "code 4480") {
		t.Errorf("ended with %v", err)
	}
	if len(got) > 0 {
		t.Errorf("got %s besides", (<-got).Raw)
	}
}

// TestSimulatedCredentials: a browser's token, statuses of refused handshakes, and a revoked user who is told before the close.
func TestSimulatedCredentials(t *testing.T) {
	t.Parallel()
	s := newSimulated(t, "service", "service", map[string]string{
		"EUREKA_ADMIN_KEY": adminKey, "EUREKA_JWT_SECRET": string(secret), "EUREKA_ALLOWED_ORIGINS": "https://app.example.com", "EUREKA_UNDECLARED_CHANNELS": "allow",
	})
	token, err := auth.MintHS256(secret, eureka.Identity{
		User: "ann", Scopes: eureka.ScopeSubscribe, Channels: []string{"*"}, IssuedAt: time.Now().UnixMilli(), ExpiresAt: time.Now().Add(time.Hour).UnixMilli(),
	}, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	offer := func(origin, token string) *websocket.DialOptions {
		return &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}, Subprotocols: []string{"eureka.v1", "bearer." + token}}
	}
	if _, status := s.dial("", nil); status != http.StatusUnauthorized {
		t.Errorf("nobody: %d", status)
	}
	if _, status := s.dial("", offer("https://evil.example.com", token)); status != http.StatusForbidden {
		t.Errorf("another page: %d", status)
	}
	c, _ := s.dial("?channels=room", offer("https://app.example.com", token))
	if c == nil || c.Subprotocol() != "eureka.v1" {
		t.Fatal("a browser is refused, or hears of no protocol")
	}
	if status, text := s.call("POST", "/revocations", `{"user":"ann"}`, adminKey); status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	for deadline := time.Now().Add(patience); ; { // functions have a copy of revocations for ten seconds
		if err := c.Write(t.Context(), websocket.MessageText, []byte(`{"action":"ping"}`)); err != nil {
			t.Fatal(err)
		}
		got := s.next(c)
		if strings.Contains(got, `"bye"`) {
			if !strings.Contains(got, `"code":4401,"reason":"the credential was revoked","reconnect":false`) {
				t.Errorf("%s", got)
			}
			break
		}
		if !strings.Contains(got, `"pong"`) || time.Now().After(deadline) {
			t.Fatalf("%s", got)
		}
	}
	if got := s.next(c); got != "" {
		t.Errorf("behind the bye: %s", got)
	}
}

// TestSimulatedIAM: signed handshakes and requests alone, and their signer is the user.
func TestSimulatedIAM(t *testing.T) {
	t.Parallel()
	s := newSimulated(t, "iam", "iam", nil)
	if _, status := s.dial("", nil); status != http.StatusForbidden {
		t.Errorf("unsigned: %d", status)
	}
	address := strings.Replace(s.at.WebSocket, "ws://", "http://", 1)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"?info=", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	const nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: s.at.KeyID, SecretAccessKey: s.at.Secret}, r, nothing, "execute-api", s.at.Region, time.Now()); err != nil {
		t.Fatal(err)
	}
	c, status := s.dial("?info=", &websocket.DialOptions{HTTPHeader: r.Header})
	if c == nil {
		t.Fatalf("signed: %d", status)
	}
	if got := s.next(c); !strings.Contains(got, `"action":"info"`) || strings.Contains(got, `"user":""`) {
		t.Errorf("%s", got)
	}
}
