package queue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"eureka"
	"eureka/internal/awslocal"
	"eureka/internal/core"
	"eureka/internal/engine/natsengine"
	"eureka/internal/gateway"
	"eureka/internal/source"
)

// patience is how long a test waits for something that should happen soon, on a loaded machine too.
const patience = time.Minute

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

// spy notes what goes to the real Fanout behind it, and waits or fails as a test tells it.
type spy struct {
	eureka.Fanout

	mu       sync.Mutex
	messages []string
	fault    func(m eureka.Message) error
}

func (s *spy) Deliver(ctx context.Context, m eureka.Message) (eureka.Delivery, error) {
	s.mu.Lock()
	fault := s.fault
	s.mu.Unlock()
	if fault != nil {
		if err := fault(m); err != nil {
			return eureka.Delivery{}, err
		}
	}
	s.mu.Lock()
	s.messages = append(s.messages, fmt.Sprintf("%s %s %s", m.ChannelID, m.Event, m.Data))
	s.mu.Unlock()
	return s.Fanout.Deliver(ctx, m)
}

func (s *spy) taken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

func (s *spy) fail(fault func(eureka.Message) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// world is the real core and engine, and queues of a stand-in.
type world struct {
	t      *testing.T
	sqs    *sqs.Client
	sns    *sns.Client
	spy    *spy
	intake *source.Intake
	log    *slog.Logger
}

func newWorld(t *testing.T) *world {
	t.Helper()
	at := endpoint(t)
	static := credentials.NewStaticCredentialsProvider("key", "secret", "")
	w := &world{
		t: t, log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		sqs: sqs.New(sqs.Options{BaseEndpoint: aws.String(at), Region: awslocal.Region, Credentials: static}),
		sns: sns.New(sns.Options{BaseEndpoint: aws.String(at), Region: awslocal.Region, Credentials: static}),
	}
	hub := gateway.NewHub(gateway.HubOptions{})
	engine, err := natsengine.Open(t.Context(), natsengine.Options{DataDir: t.TempDir(), Node: "aaaaaaaa", Registry: hub, Delivery: hub, Replays: hub, Log: w.log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close(context.WithoutCancel(t.Context())) })
	w.spy = &spy{Fanout: engine.Fanout()}
	c, err := core.New(core.Options{
		Ports: core.Ports{
			Channels: engine.Channels(), Sockets: engine.Sockets(), Fanout: w.spy, Sender: engine.Sender(),
			History: engine.History(), Requests: engine.Requests(), Credentials: engine.Credentials(),
		},
		Node: "aaaaaaaa", Log: w.log,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, ch := range []eureka.Channel{{ID: "orders", Service: "shop", ModelType: "order"}, {ID: "room"}} {
		if _, err := c.CreateChannel(t.Context(), eureka.Everyone(""), ch); err != nil {
			t.Fatal(err)
		}
	}
	if w.intake, err = source.New(source.Options{Router: c, Log: w.log}); err != nil {
		t.Fatal(err)
	}
	return w
}

// create makes a queue and returns its URL.
func (w *world) create(suffix string, attributes map[string]string) string {
	w.t.Helper()
	out, err := w.sqs.CreateQueue(w.t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("t-" + rand.Text() + suffix), Attributes: attributes})
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.QueueUrl
}

func (w *world) arn(queue string) string {
	w.t.Helper()
	out, err := w.sqs.GetQueueAttributes(w.t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: aws.String(queue), AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameQueueArn}})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.Attributes["QueueArn"]
}

// left is how many messages a queue has, those under way included.
func (w *world) left(queue string) int {
	w.t.Helper()
	out, err := w.sqs.GetQueueAttributes(w.t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: aws.String(queue), AttributeNames: []types.QueueAttributeName{
		types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	n := 0
	for _, text := range out.Attributes {
		number, err := strconv.Atoi(text)
		if err != nil {
			w.t.Fatal(err)
		}
		n += number
	}
	return n
}

func (w *world) send(in *sqs.SendMessageInput) {
	w.t.Helper()
	if _, err := w.sqs.SendMessage(w.t.Context(), in); err != nil {
		w.t.Fatal(err)
	}
}

// poller starts one on a queue; at is "" for the stand-in itself.
func (w *world) poller(queue, at string, change func(*Options)) *Poller {
	w.t.Helper()
	if at == "" {
		at = endpoint(w.t)
	}
	o := Options{Queues: []string{queue}, Endpoint: at, Receives: 2, Intake: w.intake, Log: w.log, poll: time.Second, visibility: 30 * time.Second, again: time.Second}
	if change != nil {
		change(&o)
	}
	p, err := New(w.t.Context(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	p.Start(w.t.Context())
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), patience)
		defer cancel()
		if err := p.Stop(ctx); err != nil {
			w.t.Error(err)
		}
	})
	return p
}

// await polls until ok, for patience.
func (w *world) await(what string, ok func() bool) {
	w.t.Helper()
	tick, deadline := time.NewTicker(50*time.Millisecond), time.Now().Add(patience)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s did not happen; taken: %s", what, strings.Join(w.spy.taken(), "; "))
		}
		<-tick.C
	}
}
