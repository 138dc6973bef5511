package apigw

import (
	"context"
	"sync"
	"time"

	"eureka/internal/engine/dynamo"
)

// What the engine enqueues while a handshake is handled includes replays: what a resuming socket missed. They must come behind the frames of the
// handshake, which say where each subscription begins, and those are known only afterwards. So replays are held back until then, and travel with
// the frames: whoever has sent these enqueues them.

// queued is a task as it stands in the queue.
type queued struct {
	dynamo.Task

	Then []dynamo.Task `json:"then,omitempty"` // enqueued once the task is done
}

// held takes the replays of one handshake.
type held struct {
	mu    sync.Mutex
	tasks []dynamo.Task
}

type heldKey struct{}

// withHeld returns a context in which Enqueue holds replays back.
func withHeld(ctx context.Context) (context.Context, *held) {
	h := &held{}
	return context.WithValue(ctx, heldKey{}, h), h
}

func (h *held) add(task dynamo.Task) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tasks = append(h.tasks, task)
}

func (h *held) taken() []dynamo.Task {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tasks
}

// holdBack moves the replays among the tasks to the context's held and returns the others.
func holdBack(ctx context.Context, tasks []dynamo.Task) []dynamo.Task {
	h, _ := ctx.Value(heldKey{}).(*held)
	if h == nil {
		return tasks
	}
	var others []dynamo.Task
	for _, task := range tasks {
		if task.Kind == dynamo.TaskReplay {
			h.add(task)
		} else {
			others = append(others, task)
		}
	}
	return others
}

// following is what waits for the end of a task at which a function works.
type following struct {
	mu     sync.Mutex
	socket string // of the task
	tasks  []dynamo.Task
}

type followingKey struct{}

// withFollowing returns a context for the work on a task that others wait for: if it is put back, they go with it.
func withFollowing(ctx context.Context, m queued) (context.Context, *following) {
	f := &following{tasks: m.Then}
	if len(m.Sockets) == 1 {
		f.socket = m.Sockets[0]
	}
	return context.WithValue(ctx, followingKey{}, f), f
}

// take returns what still waits, and leaves nothing behind.
func (f *following) take() []dynamo.Task {
	f.mu.Lock()
	defer f.mu.Unlock()
	tasks := f.tasks
	f.tasks = nil
	return tasks
}

// takeThen returns what waits for a task that is put back now, nil for nothing.
func takeThen(ctx context.Context, task dynamo.Task) []dynamo.Task {
	f, _ := ctx.Value(followingKey{}).(*following)
	if f == nil || task.Kind != dynamo.TaskSend || len(task.Sockets) != 1 || task.Sockets[0] != f.socket {
		return nil
	}
	return f.take()
}

// enqueueThen is Enqueue for a task behind whose end others wait.
func (q *Queue) enqueueThen(ctx context.Context, delay time.Duration, task dynamo.Task, then []dynamo.Task) error {
	return q.enqueue(ctx, delay, queued{Task: task, Then: then})
}
