package simulator_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/coder/websocket"

	"eureka"
	"eureka/internal/awslocal"
	"eureka/internal/edge/simulator"
	"eureka/internal/edge/simulator/fault"
	"eureka/internal/edge/simulator/meter"
)

const patience = 90 * time.Second

// shared are the stand-ins and the real functions that all tests run on, each on a stage of its own.
var shared struct {
	once             sync.Once
	dir              string
	dynamo, queues   *awslocal.Process
	err              error
	stages           atomic.Int64
	bootstrap        string
	dynamoAt, queued string
}

func TestMain(m *testing.M) {
	m.Run()
	for _, p := range []*awslocal.Process{shared.dynamo, shared.queues} {
		if p != nil {
			p.Stop()
		}
	}
	if shared.dir != "" {
		_ = os.RemoveAll(shared.dir)
	}
}

func prepare() error {
	var err error
	if shared.dir, err = os.MkdirTemp("", "eureka-simulator-test"); err != nil {
		return err
	}
	shared.bootstrap = filepath.Join(shared.dir, "bootstrap")
	if out, err := exec.CommandContext(context.Background(), "go", "build", "-o", shared.bootstrap, "eureka/cmd/eureka-lambda").CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	if shared.dynamo, err = awslocal.StartDynamoDB(context.Background()); err != nil {
		return err
	}
	shared.dynamoAt = shared.dynamo.Endpoint
	if shared.queues, err = awslocal.StartQueues(context.Background()); err == nil {
		shared.queued = shared.queues.Endpoint
	}
	return err
}

// world is a simulator with the real functions.
type world struct {
	*simulator.Simulator

	t   *testing.T
	at  simulator.Endpoints
	out *lines
}

// lines is what functions print.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func options(t *testing.T) simulator.Options {
	t.Helper()
	shared.once.Do(func() { shared.err = prepare() })
	if errors.Is(shared.err, awslocal.ErrNotInstalled) && os.Getenv("CI") == "" {
		t.Skip(shared.err)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return simulator.Options{
		Listen: "127.0.0.1:0", Control: "127.0.0.1:0", Stage: fmt.Sprintf("t%d", shared.stages.Add(1)), Auth: "none",
		Bootstrap: shared.bootstrap, DynamoDB: shared.dynamoAt, Queues: shared.queued, Log: slog.New(slog.DiscardHandler),
	}
}

func open(t *testing.T, change func(*simulator.Options)) *world {
	t.Helper()
	o := options(t)
	w := &world{t: t, out: &lines{}}
	o.Output = w.out
	if change != nil {
		change(&o)
	}
	var err error
	if w.Simulator, err = simulator.Start(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Stop()
		if t.Failed() {
			text := w.out.String()
			t.Logf("functions said at the end:\n%s", text[max(len(text)-4000, 0):])
		}
	})
	w.at = w.Endpoints()
	return w
}

// call makes an HTTP request and returns status and body.
func (w *world) call(method, target, body string) (status int, text string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return response.StatusCode, string(b)
}

// must is call for what succeeds.
func (w *world) must(method, target, body string) string {
	w.t.Helper()
	status, text := w.call(method, target, body)
	if status < 200 || status > 299 {
		w.t.Fatalf("%s %s: %d %s", method, target, status, text)
	}
	return text
}

func (w *world) connect(query string) *websocket.Conn {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, w.at.WebSocket+query, nil) //nolint:bodyclose // a handshake's answer has none
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

// expect reads frames until one contains the text.
func (w *world) expect(c *websocket.Conn, text string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for {
		_, frame, err := c.Read(ctx)
		if err != nil {
			w.t.Fatalf("no %q: %v", text, err)
		}
		if strings.Contains(string(frame), text) {
			return string(frame)
		}
	}
}

func (w *world) count(c meter.Counter) float64 {
	w.t.Helper()
	r, err := w.Report()
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Counts[c]
}

func (w *world) eventually(what string, f func() bool) {
	w.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !f(); <-tick.C {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s does not come", what)
		}
	}
}

