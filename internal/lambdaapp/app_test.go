package lambdaapp

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"eureka/internal/awslocal"
	"eureka/internal/engine/dynamo"
)

const patience = time.Minute

// account is the stand-ins of AWS services that functions see by their environment. @connections is a fake: it keeps what is posted, and says 410 for
// sockets that a test names.
type account struct {
	t    *testing.T
	env  map[string]string
	sqs  *sqs.Client
	url  string // of the queue of tasks
	mu   sync.Mutex
	got  map[string][]string // frames by socket
	gone map[string]bool
	log  bytes.Buffer
}

// standIn is a process that all tests of the package share.
type standIn struct {
	start   func(context.Context) (*awslocal.Process, error)
	once    sync.Once
	process *awslocal.Process
	err     error
}

var (
	localDynamo = standIn{start: awslocal.StartDynamoDB}
	localQueues = standIn{start: awslocal.StartQueues}
)

func TestMain(m *testing.M) {
	m.Run()
	for _, s := range []*standIn{&localDynamo, &localQueues} {
		if s.process != nil {
			s.process.Stop()
		}
	}
}

// at is where it listens. Tests are skipped where it is not installed, except on CI.
func (s *standIn) at(t *testing.T) string {
	t.Helper()
	s.once.Do(func() { s.process, s.err = s.start(context.Background()) })
	if errors.Is(s.err, awslocal.ErrNotInstalled) && os.Getenv("CI") == "" {
		t.Skip(s.err)
	}
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.process.Endpoint
}

func newAccount(t *testing.T) *account {
	t.Helper()
	a := &account{t: t, got: map[string][]string{}, gone: map[string]bool{}}
	connections := httptest.NewServer(a)
	t.Cleanup(connections.Close)
	tables, queues := localDynamo.at(t), localQueues.at(t)
	static := credentials.NewStaticCredentialsProvider("key", "secret", "")
	db := dynamodb.New(dynamodb.Options{BaseEndpoint: aws.String(tables), Region: awslocal.Region, Credentials: static})
	name := "t-" + rand.Text()
	if _, err := db.CreateTable(t.Context(), dynamo.Definition(name)); err != nil {
		t.Fatal(err)
	}
	a.sqs = sqs.New(sqs.Options{BaseEndpoint: aws.String(queues), Region: awslocal.Region, Credentials: static})
	queue, err := a.sqs.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String(name)})
	if err != nil {
		t.Fatal(err)
	}
	a.url = *queue.QueueUrl
	a.env = map[string]string{
		"EUREKA_TABLE": name, "EUREKA_TASKS_QUEUE_URL": a.url, "EUREKA_MANAGEMENT_URL": connections.URL + "/dev",
		"AWS_ENDPOINT_URL_DYNAMODB": tables, "AWS_ENDPOINT_URL_SQS": queues, "AWS_REGION": awslocal.Region,
	}
	return a
}

// ServeHTTP is @connections.
func (a *account) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		a.t.Error(err)
	}
	id := strings.TrimPrefix(r.URL.Path, "/dev/@connections/")
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone[id] {
		w.WriteHeader(http.StatusGone)
		return
	}
	a.got[id] = append(a.got[id], string(text))
}

// Write is the functions' log.
func (a *account) Write(line []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.log.Write(line)
}

func (a *account) logged(text string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Count(a.log.String(), text)
}

func (a *account) frames(id string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.got[id], "\n")
}

// function starts one as its role.
func (a *account) function(role Role, authentication Authentication) Handler {
	a.t.Helper()
	env := map[string]string{"EUREKA_ROLE": string(role), "EUREKA_AUTH": string(authentication)}
	for name, value := range a.env {
		env[name] = value
	}
	s, err := FromEnv(environment(env))
	if err != nil {
		a.t.Fatal(err)
	}
	h, err := New(Options{Settings: s, Version: "1.2.3", Log: slog.New(slog.NewTextHandler(io.MultiWriter(a.t.Output(), a), nil))})
	if err != nil {
		a.t.Fatal(err)
	}
	return h
}

// call gives an event to a function and returns its answer.
func (a *account) call(h Handler, event string) string {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	text, err := h.Invoke(ctx, []byte(event))
	if err != nil {
		a.t.Fatalf("%s: %v", event, err)
	}
	return string(text)
}

func socketEvent(kind, id, more string) string {
	return fmt.Sprintf(`{"requestContext":{"eventType":%q,"connectionId":%q}%s}`, kind, id, more)
}

func httpEvent(method, path, body string) string {
	text, err := json.Marshal(body)
	if err != nil {
		return ""
	}
	return fmt.Sprintf(`{"rawPath":%q,"headers":{"x-api-key":%q},"requestContext":{"http":{"method":%q}},"body":%s}`, path, strings.Repeat("k", 32), method, text)
}

