package apigw_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"eureka/internal/awslocal"
	"eureka/internal/engine/dynamo"
)

// patience is how long a test waits for what should happen soon, on a loaded machine too.
const patience = time.Minute

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
	if built != "" {
		_ = os.RemoveAll(built)
	}
}

// at is where it listens. Tests are skipped where it is not installed, except on CI.
func (s *standIn) at(t testing.TB) string {
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

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// newTable creates a table and returns its client and name.
func newTable(t testing.TB) (client *dynamodb.Client, name string) {
	t.Helper()
	client = dynamodb.New(dynamodb.Options{BaseEndpoint: aws.String(localDynamo.at(t)), Region: awslocal.Region, Credentials: staticCredentials()})
	name = "t-" + rand.Text()
	if _, err := client.CreateTable(t.Context(), dynamo.Definition(name)); err != nil {
		t.Fatal(err)
	}
	return client, name
}

// testQueue is a real queue of a test.
type testQueue struct {
	t      testing.TB
	client *sqs.Client
	url    string
}

func newQueue(t testing.TB) *testQueue {
	t.Helper()
	q := &testQueue{t: t, client: sqs.New(sqs.Options{BaseEndpoint: aws.String(localQueues.at(t)), Region: awslocal.Region, Credentials: staticCredentials()})}
	out, err := q.client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("q-" + strings.ToLower(rand.Text()))})
	if err != nil {
		t.Fatal(err)
	}
	q.url = *out.QueueUrl
	return q
}

// receive takes messages as they become visible until there are n, and returns them as an event source gives them, in the order of their coming.
func (q *testQueue) receive(n int) events.SQSEvent {
	q.t.Helper()
	var ev events.SQSEvent
	deadline := time.Now().Add(patience)
	for len(ev.Records) < n {
		if time.Now().After(deadline) {
			q.t.Fatalf("%d of %d messages came", len(ev.Records), n)
		}
		out, err := q.client.ReceiveMessage(q.t.Context(), &sqs.ReceiveMessageInput{
			QueueUrl: aws.String(q.url), MaxNumberOfMessages: 10, WaitTimeSeconds: 1, MessageAttributeNames: []string{"All"},
		})
		if err != nil {
			q.t.Fatal(err)
		}
		for _, m := range out.Messages {
			ev.Records = append(ev.Records, record(m))
			if _, err := q.client.DeleteMessage(q.t.Context(), &sqs.DeleteMessageInput{QueueUrl: aws.String(q.url), ReceiptHandle: m.ReceiptHandle}); err != nil {
				q.t.Fatal(err)
			}
		}
	}
	return ev
}

// empty fails the test when the queue has a message, now or delayed.
func (q *testQueue) empty() {
	q.t.Helper()
	if now, delayed := q.holds(); now != "0" || delayed != "0" {
		q.t.Errorf("the queue has %s messages, and %s delayed", now, delayed)
	}
}

// holds is how many messages the queue has, and how many of them it gives nobody yet.
func (q *testQueue) holds() (now, delayed string) {
	q.t.Helper()
	out, err := q.client.GetQueueAttributes(q.t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: aws.String(q.url), AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll}})
	if err != nil {
		q.t.Fatal(err)
	}
	return out.Attributes["ApproximateNumberOfMessages"], out.Attributes["ApproximateNumberOfMessagesDelayed"]
}

// record is a message as an event source gives it.
func record(m types.Message) events.SQSMessage {
	r := events.SQSMessage{
		MessageId: *m.MessageId, ReceiptHandle: *m.ReceiptHandle, Body: *m.Body, Attributes: m.Attributes, EventSource: "aws:sqs", AWSRegion: awslocal.Region,
		MessageAttributes: map[string]events.SQSMessageAttribute{},
	}
	for name, a := range m.MessageAttributes {
		r.MessageAttributes[name] = events.SQSMessageAttribute{StringValue: a.StringValue, BinaryValue: a.BinaryValue, DataType: *a.DataType}
	}
	return r
}

// invoker is a handler of any role.
type invoker interface {
	Invoke(ctx context.Context, payload []byte) ([]byte, error)
}

// invoke sends an event and decodes the answer.
func invoke[A any](t testing.TB, h invoker, event any) A {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return invokeWithin[A](t, ctx, h, event)
}

// failures are the messages that a batch reports as failed, by their index.
func failures(ev events.SQSEvent, answer events.SQSEventResponse) string {
	var failed []string
	for _, f := range answer.BatchItemFailures {
		for i, m := range ev.Records {
			if m.MessageId == f.ItemIdentifier {
				failed = append(failed, fmt.Sprint(i))
			}
		}
	}
	return strings.Join(failed, ",")
}

// invokeWithin is invoke with the function's own time.
func invokeWithin[A any](t testing.TB, ctx context.Context, h invoker, event any) A { //nolint:revive // the time is the subject
	t.Helper()
	payload, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	text, err := h.Invoke(ctx, payload)
	if err != nil {
		t.Fatalf("%s: %v", payload, err)
	}
	var answer A
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return answer
}

// summary is a task in the queue in short: its kind and channel, and of one that sends how many wait for it.
func summary(t testing.TB, m events.SQSMessage) string {
	t.Helper()
	var task struct {
		dynamo.Task

		Then []dynamo.Task
	}
	if err := json.Unmarshal([]byte(m.Body), &task); err != nil {
		t.Fatal(err)
	}
	if task.Kind == dynamo.TaskSend {
		return fmt.Sprintf("%s %s then %d", task.Kind, task.Channel, len(task.Then))
	}
	return fmt.Sprintf("%s %s", task.Kind, task.Channel)
}
