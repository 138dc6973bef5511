package apigw

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"eureka"
	"eureka/internal/engine/dynamo"
	"eureka/internal/pause"
)

// Limits of SQS, and how often what it did not take is sent again.
const (
	maxQueueBytes = 256 << 10 // of one message, and of all of one batch
	maxBatch      = 10
	maxDelay      = 15 * time.Minute
	queueTries    = 4
	firstWait     = 50 * time.Millisecond
)

// Queue hands tasks to later calls through SQS.
type Queue struct {
	client *sqs.Client
	url    string
}

var _ dynamo.Queue = (*Queue)(nil)

// NewQueue returns a Queue on the queue with this URL; it makes no request.
func NewQueue(client *sqs.Client, url string) *Queue { return &Queue{client, url} }

// Enqueue implements dynamo.Queue. A task that is too large for one message is divided by its sockets and then by its frames; parts of one
// socket's frames follow each other by a second. CodeTooLarge when that does not help.
func (q *Queue) Enqueue(ctx context.Context, delay time.Duration, tasks ...dynamo.Task) error {
	tasks = holdBack(ctx, tasks)
	messages := make([]queued, 0, len(tasks))
	for _, task := range tasks {
		messages = append(messages, queued{Task: task, Then: takeThen(ctx, task)})
	}
	return q.enqueue(ctx, delay, messages...)
}

func (q *Queue) enqueue(ctx context.Context, delay time.Duration, messages ...queued) error {
	seconds := delaySeconds(delay)
	var entries []types.SendMessageBatchRequestEntry
	for _, m := range messages {
		var err error
		if entries, err = appendEntries(entries, m, seconds); err != nil {
			return err
		}
	}
	for len(entries) > 0 {
		n := batchLength(entries)
		if err := q.send(ctx, entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// delaySeconds rounds up to what SQS takes.
func delaySeconds(delay time.Duration) int32 {
	delay = min(max(delay, 0), maxDelay)
	return int32((delay + time.Second - 1) / time.Second)
}

// unsendable are the characters of a JSON text that SQS refuses.
var unsendable = strings.NewReplacer("\ufffe", `\ufffe`, "\uffff", `\uffff`)

func appendEntries(entries []types.SendMessageBatchRequestEntry, m queued, seconds int32) ([]types.SendMessageBatchRequestEntry, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, eureka.WrapError(eureka.CodeInternal, err, "a task cannot be encoded")
	}
	text := unsendable.Replace(string(body))
	if len(text) <= maxQueueBytes {
		return append(entries, types.SendMessageBatchRequestEntry{
			Id: aws.String(strconv.Itoa(len(entries))), MessageBody: aws.String(text), DelaySeconds: seconds,
		}), nil
	}
	first, second, later := halves(m)
	if first == nil {
		return nil, eureka.Errorf(eureka.CodeTooLarge, "the work makes %d bytes, a queue takes %d", len(text), maxQueueBytes)
	}
	if entries, err = appendEntries(entries, *first, seconds); err != nil {
		return nil, err
	}
	if later {
		seconds = min(entries[len(entries)-1].DelaySeconds+1, int32(maxDelay/time.Second))
	}
	return appendEntries(entries, *second, seconds)
}

// halves divides a task that names several sockets or frames; nil for one that cannot be. later says that the second half's frames come behind
// those of the first.
func halves(m queued) (first, second *queued, later bool) {
	a, b := m, m
	a.Then = nil
	switch {
	case m.Kind != dynamo.TaskSend:
		return nil, nil, false
	case len(m.Sockets) > 1:
		middle := len(m.Sockets) / 2
		a.Sockets, b.Sockets = m.Sockets[:middle], m.Sockets[middle:]
		return &a, &b, false
	case len(m.Frames) > 1:
		middle := len(m.Frames) / 2
		a.Frames, b.Frames = m.Frames[:middle], m.Frames[middle:]
		return &a, &b, true
	default:
		return nil, nil, false
	}
}

// batchLength is how many of the entries fit one request.
func batchLength(entries []types.SendMessageBatchRequestEntry) int {
	size := 0
	for i, e := range entries {
		if size += len(*e.MessageBody); i == maxBatch || size > maxQueueBytes {
			return i
		}
	}
	return len(entries)
}

// send sends a batch, and again what of it was not taken.
func (q *Queue) send(ctx context.Context, entries []types.SendMessageBatchRequestEntry) error {
	wait := firstWait
	for try := 1; ; try++ {
		out, err := q.client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: aws.String(q.url), Entries: entries})
		if err != nil {
			return eureka.WrapError(eureka.CodeUnavailable, err, "the queue of tasks does not answer; try again")
		}
		var failed error
		if entries, failed = left(entries, out.Failed); failed == nil {
			return nil
		}
		if len(entries) == 0 {
			return eureka.WrapError(eureka.CodeInternal, failed, "the queue of tasks refuses a task")
		}
		if try == queueTries || pause.For(ctx, rand.N(wait)) != nil { //nolint:gosec // waits need no secret
			return eureka.WrapError(eureka.CodeUnavailable, failed, "the queue of tasks did not take all; try again")
		}
		wait *= 2
	}
}

// left returns the entries that were not taken, and why. One that the queue blames on its sender makes all of it an error.
func left(entries []types.SendMessageBatchRequestEntry, failed []types.BatchResultErrorEntry) ([]types.SendMessageBatchRequestEntry, error) {
	var again []types.SendMessageBatchRequestEntry
	var errs []error
	for _, f := range failed {
		errs = append(errs, errors.New(aws.ToString(f.Code)+": "+aws.ToString(f.Message)))
		if f.SenderFault {
			return nil, errors.Join(errs...)
		}
		for _, e := range entries {
			if aws.ToString(e.Id) == aws.ToString(f.Id) {
				again = append(again, e)
			}
		}
	}
	return again, errors.Join(errs...)
}
