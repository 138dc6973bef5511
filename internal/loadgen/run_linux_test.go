package loadgen

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"eureka"
	"eureka/internal/app"
	"eureka/internal/config"
)

const adminKey = "0123456789abcdef0123456789abcdef"

// service runs the real service in this process and returns its address.
func service(t *testing.T, set func(*config.Settings)) string {
	t.Helper()
	var s config.Settings
	parser, err := kong.New(&s, kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"--listen", "127.0.0.1:0", "--data-dir", t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	s.DrainTimeout = 0
	if set != nil {
		set(&s)
	}
	a, err := app.New(app.Options{Settings: s, Version: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = a.Stop(ctx) // sockets are cut when the time is over
	})
	return "http://" + a.Addr()
}

// TestScenarios runs each scenario against the real service: all that is sent arrives, once and in order.
func TestScenarios(t *testing.T) {
	url := service(t, nil)
	for name, tt := range map[string]struct {
		set   func(*Options)
		check func(Report) bool
	}{
		"idle": {func(o *Options) { o.Scenario, o.Sockets, o.Settle = Idle, 200, 50*time.Millisecond }, func(r Report) bool {
			return r.Connects.Open == 200 && r.Connects.Latency.Count == 200 && r.Memory.BeforeBytes > 0 && r.Memory.SettledBytes > 0 && r.Delivery == nil
		}},
		"fanout": {func(o *Options) { o.Sockets, o.Messages = 150, 20 }, func(r Report) bool {
			return r.Publishes.Accepted == 20 && r.Delivery.Received == 3000 && r.Delivery.Frames >= 3000/20 && r.Delivery.Latency.Count == 3000 && r.Delivery.FrameBytes > 128
		}},
		"fanout, 16 under way": {func(o *Options) { o.Sockets, o.Messages, o.InFlight = 50, 200, 16 }, func(r Report) bool {
			return r.Publishes.Accepted == 200 && r.Delivery.Received == 10_000
		}},
		"fanout, at a rate": {func(o *Options) { o.Sockets, o.Rate, o.For, o.InFlight = 50, 200, 200*time.Millisecond, 2 }, func(r Report) bool {
			return r.Publishes.Accepted == 40 && r.Delivery.Received == 2000
		}},
		"large messages": {func(o *Options) { o.Sockets, o.Messages, o.Size = 5, 10, 100_000 }, func(r Report) bool {
			return r.Delivery.Received == 50 && r.Delivery.FrameBytes > 100_000
		}},
		"channels": {func(o *Options) {
			o.Scenario, o.Sockets, o.Channels, o.PerSocket, o.Messages, o.InFlight = Channels, 60, 30, 5, 90, 8
		}, func(r Report) bool {
			return r.Delivery.Received == 90*10 && r.Memory.PerSubscription == r.Memory.PerSocket/5
		}},
		"connect": {func(o *Options) { o.Scenario, o.Sockets, o.Cycles = Connect, 100, 3 }, func(r Report) bool {
			return len(r.Cycles) == 3 && r.Cycles[2].DroppedBytes > 0 && r.Cycles[0].PerSecond > 0
		}},
		"storm": {func(o *Options) { o.Scenario, o.Sockets, o.Missed = Storm, 200, 7 }, func(r Report) bool {
			return r.Storm.Recovered == 200 && r.Storm.Unrecovered == 0 && r.Delivery.Received == 200*(heardBefore+7) && r.Storm.PeakBytes > 0
		}},
		"publish": {func(o *Options) { o.Scenario, o.Sockets, o.Messages, o.InFlight = Publish, 1, 500, 8 }, func(r Report) bool {
			return r.Publishes.Accepted == 500 && r.Publishes.Latency.Count == 500 && r.Delivery.Received == 500
		}},
		"nobody listens": {func(o *Options) { o.Scenario, o.Sockets, o.Channels, o.Messages = Channels, 1, 3, 3 }, func(r Report) bool {
			return r.Publishes.Accepted == 3 && r.Delivery.Received == 1
		}},
	} {
		t.Run(name, func(t *testing.T) {
			o := good(url)
			o.PID, o.Channel = os.Getpid(), "c-"+strings.NewReplacer(" ", "-", ",", "").Replace(name)
			tt.set(&o)
			r, err := Run(t.Context(), o)
			if err != nil || r.Connects == nil || !tt.check(r) {
				t.Fatalf("%v: connects %+v, memory %+v, publishes %+v, delivery %+v, storm %+v, cycles %+v", err, r.Connects, r.Memory, r.Publishes, r.Delivery, r.Storm, r.Cycles)
			}
			if d := r.Delivery; d != nil && (d.Lost != 0 || d.Duplicates != 0 || d.OutOfOrder != 0 || d.Closed != 0) {
				t.Errorf("%+v", d)
			}
			var text strings.Builder
			if err := r.Print(&text); err != nil || !strings.HasPrefix(text.String(), string(r.Scenario)+", eureka at http://127") {
				t.Errorf("%v, printed\n%s", err, text.String())
			}
		})
	}
}

// TestProgress: a run that lasts tells what it does.
func TestProgress(t *testing.T) {
	var mu sync.Mutex
	var lines []string
	o := good(service(t, nil))
	o.Scenario, o.Sockets, o.Settle = Idle, 20, 1500*time.Millisecond
	o.Progress = func(line string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, line)
	}
	if _, err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(lines) == 0 || lines[0] != "20 of 20 sockets open" {
		t.Errorf("told %q", lines)
	}
}