// TestService: the real functions serve real clients: frames, the HTTP API, the topic; and all of it is metered.
func TestService(t *testing.T) {
	w := open(t, nil)
	var channel struct{ ID string }
	if err := json.Unmarshal([]byte(w.must("POST", w.at.HTTP+"/channels/0", `{"service":"orders-api","modelType":"order"}`)), &channel); err != nil {
		t.Fatal(err)
	}
	c := w.connect("?channels=" + channel.ID)
	ctx := t.Context()
	if err := c.Write(ctx, websocket.MessageText, []byte(`{"action":"ping","ref":1,"data":"x"}`)); err != nil {
		t.Fatal(err)
	}
	w.expect(c, `"pong"`)
	if text := w.must("POST", w.at.HTTP+"/sockets/"+channel.ID+"/broadcast", `{"data":{"hello":"world"}}`); !strings.Contains(text, `"delivered":1`) {
		t.Error(text)
	}
	w.expect(c, `"hello":"world"`)
	topic := sns.New(sns.Options{
		Region: w.at.Region, BaseEndpoint: &w.at.Queues, Credentials: credentials.NewStaticCredentialsProvider(w.at.KeyID, w.at.Secret, ""),
	})
	message := `{"service":"orders-api","modelType":"order","event":"create","data":{"by":"topic"}}`
	if _, err := topic.Publish(ctx, &sns.PublishInput{TopicArn: &w.at.Topic, Message: &message}); err != nil {
		t.Fatal(err)
	}
	w.expect(c, `"by":"topic"`)
	_ = c.Close(websocket.StatusNormalClosure, "")
	w.eventually("the end of the socket", func() bool { return w.count(meter.Invocations.Of("ws")) >= 3 && w.count(meter.Ends) == 1 })
	w.eventually("an empty list of sockets", func() bool { return strings.Contains(w.must("GET", w.at.HTTP+"/sockets", ""), `"total":0`) })
	r, err := w.Report()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []meter.Counter{
		meter.Connects, meter.MessagesIn, meter.MessagesOut, meter.Posts.Of("200"), meter.HTTPRequests, meter.DynamoReads, meter.DynamoWrites,
		meter.DynamoCalls.Of("Query"), meter.SQSCalls.Of("ReceiveMessage"), meter.SNSCalls, meter.GBSeconds, meter.CPUMs, meter.LogGB,
		meter.ColdStarts.Of("http"), meter.Invocations.Of("events"), meter.ConnectionMn,
	} {
		if r.Counts[c] <= 0 {
			t.Errorf("%s is %v", c, r.Counts[c])
		}
	}
	if r.Counts[meter.Errors] != 0 || r.Cost <= 0 || r.Month <= r.Cost || r.Peaks["lambda.memoryMB/ws"] <= 0 {
		t.Errorf("%+v", r)
	}
	if out := w.out.String(); !strings.Contains(out, "ws\tSTART RequestId: ") || !strings.Contains(out, "http\tREPORT RequestId: ") {
		t.Errorf("the functions' output is %s", out)
	}
}

// TestLostDisconnect: a socket whose end nobody reports is found by a post or by the schedule.
func TestLostDisconnect(t *testing.T) {
	w := open(t, func(o *simulator.Options) { o.Faults = []fault.Rule{{Kind: fault.LostDisconnect, Share: 1}} })
	c := w.connect("?channels=news")
	w.eventually("the socket", func() bool { return strings.Contains(w.must("GET", w.at.HTTP+"/sockets", ""), `"total":1`) })
	_ = c.CloseNow()
	w.eventually("its end", func() bool { return w.count(meter.Ends) == 1 })
	if text := w.must("GET", w.at.HTTP+"/sockets", ""); !strings.Contains(text, `"total":1`) {
		t.Errorf("who told? %s", text)
	}
	// The post finds out. A socket as young as this one may be one that API Gateway does not know yet, so that it is tried again first.
	w.must("POST", w.at.HTTP+"/channels/news/broadcast", `{"data":1}`)
	w.eventually("an empty list of sockets", func() bool { return strings.Contains(w.must("GET", w.at.HTTP+"/sockets", ""), `"total":0`) })
	if text := w.must("POST", w.at.HTTP+"/channels/news/broadcast", `{"data":2}`); !strings.Contains(text, `"delivered":0`) {
		t.Error(text)
	}
	if s := w.Faults(); len(s) != 1 || s[0].Happened != 1 {
		t.Errorf("%+v", s)
	}
	if text := w.must("POST", w.at.Control+"/schedule", ""); !strings.Contains(text, "true") || w.count(meter.Invocations.Of("schedule")) != 1 {
		t.Errorf("the schedule: %s", text)
	}
}

