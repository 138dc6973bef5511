package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"

	"eureka"
	"eureka/internal/awslocal"
)

func native(data any) string {
	return fmt.Sprintf(`{"service":"shop","modelType":"order","modelId":"7","event":"paid","data":%v}`, data)
}

// TestWays: each form of an event, in a message of the queue, behind a topic and behind a topic that delivers raw. What came both ways counts once.
func TestWays(t *testing.T) {
	w := newWorld(t)
	queue := w.create("", nil)
	topic, err := w.sns.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String(t.Name())})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := w.sns.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String(t.Name() + "-raw")})
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []struct {
		arn        *string
		attributes map[string]string
	}{{topic.TopicArn, nil}, {raw.TopicArn, map[string]string{"RawMessageDelivery": "true"}}} {
		if _, err := w.sns.Subscribe(t.Context(), &sns.SubscribeInput{TopicArn: at.arn, Protocol: aws.String("sqs"), Endpoint: aws.String(w.arn(queue)), Attributes: at.attributes}); err != nil {
			t.Fatal(err)
		}
	}
	const cloud = `{"specversion":"1.0","id":"1","source":"/shop","type":"shop.order.paid","data":"cloud"}`
	w.send(&sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String(native(`"native"`))})
	w.send(&sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String(`[{"channelId":"room","data":"one"},{"channelId":"room","data":"two"}]`)})
	w.send(&sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String(cloud)})
	w.send(&sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String(`{"version":"0","id":"b1","detail-type":"order.paid","source":"shop","detail":"bridge"}`)})
	text := func(value string) types.MessageAttributeValue {
		return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String(value)}
	}
	w.send(&sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String("attributes"), MessageAttributes: map[string]types.MessageAttributeValue{
		"ce-specversion": text("1.0"), "ce-id": text("2"), "ce-source": text("/shop"), "ce-type": text("shop.order.paid"), "content-type": text("text/plain"),
	}})
	for arn, bodies := range map[*string][]string{topic.TopicArn: {native(`"topic"`), cloud}, raw.TopicArn: {native(`"raw"`), cloud}} {
		for _, body := range bodies {
			if _, err := w.sns.Publish(t.Context(), &sns.PublishInput{TopicArn: arn, Message: aws.String(body)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.poller(queue, "", nil)
	w.Await("the end of all messages", func() bool { return w.left(queue) == 0 })
	got := w.Spy.Sorted()
	want := []string{
		`orders paid "attributes"`, `orders paid "bridge"`, `orders paid "cloud"`, `orders paid "native"`, `orders paid "raw"`, `orders paid "topic"`,
		`room message "one"`, `room message "two"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPoison: what cannot be read ends where the queue's redrive policy says, and holds up nothing.
func TestPoison(t *testing.T) {
	w := newWorld(t)
	dead := w.create("", nil)
	queue := w.create("", map[string]string{"RedrivePolicy": fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":"2"}`, w.arn(dead))})
	for _, body := range []string{"not an event", `{"channelId":"nobody-made-it","data":1}`, strings.Repeat("[", 100)} {
		w.send(&sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String(body)})
	}
	w.send(&sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String(native(1))})
	w.poller(queue, "", nil)
	w.Await("the redrive", func() bool { return w.left(queue) == 0 && w.left(dead) == 3 })
	if diff := cmp.Diff([]string{"orders paid 1"}, w.Spy.Taken()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestNothingIsDeletedBefore: while the engine refuses, messages stay in the queue; afterwards each is delivered once.
func TestNothingIsDeletedBefore(t *testing.T) {
	w := newWorld(t)
	queue := w.create("", nil)
	var tried atomic.Int32
	w.Spy.Fail(func(eureka.Message) error {
		tried.Add(1)
		return eureka.Errorf(eureka.CodeUnavailable, "the engine is away")
	})
	for n := range 5 {
		w.send(&sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String(native(n))})
	}
	w.poller(queue, "", nil)
	w.Await("that all were tried and given back", func() bool { return tried.Load() > 5*4 })
	if left := w.left(queue); left != 5 {
		t.Errorf("%d of 5 messages are left", left)
	}
	w.Spy.Fail(nil)
	w.Await("the end of all messages", func() bool { return w.left(queue) == 0 })
	got := w.Spy.Sorted()
	if diff := cmp.Diff([]string{"orders paid 0", "orders paid 1", "orders paid 2", "orders paid 3", "orders paid 4"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestGroups: in a FIFO queue a message that is not accepted holds up those behind it in its group, and no other group.
func TestGroups(t *testing.T) {
	w := newWorld(t)
	queue := w.create(".fifo", map[string]string{"FifoQueue": "true", "ContentBasedDeduplication": "true"})
	const each = 6
	for n := range each {
		for _, group := range []string{"a", "b"} {
			// The models differ, so that nothing but the group can keep the order.
			body := fmt.Sprintf(`{"service":"shop","modelType":"order","modelId":"%s%d","data":"%s%d"}`, group, n, group, n)
			w.send(&sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String(body), MessageGroupId: aws.String(group)})
		}
	}
	var failures atomic.Int32
	w.Spy.Fail(func(m eureka.Message) error {
		if string(m.Data) == `"a2"` && failures.Add(1) <= 6 { // more than are tried in one receive
			return eureka.Errorf(eureka.CodeUnavailable, "the engine is away")
		}
		return nil
	})
	w.poller(queue, "", func(o *Options) { o.Receives = 4 })
	w.Await("the end of all messages", func() bool { return w.left(queue) == 0 })
	order := map[string][]string{}
	for _, line := range w.Spy.Taken() {
		data := strings.Trim(strings.Fields(line)[2], `"`)
		order[data[:1]] = append(order[data[:1]], data)
	}
	for _, group := range []string{"a", "b"} {
		var want []string
		for n := range each {
			want = append(want, fmt.Sprint(group, n))
		}
		if diff := cmp.Diff(want, order[group]); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if failures.Load() < 6 {
		t.Errorf("it failed %d times", failures.Load())
	}
}

// TestBatchOfGroups: SQS gives several messages of a group in one receive, which the stand-in does not; what happens to each is the same.
func TestBatchOfGroups(t *testing.T) {
	w := newWorld(t)
	queue := w.create(".fifo", map[string]string{"FifoQueue": "true"})
	p := w.poller(w.create("", nil), "", nil)
	w.Spy.Fail(func(m eureka.Message) error {
		if string(m.Data) == `"a1"` {
			return eureka.Errorf(eureka.CodeInvalid, "never")
		}
		return nil
	})
	var messages []types.Message
	for n := range 3 {
		for _, group := range []string{"a", "b", ""} {
			body := fmt.Sprintf(`{"service":"shop","modelType":"order","modelId":"%s%d","data":"%s%d"}`, group, n, group, n)
			messages = append(messages, types.Message{MessageId: aws.String(group + fmt.Sprint(n)), Body: aws.String(body), Attributes: map[string]string{"MessageGroupId": group}})
		}
	}
	b := newBatch(queueOf(p, queue), messages)
	errs := make([]error, len(messages))
	for _, members := range b.groups() {
		b.group(t.Context(), members, errs)
	}
	for n, m := range messages {
		switch name := *m.MessageId; {
		case name == "a1" && (eureka.CodeOf(errs[n]) != eureka.CodeInvalid || errors.Is(errs[n], errBehind)):
			t.Errorf("a1: %v", errs[n])
		case name == "a2" && (!errors.Is(errs[n], errBehind) || b.giveBack(t.Context(), m, errs[n]) != 0):
			t.Errorf("a2: %v", errs[n])
		case !strings.HasPrefix(name, "a") && errs[n] != nil:
			t.Errorf("%s: %v", name, errs[n])
		}
	}
	if diff := cmp.Diff([]string{`orders message "a0"`}, slices.DeleteFunc(w.Spy.Taken(), func(s string) bool { return !strings.Contains(s, `"a`) })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestGroupsWithoutOrder: messages of a standard queue may have a group as well, which shares the queue out fairly and orders nothing: what is behind one
// that is not accepted is worked on, and not given back to be counted by the redrive policy.
func TestGroupsWithoutOrder(t *testing.T) {
	w := newWorld(t)
	p := w.poller(w.create("", nil), "", nil)
	w.Spy.Fail(func(m eureka.Message) error {
		if string(m.Data) == "0" {
			return eureka.Errorf(eureka.CodeInvalid, "never")
		}
		return nil
	})
	var messages []types.Message
	for n := range 3 {
		body := fmt.Sprintf(`{"service":"shop","modelType":"order","modelId":"%d","data":%d}`, n, n)
		messages = append(messages, types.Message{MessageId: aws.String(fmt.Sprint(n)), ReceiptHandle: aws.String("r"), Body: aws.String(body), Attributes: map[string]string{"MessageGroupId": "tenant"}})
	}
	newBatch(queueOf(p, w.create("", nil)), messages).work(t.Context())
	if diff := cmp.Diff([]string{"orders message 1", "orders message 2"}, w.Spy.Sorted()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func queueOf(p *Poller, url string) *queue {
	return &queue{poller: p, url: url, client: p.queues[0].client, log: p.options.Log}
}

// TestVisibility: a message stays this poller's for as long as its event takes, longer than it was received for.
func TestVisibility(t *testing.T) {
	w := newWorld(t)
	queue := w.create("", nil)
	proxy, err := awslocal.StartProxy(t.Context(), endpoint(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	free, entered := make(chan struct{}), atomic.Int32{}
	w.Spy.Fail(func(eureka.Message) error {
		entered.Add(1)
		<-free
		return nil
	})
	release := sync.OnceFunc(func() { close(free) })
	t.Cleanup(release)
	w.poller(queue, proxy.Endpoint, func(o *Options) { o.visibility = 3 * time.Second })
	w.send(&sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String(native(1))})
	w.Await("five extensions, which are more than the time it was received for", func() bool { return proxy.Usage().Calls["ChangeMessageVisibilityBatch"] >= 5 })
	if n := entered.Load(); n != 1 {
		t.Errorf("its event was begun %d times", n)
	}
	release()
	w.Await("its end", func() bool { return w.left(queue) == 0 })
	if diff := cmp.Diff([]string{"orders paid 1"}, w.Spy.Taken()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestAway: requests are cut before and after they are carried out, then SQS is away, and comes back. Nothing is lost and nothing comes twice.
func TestAway(t *testing.T) {
	w := newWorld(t)
	queue := w.create("", nil)
	proxy, err := awslocal.StartProxy(t.Context(), endpoint(t), 7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	proxy.Set(awslocal.Faults{Cut: .1, Lose: .3})
	w.poller(queue, proxy.Endpoint, func(o *Options) { o.visibility, o.Receives = 2*time.Second, 3 })
	const messages = 60
	var want []string
	for n := range messages {
		w.send(&sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String(native(n))})
		want = append(want, fmt.Sprintf("orders paid %d", n))
		switch n {
		case messages / 3:
			before := proxy.Usage().Lost
			w.Await("lost answers", func() bool { return proxy.Usage().Lost > before+3 })
			proxy.Set(awslocal.Faults{Cut: 1})
		case 2 * messages / 3:
			before := proxy.Usage().Cut
			w.Await("an outage in which it tries again", func() bool { return proxy.Usage().Cut > before+10 })
			proxy.Set(awslocal.Faults{})
		}
	}
	w.Await("the end of all messages", func() bool { return w.left(queue) == 0 })
	got := w.Spy.Sorted()
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestStop: a stop receives nothing more and waits for what is under way; past its deadline it does not, and the message stays the queue's.
func TestStop(t *testing.T) {
	w := newWorld(t)
	queue := w.create("", nil)
	free, entered := make(chan struct{}), make(chan struct{}, 1)
	w.Spy.Fail(func(eureka.Message) error {
		entered <- struct{}{}
		<-free
		return nil
	})
	w.send(&sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String(native(1))})
	p, err := New(t.Context(), Options{Queues: []string{queue}, Endpoint: endpoint(t), Intake: w.Intake, Log: w.Log, poll: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	p.Start(t.Context())
	<-entered
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := p.Stop(short); eureka.CodeOf(err) != eureka.CodeTimeout {
		t.Errorf("with no time: %v", err)
	}
	if left := w.left(queue); left != 1 {
		t.Errorf("%d messages are left", left)
	}
	close(free)
	long, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.Stop(long); err != nil {
		t.Error(err)
	}
	w.send(&sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String(native(2))})
	if taken := w.Spy.Taken(); len(taken) > 1 {
		t.Errorf("it received after its stop: %v", taken)
	}
}

func TestRegion(t *testing.T) {
	for _, tt := range []struct{ url, given, fallback, want, err string }{
		{"https://sqs.eu-west-1.amazonaws.com/1/q", "", "us-east-1", "eu-west-1", ""},
		{"https://sqs.cn-north-1.amazonaws.com.cn/1/q", "", "", "cn-north-1", ""},
		{"https://sqs.eu-west-1.amazonaws.com/1/q", "us-east-1", "", "us-east-1", ""},
		{"http://127.0.0.1:4566/1/q", "", "us-east-1", "us-east-1", ""},
		{"http://127.0.0.1:4566/1/q", "", "", "", "sqs_region: is needed: the queue's URL does not name its region, nor does the AWS configuration"},
		{"events", "", "", "", `sqs_queues: "events" is no queue's URL; it looks like https://sqs.eu-west-1.amazonaws.com/123456789012/events`},
		{"https://sqs.eu-west-1.amazonaws.com/", "", "", "", `sqs_queues: "https://sqs.eu-west-1.amazonaws.com/" is no queue's URL; it looks like https://sqs.eu-west-1.amazonaws.com/123456789012/events`},
	} {
		got, err := Region(tt.url, tt.given, tt.fallback)
		if got != tt.want || eureka.MessageOf(err) != tt.err {
			t.Errorf("%+v: %s, %v", tt, got, err)
		}
	}
}
