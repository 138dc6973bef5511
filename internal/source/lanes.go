package source

import (
	"context"
	"sync"
)

// Lanes runs tasks: those of one key one after the other in the order in which they came, those of different keys at the same time. Its zero value cannot
// be used; NewLanes makes one. It is safe for concurrent use.
type Lanes struct {
	room    chan struct{} // one for each task that waits or runs
	turns   chan struct{} // one for each task that runs
	mu      sync.Mutex
	waiting map[string][]func() // by key, for each key that has a goroutine
	running sync.WaitGroup
}

// NewLanes makes lanes in which at most workers tasks run and at most capacity wait or run. Both are at least 1.
func NewLanes(workers, capacity int) *Lanes {
	workers = max(workers, 1)
	return &Lanes{room: make(chan struct{}, max(capacity, workers)), turns: make(chan struct{}, workers), waiting: map[string][]func(){}}
}

// Go has a task run behind those of its key. It waits while there is no room, and returns ctx's error when that ends first: the task will not run then.
// A task must not call Go.
func (l *Lanes) Go(ctx context.Context, key string, task func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case l.room <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	tasks, busy := l.waiting[key]
	l.waiting[key] = append(tasks, task)
	if !busy {
		l.running.Go(func() { l.run(key) })
	}
	return nil
}

// run runs the tasks of a key until there is none.
func (l *Lanes) run(key string) {
	for {
		l.mu.Lock()
		tasks := l.waiting[key]
		if len(tasks) == 0 {
			delete(l.waiting, key)
			l.mu.Unlock()
			return
		}
		task := tasks[0]
		tasks[0] = nil
		l.waiting[key] = tasks[1:]
		l.mu.Unlock()
		l.turns <- struct{}{}
		func() {
			defer func() {
				<-l.turns
				<-l.room
			}()
			task()
		}()
	}
}

// Wait returns when no task is left. Nobody may call Go meanwhile.
func (l *Lanes) Wait() { l.running.Wait() }
