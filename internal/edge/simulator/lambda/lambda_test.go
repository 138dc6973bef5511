//go:build unix

package lambda_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"eureka/internal/edge/simulator/fault"
	"eureka/internal/edge/simulator/lambda"
	"eureka/internal/edge/simulator/meter"
	"eureka/internal/edge/simulator/simtest"
)

const patience = 30 * time.Second

func TestMain(m *testing.M) { simtest.Main(m) }

// bench is a function and what it shares with nobody.
type bench struct {
	*lambda.Function

	meter  *meter.Meter
	faults *fault.Set

	mu       sync.Mutex
	output   []string
	live     map[*lambda.Process]bool
	released int
}

func (b *bench) lines() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.output, "\n")
}

func open(t *testing.T, change func(*lambda.Config), decide func(context.Context, simtest.Call) simtest.Answer) *bench {
	t.Helper()
	b := &bench{meter: meter.New(nil), faults: fault.NewSet(1), live: map[*lambda.Process]bool{}}
	c := lambda.Config{
		Name: "eureka-test-ws", Role: "ws", Bootstrap: simtest.Bootstrap(t), Region: "eu-west-1", Account: "123456789012",
		MemoryMB: 128, Timeout: patience, Concurrency: 3, Keep: time.Hour,
		Env: []string{"EUREKA_ROLE=ws", "SCRIPT_URL=" + simtest.Script(t, decide)},
	}
	if change != nil {
		change(&c)
	}
	b.Function = lambda.New(c, lambda.Host{
		Meter: b.meter, Faults: b.faults, Log: slog.New(slog.DiscardHandler),
		Credentials: func(p *lambda.Process) (lambda.Credentials, func()) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.live[p] = true
			return lambda.Credentials{ID: "ASIAX", Secret: "secret", Token: "token"}, func() {
				b.mu.Lock()
				defer b.mu.Unlock()
				delete(b.live, p)
				b.released++
			}
		},
		Output: func(_, line string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.output = append(b.output, line)
		},
	})
	t.Cleanup(func() {
		b.Close()
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.live) > 0 {
			t.Errorf("%d processes are left", len(b.live))
		}
	})
	return b
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !f(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come", what)
		}
	}
}

func (b *bench) count(c meter.Counter) float64 { return b.meter.Read().Counts[c] }

