package apigw_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"

	"eureka"
	"eureka/internal/awslocal"
	"eureka/internal/core"
	"eureka/internal/edge/apigw"
	"eureka/internal/engine/dynamo"
)

// spy notes what goes to the real Fanout behind it, and fails on channels that a test names.
type spy struct {
	eureka.Fanout

	mu       sync.Mutex
	messages []string
	down     map[string]bool // by channel id
}

func (s *spy) Deliver(ctx context.Context, m eureka.Message) (eureka.Delivery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down[m.ChannelID] {
		return eureka.Delivery{}, eureka.Errorf(eureka.CodeUnavailable, "the store is busy")
	}
	s.messages = append(s.messages, fmt.Sprintf("%s %s %s", m.ChannelID, m.Event, m.Data))
	return s.Fanout.Deliver(ctx, m)
}

func (s *spy) taken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.messages
	s.messages = nil
	slices.Sort(taken)
	return taken
}

// router is the real core on the real engine, with two channels of the model shop/order.
func router(t *testing.T) (*core.Core, *spy) {
	t.Helper()
	client, table := newTable(t)
	q := newQueue(t)
	engine, err := dynamo.Open(dynamo.Options{Client: client, Table: table, Poster: noPoster{t}, Queue: apigw.NewQueue(q.client, q.url), Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	s := &spy{Fanout: engine.Fanout(), down: map[string]bool{}}
	c, err := core.New(core.Options{
		Ports: core.Ports{
			Channels: engine.Channels(), Sockets: engine.Sockets(), Fanout: s, Sender: engine.Sender(),
			History: engine.History(), Requests: engine.Requests(), Credentials: engine.Credentials(),
		},
		Log: testLog(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, ch := range []eureka.Channel{{ID: "orders", Service: "shop", ModelType: "order"}, {ID: "seven", Service: "shop", ModelType: "order", ModelID: "7"}} {
		if _, err := c.CreateChannel(t.Context(), eureka.Everyone(""), ch); err != nil {
			t.Fatal(err)
		}
	}
	return c, s
}

func newEvents(t testing.TB, r apigw.Router) *apigw.Events {
	t.Helper()
	e, err := apigw.NewEvents(r, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestEventsPartly: of a batch, what cannot be read or routed is given back by itself, and given again it is done once.
func TestEventsPartly(t *testing.T) {
	t.Parallel()
	c, s := router(t)
	handler := newEvents(t, c)
	sample, err := os.ReadFile(filepath.Join("testdata", "sqs-aws.json"))
	if err != nil {
		t.Fatal(err)
	}
	var amazon events.SQSEvent
	if err := json.Unmarshal(sample, &amazon); err != nil {
		t.Fatal(err)
	}
	ev := events.SQSEvent{Records: []events.SQSMessage{
		message(0, `{"service":"shop","modelType":"order","event":"create","data":{"n":0}}`),
		message(1, `poison`),
		message(2, `[{"service":"shop","modelType":"order","data":1},{"service":"shop","data":2}]`),
		message(3, `{"service":"shop","modelType":"order","modelId":"7","data":{"n":3}}`),
		message(4, `{"channelId":"nowhere","data":4}`),
		message(5, `{"specversion":"1.0","id":"1","source":"/s","type":"shop.order.created","data":{"n":5}}`),
		message(6, `{"channelId":"seven","service":"shop","modelType":"order","event":"","ts":"2023-11-14 22:13:20","data":{"id":"7"}}`),
		amazon.Records[0],
		message(8, `{"service":"shop","modelType":"order","data":"`+strings.Repeat("x", 140_000)+`"}`),
		message(9, `{"version":"0","id":"b","detail-type":"order.paid","source":"shop","account":"123456789012","time":"2023-11-14T22:13:20Z","resources":[],"detail":{"n":9}}`),
	}}
	s.down["seven"] = true
	if got := failures(ev, invoke[events.SQSEventResponse](t, handler, ev)); got != "1,2,3,4,6,7,8" {
		t.Errorf("failed: %s", got)
	}
	want := []string{`orders create {"n":0}`, `orders created {"n":5}`, `orders message {"id":"7"}`, `orders message {"n":3}`, `orders paid {"n":9}`}
	if diff := cmp.Diff(want, s.taken()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.down["seven"] = false
	if got := failures(ev, invoke[events.SQSEventResponse](t, handler, ev)); got != "1,2,4,7,8" {
		t.Errorf("failed again: %s", got)
	}
	// What failed on one of its channels is repeated on that one alone; what was done is not.
	want = []string{`seven message {"id":"7"}`, `seven message {"n":3}`}
	if diff := cmp.Diff(want, s.taken()); diff != "" {
		t.Errorf("again (-want +got):\n%s", diff)
	}
}

// TestEventsFromTopic: what services report to a topic comes through its queue, in the topic's envelope or without, as JSON or as a CloudEvent whose
// attributes are the message's; and once, though a topic may deliver twice.
func TestEventsFromTopic(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"false", "true"} {
		t.Run("raw "+raw, func(t *testing.T) {
			t.Parallel()
			c, s := router(t)
			q := newQueue(t)
			topics := sns.New(sns.Options{BaseEndpoint: aws.String(localQueues.at(t)), Region: awslocal.Region, Credentials: staticCredentials()})
			topic := subscribed(t, topics, q, raw)
			text := func(value string) snstypes.MessageAttributeValue {
				return snstypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String(value)}
			}
			for _, in := range []*sns.PublishInput{
				{Message: aws.String(`{"service":"shop","modelType":"order","event":"create","data":{"n":"é"}}`)},
				{Message: aws.String(`a text`), MessageAttributes: map[string]snstypes.MessageAttributeValue{
					"ce-specversion": text("1.0"), "ce-id": text("1"), "ce-source": text("/s"), "ce-type": text("shop.order"), "Content-Type": text("text/plain"),
				}},
			} {
				in.TopicArn = aws.String(topic)
				if _, err := topics.Publish(t.Context(), in); err != nil {
					t.Fatal(err)
				}
			}
			ev := q.receive(2)
			for range 2 {
				if got := failures(ev, invoke[events.SQSEventResponse](t, newEvents(t, c), ev)); got != "" {
					t.Errorf("failed: %s", got)
				}
			}
			if diff := cmp.Diff([]string{`orders create {"n":"é"}`, `orders message "a text"`}, s.taken()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// subscribed makes a topic that a queue is subscribed to.
func subscribed(t *testing.T, topics *sns.Client, q *testQueue, raw string) string {
	t.Helper()
	created, err := topics.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String(filepath.Base(q.url))})
	if err != nil {
		t.Fatal(err)
	}
	about, err := q.client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: aws.String(q.url), AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameQueueArn}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topics.Subscribe(t.Context(), &sns.SubscribeInput{
		TopicArn: created.TopicArn, Protocol: aws.String("sqs"), Endpoint: aws.String(about.Attributes["QueueArn"]),
		Attributes: map[string]string{"RawMessageDelivery": raw},
	}); err != nil {
		t.Fatal(err)
	}
	return *created.TopicArn
}

// FuzzEventMessages: whatever a message of the queue holds, it is routed or given back.
func FuzzEventMessages(f *testing.F) {
	sample, err := os.ReadFile(filepath.Join("testdata", "sqs-aws.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	f.Add([]byte(`{"Records":[{"messageId":"m","body":"{\"channelId\":\"a\",\"data\":1}"},{"messageId":"n","body":"x","messageAttributes":{"ce-specversion":{"stringValue":"1.0"}}}]}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		text, err := newEvents(t, routed{}).Invoke(t.Context(), payload)
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

// routed is a Router that takes everything.
type routed struct{}

func (routed) Route(context.Context, eureka.Identity, eureka.Event) (core.RouteResult, error) {
	return core.RouteResult{}, nil
}
