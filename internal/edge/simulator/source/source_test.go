package source_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"

	"eureka/internal/awslocal"
	"eureka/internal/edge/simulator/fault"
	"eureka/internal/edge/simulator/lambda"
	"eureka/internal/edge/simulator/meter"
	"eureka/internal/edge/simulator/source"
)

const patience = 60 * time.Second

var (
	once    sync.Once
	process *awslocal.Process
	failure error
)

func TestMain(m *testing.M) {
	m.Run()
	if process != nil {
		process.Stop()
	}
}

func client(t *testing.T) *sqs.Client {
	t.Helper()
	once.Do(func() { process, failure = awslocal.StartQueues(context.Background()) })
	if errors.Is(failure, awslocal.ErrNotInstalled) && os.Getenv("CI") == "" {
		t.Skip(failure)
	}
	if failure != nil {
		t.Fatal(failure)
	}
	return sqs.New(sqs.Options{Region: awslocal.Region, BaseEndpoint: &process.Endpoint, Credentials: credentials.NewStaticCredentialsProvider("k", "s", "")})
}

// function is a function of the test: no process, since this package knows nothing of them.
type function func(events.SQSEvent) (string, error)

func (f function) Invoke(_ context.Context, event []byte) (lambda.Result, error) {
	decoder := json.NewDecoder(strings.NewReader(string(event)))
	decoder.DisallowUnknownFields()
	var e events.SQSEvent
	if err := decoder.Decode(&e); err != nil {
		panic(err)
	}
	text, err := f(e)
	return lambda.Result{Payload: []byte(text)}, err
}

// queue is a queue with a dead-letter queue behind three receives.
type queue struct {
	*source.Mapping

	t           *testing.T
	client      *sqs.Client
	url, dead   string
	faults      *fault.Set
	mu          sync.Mutex
	seen        []events.SQSEvent
	running, at int // invocations now, and at most
}

func open(t *testing.T, visibility string, change func(*source.MappingOptions), f function) *queue {
	t.Helper()
	c := client(t)
	name := strings.ReplaceAll(t.Name(), "/", "-")
	create := func(name string, attributes map[string]string) (url, arn string) {
		out, err := c.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
		if err != nil {
			t.Fatal(err)
		}
		a, err := c.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: out.QueueUrl, AttributeNames: []types.QueueAttributeName{"QueueArn"}})
		if err != nil {
			t.Fatal(err)
		}
		return *out.QueueUrl, a.Attributes["QueueArn"]
	}
	q := &queue{t: t, client: c, faults: fault.NewSet(1)}
	var deadARN, arn string
	q.dead, deadARN = create(name+"-dead", nil)
	q.url, arn = create(name, map[string]string{"VisibilityTimeout": visibility, "RedrivePolicy": fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":3}`, deadARN)})
	o := source.MappingOptions{
		Client: c, QueueURL: q.url, QueueARN: arn, Region: awslocal.Region, Role: "events", Batch: 10, Concurrency: 5,
		Faults: q.faults, Log: slog.New(slog.DiscardHandler),
		Function: function(func(e events.SQSEvent) (string, error) {
			q.mu.Lock()
			q.seen = append(q.seen, e)
			q.running++
			q.at = max(q.at, q.running)
			q.mu.Unlock()
			defer func() {
				q.mu.Lock()
				q.running--
				q.mu.Unlock()
			}()
			return f(e)
		}),
	}
	if change != nil {
		change(&o)
	}
	q.Mapping = source.StartMapping(o)
	t.Cleanup(q.Stop)
	return q
}

func (q *queue) send(bodies ...string) {
	q.t.Helper()
	for chunk := range slices.Chunk(bodies, 10) {
		in := &sqs.SendMessageBatchInput{QueueUrl: &q.url}
		for i, body := range chunk {
			in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{
				Id: aws.String(fmt.Sprint(i)), MessageBody: &body,
				MessageAttributes: map[string]types.MessageAttributeValue{"kind": {DataType: aws.String("String"), StringValue: aws.String("x")}},
			})
		}
		if _, err := q.client.SendMessageBatch(q.t.Context(), in); err != nil {
			q.t.Fatal(err)
		}
	}
}

// bodies are all bodies that the function saw, sorted.
func (q *queue) bodies() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []string
	for _, e := range q.seen {
		for _, r := range e.Records {
			out = append(out, r.Body)
		}
	}
	slices.Sort(out)
	return out
}