// TestReuse: the process of the first invocation serves the next ones, and is told what Lambda tells.
func TestReuse(t *testing.T) {
	var calls []simtest.Call
	b := open(t, nil, func(_ context.Context, c simtest.Call) simtest.Answer {
		calls = append(calls, c)
		return simtest.Answer{Response: `{"n":` + c.Event + `}`, Log: []string{"hello", `{"level":"INFO"}`}}
	})
	began := time.Now()
	for i, event := range []string{"1", "2", "3"} {
		r, err := b.Invoke(t.Context(), []byte(event))
		if err != nil || string(r.Payload) != `{"n":`+event+`}` || r.Cold != (i == 0) || r.RequestID != calls[i].RequestID {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	for _, c := range calls {
		if c.PID != calls[0].PID || c.ARN != "arn:aws:lambda:eu-west-1:123456789012:function:eureka-test-ws" {
			t.Errorf("process %d, %s", c.PID, c.ARN)
		}
		if at := time.UnixMilli(c.Deadline); at.Before(began.Add(patience-time.Second)) || at.After(time.Now().Add(patience)) {
			t.Errorf("the deadline is %s after the start", at.Sub(began))
		}
	}
	if calls[0].RequestID == calls[1].RequestID || len(calls[0].RequestID) != 36 {
		t.Errorf("request ids %s, %s", calls[0].RequestID, calls[1].RequestID)
	}
	for _, want := range []string{
		"AWS_REGION=eu-west-1", "AWS_ACCESS_KEY_ID=ASIAX", "AWS_SECRET_ACCESS_KEY=secret", "AWS_SESSION_TOKEN=token",
		"AWS_LAMBDA_FUNCTION_NAME=eureka-test-ws", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "EUREKA_ROLE=ws", "TZ=:UTC",
	} {
		if !slices.Contains(calls[0].Env, want) {
			t.Errorf("no %s in %q", want, calls[0].Env)
		}
	}
	if slices.ContainsFunc(calls[0].Env, func(v string) bool { return strings.HasPrefix(v, "HOME=") || strings.HasPrefix(v, "GOPATH=") }) {
		t.Errorf("the environment of this process leaks: %q", calls[0].Env)
	}
	out := b.lines()
	for _, want := range []string{"START RequestId: " + calls[2].RequestID, "hello\n{\"level\":\"INFO\"}\n", "REPORT RequestId: " + calls[2].RequestID + "\tDuration: "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Count(out, "Init Duration") != 1 {
		t.Errorf("not one start in\n%s", out)
	}
	r := b.meter.Read()
	if r.Counts["lambda.invocations"] != 3 || r.Counts["lambda.invocations/ws"] != 3 || r.Counts["lambda.coldStarts"] != 1 || r.Counts["lambda.errors"] != 0 {
		t.Errorf("%v", r.Counts)
	}
	if ms := r.Counts["lambda.billedMs"]; ms < 3 || math.Abs(r.Counts["lambda.gbSeconds"]-ms/1000/8) > 1e-9 {
		t.Errorf("%v ms, %v GB-seconds", ms, r.Counts["lambda.gbSeconds"])
	}
	if r.Counts["lambda.cpuMs"] <= 0 || r.Peaks["lambda.memoryMB/ws"] < 5 || r.Peaks["lambda.memoryMB/ws"] > 500 || r.Counts["logs.gb"] <= 0 {
		t.Errorf("%v %v", r.Counts, r.Peaks)
	}
}

// TestConcurrency: one invocation at a time in each process, as many processes as may be, and throttling beyond.
func TestConcurrency(t *testing.T) {
	gate := make(chan struct{})
	var mu sync.Mutex
	busy := map[int]int{}
	b := open(t, nil, func(ctx context.Context, c simtest.Call) simtest.Answer {
		mu.Lock()
		busy[c.PID]++
		mu.Unlock()
		select {
		case <-gate:
		case <-ctx.Done():
		}
		return simtest.Answer{}
	})
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if _, err := b.Invoke(t.Context(), []byte("1")); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "the third process", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(busy) == 3
	})
	if _, err := b.Invoke(t.Context(), []byte("1")); !errors.Is(err, lambda.ErrThrottled) {
		t.Errorf("the fourth: %v", err)
	}
	close(gate)
	all.Wait()
	mu.Lock()
	for pid, n := range busy {
		if n != 1 {
			t.Errorf("process %d had %d", pid, n)
		}
	}
	mu.Unlock()
	if b.count("lambda.throttles/ws") != 1 || b.Processes() != 3 {
		t.Errorf("%v throttled, %d processes", b.count("lambda.throttles/ws"), b.Processes())
	}
}

// TestFailures: whatever goes wrong in a process is told as Lambda tells it, and the next invocation works.
func TestFailures(t *testing.T) {
	answers := map[string]simtest.Answer{
		`"error"`: {Error: "not today"}, `"panic"`: {Panic: "oh no"}, `"exit"`: {Exit: 7},
		`"big"`: {Big: lambda.MaxPayload + 1}, `"full"`: {Big: lambda.MaxPayload},
	}
	b := open(t, nil, func(_ context.Context, c simtest.Call) simtest.Answer { return answers[c.Event] })
	for _, tt := range []struct {
		event, kind, message string
		coldNext             bool
	}{
		{`"error"`, "errorString", "not today", false},
		{`"panic"`, "string", "oh no", true},
		{`"exit"`, "Runtime.ExitError", "Error: Runtime exited with error: exit status 7", true},
		{`"big"`, "Function.ResponseSizeTooLarge", "Response payload size exceeded", true},
		{`"full"`, "", "", false},
	} {
		r, err := b.Invoke(t.Context(), []byte(tt.event))
		var failed *lambda.Error
		if errors.As(err, &failed); tt.kind == "" {
			if err != nil || len(r.Payload) == 0 {
				t.Errorf("%s: %v", tt.event, err)
			}
		} else if failed == nil || failed.Type != tt.kind || !strings.Contains(failed.Message, tt.message) {
			t.Errorf("%s: %v", tt.event, err)
		}
		if tt.coldNext {
			eventually(t, "the end of the process", func() bool { return b.Processes() == 0 })
		}
		if r, err = b.Invoke(t.Context(), []byte("1")); err != nil || r.Cold != tt.coldNext {
			t.Errorf("after %s: cold %v, %v", tt.event, r.Cold, err)
		}
	}
	if _, err := b.Invoke(t.Context(), bytes.Repeat([]byte("1"), lambda.MaxPayload+1)); err == nil {
		t.Error("an event that is too large is taken")
	}
	if b.count("lambda.errors/ws") != 4 {
		t.Errorf("%v errors", b.count("lambda.errors/ws"))
	}
}

// TestTimeout: a function that takes too long is killed, and its caller told.
func TestTimeout(t *testing.T) {
	b := open(t, func(c *lambda.Config) { c.Timeout = 700 * time.Millisecond }, func(ctx context.Context, c simtest.Call) simtest.Answer {
		if c.Event == `"hang"` {
			<-ctx.Done()
		}
		return simtest.Answer{}
	})
	_, err := b.Invoke(t.Context(), []byte(`"hang"`))
	var failed *lambda.Error
	if !errors.As(err, &failed) || !failed.Timeout() || !strings.Contains(failed.Message, "Task timed out after 0.70 seconds") {
		t.Fatalf("%v", err)
	}
	if b.Processes() != 0 || !strings.Contains(b.lines(), "REPORT") {
		t.Errorf("%d processes live\n%s", b.Processes(), b.lines())
	}
	if r, err := b.Invoke(t.Context(), []byte("1")); err != nil || !r.Cold {
		t.Errorf("the next: %+v, %v", r, err)
	}
}

// TestCallerLeaves: an invocation goes on when its caller hangs up.
func TestCallerLeaves(t *testing.T) {
	gate, began := make(chan struct{}), make(chan struct{})
	b := open(t, nil, func(context.Context, simtest.Call) simtest.Answer {
		close(began)
		<-gate
		return simtest.Answer{Log: []string{"still here"}}
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	if _, err := b.Invoke(ctx, []byte("1")); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	close(gate)
	eventually(t, "its end", func() bool { return strings.Contains(b.lines(), "still here") && b.count("lambda.invocations") == 1 })
}

func TestInit(t *testing.T) {
	for mode, want := range map[string]lambda.Error{
		"error": {Type: "Script.Init", Message: "no table"},
		"exit":  {Type: "Runtime.ExitError", Message: "Error: Runtime exited with error: exit status 3"},
	} {
		b := open(t, func(c *lambda.Config) { c.Env = append(c.Env, "SCRIPT_INIT="+mode) }, nil)
		_, err := b.Invoke(t.Context(), []byte("1"))
		var failed *lambda.Error
		if !errors.As(err, &failed) || *failed != want {
			t.Errorf("%s: %v", mode, err)
		}
		if mode == "exit" && !strings.Contains(b.lines(), "last words") {
			t.Errorf("its last words are lost: %s", b.lines())
		}
		if b.Processes() != 0 || b.count("lambda.errors") != 1 || b.count("lambda.coldStarts") != 1 {
			t.Errorf("%s: %d processes, %v", mode, b.Processes(), b.meter.Read().Counts)
		}
	}
	b := open(t, func(c *lambda.Config) { c.Bootstrap = filepath.Join(t.TempDir(), "none") }, nil)
	_, err := b.Invoke(t.Context(), []byte("1"))
	var failed *lambda.Error
	if !errors.As(err, &failed) || failed.Type != "Runtime.InvalidEntrypoint" {
		t.Errorf("no binary: %v", err)
	}
}

// TestFreeze: a process stands still between two invocations.
func TestFreeze(t *testing.T) {
	var pid int
	b := open(t, nil, func(_ context.Context, c simtest.Call) simtest.Answer {
		pid = c.PID
		return simtest.Answer{}
	})
	for range 2 {
		if _, err := b.Invoke(t.Context(), []byte("1")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the frozen state", func() bool {
			text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
			if err != nil {
				t.Skip(err)
			}
			return strings.Contains(string(text), "T (stopped)")
		})
	}
}

// TestFaults: cold starts on demand, and a process that is killed at once or by what it posts.
func TestFaults(t *testing.T) {
	pids := map[int]bool{}
	var b *bench
	b = open(t, nil, func(_ context.Context, c simtest.Call) simtest.Answer {
		pids[c.PID] = true
		if c.Event == `"post"` {
			b.mu.Lock()
			for p := range b.live {
				go func() {
					for range 3 {
						p.Posted()
					}
				}()
			}
			b.mu.Unlock()
			<-t.Context().Done()
		}
		return simtest.Answer{}
	})
	put := func(text string) {
		t.Helper()
		r, err := fault.Parse(text)
		if err == nil {
			b.faults.Clear()
			err = b.faults.Put(r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put("cold-start=1")
	for range 3 {
		if r, err := b.Invoke(t.Context(), []byte("1")); err != nil || !r.Cold {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if len(pids) != 3 || b.Processes() != 1 {
		t.Errorf("%d processes served, %d live", len(pids), b.Processes())
	}
	put("kill=1")
	_, err := b.Invoke(t.Context(), []byte("1"))
	var failed *lambda.Error
	if !errors.As(err, &failed) || failed.Type != "Runtime.ExitError" || !strings.Contains(failed.Message, "signal: killed") {
		t.Errorf("killed: %v", err)
	}
	b.faults.Clear()
	if r, err := b.Invoke(t.Context(), []byte("1")); err != nil || !r.Cold {
		t.Errorf("after the kill: %+v, %v", r, err)
	}
	put("kill=1,posts=3,count=1")
	// Its script waits for the end of the test, so only the third post can end it.
	if _, err = b.Invoke(t.Context(), []byte(`"post"`)); !errors.As(err, &failed) || !strings.Contains(failed.Message, "signal: killed") {
		t.Errorf("killed at the third post: %v", err)
	}
}

// TestIdle: processes that nobody needs end, and Reset ends them at once.
func TestIdle(t *testing.T) {
	b := open(t, func(c *lambda.Config) { c.Keep = 20 * time.Millisecond }, func(context.Context, simtest.Call) simtest.Answer { return simtest.Answer{} })
	if _, err := b.Invoke(t.Context(), []byte("1")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the idle process", func() bool { return b.Processes() == 0 })
	b = open(t, nil, func(context.Context, simtest.Call) simtest.Answer { return simtest.Answer{} })
	if _, err := b.Invoke(t.Context(), []byte("1")); err != nil {
		t.Fatal(err)
	}
	b.Reset()
	if b.Processes() != 0 {
		t.Error("a process outlives Reset")
	}
}

// TestClose: Close ends what runs, and nothing starts afterwards.
func TestClose(t *testing.T) {
	began := make(chan int, 1)
	b := open(t, nil, func(ctx context.Context, c simtest.Call) simtest.Answer {
		began <- c.PID
		<-ctx.Done()
		return simtest.Answer{}
	})
	failed := make(chan error, 1)
	go func() {
		_, err := b.Invoke(context.Background(), []byte("1"))
		failed <- err
	}()
	pid := <-began
	b.Close()
	if err := <-failed; err == nil {
		t.Error("the invocation under way succeeds")
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d lives: %v", pid, err)
	}
	if _, err := b.Invoke(t.Context(), []byte("1")); err == nil {
		t.Error("a closed function runs")
	}
	b.Close()
}

// TestOrphans: when this program dies unasked, its frozen functions end too.
func TestOrphans(t *testing.T) {
	pids := make(chan int, 1)
	script := simtest.Script(t, func(_ context.Context, c simtest.Call) simtest.Answer {
		pids <- c.PID
		return simtest.Answer{}
	})
	helper := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOrphanHelper$")
	helper.Env = append(os.Environ(), "ORPHAN_BOOTSTRAP="+simtest.Bootstrap(t), "ORPHAN_SCRIPT="+script)
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	pid := <-pids
	eventually(t, "the frozen function", func() bool {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Skip(err)
		}
		return strings.Contains(string(text), "T (stopped)")
	})
	if err := helper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = helper.Wait() // it was killed
	eventually(t, "the function's end", func() bool {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
		return err != nil || strings.Contains(string(text), "Z (zombie)") // nobody may be there to reap it
	})
}

// TestOrphanHelper is the program that dies in TestOrphans.
func TestOrphanHelper(t *testing.T) {
	if os.Getenv("ORPHAN_SCRIPT") == "" {
		t.Skip("for TestOrphans alone")
	}
	f := lambda.New(lambda.Config{
		Name: "f", Role: "ws", Bootstrap: os.Getenv("ORPHAN_BOOTSTRAP"), Timeout: patience, Concurrency: 1, Keep: time.Hour,
		Env: []string{"SCRIPT_URL=" + os.Getenv("ORPHAN_SCRIPT")},
	}, lambda.Host{
		Meter: meter.New(nil), Faults: fault.NewSet(1), Log: slog.New(slog.DiscardHandler),
		Credentials: func(*lambda.Process) (lambda.Credentials, func()) { return lambda.Credentials{}, func() {} },
	})
	if _, err := f.Invoke(t.Context(), []byte("1")); err != nil {
		t.Fatal(err)
	}
	<-t.Context().Done()
}
