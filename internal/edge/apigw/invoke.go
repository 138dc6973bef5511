package apigw

import (
	"context"
	"encoding/json"
	"time"

	"eureka"
)

// answerTime is what a function keeps of its time for its answer: work that is not done by then is left to a later call.
const answerTime = 500 * time.Millisecond

// invoke decodes an event, handles it before the function's time is over, and encodes the answer. An error fails the call: its source repeats it
// or reports it.
func invoke[E, A any](ctx context.Context, payload []byte, handle func(context.Context, E) (A, error)) ([]byte, error) {
	var event E
	if err := json.Unmarshal(payload, &event); err != nil {
		return nil, eureka.WrapError(eureka.CodeInvalid, err, "the event is of another kind than this role takes")
	}
	if deadline, has := ctx.Deadline(); has {
		early, cancel := context.WithDeadline(ctx, deadline.Add(-answerTime))
		defer cancel()
		ctx = early
	}
	answer, err := handle(ctx, event)
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}
