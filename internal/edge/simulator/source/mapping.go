package source

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"eureka/internal/edge/simulator/fault"
	"eureka/internal/edge/simulator/lambda"
	"eureka/internal/pause"
)

const (
	// pollers is how many requests wait at an idle queue, as at AWS. They are billed.
	pollers = 5
	// longPoll is how long a request waits, in seconds.
	longPoll = 20
	// maxReceive is what SQS gives at once.
	maxReceive = 10
	// callTime is how long a request to SQS may take beyond its waiting.
	callTime = 30 * time.Second
	// firstWait is how long a poller waits after an error, and the first wait when functions are throttled.
	firstWait = 200 * time.Millisecond
)

// Invoker runs a function; *lambda.Function is one.
type Invoker interface {
	Invoke(ctx context.Context, event []byte) (lambda.Result, error)
}

// MappingOptions configure a Mapping.
type MappingOptions struct {
	Client      *sqs.Client
	QueueURL    string
	QueueARN    string
	Region      string
	Function    Invoker
	Role        string // of the function, for faults
	Batch       int    // messages of one invocation at most, 1 to 10
	Concurrency int    // invocations at a time at most, at least 1
	Faults      *fault.Set
	Log         *slog.Logger
}

// Mapping polls one queue and hands its messages to one function, with partial batch failures.
type Mapping struct {
	options MappingOptions
	cancel  context.CancelFunc

	mu      sync.Mutex
	polling int // that wait for messages
	running int // pollers in all
	work    sync.WaitGroup
}

// StartMapping begins to poll.
func StartMapping(o MappingOptions) *Mapping {
	o.Batch = min(max(o.Batch, 1), maxReceive)
	o.Concurrency = max(o.Concurrency, 1)
	ctx, cancel := context.WithCancel(context.Background())
	m := &Mapping{options: o, cancel: cancel}
	for range min(pollers, o.Concurrency) {
		m.grow(ctx)
	}
	return m
}

// Stop ends polling and waits until nothing is under way. What a function had in hand comes again when its visibility is over.
func (m *Mapping) Stop() {
	m.cancel()
	m.work.Wait()
}

// grow adds a poller unless there are as many as may be.
func (m *Mapping) grow(ctx context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running >= m.options.Concurrency || ctx.Err() != nil {
		return
	}
	m.running++
	m.work.Go(func() { m.poll(ctx) })
}

// poll is one poller: it receives a batch, has it handled, and receives the next.
func (m *Mapping) poll(ctx context.Context) {
	for ctx.Err() == nil {
		m.wait(1)
		messages, err := m.receive(ctx)
		idle := m.wait(-1)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			m.options.Log.Warn("a queue cannot be read", slog.String("queue", m.options.QueueARN), slog.Any("error", err))
			_ = pause.For(ctx, firstWait) // the loop sees the end
		case len(messages) > 0:
			if idle == 0 {
				m.grow(ctx)
			}
			m.handle(ctx, messages)
		case m.shrink():
			return
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running--
}

// wait counts the pollers that wait for messages.
func (m *Mapping) wait(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.polling += n
	return m.polling
}

// shrink reports whether a poller that got nothing is one too many, and takes it off.
func (m *Mapping) shrink() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running <= min(pollers, m.options.Concurrency) {
		return false
	}
	m.running--
	return true
}

func (m *Mapping) receive(ctx context.Context) ([]types.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, longPoll*time.Second+callTime)
	defer cancel()
	out, err := m.options.Client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &m.options.QueueURL, MaxNumberOfMessages: int32(m.options.Batch), WaitTimeSeconds: longPoll, //nolint:gosec // at most 10
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll}, MessageAttributeNames: []string{"All"},
	})
	if err != nil {
		return nil, err
	}
	return out.Messages, nil
}

// handle invokes the function on a batch and deletes what it is done with.
func (m *Mapping) handle(ctx context.Context, messages []types.Message) {
	event, err := json.Marshal(m.event(messages))
	if err != nil {
		m.options.Log.Error("a batch cannot be encoded", slog.Any("error", err))
		return
	}
	result, err := m.invoke(ctx, event)
	if err != nil {
		if ctx.Err() == nil {
			m.options.Log.Warn("a batch failed", slog.String("queue", m.options.QueueARN), slog.Int("messages", len(messages)), slog.Any("error", err))
		}
		return // all of it comes again
	}
	done := succeeded(messages, result.Payload)
	if len(done) < len(messages) {
		m.options.Log.Info("a batch failed in part", slog.String("queue", m.options.QueueARN), slog.Int("messages", len(messages)), slog.Int("failed", len(messages)-len(done)))
	}
	if _, hit := m.options.Faults.Hit(fault.Redeliver, m.options.Role); hit {
		m.again(ctx, done)
		return
	}
	m.remove(ctx, done)
}

// invoke repeats an invocation that was throttled, for as long as the messages are invisible for certain.
func (m *Mapping) invoke(ctx context.Context, event []byte) (lambda.Result, error) {
	until := time.Now().Add(callTime)
	for wait := firstWait; ; wait *= 2 {
		result, err := m.options.Function.Invoke(ctx, event)
		if !errors.Is(err, lambda.ErrThrottled) || time.Now().Add(wait).After(until) {
			return result, err
		}
		if err := pause.For(ctx, wait); err != nil {
			return result, err
		}
	}
}

// remove deletes messages. What cannot be deleted is delivered again.
func (m *Mapping) remove(ctx context.Context, messages []types.Message) {
	if len(messages) == 0 {
		return
	}
	// Not the poller's context: what was handled should be deleted even when the mapping stops just now.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
	defer cancel()
	in := &sqs.DeleteMessageBatchInput{QueueUrl: &m.options.QueueURL}
	for _, message := range messages {
		in.Entries = append(in.Entries, types.DeleteMessageBatchRequestEntry{Id: message.MessageId, ReceiptHandle: message.ReceiptHandle})
	}
	if _, err := m.options.Client.DeleteMessageBatch(ctx, in); err != nil {
		m.options.Log.Warn("handled messages cannot be deleted", slog.String("queue", m.options.QueueARN), slog.Any("error", err))
	}
}

// again makes handled messages visible at once: SQS delivers twice now and then.
func (m *Mapping) again(ctx context.Context, messages []types.Message) {
	for _, message := range messages {
		_, err := m.options.Client.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{
			QueueUrl: &m.options.QueueURL, ReceiptHandle: message.ReceiptHandle, VisibilityTimeout: 0,
		})
		if err != nil {
			m.options.Log.Warn("a message cannot be delivered again", slog.Any("error", err))
		}
	}
}

// succeeded is what of a batch the function is done with. An answer that names no message of the batch, or is none, fails all of it.
func succeeded(messages []types.Message, payload []byte) []types.Message {
	if len(payload) == 0 || string(payload) == "null" {
		return messages
	}
	var answer struct {
		Failures []map[string]json.RawMessage `json:"batchItemFailures"`
	}
	if json.Unmarshal(payload, &answer) != nil {
		return nil
	}
	failed := map[string]bool{}
	for _, item := range answer.Failures {
		var id string
		if json.Unmarshal(item["itemIdentifier"], &id) != nil || id == "" {
			return nil
		}
		failed[id] = true
	}
	var done []types.Message
	for _, message := range messages {
		if id := aws.ToString(message.MessageId); failed[id] {
			delete(failed, id)
		} else {
			done = append(done, message)
		}
	}
	if len(failed) > 0 {
		return nil
	}
	return done
}
