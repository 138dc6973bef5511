package dynamo

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"eureka"
)

// workTime is how long a delivery or a replay that fails for a passing reason is put back, each time for longer, before it goes to the dead letters.
const workTime = 2 * time.Hour

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
		posting, cancel := inTime(ctx)
		defer cancel()
		return e.broadcast(ctx, posting, broadcast{
			channelID: t.Channel, shard: t.Shard, body: t.Body, except: excludeHashed(t.Except),
			origin: eureka.Origin{Service: t.Service, ModelType: t.ModelType, ModelID: t.ModelID},
		}, nil)
	case TaskDeliver:
		return e.patiently(ctx, t, e.deliver(ctx, t.Channel, t.Shard, workTurns, nil))
	case TaskReplay:
		return e.patiently(ctx, t, e.workReplay(ctx, t))
	case TaskMove:
		return e.patiently(ctx, t, e.workMove(ctx, t))
	case TaskSend:
		return e.workSend(ctx, t)
	default:
		return eureka.FieldError("kind", "%q is no kind of task", t.Kind)
	}
}

// patiently puts a task back that failed because something does not answer: it must not be a dead letter when that answers again. When it cannot be put
// back its fault is returned, and the queue gives it again.
func (e *Engine) patiently(ctx context.Context, t Task, fault error) error {
	if eureka.CodeOf(fault) != eureka.CodeUnavailable || e.olderThan(t.Since, workTime) {
		return fault
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	e.options.Log.Warn("a task is put back", slog.String("kind", string(t.Kind)), slog.String("channel", t.Channel), slog.Any("error", fault))
	t.Attempt++
	if err := e.enqueue(ctx, backOff(t.Attempt), t); err != nil {
		return fault
	}
	return nil
}

func (e *Engine) olderThan(since int64, limit time.Duration) bool {
	return e.options.Now().Sub(time.UnixMilli(since)) > limit
}

// workSend sends each socket the frames in order; those that could not be reached are put back with what they did not get. When it is too late for that,
// and none of them was reached, the task fails.
func (e *Engine) workSend(ctx context.Context, t Task) error {
	found, err := (*sockets)(e).read(ctx, t.Sockets)
	if err != nil {
		return err
	}
	posting, cancel := inTime(ctx)
	defer cancel()
	var mu sync.Mutex
	left := map[int][]string{} // sockets by how many frames they have had
	err = each(ctx, posts, t.Sockets, func(ctx context.Context, socketID string) error {
		it := found[socketID]
		if it == nil {
			return nil // it has ended
		}
		if had, whole := e.sendFrames(ctx, posting, socketID, it.number(attrAt), t.Frames); !whole {
			mu.Lock()
			defer mu.Unlock()
			left[had] = append(left[had], socketID)
		}
		return nil
	})
	if err != nil || len(left) == 0 {
		return err
	}
	if len(left[0]) == len(t.Sockets) && e.olderThan(t.Since, retryTime) {
		return eureka.Errorf(eureka.CodeUnavailable, "socket %s and %d others take no frames", strconv.Quote(t.Sockets[0]), len(t.Sockets)-1)
	}
	var rest []Task
	for had, sockets := range left {
		rest = append(rest, Task{Kind: TaskSend, Sockets: sockets, Frames: t.Frames[had:], Since: t.Since, Attempt: t.Attempt + 1})
	}
	return e.enqueue(ctx, backOff(t.Attempt), rest...)
}

// sendFrames posts frames to one socket and returns how many it has had; whole: nothing is left to do.
func (e *Engine) sendFrames(ctx, posting context.Context, socketID string, connectedAt int64, frames [][]byte) (had int, whole bool) {
	for i, frame := range frames {
		switch e.post(posting, socketID, connectedAt, frame) {
		case gone:
			e.reportGone(ctx, socketID)
			return i, true
		case later:
			return i, false
		case posted, refusedForGood:
		}
	}
	return len(frames), true
}
