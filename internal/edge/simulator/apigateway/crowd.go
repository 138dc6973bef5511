package apigateway

import (
	"context"
	"fmt"
	"hash/maphash"
	"math"
	"net/http"
	"sync"
	"time"
)

// crowd is sockets without clients: they connect through the function as others do and count what they are sent, so that ten thousand of them fit
// beside everything else on one machine.
type crowd struct {
	mu      sync.Mutex
	stats   CrowdStats
	members map[*connection]*heard // that are open
	seed    maphash.Seed
}

// heard is what one socket of the crowd was sent since the last reset.
type heard struct {
	messages map[uint64]struct{} // the hashes of the different ones
	order    uint64              // of their first arrivals
}

// CrowdStats tells what the crowd received.
type CrowdStats struct {
	Sockets  int       `json:"sockets"` // that are open
	Refused  int       `json:"refused"` // that were not let in
	Messages int       `json:"messages"`
	Least    int       `json:"least"`   // different messages of the open socket that got the fewest
	Doubles  int       `json:"doubles"` // messages that their socket had got before
	Orders   int       `json:"orders"`  // different sequences of messages that open sockets got, doubles left out; 1 when all got the same ones in the same order
	Bytes    int64     `json:"bytes"`
	First    time.Time `json:"first,omitzero"` // message since the last reset
	Last     time.Time `json:"last,omitzero"`
}

func (w *crowd) got(c *connection, text []byte, now time.Time) {
	hash := maphash.Bytes(w.seed, text)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stats.Messages == 0 {
		w.stats.First = now
	}
	w.stats.Messages++
	w.stats.Bytes += int64(len(text))
	w.stats.Last = now
	h := w.members[c]
	if h == nil {
		return // it left meanwhile
	}
	if _, had := h.messages[hash]; had {
		w.stats.Doubles++
		return
	}
	h.messages[hash] = struct{}{}
	h.order = maphash.Comparable(w.seed, [2]uint64{h.order, hash})
}

func newCrowd() *crowd { return &crowd{members: map[*connection]*heard{}, seed: maphash.MakeSeed()} }

func newHeard() *heard { return &heard{messages: map[uint64]struct{}{}} }

// joined counts a socket that was let in, before anybody can post to it.
func (w *crowd) joined(c *connection) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Sockets++
	w.members[c] = newHeard()
}

func (w *crowd) refused() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Refused++
}

func (w *crowd) left(c *connection) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Sockets--
	delete(w.members, c)
}

// tell returns what was counted, and starts counting anew when reset is set.
func (w *crowd) tell(reset bool) CrowdStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	stats := w.stats
	orders := map[uint64]struct{}{}
	stats.Least = math.MaxInt
	for c, h := range w.members {
		orders[h.order] = struct{}{}
		stats.Least = min(stats.Least, len(h.messages))
		if reset {
			w.members[c] = newHeard()
		}
	}
	stats.Orders = len(orders)
	if stats.Orders == 0 {
		stats.Least = 0 // of nobody
	}
	if reset {
		w.stats = CrowdStats{Sockets: stats.Sockets}
	}
	return stats
}

// Join adds n sockets to the crowd, each of which connects with the given target (path and query) and header, side of them at a time, and returns
// when all have been let in or refused.
func (g *Gateway) Join(ctx context.Context, n, side int, target string, header http.Header) error {
	tickets := make(chan int)
	var all sync.WaitGroup
	var once sync.Once
	var failure error
	for range max(side, 1) {
		all.Go(func() {
			for i := range tickets {
				if err := g.joinOne(ctx, i, target, header); err != nil {
					once.Do(func() { failure = err })
				}
			}
		})
	}
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		tickets <- i
	}
	close(tickets)
	all.Wait()
	if failure == nil {
		failure = ctx.Err()
	}
	return failure
}

func (g *Gateway) joinOne(ctx context.Context, i int, target string, header http.Header) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://crowd.invalid"+target, http.NoBody)
	if err != nil {
		return err
	}
	if header != nil {
		r.Header = header.Clone()
	}
	r.RemoteAddr = fmt.Sprintf("203.0.113.%d:%d", i%254+1, 1024+i%60000)
	c := &connection{id: newID(), connectedAt: g.options.Now(), host: r.Host, identity: identify(r, nil, ""), member: g.crowd}
	if !g.begin() {
		return errGone
	}
	defer g.work.Done()
	if _, status := g.connect(r, c); status != 0 {
		g.crowd.refused()
		return fmt.Errorf("a socket of the crowd was refused with %d", status)
	}
	g.crowd.joined(c)
	return g.establish(c, nil, nil)
}

// Crowd tells what the crowd received, and starts counting anew when reset is set.
func (g *Gateway) Crowd(reset bool) CrowdStats { return g.crowd.tell(reset) }

// Leave ends all sockets of the crowd as if their clients had closed them, side of them at a time, and returns when the function was told of all.
func (g *Gateway) Leave(side int) {
	g.mu.Lock()
	var members []*connection
	for _, c := range g.connections {
		if c.member != nil {
			members = append(members, c)
		}
	}
	g.mu.Unlock()
	how := ending{code: closeNormal}
	leaving := make(chan *connection)
	var all sync.WaitGroup
	for range max(side, 1) {
		all.Go(func() {
			for c := range leaving {
				if g.finish(c, how) && g.begin() {
					g.disconnect(c, how)
					g.work.Done()
				}
			}
		})
	}
	for _, c := range members {
		leaving <- c
	}
	close(leaving)
	all.Wait()
}
