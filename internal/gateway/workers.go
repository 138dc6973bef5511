package gateway

import "sync"

// maxWorkers bounds the goroutines that handle frames and ends of sockets for the loops. A use case may take long, so there are many of them; what
// comes when all are busy waits, unread.
const maxWorkers = 4096

// workers run what must not run on a loop.
type workers struct {
	work func(s *stream)

	mu      sync.Mutex
	running int
	limit   int
	line    []*stream // wait for a worker
}

// run has a stream worked on soon. It never blocks.
func (w *workers) run(s *stream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running >= w.limit {
		w.line = append(w.line, s)
		return
	}
	w.running++
	go func() {
		for s := s; s != nil; s = w.next() {
			w.work(s)
		}
	}()
}

// next returns the stream that waits longest; nil ends the worker.
func (w *workers) next() *stream {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.line) == 0 {
		w.line = nil
		w.running--
		return nil
	}
	s := w.line[0]
	w.line[0] = nil
	w.line = w.line[1:]
	return s
}