// TestDynamoFaults: the service works although DynamoDB refuses and leaves undone, and it is counted.
func TestDynamoFaults(t *testing.T) {
	w := open(t, nil)
	w.must("POST", w.at.Control+"/faults", "dynamodb-throttle=0.2\n\n dynamodb-unprocessed=0.5 \n")
	c := w.connect("?channels=news")
	for i := range 5 {
		w.must("POST", w.at.HTTP+"/channels/news/broadcast", fmt.Sprintf(`{"data":{"n":%d}}`, i))
		w.expect(c, fmt.Sprintf(`"n":%d`, i))
	}
	states := w.Faults()
	if len(states) != 2 || states[0].Rule.Kind != fault.DynamoThrottle || states[0].Happened == 0 || w.count(meter.DynamoThrottled) == 0 {
		t.Errorf("%+v, %v", states, w.count(meter.DynamoThrottled))
	}
	w.must("DELETE", w.at.Control+"/faults", "")
	n := w.count(meter.DynamoThrottled)
	for range 5 {
		w.must("GET", w.at.HTTP+"/sockets", "")
	}
	if w.count(meter.DynamoThrottled) != n {
		t.Error("faults go on after their end")
	}
}

// TestPoison: an event that nobody understands ends among the dead letters, and those around it arrive.
func TestPoison(t *testing.T) {
	w := open(t, func(o *simulator.Options) { o.Visibility = time.Second })
	c := w.connect("?channels=orders-api:order")
	topic := sns.New(sns.Options{
		Region: w.at.Region, BaseEndpoint: &w.at.Queues, Credentials: credentials.NewStaticCredentialsProvider(w.at.KeyID, w.at.Secret, ""),
	})
	for _, text := range []string{`{"n":1}`, "poison", `{"n":2}`} {
		message := text
		if text != "poison" {
			message = `{"service":"orders-api","modelType":"order","event":"create","data":` + text + `}`
		}
		if _, err := topic.Publish(t.Context(), &sns.PublishInput{TopicArn: &w.at.Topic, Message: &message}); err != nil {
			t.Fatal(err)
		}
	}
	w.expect(c, `"n":`)
	w.expect(c, `"n":`)
	w.eventually("the dead letter", func() bool {
		d, err := w.Depths(t.Context())
		return err == nil && d["eventsDead"].Waiting == 1 && d["events"] == simulator.Depth{}
	})
}

// TestCrowd: a broadcast to many sockets without clients, through the control endpoint.
func TestCrowd(t *testing.T) {
	w := open(t, nil)
	const n = 60
	join := w.at.Control + "/crowd?n=" + fmt.Sprint(n) + "&side=8&target=" + url.QueryEscape("/?channels=news")
	if text := w.must("POST", join, ""); !strings.Contains(text, `"sockets": 60`) {
		t.Fatal(text)
	}
	w.must("GET", w.at.Control+"/crowd?reset=true", "")
	reads, posts := w.count(meter.DynamoReads), w.count(meter.Posts.Of("200"))
	if text := w.must("POST", w.at.HTTP+"/channels/news/broadcast", `{"data":1}`); !strings.Contains(text, `"delivered":60`) {
		t.Error(text)
	}
	var stats struct{ Messages int }
	if err := json.Unmarshal([]byte(w.must("GET", w.at.Control+"/crowd", "")), &stats); err != nil || stats.Messages != n {
		t.Errorf("%+v, %v", stats, err)
	}
	if got := w.count(meter.Posts.Of("200")) - posts; got != n {
		t.Errorf("%v posts", got)
	}
	if got := w.count(meter.DynamoReads) - reads; got > 10 {
		t.Errorf("%v read units for %d subscribers", got, n)
	}
	w.must("DELETE", w.at.Control+"/crowd", "")
	w.eventually("an empty list of sockets", func() bool { return strings.Contains(w.must("GET", w.at.HTTP+"/sockets", ""), `"total":0`) })
}