// left is how many messages a queue has, in flight or not.
func (q *queue) left(url string) string {
	out, err := q.client.GetQueueAttributes(q.t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []types.QueueAttributeName{"All"}})
	if err != nil {
		q.t.Fatal(err)
	}
	return out.Attributes["ApproximateNumberOfMessages"] + "+" + out.Attributes["ApproximateNumberOfMessagesNotVisible"]
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !f(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come", what)
		}
	}
}

// TestBatch: messages arrive as Lambda gives them to functions, and are gone once handled.
func TestBatch(t *testing.T) {
	q := open(t, "60", nil, func(events.SQSEvent) (string, error) { return `{"batchItemFailures":[]}`, nil })
	var want []string
	for i := range 25 {
		want = append(want, fmt.Sprintf("%02d ä", i))
	}
	q.send(want...)
	eventually(t, "the last message", func() bool { return len(q.bodies()) >= 25 })
	if diff := cmp.Diff(want, q.bodies()); diff != "" {
		t.Error(diff)
	}
	eventually(t, "the empty queue", func() bool { return q.left(q.url) == "0+0" })
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.seen[0].Records[0]
	if r.MessageId == "" || r.ReceiptHandle == "" || r.Md5OfBody == "" || r.EventSource != "aws:sqs" || !strings.HasPrefix(r.EventSourceARN, "arn:aws:sqs:eu-west-1:") ||
		r.AWSRegion != "eu-west-1" || r.Attributes["ApproximateReceiveCount"] != "1" || r.Attributes["SentTimestamp"] == "" || *r.MessageAttributes["kind"].StringValue != "x" {
		t.Errorf("%+v", r)
	}
	for _, e := range q.seen {
		if len(e.Records) > 10 {
			t.Errorf("a batch of %d", len(e.Records))
		}
	}
}

// TestPartialFailure: what the function names as failed comes again after its visibility, and the rest does not; what fails for good ends among
// the dead letters.
func TestPartialFailure(t *testing.T) {
	q := open(t, "1", nil, func(e events.SQSEvent) (string, error) {
		var failed []string
		for _, r := range e.Records {
			if r.Body == "poison" || (r.Body == "late" && r.Attributes["ApproximateReceiveCount"] == "1") {
				failed = append(failed, fmt.Sprintf(`{"itemIdentifier":%q}`, r.MessageId))
			}
		}
		return `{"batchItemFailures":[` + strings.Join(failed, ",") + `]}`, nil
	})
	q.send("good", "poison", "late", "good")
	eventually(t, "the dead letter", func() bool { return q.left(q.dead) == "1+0" })
	eventually(t, "the empty queue", func() bool { return q.left(q.url) == "0+0" })
	if diff := cmp.Diff([]string{"good", "good", "late", "late", "poison", "poison", "poison"}, q.bodies()); diff != "" {
		t.Error(diff)
	}
	out, err := q.client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &q.dead})
	if err != nil || len(out.Messages) != 1 || *out.Messages[0].Body != "poison" {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestAnswers: what counts as success, and what fails the whole batch.
func TestAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		answer string
		err    error
		again  bool
	}{
		"null": {"null", nil, false}, "nothing": {"", nil, false}, "an object": {"{}", nil, false}, "a null list": {`{"batchItemFailures":null}`, nil, false},
		"a failure": {"", &lambda.Error{Type: "x"}, true}, "a text": {`"x"`, nil, true}, "no JSON": {"x", nil, true},
		"an empty id": {`{"batchItemFailures":[{"itemIdentifier":""}]}`, nil, true}, "a null id": {`{"batchItemFailures":[{"itemIdentifier":null}]}`, nil, true},
		"another key": {`{"batchItemFailures":[{"id":"x"}]}`, nil, true}, "an unknown id": {`{"batchItemFailures":[{"itemIdentifier":"x"}]}`, nil, true},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			q := open(t, "1", nil, func(e events.SQSEvent) (string, error) {
				if e.Records[0].Attributes["ApproximateReceiveCount"] != "1" {
					return "null", nil
				}
				return tt.answer, tt.err
			})
			q.send("x")
			if tt.again {
				eventually(t, "the second delivery", func() bool { return len(q.bodies()) == 2 })
			}
			eventually(t, "the empty queue", func() bool { return q.left(q.url) == "0+0" })
			if n := len(q.bodies()); (n == 2) != tt.again {
				t.Errorf("delivered %d times", n)
			}
		})
	}
}

