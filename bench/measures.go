//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"eureka/internal/pause"
)

// bench holds what the measurements share.
type bench struct {
	rounds, publishes, idle, resumes, declared, large, huge int

	span time.Duration // of each delivery measurement

	progress                 io.Writer
	dir                      string
	eureka, bare, centrifugo string // binaries; the last "" when there is none
	servers                  int    // started so far
}

// body is a broadcast whose frame is about 128 bytes long, channel, action and time included.
var body = []byte(`{"data":{"orderId":"1000042","status":"paid","note":"ok"}}`)

// startTime is the median time from the start of the process to its first accepted connection, in milliseconds.
func (b *bench) startTime(ctx context.Context) (float64, error) {
	b.say("start-up time")
	var times []float64
	for range 5 {
		s, err := b.serve(ctx)
		if err != nil {
			return 0, err
		}
		if err := ready(ctx, s); err != nil {
			return 0, err
		}
		times = append(times, float64(time.Since(s.started).Microseconds())/1000)
		if err := s.stop(); err != nil {
			return 0, err
		}
	}
	return median(times), nil
}

// memory is the resident memory that each idle, subscribed socket adds, in kilobytes.
func (b *bench) memory(ctx context.Context) (float64, error) {
	b.say("memory of %d idle sockets", b.idle)
	s, err := b.serve(ctx)
	if err != nil {
		return 0, err
	}
	if err := ready(ctx, s); err != nil {
		return 0, err
	}
	before, err := s.resident()
	if err != nil {
		return 0, err
	}
	clients, err := newSockets()
	if err != nil {
		return 0, err
	}
	if err := clients.connect(s.address, b.idle); err != nil {
		return 0, err
	}
	if clients.failed.Load() > 0 {
		return 0, fmt.Errorf("%d handshakes were refused", clients.failed.Load())
	}
	// The figure is the settled one: connecting leaves garbage that the next collections free.
	var after int64
	for range 10 {
		if err := pause.For(ctx, time.Second); err != nil {
			return 0, err
		}
		if after, err = s.resident(); err != nil {
			return 0, err
		}
	}
	clients.close()
	return float64(after-before) / float64(b.idle) / 1024, s.stop()
}

// publishRate measures publishes to a channel with one subscriber.
func (b *bench) publishRate(ctx context.Context, inFlight int) (publish, error) {
	b.say("%d publishes, %d in flight", b.publishes, inFlight)
	s, err := b.serve(ctx)
	if err != nil {
		return publish{}, err
	}
	clients, err := subscribe(ctx, s, 1)
	if err != nil {
		return publish{}, err
	}
	defer clients.close()
	before, err := s.cpu()
	if err != nil {
		return publish{}, err
	}
	began := time.Now()
	if err := post(ctx, s, b.publishes, inFlight); err != nil {
		return publish{}, err
	}
	took := time.Since(began)
	after, err := s.cpu()
	if err != nil {
		return publish{}, err
	}
	if err := clients.await(int64(b.publishes)); err != nil {
		return publish{}, err
	}
	return publish{
		InFlight: inFlight, PerSecond: float64(b.publishes) / took.Seconds(),
		CPUMicros: float64((after - before).Microseconds()) / float64(b.publishes),
	}, s.stop()
}

// post publishes n messages over inFlight connections.
func post(ctx context.Context, s *server, n, inFlight int) error {
	return postTo(ctx, s, []string{"bench"}, n, inFlight)
}

// postTo publishes n messages over inFlight connections, to one channel after the other.
func postTo(ctx context.Context, s *server, channels []string, n, inFlight int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	client := &http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{MaxIdleConnsPerHost: inFlight},
	}
	defer client.CloseIdleConnections()
	var left atomic.Int64
	left.Store(int64(n))
	var publishers sync.WaitGroup
	for range inFlight {
		publishers.Go(func() {
			for i := left.Add(-1); i >= 0; i = left.Add(-1) {
				if _, err := s.call(ctx, client, http.MethodPost, "/channels/"+channels[int(i)%len(channels)]+"/broadcast", body); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	publishers.Wait()
	return context.Cause(ctx)
}

func subscribe(ctx context.Context, s *server, n int) (*sockets, error) {
	if err := ready(ctx, s); err != nil {
		return nil, err
	}
	clients, err := newSockets()
	if err != nil {
		return nil, err
	}
	if err := clients.connect(s.address, n); err != nil {
		return nil, err
	}
	if clients.failed.Load() > 0 {
		return nil, fmt.Errorf("%s refused %d handshakes", s.name, clients.failed.Load())
	}
	return clients, nil
}

// await waits until the sockets have received n frames in all.
func (s *sockets) await(n int64) error {
	return waitUntil(time.Minute, func() bool { return s.frames.Load() >= n }, func() error {
		return fmt.Errorf("%d of %d frames arrived, %d sockets were closed", s.frames.Load(), n, s.closed.Load())
	})
}

// ready waits until the service says it takes traffic.
func ready(ctx context.Context, s *server) error {
	client := s.client(time.Second)
	defer client.CloseIdleConnections()
	return waitUntil(30*time.Second, func() bool {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.scheme()+"://"+s.address+"/readyz", http.NoBody)
		if err != nil {
			return false
		}
		response, err := client.Do(request)
		if err != nil {
			return false
		}
		defer func() { _ = response.Body.Close() }()
		return response.StatusCode == http.StatusOK
	}, func() error { return fmt.Errorf("%s is not ready:\n%s", s.name, strings.TrimSpace(s.log.String())) })
}