// TestControl: what the control endpoint takes and refuses.
func TestControl(t *testing.T) {
	w := open(t, nil)
	if text := w.must("GET", w.at.Control+"/", ""); !strings.Contains(text, "/faults") {
		t.Error(text)
	}
	var at simulator.Endpoints
	if err := json.Unmarshal([]byte(w.must("GET", w.at.Control+"/endpoints", "")), &at); err != nil || at != w.at {
		t.Errorf("%+v, %v", at, err)
	}
	if text := w.must("GET", w.at.Control+"/meter?format=text", ""); !strings.Contains(text, "a month like that") {
		t.Error(text)
	}
	var report meter.Report
	if err := json.Unmarshal([]byte(w.must("GET", w.at.Control+"/meter", "")), &report); err != nil || report.Region == "" {
		t.Errorf("%+v, %v", report, err)
	}
	var depths map[string]simulator.Depth
	if err := json.Unmarshal([]byte(w.must("GET", w.at.Control+"/queues", "")), &depths); err != nil || len(depths) != 4 {
		t.Errorf("%+v, %v", depths, err)
	}
	for how, code := range map[string]websocket.StatusCode{"": -1, "lost": -1, "age": websocket.StatusGoingAway} {
		c := w.connect("")
		var list []struct{ ID string }
		w.eventually("the socket", func() bool {
			return json.Unmarshal([]byte(w.must("GET", w.at.Control+"/connections", "")), &list) == nil && len(list) == 1
		})
		w.must("DELETE", w.at.Control+"/connections/"+url.PathEscape(list[0].ID)+"?how="+how, "")
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, _, err := c.Read(ctx)
		cancel()
		if websocket.CloseStatus(err) != code {
			t.Errorf("%q: %v", how, err)
		}
	}
	starts := w.count(meter.ColdStarts)
	w.must("POST", w.at.Control+"/functions/reset", "")
	w.connect("")
	if w.eventually("a cold start", func() bool { return w.count(meter.ColdStarts) > starts }); t.Failed() {
		return
	}
	for _, tt := range []struct {
		method, target, body string
		status               int
	}{
		{"POST", "/faults", "nonsense", 400},
		{"POST", "/faults", "dynamodb-throttle=1,count=1", 400},
		{"POST", "/faults", strings.Repeat("\n", 64<<10+1), 413},
		{"DELETE", "/connections/x", "", 404},
		{"DELETE", "/connections/x?how=x", "", 400},
		{"POST", "/crowd", "", 400},
		{"POST", "/crowd?n=1&side=0", "", 400},
		{"POST", "/crowd?n=1&target=x", "", 400},
		{"GET", "/nothing", "", 404},
	} {
		if status, text := w.call(tt.method, w.at.Control+tt.target, tt.body); status != tt.status {
			t.Errorf("%s %s: %d %s", tt.method, tt.target, status, text)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, w.at.Control+"/faults", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Origin", "https://example.com")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("a page may: %s", response.Status)
	}
}

// TestRefused: what cannot be started says why, and leaves nothing behind.
func TestRefused(t *testing.T) {
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for name, tt := range map[string]struct {
		change func(*simulator.Options)
		code   eureka.Code
		says   string
	}{
		"stage":     {func(o *simulator.Options) { o.Stage = "De-v" }, eureka.CodeInvalid, "lower-case"},
		"auth":      {func(o *simulator.Options) { o.Auth = "some" }, eureka.CodeInvalid, "none, service or iam"},
		"speed":     {func(o *simulator.Options) { o.Speed = 0.5 }, eureka.CodeInvalid, "at least 1"},
		"fault":     {func(o *simulator.Options) { o.Faults = []fault.Rule{{Kind: "x"}} }, eureka.CodeInvalid, "none of"},
		"address":   {func(o *simulator.Options) { o.Listen = "x" }, eureka.CodeInvalid, "address"},
		"open":      {func(o *simulator.Options) { o.Listen = "0.0.0.0:0" }, eureka.CodeInvalid, "loopback"},
		"open too":  {func(o *simulator.Options) { o.Control = ":0" }, eureka.CodeInvalid, "loopback"},
		"taken":     {func(o *simulator.Options) { o.Listen = taken.Addr().String() }, eureka.CodeConflict, "another address"},
		"bootstrap": {func(o *simulator.Options) { o.Bootstrap = filepath.Join(t.TempDir(), "x") }, eureka.CodeInvalid, "no program"},
		"no dynamo": {func(o *simulator.Options) { o.DynamoDB = "http://127.0.0.1:1" }, eureka.CodeUnavailable, "table"},
	} {
		o := options(t)
		tt.change(&o)
		s, err := simulator.Start(t.Context(), o)
		if err == nil {
			s.Stop()
			t.Errorf("%s: it starts", name)
			continue
		}
		if eureka.CodeOf(err) != tt.code || !strings.Contains(eureka.MessageOf(err), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Setenv("EUREKA_TOOLS", t.TempDir())
	o := options(t)
	o.DynamoDB = ""
	_, err = simulator.Start(t.Context(), o)
	if !errors.Is(err, awslocal.ErrNotInstalled) || eureka.CodeOf(err) != eureka.CodeUnavailable || !strings.Contains(eureka.MessageOf(err), "make tools") || !strings.Contains(eureka.MessageOf(err), "--dynamodb") {
		t.Errorf("without tools: %v", err)
	}
	o = options(t)
	o.Bootstrap = ""
	t.Chdir(t.TempDir())
	if _, err = simulator.Start(t.Context(), o); eureka.CodeOf(err) != eureka.CodeNotFound || !strings.Contains(eureka.MessageOf(err), "--bootstrap") {
		t.Errorf("without source: %v", err)
	}
}

// TestAlone: with nothing given it starts its own stand-ins and builds the functions; Stop ends all of it.
func TestAlone(t *testing.T) {
	options(t) // skips
	o := simulator.Options{Listen: "localhost:0", Control: "127.0.0.1:0", Stage: "dev", Auth: "none", Speed: 6000, Visibility: time.Second, Log: slog.New(slog.DiscardHandler)}
	var steps []string
	o.Progress = func(text string) { steps = append(steps, text) }
	s, err := simulator.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	w := &world{t: t, Simulator: s, at: s.Endpoints()}
	w.must("GET", w.at.HTTP+"/hello", "")
	// 5 minutes at this speed are 50 ms.
	w.eventually("the second time of the schedule", func() bool { return w.count(meter.Scheduled) >= 2 })
	c := w.connect("") // 10 minutes without a word are 100 ms
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for err == nil {
		_, _, err = c.Read(ctx)
	}
	if websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("idle: %v", err)
	}
	s.Stop()
	s.Stop()
	for name, at := range map[string]string{"the APIs": w.at.HTTP, "control": w.at.Control, "DynamoDB": w.at.DynamoDB, "queues": w.at.Queues} {
		u, err := url.Parse(at)
		if err != nil {
			t.Fatal(err)
		}
		if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", u.Host); err == nil {
			_ = conn.Close()
			t.Errorf("%s listen after Stop", name)
		}
	}
	if len(steps) != 4 {
		t.Errorf("the steps were %q", steps)
	}
}
