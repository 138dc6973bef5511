package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"eureka/internal/awslocal"
)

// standIns are what the scripts of the mode aws share: DynamoDB Local, fauxqs and the functions' program. Each script has a stage of its own.
var standIns shared

type shared struct {
	once           sync.Once
	dynamo, queues *awslocal.Process
	err            error
	stages         atomic.Int64
}

// need starts them unless they run, and skips a test where they are not installed.
func (s *shared) need(t *testing.T) {
	t.Helper()
	s.once.Do(func() { s.err = s.start() })
	if errors.Is(s.err, awslocal.ErrNotInstalled) && os.Getenv("CI") != "true" {
		t.Skip(s.err)
	}
	if s.err != nil {
		t.Fatal(s.err)
	}
}

func (s *shared) start() error {
	var err error
	if s.dynamo, err = awslocal.StartDynamoDB(context.Background()); err != nil {
		return err
	}
	if s.queues, err = awslocal.StartQueues(context.Background()); err != nil {
		return err
	}
	return build("bootstrap", "eureka/cmd/eureka-lambda")
}

func (s *shared) stop() {
	for _, p := range []*awslocal.Process{s.dynamo, s.queues} {
		if p != nil {
			p.Stop()
		}
	}
}

// logsOf is the file that gets what a script's functions print.
const logsOf = "functions.log"

// simulate is serve in the mode aws.
func simulate(ts *testscript.TestScript, flags []string) {
	if name, _ := nameOf(flags); name != "" {
		ts.Fatalf("there are no nodes in AWS")
	}
	w := worldOf(ts)
	if w.crashed {
		w.crashed = false
		awaitReady(ts, processOf(ts, "serve"), ts.Getenv("HOST"), patience)
		return
	}
	if w.stage == "" {
		w.stage = fmt.Sprintf("e2e%d", standIns.stages.Add(1))
		control, err := freeAddress()
		ts.Check(err)
		ts.Setenv("CONTROL", "http://"+control)
		// One process of a function for each event under way; a laptop has no room for a thousand.
		ts.Setenv("STAGE", w.stage)
		ts.Setenv("SIMULATE", strings.Join([]string{
			"--control", control, "--dynamodb", standIns.dynamo.Endpoint, "--queues", standIns.queues.Endpoint,
			"--bootstrap", filepath.Join(binDir, "bootstrap"), "--concurrency", "8", "--logs", ts.MkAbs(logsOf), "--log-level", "info",
		}, " "))
	}
	address := nodeAddress(ts, "")
	ts.Setenv("MANAGEMENT", "http://"+address+"/"+w.stage)
	args := append([]string{"simulate", "--listen", address, "--stage", w.stage}, strings.Fields(ts.Getenv("SIMULATE"))...)
	awaitReady(ts, start(ts, "serve", "eureka", append(args, flags...)), address, patience)
}

// crashAll is crash in the mode aws, the worst that is left there: all sockets break at once and no $disconnect comes, and no process of a function
// is left. The simulator itself goes on, since the stand-in of SQS would give its dead polls what comes next, and hide that for minutes.
func crashAll(ts *testscript.TestScript) {
	var open []struct {
		ID string `json:"id"`
	}
	control(ts, http.MethodGet, "/connections", "", &open)
	for _, c := range open {
		control(ts, http.MethodDelete, "/connections/"+url.PathEscape(c.ID)+"?how=lost", "", nil)
	}
	control(ts, http.MethodPost, "/functions/reset", "", nil)
	worldOf(ts).crashed = true
}

// tellLogs shows the end of what the functions and the simulator of a script that failed have said.
func (w *world) tellLogs() {
	t, ok := w.env.T().(interface{ Failed() bool })
	if w.mode != aws || !ok || !t.Failed() {
		return
	}
	if p := w.processes["serve"]; p != nil {
		w.env.T().Log("the simulator said at its end:\n" + ending(p.text()))
	}
	if text, err := os.ReadFile(filepath.Join(w.env.WorkDir, logsOf)); err == nil {
		said := aboutRequests.ReplaceAllString(string(text), "")
		w.env.T().Log("the functions said at their end:\n" + ending(said))
	}
}

// aboutRequests are the lines that Lambda adds to a log.
var aboutRequests = regexp.MustCompile(`(?m)^\w+\t(START|END|REPORT) RequestId.*\n`)

// ending is the last lines of a text.
func ending(text string) string { return text[max(0, len(text)-6000):] }

// control calls the simulator's control endpoint and reads its answer into out, if that is not nil.
func control(ts *testscript.TestScript, method, target, body string, out any) {
	if worldOf(ts).mode != aws {
		ts.Fatalf("there is a control endpoint in the mode aws alone")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, ts.Getenv("CONTROL")+target, strings.NewReader(body))
	ts.Check(err)
	if token := ts.Getenv("EUREKA_TOKEN"); token != "" {
		request.Header.Set("Authorization", "Bearer "+token) // for a crowd, which connects with it
	}
	response, err := http.DefaultClient.Do(request)
	ts.Check(err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	ts.Check(err)
	if response.StatusCode != http.StatusOK {
		ts.Fatalf("%s %s: %s %s", method, target, response.Status, text)
	}
	if out != nil {
		ts.Check(json.Unmarshal(text, out))
	}
}

// endpoints are what a script needs of GET /endpoints.
type endpoints struct {
	KeyID  string `json:"accessKeyId"`
	Secret string `json:"secretAccessKey"`
	Region string `json:"region"`
	Queues string `json:"queues"`
	Topic  string `json:"eventsTopicArn"`
}
