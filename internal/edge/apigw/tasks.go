package apigw

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	"github.com/aws/aws-lambda-go/events"

	"eureka"
	"eureka/internal/engine/dynamo"
)

// parallelTasks is how many tasks a function works at a time; each posts to many sockets at once by itself.
const parallelTasks = 4

// Worker does the engine's queued work; dynamo.Engine is one.
type Worker interface {
	// Work does a task. An error puts it back into the queue.
	Work(ctx context.Context, task dynamo.Task) error
}

// Tasks is the role fanout: batches of the queue of tasks.
type Tasks struct {
	worker Worker
	queue  *Queue
	batch  batch
}

// NewTasks returns the handler of the role.
func NewTasks(worker Worker, queue *Queue, log *slog.Logger) (*Tasks, error) {
	if worker == nil || queue == nil || log == nil {
		return nil, errors.New("apigw: an option is missing")
	}
	t := &Tasks{worker: worker, queue: queue}
	t.batch = batch{log: log, parallel: parallelTasks, do: t.work}
	return t, nil
}

// Invoke implements lambda.Handler.
func (t *Tasks) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	return invoke(ctx, payload, t.batch.run)
}

func (t *Tasks) work(ctx context.Context, m events.SQSMessage) error {
	var message queued
	if err := json.Unmarshal([]byte(m.Body), &message); err != nil {
		return eureka.WrapError(eureka.CodeInvalid, err, "the message is no task")
	}
	if len(message.Then) == 0 {
		return t.worker.Work(ctx, message.Task)
	}
	working, then := withFollowing(ctx, message)
	if err := t.worker.Work(working, message.Task); err != nil {
		return err
	}
	return t.queue.Enqueue(ctx, 0, then.take()...)
}