// TestRoles: a connect, a declared channel, an event for it, what is queued, an end that a post finds, and the sweep, each by the function whose role it is.
func TestRoles(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	ws, api := a.function(RoleWS, AuthService), a.function(RoleHTTP, AuthService)
	expect := func(what, got, want string) {
		t.Helper()
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	a.ready(api)
	expect("hello", a.call(api, httpEvent("GET", "/hello", "")), `\"version\":\"1.2.3\",\"mode\":\"serverless\",\"node\":\"dev\"`)
	expect("declare", a.call(api, httpEvent("POST", "/channels/orders", `{"service":"shop","modelType":"order","presence":true}`)), `"statusCode":200`)
	expect("mocks", a.call(api, httpEvent("GET", "/mocks", "")), `no process that could play mocks; run eureka serve for that`)
	credential := `,"headers":{"x-api-key":"` + strings.Repeat("k", 32) + `"},"queryStringParameters":{"channels":"orders","info":""}`
	expect("nobody", a.call(ws, socketEvent("CONNECT", "x=", "")), `"statusCode":401`)
	for _, id := range []string{"one=", "two="} {
		expect("connect", a.call(ws, socketEvent("CONNECT", id, credential)), `"statusCode":200`)
	}
	expect("ping", a.call(ws, socketEvent("MESSAGE", "one=", `,"body":"{\"action\":\"ping\"}"`)), `pong`)
	expect("event", a.call(a.function(RoleEvents, AuthService), `{"Records":[{"messageId":"m","body":"{\"service\":\"shop\",\"modelType\":\"order\",\"data\":7}"}]}`), `{"batchItemFailures":[]}`)
	expect("one", a.frames("one="), `{"channel":"orders","action":"message","event":"message","data":7,`)
	expect("welcome", a.call(a.function(RoleFanout, AuthService), a.queued(2)), `{"batchItemFailures":[]}`)
	expect("one", a.frames("one="), `{"action":"info","data":{"id":"one="`)
	expect("listed", a.call(api, httpEvent("GET", "/sockets/two=", "")), `"statusCode":200`)
	expect("schedule", a.call(a.function(RoleSchedule, AuthService), `{"source":"aws.events"}`), `{"ended":0,"closed":0,"failed":0}`)
	expect("disconnect", a.call(ws, socketEvent("DISCONNECT", "two=", "")), `"statusCode":200`)
	expect("one", a.frames("one="), `"action":"leave","data":{"id":"two=","user":""}`)
	expect("unlisted", a.call(api, httpEvent("GET", "/sockets/two=", "")), `"statusCode":404`)
}

// ready waits until the store answers a function as fast as it should; a stand-in on a loaded machine needs a moment.
func (a *account) ready(api Handler) {
	a.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		answer := a.call(api, httpEvent("GET", "/readyz", ""))
		if strings.Contains(answer, `"statusCode":200`) {
			return
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("not ready: %s", answer)
		}
	}
}

// queued takes n messages from the queue of tasks, as an event.
func (a *account) queued(n int) string {
	a.t.Helper()
	var ev events.SQSEvent
	for deadline := time.Now().Add(patience); len(ev.Records) < n && time.Now().Before(deadline); {
		out, err := a.sqs.ReceiveMessage(a.t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(a.url), MaxNumberOfMessages: 10, WaitTimeSeconds: 1})
		if err != nil {
			a.t.Fatal(err)
		}
		for _, m := range out.Messages {
			ev.Records = append(ev.Records, events.SQSMessage{MessageId: *m.MessageId, Body: *m.Body})
		}
	}
	text, err := json.Marshal(ev)
	if err != nil || len(ev.Records) != n {
		a.t.Fatalf("%d tasks came, %v", len(ev.Records), err)
	}
	return string(text)
}

// TestGone: an old socket whose post finds it gone is reported, and forgotten.
func TestGone(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	ws, api := a.function(RoleWS, AuthNone), a.function(RoleHTTP, AuthNone)
	a.call(ws, socketEvent("CONNECT", "old=", `,"queryStringParameters":{"channels":"room"}`))
	a.mu.Lock()
	a.gone["old="] = true
	a.mu.Unlock()
	tick, deadline := time.NewTicker(200*time.Millisecond), time.Now().Add(patience)
	defer tick.Stop()
	for { // for ten seconds API Gateway may not know it yet
		a.call(api, httpEvent("POST", "/sockets/old=/send", `{"data":1}`))
		if strings.Contains(a.call(api, httpEvent("GET", "/sockets/old=", "")), `"statusCode":404`) {
			break
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
		}
		if time.Now().After(deadline) {
			t.Fatal("it is still there")
		}
	}
	for _, authentication := range []Authentication{AuthNone, AuthIAM} {
		want := map[Authentication]string{AuthNone: `"statusCode":200`, AuthIAM: `"statusCode":401`}[authentication]
		if got := a.call(a.function(RoleHTTP, authentication), httpEvent("GET", "/channels", "")); !strings.Contains(got, want) {
			t.Errorf("%s: %s", authentication, got)
		}
	}
}