// TestRefusals: what a service or this machine refuses has its sentence and its code.
func TestRefusals(t *testing.T) {
	closed := service(t, func(s *config.Settings) { s.AdminKey = adminKey })
	few := service(t, func(s *config.Settings) { s.MaxSockets = 3 })
	for name, tt := range map[string]struct {
		url  string
		set  func(*Options)
		code eureka.Code
		says string
	}{
		"nobody there":      {"http://127.0.0.1:1", nil, eureka.CodeUnavailable, "127.0.0.1:1 does not answer"},
		"no credential":     {closed, nil, eureka.CodeUnauthenticated, "0 of 10 sockets are open; 10 times: refused with 401"},
		"a wrong one":       {closed, func(o *Options) { o.Token = "wrong" }, eureka.CodeUnauthenticated, "refused with 401"},
		"unknown channel":   {closed, func(o *Options) { o.Token = adminKey }, eureka.CodeNotFound, "bench"},
		"limit of sockets":  {few, nil, eureka.CodeRateLimited, "max_sockets"},
		"no such process":   {few, func(o *Options) { o.PID = 1 << 29 }, eureka.CodeInvalid, "pid: there is no process"},
		"open files":        {few, func(o *Options) { o.Sockets = maxSockets }, eureka.CodeInvalid, "ulimit -n"},
		"wrong dialect":     {few, func(o *Options) { o.Protocol = Centrifugo }, eureka.CodeNotFound, "refused with 404"},
		"a storm's channel": {closed, func(o *Options) { o.Scenario = Storm }, eureka.CodeUnauthenticated, "the channel bench cannot be created"},
	} {
		t.Run(name, func(t *testing.T) {
			o := good(tt.url)
			if tt.set != nil {
				tt.set(&o)
			}
			_, err := Run(t.Context(), o)
			if eureka.CodeOf(err) != tt.code || !strings.Contains(eureka.MessageOf(err), tt.says) {
				t.Errorf("%v, want %s: …%s…", err, tt.code, tt.says)
			}
		})
	}
}

// TestAnInterruptedRunReports: what was seen until then is not lost.
func TestAnInterruptedRunReports(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := good(service(t, nil))
	o.For = time.Hour
	o.Progress = func(line string) {
		if strings.Contains(line, "delivered") {
			cancel()
		}
	}
	r, err := Run(ctx, o)
	if err == nil || r.Delivery == nil || r.Delivery.Received == 0 {
		t.Errorf("%v, %+v", err, r.Delivery)
	}
}