// TestConcurrency: as many invocations at a time as may be, also above the pollers of an idle queue, and not one more.
func TestConcurrency(t *testing.T) {
	for _, n := range []int{1, 8} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			gate := make(chan struct{})
			q := open(t, "60", func(o *source.MappingOptions) { o.Batch, o.Concurrency = 1, n }, func(events.SQSEvent) (string, error) {
				<-gate
				return "null", nil
			})
			bodies := make([]string, 20)
			for i := range bodies {
				bodies[i] = fmt.Sprint(i)
			}
			q.send(bodies...)
			eventually(t, "the last invocation at a time", func() bool {
				q.mu.Lock()
				defer q.mu.Unlock()
				return q.running == n
			})
			close(gate)
			eventually(t, "the last message", func() bool { return len(q.bodies()) == len(bodies) })
			q.mu.Lock()
			defer q.mu.Unlock()
			if q.at != n {
				t.Errorf("%d ran at a time", q.at)
			}
		})
	}
}

// TestThrottled: a batch whose function is throttled waits and is not lost, without a new receive.
func TestThrottled(t *testing.T) {
	n := 0
	var mu sync.Mutex
	q := open(t, "60", func(o *source.MappingOptions) { o.Concurrency = 1 }, func(events.SQSEvent) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if n++; n < 3 {
			return "", lambda.ErrThrottled
		}
		return "null", nil
	})
	q.send("x")
	eventually(t, "the third try", func() bool { return len(q.bodies()) == 3 })
	eventually(t, "the empty queue", func() bool { return q.left(q.url) == "0+0" })
	q.mu.Lock()
	defer q.mu.Unlock()
	if c := q.seen[2].Records[0].Attributes["ApproximateReceiveCount"]; c != "1" {
		t.Errorf("received %s times", c)
	}
}

// TestRedeliver: a handled batch comes a second time.
func TestRedeliver(t *testing.T) {
	q := open(t, "60", nil, func(events.SQSEvent) (string, error) { return "null", nil })
	if err := q.faults.Put(fault.Rule{Kind: fault.Redeliver, Share: 1, Count: 1, Role: "events"}); err != nil {
		t.Fatal(err)
	}
	q.send("x")
	eventually(t, "the second delivery", func() bool { return len(q.bodies()) == 2 })
	eventually(t, "the empty queue", func() bool { return q.left(q.url) == "0+0" })
}

type recorder struct {
	mu     sync.Mutex
	events []events.EventBridgeEvent
	fail   error
}

func (r *recorder) Invoke(_ context.Context, event []byte) (lambda.Result, error) {
	decoder := json.NewDecoder(strings.NewReader(string(event)))
	decoder.DisallowUnknownFields()
	var e events.EventBridgeEvent
	if err := decoder.Decode(&e); err != nil {
		panic(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	return lambda.Result{}, r.fail
}

// TestSchedule: the clock invokes the function again and again, whatever comes of it, and Run does at once.
func TestSchedule(t *testing.T) {
	r := &recorder{fail: errors.New("no")}
	m := meter.New(nil)
	s := source.StartSchedule(source.ScheduleOptions{
		Rule: "eureka-dev-schedule", Account: "123456789012", Region: "eu-west-1", Every: time.Millisecond, Function: r, Meter: m, Log: slog.New(slog.DiscardHandler),
	})
	eventually(t, "the third time", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.events) >= 3
	})
	s.Stop()
	n := len(r.events)
	if err := s.Run(t.Context()); err == nil {
		t.Error("Run hides the error")
	}
	if len(r.events) != n+1 || m.Read().Counts[meter.Scheduled] != float64(n+1) {
		t.Errorf("%d events, %v counted", len(r.events), m.Read().Counts)
	}
	e := r.events[0]
	if e.Source != "aws.events" || e.DetailType != "Scheduled Event" || len(e.ID) != 36 || e.ID == r.events[1].ID || string(e.Detail) != "{}" ||
		e.Resources[0] != "arn:aws:events:eu-west-1:123456789012:rule/eureka-dev-schedule" || time.Since(e.Time) > time.Minute {
		t.Errorf("%+v", e)
	}
}
