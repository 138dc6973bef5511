package apigw_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"eureka"
	"eureka/internal/edge/apigw"
	"eureka/internal/engine/dynamo"
)

// worker does what a test says in place of the engine, whose own work is tested with it.
type worker func(ctx context.Context, task dynamo.Task) error

func (w worker) Work(ctx context.Context, task dynamo.Task) error { return w(ctx, task) }

func message(i int, body string) events.SQSMessage {
	return events.SQSMessage{MessageId: fmt.Sprintf("m%d", i), Body: body, Attributes: map[string]string{"ApproximateReceiveCount": "1"}}
}

// TestTasksPartly: of a batch, exactly the messages whose work failed are given back, whatever it failed by.
func TestTasksPartly(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	var mu sync.Mutex
	seen := map[string]int{}
	tasks, err := apigw.NewTasks(worker(func(_ context.Context, task dynamo.Task) error {
		mu.Lock()
		seen[task.Channel]++
		mu.Unlock()
		switch task.Channel {
		case "busy":
			return eureka.Errorf(eureka.CodeUnavailable, "busy")
		case "broken":
			panic("a defect")
		default:
			return nil
		}
	}), apigw.NewQueue(q.client, q.url), testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	ev := events.SQSEvent{}
	for i, body := range []string{
		`{"kind":"fanout","channel":"a"}`, `{"kind":"fanout","channel":"busy"}`, `no task`, `{"kind":"fanout","channel":"b"}`,
		`{"kind":"fanout","channel":"broken"}`, `[]`, `{"kind":"fanout","channel":"c","unknown":1}`,
	} {
		ev.Records = append(ev.Records, message(i, body))
	}
	if got := failures(ev, invoke[events.SQSEventResponse](t, tasks, ev)); got != "1,2,4,5" {
		t.Errorf("failed: %s", got)
	}
	if diff := cmp.Diff(map[string]int{"a": 1, "b": 1, "c": 1, "busy": 1, "broken": 1}, seen); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if answer := invoke[map[string]any](t, tasks, events.SQSEvent{}); fmt.Sprint(answer) != "map[batchItemFailures:[]]" {
		t.Errorf("an empty batch: %v", answer)
	}
	if _, err := tasks.Invoke(t.Context(), []byte(`"x"`)); eureka.CodeOf(err) != eureka.CodeInvalid {
		t.Errorf("no batch: %v", err)
	}
}

// TestTasksInTime: work sees the function's time end before it does, and what had not begun by then is given back.
func TestTasksInTime(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	var mu sync.Mutex
	begun := 0
	tasks, err := apigw.NewTasks(worker(func(ctx context.Context, _ dynamo.Task) error {
		mu.Lock()
		begun++
		mu.Unlock()
		<-ctx.Done()
		return nil // it has put back what was left
	}), apigw.NewQueue(q.client, q.url), testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	ev := events.SQSEvent{}
	for i := range 10 {
		ev.Records = append(ev.Records, message(i, `{"kind":"fanout"}`))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	answer := invokeWithin[events.SQSEventResponse](t, ctx, tasks, ev)
	if ctx.Err() != nil {
		t.Error("the answer came too late")
	}
	if begun == 0 || begun+len(answer.BatchItemFailures) != 10 {
		t.Errorf("%d begun, %d given back", begun, len(answer.BatchItemFailures))
	}
}

// TestTasksFollow: what waits for a task's end is enqueued when it is done, goes with it when it is put back, and stays with the message when it fails.
func TestTasksFollow(t *testing.T) {
	t.Parallel()
	const first, second = `{"kind":"replay","channel":"A","sockets":["s="]}`, `{"kind":"replay","channel":"B","sockets":["s="]}`
	const body = `{"kind":"send","sockets":["s="],"frames":["e30="],"then":[` + first + `,` + second + `]}`
	replays := map[string]int{"replay A": 1, "replay B": 1}
	for name, tt := range map[string]struct {
		work func(ctx context.Context, q *apigw.Queue, task dynamo.Task) error
		fail string
		want map[string]int // what comes into the queue, by kind, channel and attempt
	}{
		"done": {func(context.Context, *apigw.Queue, dynamo.Task) error { return nil }, "", replays},
		"failed": {func(context.Context, *apigw.Queue, dynamo.Task) error {
			return eureka.Errorf(eureka.CodeUnavailable, "no")
		}, "0", nil},
		"put back": {func(ctx context.Context, q *apigw.Queue, task dynamo.Task) error {
			task.Attempt++
			return q.Enqueue(ctx, 0, task)
		}, "", map[string]int{"send  then 2": 1}},
		"others are put back": {func(ctx context.Context, q *apigw.Queue, task dynamo.Task) error {
			task.Sockets = []string{"other="}
			return q.Enqueue(ctx, 0, task, dynamo.Task{Kind: dynamo.TaskDeliver, Channel: "C"})
		}, "", map[string]int{"replay A": 1, "replay B": 1, "send  then 0": 1, "deliver C": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			queue := apigw.NewQueue(q.client, q.url)
			tasks, err := apigw.NewTasks(worker(func(ctx context.Context, task dynamo.Task) error { return tt.work(ctx, queue, task) }), queue, testLog(t))
			if err != nil {
				t.Fatal(err)
			}
			ev := events.SQSEvent{Records: []events.SQSMessage{message(0, body)}}
			if got := failures(ev, invoke[events.SQSEventResponse](t, tasks, ev)); got != tt.fail {
				t.Errorf("failed: %q", got)
			}
			n := 0
			for _, count := range tt.want {
				n += count
			}
			got := map[string]int{}
			for _, m := range q.receive(n).Records {
				got[summary(t, m)]++
			}
			if diff := cmp.Diff(tt.want, got); len(tt.want) > 0 && diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			q.empty()
		})
	}
}

// FuzzTaskMessages: whatever a message of the queue of tasks holds, it is worked on or given back.
func FuzzTaskMessages(f *testing.F) {
	f.Add([]byte(`{"Records":[{"messageId":"m","body":"{\"kind\":\"send\",\"sockets\":[\"a\"],\"frames\":[\"e30=\"]}"},{"messageId":"n","body":"x"}]}`))
	f.Add([]byte(`{"Records":[{"body":"{\"kind\":\"fanout\",\"channel\":7}"},{"body":"null"},{}]}`))
	f.Add([]byte(`{"Records":null}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		tasks, err := apigw.NewTasks(worker(func(_ context.Context, task dynamo.Task) error {
			if task.Kind == "" {
				return eureka.Errorf(eureka.CodeInvalid, "no kind")
			}
			return nil
		}), apigw.NewQueue(nil, ""), testLog(t))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(bytes.ToLower(payload), []byte("then")) {
			return // what follows a task goes into a queue, and there is none
		}
		text, err := tasks.Invoke(t.Context(), payload)
		if err != nil {
			if eureka.CodeOf(err) != eureka.CodeInvalid {
				t.Fatal(err)
			}
			return
		}
		var ev events.SQSEvent
		var answer events.SQSEventResponse
		if json.Unmarshal(payload, &ev) != nil || json.Unmarshal(text, &answer) != nil || answer.BatchItemFailures == nil || len(answer.BatchItemFailures) > len(ev.Records) {
			t.Fatalf("%s made %s", payload, text)
		}
	})
}
