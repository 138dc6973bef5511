package dynamo

import (
	"context"
	"time"

	"eureka"
)

// Work does a task of the queue. An error means that it should be given again; doing it twice does no harm.
func (e *Engine) Work(ctx context.Context, t Task) error {
	if t.Kind != TaskSend {
		if err := eureka.CheckName("channel", t.Channel); err != nil {
			return err
		}
		if t.Shard < 0 || t.Shard >= maxShards {
			return eureka.FieldError("shard", "must be 0 to %d", maxShards-1)
		}
	}
	switch t.Kind {
	case TaskFanout:
		return e.broadcast(ctx, t.Channel, t.Shard, t.Body, t.Except, nil)
	case TaskDeliver:
		return e.deliver(ctx, t.Channel, t.Shard, nil)
	case TaskReplay:
		return e.workReplay(ctx, t)
	case TaskSend:
		return e.workSend(ctx, t)
	default:
		return eureka.FieldError("kind", "%q is no kind of task", t.Kind)
	}
}

// workSend sends each socket the frames in order; those that could not be reached are put back with what they did not get.
func (e *Engine) workSend(ctx context.Context, t Task) error {
	for _, socketID := range t.Sockets {
		found, err := e.table.get(ctx, socketKey(socketID), true)
		if err != nil {
			return err
		}
		if !alive(found, e.nowMillis()) {
			continue
		}
		for i, frame := range t.Frames {
			outcome, err := e.post(ctx, socketID, found.number(attrAt), frame)
			if err != nil {
				return err
			}
			if outcome == gone {
				e.reportGone(ctx, socketID)
				break
			}
			if outcome == later {
				if e.options.Now().Sub(time.UnixMilli(t.Since)) > retryTime {
					return eureka.Errorf(eureka.CodeUnavailable, "socket %q takes no frames", socketID)
				}
				rest := Task{Kind: TaskSend, Sockets: []string{socketID}, Frames: t.Frames[i:], Since: t.Since, Attempt: t.Attempt + 1}
				if err := e.enqueue(ctx, min(retryDelay*time.Duration(t.Attempt+1), time.Minute), rest); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}
