package gateway

import "sync"

// registry is the streams of a gateway. Each has a seat, so that a sweep can go through them in slices, without a copy of all of them.
type registry struct {
	mu    sync.Mutex
	seats []*stream
	free  []int32
}

// sit gives a stream its seat, when there are not limit of them already; 0 is no limit.
func (r *registry) sit(s *stream, limit int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if limit > 0 && len(r.seats)-len(r.free) >= limit {
		return false
	}
	if n := len(r.free); n > 0 {
		s.seat = r.free[n-1]
		r.free = r.free[:n-1]
		r.seats[s.seat] = s
		return true
	}
	s.seat = int32(len(r.seats)) //nolint:gosec // far fewer than 2^31 sockets fit a machine
	r.seats = append(r.seats, s)
	return true
}

// leave frees a stream's seat.
func (r *registry) leave(s *stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seats[s.seat] = nil
	r.free = append(r.free, s.seat)
}

// count is how many streams there are.
func (r *registry) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seats) - len(r.free)
}

// size is how many seats there are, those included that crowds have left empty.
func (r *registry) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seats)
}

// slice appends the streams of up to n seats from a seat on, and returns where the next slice begins; 0 when that was the last one.
func (r *registry) slice(to []*stream, from, n int) (streams []*stream, next int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	end := min(from+n, len(r.seats))
	for _, s := range r.seats[min(from, end):end] {
		if s != nil {
			to = append(to, s)
		}
	}
	if end == len(r.seats) {
		return to, 0
	}
	return to, end
}

// each calls f for every stream that is there all the while.
func (r *registry) each(f func(s *stream)) {
	const step = 1024
	streams, next := r.slice(make([]*stream, 0, step), 0, step)
	for {
		for _, s := range streams {
			f(s)
		}
		if next == 0 {
			return
		}
		streams, next = r.slice(streams[:0], next, step)
	}
}
