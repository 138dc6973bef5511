package dynamo

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"eureka"
	"eureka/internal/protocol"
)

// How sockets are posted to.
const (
	posts       = 64               // at the same time
	postTries   = 4                // of one frame in one call, while API Gateway says "later"
	youngSocket = 10 * time.Second // how long after its connect a socket may answer as if it had ended
	retryDelay  = 2 * time.Second  // of what is put back into the queue, times the attempt
	retryTime   = 10 * time.Minute // after which it is given up, to the dead letters
	taskFrames  = 96 << 10         // bytes of frames in one task
)

type outcomeOfPost int

const (
	posted outcomeOfPost = iota
	gone                 // the socket has ended
	later                // it is to be tried again
)

// post sends one frame. It waits and tries again while API Gateway says so; an error is one that trying again does not mend.
func (e *Engine) post(ctx context.Context, socketID string, connectedAt int64, frame []byte) (outcomeOfPost, error) {
	var b backoff
	for {
		err := e.options.Poster.Post(ctx, socketID, frame)
		switch eureka.CodeOf(err) {
		case "":
			return posted, nil
		case eureka.CodeGone:
			if e.options.Now().Sub(time.UnixMilli(connectedAt)) < youngSocket {
				return later, nil
			}
			return gone, nil
		case eureka.CodeRateLimited, eureka.CodeUnavailable, eureka.CodeTimeout:
			if b.tries+1 >= postTries || !b.next(ctx) {
				return later, nil
			}
		default:
			return later, err
		}
	}
}

// broadcast posts one message to every subscriber of a shard. What cannot be posted now is put into the queue.
func (e *Engine) broadcast(ctx context.Context, channelID string, shard int, body []byte, except []string, t *tally) error {
	frames := newFrames(channelID, body)
	var again retries
	var jobs sync.WaitGroup
	slots := make(chan struct{}, posts)
	total := 0
	for page, err := range e.shardPages(ctx, channelID, shard) {
		if err != nil {
			jobs.Wait()
			return err
		}
		total += len(page)
		for _, s := range page {
			if slices.Contains(except, s.socketID) {
				continue
			}
			frame := frames.of(s)
			slots <- struct{}{}
			jobs.Go(func() {
				defer func() { <-slots }()
				outcome, err := e.post(ctx, s.socketID, s.connectedAt, frame)
				e.settle(ctx, channelID, s, outcome, err)
				if outcome == later && err == nil {
					again.add(s.socketID, frame)
				}
				t.count(0, outcome)
			})
		}
	}
	jobs.Wait()
	e.outgrown(ctx, channelID, shard, total)
	return e.enqueueRetries(ctx, again.tasks(e.nowMillis()))
}

// settle does what an outcome asks for beside counting it.
func (e *Engine) settle(ctx context.Context, channelID string, s subscriber, outcome outcomeOfPost, err error) {
	if err != nil {
		e.options.Log.Error("a frame cannot be posted", slog.String("channel", channelID), slog.String("socket", s.socketID), slog.Any("error", err))
	}
	if outcome != gone {
		return
	}
	// The subscription goes at once, so that the next message does not try again, whoever reports the socket's end.
	if _, err := e.table.remove(ctx, s.key, condition{}); err != nil {
		e.options.Log.Warn("an ended socket's subscription could not be removed", slog.String("socket", s.socketID), slog.Any("error", err))
	}
	e.reportGone(ctx, s.socketID)
}

func (e *Engine) reportGone(ctx context.Context, socketID string) {
	if e.options.Gone != nil {
		e.options.Gone(ctx, socketID)
	}
}

// outgrown lets a channel grow whose shard was found full by whoever has just read it.
func (e *Engine) outgrown(ctx context.Context, channelID string, shard, subscribers int) {
	if subscribers <= shardSize {
		return
	}
	if err := e.grow(ctx, channelID, shard+1); err != nil {
		e.options.Log.Warn("a channel could not get another shard", slog.String("channel", channelID), slog.Any("error", err))
	}
}

func (e *Engine) enqueueRetries(ctx context.Context, tasks []Task) error {
	if len(tasks) == 0 {
		return nil
	}
	return e.enqueue(ctx, retryDelay, tasks...)
}

// frames are one message's frames by the names that subscribers use; each is encoded once.
type frames struct {
	channelID string
	body      []byte
	byName    map[string][]byte
}

func newFrames(channelID string, body []byte) *frames {
	return &frames{channelID: channelID, body: body, byName: map[string][]byte{}}
}

func (f *frames) of(s subscriber) []byte {
	name := s.called(f.channelID)
	frame := f.byName[name]
	if frame == nil {
		frame = protocol.AppendMessage(make([]byte, 0, len(f.body)+len(name)+16), name, f.body)
		f.byName[name] = frame
	}
	return frame
}

// retries collects frames that sockets did not get.
type retries struct {
	mu      sync.Mutex
	byFrame map[string][]string
}

func (r *retries) add(socketID string, frame []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byFrame == nil {
		r.byFrame = map[string][]string{}
	}
	r.byFrame[string(frame)] = append(r.byFrame[string(frame)], socketID)
}

// retrySockets is how many sockets one task retries: at the most a few seconds' work.
const retrySockets = 200

func (r *retries) tasks(now int64) []Task {
	r.mu.Lock()
	defer r.mu.Unlock()
	var tasks []Task
	for frame, sockets := range r.byFrame {
		for some := range slices.Chunk(sockets, retrySockets) {
			tasks = append(tasks, Task{Kind: TaskSend, Sockets: some, Frames: [][]byte{[]byte(frame)}, Since: now, Attempt: 1})
		}
	}
	return tasks
}
