package app_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/cloudevents/sdk-go/v2/binding"
	ceclient "github.com/cloudevents/sdk-go/v2/client"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	ceprotocol "github.com/cloudevents/sdk-go/v2/protocol"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"eureka"
	"eureka/internal/awslocal"
)

// publisher is a service's own connection to the NATS of the flag.
func publisher(t *testing.T, flag string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(strings.TrimPrefix(flag, "--nats="))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

func paid(t *testing.T, id string) cloudevents.Event {
	t.Helper()
	ev := cloudevents.New()
	ev.SetID(id)
	ev.SetSource("/shop")
	ev.SetType("shop.order.paid")
	if err := ev.SetData("application/json", id); err != nil {
		t.Fatal(err)
	}
	return ev
}

// TestOneEventByAllWays: one CloudEvent comes to two nodes by HTTP in binary and structured mode from the CloudEvents SDK, by a queue, by core NATS and by a
// stream. Its subscriber gets it once, and each source counts it.
func TestOneEventByAllWays(t *testing.T) {
	process, err := awslocal.StartQueues(t.Context())
	if errors.Is(err, awslocal.ErrNotInstalled) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Stop)
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": awslocal.Region} {
		t.Setenv(name, value)
	}
	queues := sqs.New(sqs.Options{BaseEndpoint: aws.String(process.Endpoint), Region: awslocal.Region, Credentials: credentials.NewStaticCredentialsProvider("key", "secret", "")})
	queue, err := queues.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("events")})
	if err != nil {
		t.Fatal(err)
	}
	external := natsServer(t)
	nc, js := publisher(t, external)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"shop.>"}}); err != nil {
		t.Fatal(err)
	}
	a := serve(t, external, "--nats-events=core", "--sqs-queues="+*queue.QueueUrl, "--sqs-endpoint="+process.Endpoint)
	b := serve(t, external, "--nats-events=stream", "--nats-events-subject=shop.>", "--nats-events-stream=EVENTS")
	s := a.dial(t, "?channels=shop:order")
	eventually(t, "the sources are connected", func() bool {
		return a.metric(t, `eureka_source_connected{source="nats"}`) == 1 && a.metric(t, `eureka_source_connected{source="sqs"}`) == 1 && b.metric(t, `eureka_source_connected{source="nats"}`) == 1
	})

	ev := paid(t, "1")
	text, err := ev.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	send := func(n *node, ctx context.Context) {
		t.Helper()
		p, err := cehttp.New(cehttp.WithTarget(n.url + "/events"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := ceclient.New(p)
		if err != nil {
			t.Fatal(err)
		}
		if result := c.Send(ctx, ev); !ceprotocol.IsACK(result) {
			t.Errorf("the SDK: %v", result)
		}
	}
	send(a, binding.WithForceBinary(t.Context()))
	send(b, binding.WithForceStructured(t.Context()))
	if got := b.call(t, "POST", "/events", "["+string(text)+"]", "Content-Type: application/cloudevents-batch+json"); got.status != 200 {
		t.Errorf("a batch: %+v", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if reply, err := nc.RequestWithContext(ctx, "eureka.events.shop", text); err != nil || string(reply.Data) != `{"accepted":1,"channels":["shop:order"]}` {
		t.Errorf("NATS: %+v, %v", reply, err)
	}
	if _, err := js.Publish(ctx, "shop.order", text); err != nil {
		t.Fatal(err)
	}
	if _, err := queues.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: queue.QueueUrl, MessageBody: aws.String(string(text))}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		node   *node
		source string
		n      float64
	}{{a, "http", 1}, {b, "http", 2}, {a, "nats", 1}, {b, "nats", 1}, {a, "sqs", 1}} {
		name := fmt.Sprintf("eureka_events_accepted_total{source=%q}", want.source)
		eventually(t, name, func() bool { return want.node.metric(t, name) == want.n })
	}
	s.await(`"event":"paid","data":"1"`)
	ev = paid(t, "2")
	send(a, t.Context())
	s.await(`"event":"paid","data":"2"`) // and nothing before it
	for _, n := range []*node{a, b} {
		n.stop()
	}
}

// TestTopicsHaveNoCredential: what a topic delivers needs no credential of the service, on either path, and is believed by its signature alone; where no
// topic is allowed there is nothing.
func TestTopicsHaveNoCredential(t *testing.T) {
	n := guarded(t, "--sns-topics=arn:aws:sns:eu-west-1:123456789012:events")
	const forged = `{"Type":"Notification","MessageId":"1","TopicArn":"arn:aws:sns:eu-west-1:123456789012:other","Message":"{}","Timestamp":"2026-01-01T00:00:00Z","SignatureVersion":"2","Signature":"eA==","SigningCertURL":"https://sns.eu-west-1.amazonaws.com/c.pem"}`
	for _, path := range []string{"/events/sns", "/events"} {
		got := n.call(t, "POST", path, forged, "Content-Type: text/plain; charset=UTF-8", "x-amz-sns-message-type: Notification")
		if got.code() != eureka.CodeForbidden || !strings.Contains(got.text, "sns_topics") {
			t.Errorf("%s: %+v", path, got)
		}
	}
	if got := n.call(t, "POST", "/events", `{"channelId":"a","data":1}`); got.code() != eureka.CodeUnauthenticated {
		t.Errorf("an event without a credential: %+v", got)
	}
	if got := n.call(t, "POST", "/events", `{"channelId":"a","data":1}`, "x-amz-sns-message-type: Notification"); got.code() != eureka.CodeInvalid {
		t.Errorf("an event that calls itself a topic's: %+v", got)
	}
	none := guarded(t)
	for _, path := range []string{"/events/sns", "/events"} {
		if got := none.call(t, "POST", path, forged, "x-amz-sns-message-type: Notification"); got.status != 404 && got.status != 401 {
			t.Errorf("%s: %+v", path, got)
		}
	}
}
