package apigw

import (
	"context"
	"log/slog"
	"sync"

	"github.com/aws/aws-lambda-go/events"

	"eureka"
)

// batch is what each role behind a queue does with the messages of one event: the failed ones are named in the answer, so that the queue gives
// them again and in the end puts them aside, and the others are done with.
type batch struct {
	log      *slog.Logger
	parallel int // messages at a time; 1 keeps their order
	do       func(ctx context.Context, m events.SQSMessage) error
}

func (b batch) run(ctx context.Context, ev events.SQSEvent) (events.SQSEventResponse, error) {
	failed := make([]bool, len(ev.Records))
	turns := make(chan struct{}, b.parallel)
	var running sync.WaitGroup
	for i, m := range ev.Records {
		turns <- struct{}{}
		running.Go(func() {
			defer func() { <-turns }()
			if err := b.one(ctx, m); err != nil {
				failed[i] = true
				b.log.LogAttrs(ctx, level(err), "a message of the queue failed", slog.String("message", m.MessageId),
					slog.String("receives", m.Attributes["ApproximateReceiveCount"]), slog.Any("error", err))
			}
		})
	}
	running.Wait()
	answer := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
	for i, m := range ev.Records {
		if failed[i] {
			answer.BatchItemFailures = append(answer.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: m.MessageId})
		}
	}
	return answer, nil
}

func (b batch) one(ctx context.Context, m events.SQSMessage) (err error) {
	defer func() {
		if fault := recovered(b.log, "message", recover()); fault != nil {
			err = fault
		}
	}()
	if err := ctx.Err(); err != nil {
		return eureka.WrapError(eureka.CodeTimeout, err, "the function's time is over")
	}
	return b.do(ctx, m)
}

// level is how much an error concerns whoever runs the service: what may succeed when it is repeated, little.
func level(err error) slog.Level {
	if eureka.CodeOf(err).Outcome().Retry {
		return slog.LevelWarn
	}
	return slog.LevelError
}