// faulty is a service that does to messages what the real one must not; no real one can be made to. Its frames come in pieces.
func faulty(t *testing.T, spoil func(nth int, frame []byte) [][]byte) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var sockets []net.Conn
	published := 0
	serve := func(c net.Conn) {
		for reader := bufio.NewReader(c); ; {
			r, err := http.ReadRequest(reader)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			if r.Method == http.MethodGet {
				_, _ = io.WriteString(c, "HTTP/1.1 101 Switching")
				_, _ = io.WriteString(c, " Protocols\r\n\r\n")
				sockets = append(sockets, c)
				mu.Unlock()
				return
			}
			for _, frame := range spoil(published, append([]byte{0x81, 126, byte(len(body) >> 8), byte(len(body))}, body...)) {
				for _, s := range sockets {
					if frame == nil {
						_ = s.Close()
						continue
					}
					_, _ = s.Write(frame[:3])
					_, _ = s.Write(frame[3:])
				}
			}
			published++
			mu.Unlock()
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			go serve(c)
		}
	}()
	t.Cleanup(func() { _ = listener.Close() })
	return "http://" + listener.Addr().String()
}

// TestLossesAreCounted: every kind of fault is seen, by its number, and ends the run with an error.
func TestLossesAreCounted(t *testing.T) {
	var kept []byte
	pass := func(_ int, frame []byte) [][]byte { return [][]byte{frame} }
	for name, tt := range map[string]struct {
		spoil                         func(nth int, frame []byte) [][]byte
		lost, doubled, reordered, end int64
	}{
		"none": {pass, 0, 0, 0, 0},
		"one lost": {func(n int, frame []byte) [][]byte {
			if n == 3 {
				return nil
			}
			return [][]byte{frame}
		}, 5, 0, 0, 0},
		"the last lost": {func(n int, frame []byte) [][]byte {
			if n == 9 {
				return nil
			}
			return [][]byte{frame}
		}, 5, 0, 0, 0},
		"one doubled": {func(n int, frame []byte) [][]byte {
			if n == 3 {
				return [][]byte{frame, frame}
			}
			return [][]byte{frame}
		}, 0, 5, 0, 0},
		"two swapped": {func(n int, frame []byte) [][]byte {
			switch n {
			case 3:
				kept = frame
				return nil
			case 4:
				return [][]byte{frame, kept}
			}
			return [][]byte{frame}
		}, 0, 0, 5, 0},
		"all closed": {func(n int, frame []byte) [][]byte {
			if n == 9 {
				return [][]byte{frame, nil}
			}
			return [][]byte{frame}
		}, 0, 0, 0, 5},
		"pings and other frames": {func(_ int, frame []byte) [][]byte {
			return [][]byte{{0x89, 1, 'p'}, {0x81, 1, '1'}, frame}
		}, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			o := good(faulty(t, tt.spoil))
			o.Scenario, o.Protocol, o.Sockets, o.Messages, o.Wait = Publish, Bare, 5, 10, 300*time.Millisecond
			r, err := Run(t.Context(), o)
			if r.Delivery == nil {
				t.Fatal(err)
			}
			got := fmt.Sprint(r.Delivery.Lost, r.Delivery.Duplicates, r.Delivery.OutOfOrder)
			if want := fmt.Sprint(tt.lost, tt.doubled, tt.reordered); got != want || r.Delivery.Expected != 50 {
				t.Errorf("lost, doubled, out of order: %s, want %s; %+v", got, want, r.Delivery)
			}
			want := eureka.Code("")
			switch {
			case tt.lost+tt.doubled+tt.reordered > 0:
				want = eureka.CodeGap
			case tt.end > 0:
				want = eureka.CodeUnavailable
			}
			// The end of the sockets may be seen behind the last message.
			if got := eureka.CodeOf(err); got != want && (tt.end == 0 || err != nil) {
				t.Errorf("%v, want %s", err, want)
			}
		})
	}
}
