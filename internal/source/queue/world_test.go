package queue

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"eureka/internal/awslocal"
	"eureka/internal/source/sourcetest"
)

const patience = sourcetest.Patience

// local is the stand-in of SQS and SNS that all tests share.
var local struct {
	once    sync.Once
	process *awslocal.Process
	err     error
}

func TestMain(m *testing.M) {
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": awslocal.Region, "AWS_EC2_METADATA_DISABLED": "true"} {
		_ = os.Setenv(name, value)
	}
	code := m.Run()
	if local.process != nil {
		local.process.Stop()
	}
	os.Exit(code) //nolint:forbidigo // of the test binary
}

// endpoint is where the stand-in listens. Tests are skipped where it is not installed, except on CI.
func endpoint(t *testing.T) string {
	t.Helper()
	local.once.Do(func() { local.process, local.err = awslocal.StartQueues(context.Background()) })
	if errors.Is(local.err, awslocal.ErrNotInstalled) && os.Getenv("CI") == "" {
		t.Skip(local.err)
	}
	if local.err != nil {
		t.Fatal(local.err)
	}
	return local.process.Endpoint
}

// world is queues of a stand-in beside the real core and engine.
type world struct {
	*sourcetest.World

	sqs *sqs.Client
	sns *sns.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	at := endpoint(t)
	static := credentials.NewStaticCredentialsProvider("key", "secret", "")
	return &world{
		World: sourcetest.New(t),
		sqs:   sqs.New(sqs.Options{BaseEndpoint: aws.String(at), Region: awslocal.Region, Credentials: static}),
		sns:   sns.New(sns.Options{BaseEndpoint: aws.String(at), Region: awslocal.Region, Credentials: static}),
	}
}

// create makes a queue and returns its URL.
func (w *world) create(suffix string, attributes map[string]string) string {
	w.T.Helper()
	out, err := w.sqs.CreateQueue(w.T.Context(), &sqs.CreateQueueInput{QueueName: aws.String("t-" + rand.Text() + suffix), Attributes: attributes})
	if err != nil {
		w.T.Fatal(err)
	}
	return *out.QueueUrl
}

func (w *world) arn(queue string) string {
	w.T.Helper()
	out, err := w.sqs.GetQueueAttributes(w.T.Context(), &sqs.GetQueueAttributesInput{QueueUrl: aws.String(queue), AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameQueueArn}})
	if err != nil {
		w.T.Fatal(err)
	}
	return out.Attributes["QueueArn"]
}

// left is how many messages a queue has, those under way included.
func (w *world) left(queue string) int {
	w.T.Helper()
	out, err := w.sqs.GetQueueAttributes(w.T.Context(), &sqs.GetQueueAttributesInput{QueueUrl: aws.String(queue), AttributeNames: []types.QueueAttributeName{
		types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
	}})
	if err != nil {
		w.T.Fatal(err)
	}
	n := 0
	for _, text := range out.Attributes {
		number, err := strconv.Atoi(text)
		if err != nil {
			w.T.Fatal(err)
		}
		n += number
	}
	return n
}

func (w *world) send(in *sqs.SendMessageInput) {
	w.T.Helper()
	if _, err := w.sqs.SendMessage(w.T.Context(), in); err != nil {
		w.T.Fatal(err)
	}
}

// poller starts one on a queue; at is "" for the stand-in itself.
func (w *world) poller(queue, at string, change func(*Options)) *Poller {
	w.T.Helper()
	if at == "" {
		at = endpoint(w.T)
	}
	o := Options{Queues: []string{queue}, Endpoint: at, Receives: 2, Intake: w.Intake, Log: w.Log, poll: time.Second, visibility: 30 * time.Second, again: time.Second}
	if change != nil {
		change(&o)
	}
	p, err := New(w.T.Context(), o)
	if err != nil {
		w.T.Fatal(err)
	}
	p.Start(w.T.Context())
	w.T.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.T.Context()), patience)
		defer cancel()
		if err := p.Stop(ctx); err != nil {
			w.T.Error(err)
		}
	})
	return p
}
