package apigateway

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// crowd is sockets without clients: they connect through the function as others do and count what they are sent, so that ten thousand of them fit
// beside everything else on one machine.
type crowd struct {
	mu    sync.Mutex
	stats CrowdStats
}

// CrowdStats tells what the crowd received.
type CrowdStats struct {
	Sockets  int       `json:"sockets"` // that are open
	Refused  int       `json:"refused"` // that were not let in
	Messages int       `json:"messages"`
	Bytes    int64     `json:"bytes"`
	First    time.Time `json:"first,omitzero"` // message since the last reset
	Last     time.Time `json:"last,omitzero"`
}

func (w *crowd) got(n int, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stats.Messages == 0 {
		w.stats.First = now
	}
	w.stats.Messages++
	w.stats.Bytes += int64(n)
	w.stats.Last = now
}

func (w *crowd) joined(ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ok {
		w.stats.Sockets++
	} else {
		w.stats.Refused++
	}
}

func (w *crowd) left() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Sockets--
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
	c := &connection{id: newID(), connectedAt: g.options.Now(), host: r.Host, identity: identify(r, nil, ""), member: &g.crowd}
	if !g.begin() {
		return errGone
	}
	defer g.work.Done()
	if _, status := g.connect(r, c); status != 0 {
		g.crowd.joined(false)
		return fmt.Errorf("a socket of the crowd was refused with %d", status)
	}
	g.crowd.joined(true)
	return g.establish(c, nil, nil)
}

// Crowd tells what the crowd received, and starts counting anew when reset is set.
func (g *Gateway) Crowd(reset bool) CrowdStats {
	g.crowd.mu.Lock()
	defer g.crowd.mu.Unlock()
	stats := g.crowd.stats
	if reset {
		g.crowd.stats = CrowdStats{Sockets: stats.Sockets}
	}
	return stats
}

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
