package apigw_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/google/go-cmp/cmp"

	"eureka"
	"eureka/internal/awslocal"
	"eureka/internal/edge/apigw"
	"eureka/internal/engine/dynamo"
)

func tasksOf(t *testing.T, ev events.SQSEvent) []dynamo.Task {
	t.Helper()
	var tasks []dynamo.Task
	for _, m := range ev.Records {
		var task dynamo.Task
		if err := json.Unmarshal([]byte(m.Body), &task); err != nil {
			t.Fatal(err)
		}
		tasks = append(tasks, task)
	}
	return tasks
}

// TestQueue: tasks arrive as they were, more than one batch of them, and what is delayed arrives later.
func TestQueue(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	queue := apigw.NewQueue(q.client, q.url)
	want := map[string]dynamo.Task{}
	var tasks []dynamo.Task
	for i := range 25 {
		task := dynamo.Task{
			Kind: dynamo.TaskFanout, Channel: fmt.Sprintf("c%d", i), Shard: i, Body: bytes.Repeat([]byte{0xff, '"'}, 10_000), Except: []string{"a=\uffff\ufffe é"},
			Since: 5, Attempt: 2, Frames: [][]byte{[]byte(`{"a":1}`)}, Sockets: []string{"s="},
		}
		tasks, want[task.Channel] = append(tasks, task), task
	}
	if err := queue.Enqueue(t.Context(), 0, tasks...); err != nil {
		t.Fatal(err)
	}
	got := map[string]dynamo.Task{}
	for _, task := range tasksOf(t, q.receive(len(tasks))) {
		got[task.Channel] = task
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	began := time.Now()
	if err := queue.Enqueue(t.Context(), 1100*time.Millisecond, tasks[0]); err != nil {
		t.Fatal(err)
	}
	q.receive(1)
	if waited := time.Since(began); waited < 1100*time.Millisecond {
		t.Errorf("it came after %v", waited)
	}
	if err := queue.Enqueue(t.Context(), 0); err != nil {
		t.Errorf("nothing: %v", err)
	}
}

// TestQueueDivides: what is too large for one message is divided, and what cannot be is refused.
func TestQueueDivides(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	queue := apigw.NewQueue(q.client, q.url)
	frame := func(c string) []byte { return bytes.Repeat([]byte(c), eureka.MaxFrameBytes) }
	send := dynamo.Task{Kind: dynamo.TaskSend, Sockets: []string{"a=", "b="}, Frames: [][]byte{frame("1"), frame("2"), frame("3")}}
	if err := queue.Enqueue(t.Context(), 0, send); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, task := range tasksOf(t, q.receive(6)) {
		for _, f := range task.Frames {
			for _, socket := range task.Sockets {
				got[socket] += string(f[:1])
			}
		}
	}
	if diff := cmp.Diff(map[string]string{"a=": "123", "b=": "123"}, got); diff != "" {
		t.Errorf("each socket's frames in their order (-want +got):\n%s", diff)
	}
	for name, task := range map[string]dynamo.Task{
		"one frame": {Kind: dynamo.TaskSend, Sockets: []string{"a="}, Frames: [][]byte{append(frame("1"), frame("2")...)}},
		"a body":    {Kind: dynamo.TaskFanout, Body: append(frame("1"), frame("2")...)},
	} {
		if err := queue.Enqueue(t.Context(), 0, task); eureka.CodeOf(err) != eureka.CodeTooLarge {
			t.Errorf("%s: %v", name, err)
		}
	}
	q.empty()
}

// partly lets the real queue take a part of each batch and answers for the rest what the test says. It is a fake of SQS's bad days.
type partly struct {
	mu     sync.Mutex
	refuse func(call int, id string) string // the code of the refusal, "" for none; a code that begins with "Sender" is the sender's fault
	calls  int
}

func (p *partly) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.calls++
	call := p.calls
	p.mu.Unlock()
	var request struct {
		QueueURL string `json:"QueueUrl"`
		Entries  []map[string]any
	}
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, err
	}
	var passed, failed []map[string]any
	for _, e := range request.Entries {
		if code := p.refuse(call, fmt.Sprint(e["Id"])); code != "" {
			failed = append(failed, map[string]any{"Id": e["Id"], "Code": code, "Message": "a foreign text", "SenderFault": strings.HasPrefix(code, "Sender")})
		} else {
			passed = append(passed, e)
		}
	}
	answer := map[string]any{"Successful": []any{}}
	response := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Request: r}
	if len(passed) > 0 {
		text, err := json.Marshal(map[string]any{"QueueUrl": request.QueueURL, "Entries": passed})
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
		if response, err = http.DefaultTransport.RoundTrip(r); err != nil {
			return nil, err
		}
		defer func() { _ = response.Body.Close() }()
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
			return nil, err
		}
	}
	answer["Failed"] = failed
	text, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	response.Header.Del("Content-Length")
	response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	return response, nil
}

// TestQueueRepeats: what of a batch was not taken is sent again, a few times, and what is our own fault is not.
func TestQueueRepeats(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		refuse func(call int, id string) string
		want   eureka.Code
		stored int
		atMost int // calls
	}{
		"some of it twice": {func(call int, id string) string {
			return map[bool]string{true: "InternalError"}[call < 3 && (id == "3" || id == "11")]
		}, "", 12, 4},
		"one for ever": {func(_ int, id string) string { return map[bool]string{true: "ThrottlingException"}[id == "3"] }, eureka.CodeUnavailable, 9, 4},
		"our fault":    {func(_ int, id string) string { return map[bool]string{true: "SenderInvalidMessageContents"}[id == "3"] }, eureka.CodeInternal, 9, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			fault := &partly{refuse: tt.refuse}
			client := sqs.New(sqs.Options{
				BaseEndpoint: aws.String(localQueues.at(t)), Region: awslocal.Region, Credentials: staticCredentials(), HTTPClient: &http.Client{Transport: fault},
			})
			tasks := make([]dynamo.Task, 12)
			for i := range tasks {
				tasks[i] = dynamo.Task{Kind: dynamo.TaskDeliver, Shard: i}
			}
			err := apigw.NewQueue(client, q.url).Enqueue(t.Context(), 0, tasks...)
			if eureka.CodeOf(err) != tt.want || strings.Contains(eureka.MessageOf(err), "foreign") {
				t.Errorf("%v", err)
			}
			if fault.calls > tt.atMost {
				t.Errorf("%d calls", fault.calls)
			}
			got := map[int]bool{}
			for _, task := range tasksOf(t, q.receive(tt.stored)) {
				got[task.Shard] = true
			}
			if len(got) != tt.stored {
				t.Errorf("%d tasks came, of %d", len(got), tt.stored)
			}
			q.empty()
		})
	}
}

func TestQueueDown(t *testing.T) {
	t.Parallel()
	client := sqs.New(sqs.Options{BaseEndpoint: aws.String("http://127.0.0.1:1"), Region: awslocal.Region, Credentials: staticCredentials(), RetryMaxAttempts: 1})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := apigw.NewQueue(client, "http://127.0.0.1:1/q").Enqueue(ctx, 0, dynamo.Task{Kind: dynamo.TaskSend})
	if eureka.CodeOf(err) != eureka.CodeUnavailable || strings.Contains(eureka.MessageOf(err), "127.0.0.1") {
		t.Errorf("%v", err)
	}
}
