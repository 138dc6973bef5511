package natsengine

import (
	"context"
	"sync"
)

// position is how far a replica has come.
type position struct {
	applied    uint64 // every change up to this revision is in the replica
	synced     bool   // the replica has what the bucket has, and a watch brings the rest
	reconnects uint64 // reconnects of the connection when that watch began
}

// progress tells waiters when a replica's position changes.
type progress struct {
	mu    sync.Mutex
	at    position
	moved chan struct{} // closed and replaced at each change
}

func newProgress() *progress { return &progress{moved: make(chan struct{})} }

func (p *progress) now() position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at
}

// move changes the position and wakes every waiter.
func (p *progress) move(change func(*position)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.at)
	close(p.moved)
	p.moved = make(chan struct{})
}

// wait returns nil as soon as the position is as asked, and the error of ctx when it ends first.
func (p *progress) wait(ctx context.Context, ok func(position) bool) error {
	for {
		p.mu.Lock()
		at, moved := p.at, p.moved
		p.mu.Unlock()
		if ok(at) {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
