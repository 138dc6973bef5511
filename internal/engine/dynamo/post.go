package dynamo

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"eureka"
)

// How sockets are posted to.
const (
	posts        = 64               // at the same time
	postTries    = 4                // of one frame in one call, while API Gateway says "later"
	youngSocket  = 10 * time.Second // how long after its connect a socket may answer as if it had ended
	retryDelay   = 2 * time.Second  // of what is put back into the queue, times the attempt
	maxDelay     = time.Minute      // of it
	retryTime    = 10 * time.Minute // after which frames are given up, to the dead letters
	retrySockets = 200              // of one task of frames
)

type outcomeOfPost int

const (
	posted         outcomeOfPost = iota
	gone                         // the socket has ended
	later                        // it is to be tried again
	refusedForGood               // trying again does not mend it
)

// post sends one frame. It waits and tries again while API Gateway says so.
func (e *Engine) post(ctx context.Context, socketID string, connectedAt int64, frame []byte) outcomeOfPost {
	var b backoff
	for ctx.Err() == nil {
		err := e.options.Poster.Post(ctx, socketID, frame)
		switch eureka.CodeOf(err) {
		case "":
			return posted
		case eureka.CodeGone:
			if e.young(connectedAt) {
				return later
			}
			return gone
		case eureka.CodeTooLarge, eureka.CodeInvalid:
			e.options.Log.Error("a frame cannot be posted", slog.String("socket", socketID), slog.Int("bytes", len(frame)), slog.Any("error", err))
			return refusedForGood
		default:
			if b.tries+1 >= postTries || !b.next(ctx) {
				return later
			}
		}
	}
	return later
}

// young reports whether a socket's handshake may still be under way.
func (e *Engine) young(connectedAt int64) bool {
	return e.options.Now().Sub(time.UnixMilli(connectedAt)) < youngSocket
}

// broadcast is one message for every subscriber of a shard.
type broadcast struct {
	channelID string
	shard     int
	body      []byte
	origin    eureka.Origin
	except    excluded
	live      bool // not for those with a replay
}

// broadcast posts a message. What cannot be posted now is put into the queue. posting is the context of the posts.
func (e *Engine) broadcast(ctx, posting context.Context, b broadcast, t *tally) error {
	frames, who := newFrames(b.channelID, b.body), e.sieve(b.body, b.origin)
	var again retries
	var jobs sync.WaitGroup
	slots := make(chan struct{}, posts)
	total := 0
	var fault error
	for page, err := range e.listeners(ctx, b.channelID, b.shard) {
		if err != nil {
			fault = err
			break
		}
		total += len(page)
		for _, s := range page {
			if b.except.has(s.socketID) || (b.live && s.replaying) || !who.passes(s.filter) {
				continue
			}
			frame := frames.of(s)
			slots <- struct{}{}
			jobs.Go(func() {
				defer func() { <-slots }()
				outcome := e.post(posting, s.socketID, s.connectedAt, frame)
				e.settle(ctx, b.channelID, s, outcome)
				if outcome == later {
					again.add(s.socketID, frame)
				}
				t.count(0, outcome)
			})
		}
	}
	jobs.Wait()
	if fault != nil {
		return fault
	}
	e.outgrown(ctx, b.channelID, b.shard, total)
	if tasks := again.tasks(e.nowMillis()); len(tasks) > 0 {
		return e.enqueue(ctx, retryDelay, tasks...)
	}
	return nil
}

// settle does what an outcome asks for beside counting it.
func (e *Engine) settle(ctx context.Context, channelID string, s subscriber, outcome outcomeOfPost) {
	if outcome != gone {
		return
	}
	// The subscription goes at once, so that the next message does not try again, whoever reports the socket's end.
	if _, err := e.table.remove(ctx, s.key, condition{}); err != nil {
		e.options.Log.Warn("an ended socket's subscription could not be removed",
			slog.String("channel", channelID), slog.String("socket", s.socketID), slog.Any("error", err))
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

// retries collects frames that sockets did not get.
type retries struct {
	mu      sync.Mutex
	byFrame map[*byte]*retry // by the first byte of a frame, which many sockets share
}

type retry struct {
	frame   []byte
	sockets []string
}

func (r *retries) add(socketID string, frame []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byFrame == nil {
		r.byFrame = map[*byte]*retry{}
	}
	of := r.byFrame[&frame[0]]
	if of == nil {
		of = &retry{frame: frame}
		r.byFrame[&frame[0]] = of
	}
	of.sockets = append(of.sockets, socketID)
}

func (r *retries) tasks(now int64) []Task {
	r.mu.Lock()
	defer r.mu.Unlock()
	var tasks []Task
	for _, of := range r.byFrame {
		for some := range slices.Chunk(of.sockets, retrySockets) {
			tasks = append(tasks, Task{Kind: TaskSend, Sockets: some, Frames: [][]byte{of.frame}, Since: now, Attempt: 1})
		}
	}
	return tasks
}

// backOff is how long a task that was put back so often waits.
func backOff(attempt int) time.Duration { return min(retryDelay*time.Duration(attempt+1), maxDelay) }