// TestFilters: a client's filter is compiled by the function that takes its frame, and holds in the one that an event comes to.
func TestFilters(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	ws, api := a.function(RoleWS, AuthNone), a.function(RoleHTTP, AuthNone)
	a.ready(api)
	if answer := a.call(api, httpEvent("POST", "/channels/orders", `{"service":"shop","modelType":"order"}`)); !strings.Contains(answer, `"statusCode":200`) {
		t.Fatal(answer)
	}
	frame := func(id, text string) string {
		body, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		return a.call(ws, socketEvent("MESSAGE", id, `,"body":`+string(body)))
	}
	for id, filter := range map[string]string{"few=": `,"filter":"data.total > 100 && modelId == \"7\""`, "all=": ""} {
		a.call(ws, socketEvent("CONNECT", id, ""))
		if answer := frame(id, `{"action":"subscribe","ref":"1","channel":"orders"`+filter+`}`); !strings.Contains(answer, `subscribed`) {
			t.Errorf("%s: %s", id, answer)
		}
	}
	if answer := frame("few=", `{"action":"subscribe","ref":"1","channel":"orders","filter":"data.total >"}`); !strings.Contains(answer, "filter") || !strings.Contains(answer, "line 1:13") {
		t.Errorf("a filter that does not compile: %s", answer)
	}
	events := a.function(RoleEvents, AuthNone)
	for _, total := range []int{7, 700} {
		event := `{"Records":[{"messageId":"m%d","body":"{\"service\":\"shop\",\"modelType\":\"order\",\"modelId\":\"7\",\"data\":{\"total\":%[1]d}}"}]}`
		if answer := a.call(events, fmt.Sprintf(event, total)); answer != `{"batchItemFailures":[]}` {
			t.Error(answer)
		}
	}
	for id, want := range map[string]int{"few=": 1, "all=": 2} {
		if got := a.frames(id); strings.Count(got, `"total":`) != want || !strings.Contains(got, `"total":700`) {
			t.Errorf("%s got %s", id, got)
		}
	}
}

// TestRulesFailed: a call in which rules failed logs how many of each kind, and the next one does not repeat it.
func TestRulesFailed(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	ws, api := a.function(RoleWS, AuthNone), a.function(RoleHTTP, AuthNone)
	a.ready(api)
	for path, channel := range map[string]string{"/channels/orders": `{"filter":"data.total > 100"}`, "/channels/sums": `{"transform":"{\"sum\": data.total + 1}"}`, "/channels/room": `{}`} {
		if answer := a.call(api, httpEvent("POST", path, channel)); !strings.Contains(answer, `"statusCode":200`) {
			t.Fatal(answer)
		}
	}
	a.call(ws, socketEvent("CONNECT", "few=", ""))
	a.call(ws, socketEvent("MESSAGE", "few=", `,"body":"{\"action\":\"subscribe\",\"channel\":\"room\",\"filter\":\"data.total > 1\"}"`))
	events := a.function(RoleEvents, AuthNone)
	record := func(channel, total string) string {
		return fmt.Sprintf(`{"messageId":"%s%s","body":"{\"channelId\":\"%[1]s\",\"data\":{\"total\":%[2]s}}"}`, channel, total)
	}
	many := `\"many\"`
	batch := strings.Join([]string{record("orders", many), record("orders", "true"), record("sums", many), record("room", many), record("room", "7")}, ",")
	if answer := a.call(events, `{"Records":[`+batch+`]}`); answer != `{"batchItemFailures":[]}` {
		t.Error(answer)
	}
	if answer := a.call(events, `{"Records":[`+record("orders", "101")+`]}`); answer != `{"batchItemFailures":[]}` {
		t.Error(answer)
	}
	for _, want := range []string{"kind=filter count=2", "kind=transform count=1", "kind=subscription count=1"} {
		if got := a.logged(`msg="` + RulesFailed + `" ` + want); got != 1 {
			t.Errorf("%d lines with %s", got, want)
		}
	}
	if got := a.logged(RulesFailed); got != 3 {
		t.Errorf("%d lines in all", got)
	}
}
