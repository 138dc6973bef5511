package queue

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"eureka/internal/intake"
	"eureka/internal/source"
)

// batch is what one receive brought.
type batch struct {
	queue    *queue
	messages []types.Message

	mu   sync.Mutex
	mine map[int]bool // messages that are still worked on, by index
}

func newBatch(q *queue, messages []types.Message) *batch {
	b := &batch{queue: q, messages: messages, mine: make(map[int]bool, len(messages))}
	for n := range messages {
		b.mine[n] = true
	}
	return b
}

// work takes the events of all messages, keeps the messages meanwhile, deletes those whose events were accepted and gives the others back.
func (b *batch) work(ctx context.Context) {
	if len(b.messages) == 0 {
		return
	}
	keeping, done := context.WithCancel(ctx)
	var keeper sync.WaitGroup
	keeper.Go(func() { b.keep(keeping) })
	errs := make([]error, len(b.messages))
	var groups sync.WaitGroup
	for _, members := range b.groups() {
		groups.Go(func() { b.group(ctx, members, errs) })
	}
	starts := make(map[int]func() source.Outcome, len(b.messages))
	for n, m := range b.messages {
		if b.groupOf(m) == "" {
			starts[n] = b.start(ctx, m) // in the order in which they came
		}
	}
	for n, wait := range starts {
		groups.Go(func() { b.ended(n, wait().Err, errs) })
	}
	groups.Wait()
	done()
	keeper.Wait()
	b.settle(context.WithoutCancel(ctx), errs)
}

// groups are the messages of each group of a FIFO queue, by index and in their order.
func (b *batch) groups() map[string][]int {
	groups := map[string][]int{}
	for n, m := range b.messages {
		if group := b.groupOf(m); group != "" {
			groups[group] = append(groups[group], n)
		}
	}
	return groups
}

// groupOf is the group in which a message has its place, "" for none: those of a standard queue share it out and order nothing.
func (b *batch) groupOf(m types.Message) string {
	if !strings.HasSuffix(b.queue.url, ".fifo") {
		return ""
	}
	return m.Attributes["MessageGroupId"]
}

// errBehind is of a message whose predecessor in its group was not accepted.
var errBehind = errors.New("it is behind a message of its group that was not accepted")

// group works on the messages of one group one by one, and stops at the first that is not accepted.
func (b *batch) group(ctx context.Context, members []int, errs []error) {
	accepted := true
	for _, n := range members {
		err := errBehind
		if accepted {
			err = b.start(ctx, b.messages[n])().Err
			accepted = err == nil
		}
		b.ended(n, err, errs)
	}
}

func (b *batch) ended(n int, err error, errs []error) {
	errs[n] = err
	if err == nil {
		return // it stays this poller's until it is deleted
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.mine, n)
}

// start gives the events of a message their place. The function that it returns waits for what becomes of them.
func (b *batch) start(ctx context.Context, m types.Message) func() source.Outcome {
	message := intake.Message{ID: aws.ToString(m.MessageId), Body: aws.ToString(m.Body), Attributes: make(map[string]string, len(m.MessageAttributes))}
	for name, attribute := range m.MessageAttributes {
		if attribute.StringValue != nil {
			message.Attributes[name] = *attribute.StringValue
		}
	}
	events, err := intake.Queued(message)
	if err != nil {
		b.queue.poller.options.Intake.Refuse(Source)
		return func() source.Outcome { return source.Outcome{Err: err} }
	}
	return b.queue.poller.options.Intake.Start(ctx, Source, events)
}

// keep extends the visibility of what is worked on until ctx ends.
func (b *batch) keep(ctx context.Context) {
	visible := b.queue.poller.options.visibility
	tick := time.NewTicker(visible / extendsPerVisibility)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		times := map[int]time.Duration{}
		b.mu.Lock()
		for n := range b.mine {
			times[n] = visible
		}
		b.mu.Unlock()
		b.setVisibility(ctx, times)
	}
}

// settle deletes what was accepted and gives the rest back.
func (b *batch) settle(ctx context.Context, errs []error) {
	var accepted []types.DeleteMessageBatchRequestEntry
	again := map[int]time.Duration{}
	for n, err := range errs {
		m := b.messages[n]
		if err == nil {
			accepted = append(accepted, types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(n)), ReceiptHandle: m.ReceiptHandle})
			continue
		}
		again[n] = b.giveBack(ctx, m, err)
	}
	b.setVisibility(ctx, again)
	b.remove(ctx, accepted)
}

// giveBack says when a message that was not accepted is visible again, and logs why it was not.
func (b *batch) giveBack(ctx context.Context, m types.Message, err error) time.Duration {
	if errors.Is(err, errBehind) {
		return 0 // the queue gives it behind the one before, not earlier
	}
	receives, countErr := strconv.Atoi(m.Attributes["ApproximateReceiveCount"])
	if countErr != nil || receives < 1 {
		receives = 1
	}
	level := slog.LevelWarn
	if source.Refused(err) {
		level = slog.LevelError
	}
	b.queue.log.Log(ctx, level, "a message of the queue was not accepted and stays there", slog.String("message", aws.ToString(m.MessageId)),
		slog.Int("receives", receives), slog.Any("error", err))
	wait := min(b.queue.poller.options.again<<min(receives-1, 10), lastAgain)
	return wait + rand.N(wait/2+1) //nolint:gosec // jitter
}

// setVisibility says when messages become visible. What cannot be told becomes visible when its time is over.
func (b *batch) setVisibility(ctx context.Context, times map[int]time.Duration) {
	if len(times) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	entries := make([]types.ChangeMessageVisibilityBatchRequestEntry, 0, len(times))
	for n, after := range times {
		entries = append(entries, types.ChangeMessageVisibilityBatchRequestEntry{
			Id: aws.String(strconv.Itoa(n)), ReceiptHandle: b.messages[n].ReceiptHandle, VisibilityTimeout: seconds(after),
		})
	}
	if _, err := b.queue.client.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: aws.String(b.queue.url), Entries: entries}); err != nil && ctx.Err() == nil {
		b.queue.log.Warn("the visibility of messages could not be set; they come again when it ends", slog.Any("error", err))
	}
}

// remove deletes messages. What cannot be deleted comes again, and is not delivered again.
func (b *batch) remove(ctx context.Context, entries []types.DeleteMessageBatchRequestEntry) {
	if len(entries) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := b.queue.client.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: aws.String(b.queue.url), Entries: entries})
	if err != nil {
		b.queue.log.Warn("accepted messages could not be deleted; they come again and count once", slog.Any("error", err))
		return
	}
	for _, failed := range out.Failed {
		b.queue.log.Warn("an accepted message could not be deleted; it comes again and counts once",
			slog.String("code", aws.ToString(failed.Code)), slog.String("text", aws.ToString(failed.Message)))
	}
}
