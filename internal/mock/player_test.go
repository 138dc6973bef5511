package mock_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"eureka"
	"eureka/internal/core"
	"eureka/internal/mock"
)

// shelf is a store and a router in memory: what the player does in time is tested in a bubble without I/O. The store on NATS has the suite of the port,
// and the whole service plays in the tests of package app.
type shelf struct {
	mu     sync.Mutex
	mocks  map[string]eureka.Mock
	events []eureka.Event
	who    []eureka.Identity
	fail   func(n int) error
}

func (s *shelf) CreateMock(_ context.Context, m eureka.Mock) error {
	s.mocks[m.ID] = m
	return nil
}

func (s *shelf) Mock(_ context.Context, id string) (eureka.Mock, error) {
	m, ok := s.mocks[id]
	if !ok {
		return m, eureka.Errorf(eureka.CodeNotFound, "there is no such mock")
	}
	return m, nil
}

func (s *shelf) UpdateMock(ctx context.Context, m eureka.Mock) error { return s.CreateMock(ctx, m) }

func (s *shelf) DeleteMock(_ context.Context, id string) error {
	delete(s.mocks, id)
	return nil
}

func (s *shelf) Mocks(context.Context) (all []eureka.Mock, err error) {
	for _, m := range s.mocks {
		all = append(all, m)
	}
	return all, nil
}

func (s *shelf) Route(_ context.Context, who eureka.Identity, ev eureka.Event) (core.RouteResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events, s.who = append(s.events, ev), append(s.who, who)
	if s.fail != nil {
		return core.RouteResult{}, s.fail(len(s.events))
	}
	return core.RouteResult{}, nil
}

func (s *shelf) sent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.events)
}

// pass lets time pass in a bubble.
func pass(d time.Duration) {
	<-time.After(d)
}

var anybody = eureka.Everyone("ann")

func newPlayer(t *testing.T) (*shelf, *mock.Player) {
	t.Helper()
	s := &shelf{mocks: map[string]eureka.Mock{}}
	p, err := mock.NewPlayer(mock.Options{Store: s, Router: s, Node: "n", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Create(t.Context(), anybody, eureka.Mock{ID: "m", Service: "s", ModelType: "t", ModelID: "{{mod seq 2}}", Data: json.RawMessage(`{"n":"{{seq}}"}`), Rate: 4}); err != nil {
		t.Fatal(err)
	}
	return s, p
}

func begin(t *testing.T, p *mock.Player, r mock.Request) mock.Run {
	t.Helper()
	r.Mock = "m"
	run, err := p.Run(t.Context(), anybody, r)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// newest is the run that began last.
func newest(t *testing.T, p *mock.Player) mock.Run {
	t.Helper()
	runs, err := p.Runs(t.Context(), anybody, "m")
	if err != nil || len(runs) == 0 {
		t.Fatalf("%v, %v", runs, err)
	}
	return runs[0]
}

func TestRunsKeepTheirPaceAndEnd(t *testing.T) {
	for _, tt := range []struct {
		name    string
		request mock.Request
		sent    int
		took    time.Duration
	}{
		{"a count at the mock's rate", mock.Request{Count: 9}, 9, 2 * time.Second},
		{"a count at another rate", mock.Request{Count: 3, Rate: 0.5}, 3, 4 * time.Second},
		{"a time", mock.Request{Time: 10 * time.Second}, 40, 10 * time.Second},
		{"nothing said", mock.Request{}, 240, time.Minute},
		{"a time before the count", mock.Request{Count: 100, Time: time.Second}, 4, time.Second},
		{"fast", mock.Request{Rate: 1000, Count: 5000}, 5000, 5 * time.Second},
		{"slow", mock.Request{Rate: 0.01, Time: 5 * time.Minute}, 3, 5 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := newPlayer(t)
				defer p.Close()
				began := time.Now()
				run := begin(t, p, tt.request)
				if run.State != mock.Playing || run.Node != "n" || run.Mock != "m" || run.StartedAt != began.UnixMilli() {
					t.Errorf("%+v", run)
				}
				for newest(t, p).State == mock.Playing {
					pass(10 * time.Millisecond)
				}
				end := newest(t, p)
				took := time.UnixMilli(end.EndedAt).Sub(began)
				// A run whose time leaves no room for another event ends a little earlier.
				if slack := time.Duration(float64(time.Second)/end.Rate) + time.Millisecond; took > tt.took+time.Millisecond || took < tt.took-slack-150*time.Millisecond {
					t.Errorf("took %s, want %s", took, tt.took)
				}
				if end.State != mock.Done || end.Sent < tt.sent || end.Sent > tt.sent+1 && tt.request.Count == 0 || end.Failed != 0 || len(s.events) != end.Sent {
					t.Errorf("%+v, want %d", end, tt.sent)
				}
				for i, ev := range s.events {
					if s.who[i].User != "ann" || ev.Service != "s" || string(ev.Data) != `{"n":`+jsonNumber(i+1)+`}` || ev.ModelID != jsonNumber((i+1)%2) {
						t.Fatalf("event %d is %+v of %+v", i, ev, s.who[i])
					}
				}
			})
		})
	}
}

func jsonNumber(n int) string {
	text, _ := json.Marshal(n)
	return string(text)
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := newPlayer(t)
		run, other := begin(t, p, mock.Request{Count: 1000}), begin(t, p, mock.Request{Count: 1000})
		pass(3 * time.Second)
		views, err := p.List(t.Context(), anybody)
		if err != nil || len(views) != 1 || views[0].Runs != 2 {
			t.Errorf("%+v, %v", views, err)
		}
		ended, err := p.Stop(t.Context(), anybody, "m", run.ID)
		if err != nil || ended.State != mock.Stopped || ended.Sent < 12 || ended.EndedAt == 0 {
			t.Errorf("%+v, %v", ended, err)
		}
		if again, err := p.Stop(t.Context(), anybody, "m", run.ID); err != nil || again != ended {
			t.Errorf("stopped again: %+v, %v", again, err)
		}
		if _, err := p.Stop(t.Context(), anybody, "m", "nothing"); eureka.CodeOf(err) != eureka.CodeNotFound {
			t.Errorf("a run that is not there: %v", err)
		}
		if err := p.Delete(t.Context(), anybody, "m"); err != nil {
			t.Fatal(err)
		}
		if ended, err := p.Stop(t.Context(), anybody, "m", other.ID); err != nil || ended.State != mock.Stopped {
			t.Errorf("after its mock was deleted: %+v, %v", ended, err)
		}
		sent := s.sent()
		pass(time.Minute)
		if s.sent() != sent {
			t.Errorf("%d events came after the end", s.sent()-sent)
		}
		p.Close()
	})
}

func TestCloseEndsRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := newPlayer(t)
		begin(t, p, mock.Request{})
		pass(time.Second)
		p.Close()
		if r := newest(t, p); r.State != mock.Stopped {
			t.Errorf("%+v", r)
		}
		if _, err := p.Run(t.Context(), anybody, mock.Request{Mock: "m"}); eureka.CodeOf(err) != eureka.CodeUnavailable {
			t.Errorf("a run after the end: %v", err)
		}
	})
}

func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := newPlayer(t)
		defer p.Close()
		s.fail = func(n int) error {
			if n%2 == 0 {
				return eureka.Errorf(eureka.CodeUnavailable, "NATS is away")
			}
			return nil
		}
		begin(t, p, mock.Request{Count: 10})
		pass(time.Minute)
		if r := newest(t, p); r.State != mock.Done || r.Sent != 5 || r.Failed != 5 || r.Error != "NATS is away" {
			t.Errorf("what may pass: %+v", r)
		}
		s.events, s.fail = nil, func(int) error { return eureka.Errorf(eureka.CodeUnauthenticated, "the token has expired") }
		begin(t, p, mock.Request{Count: 10})
		pass(time.Minute)
		if r := newest(t, p); r.State != mock.Failed || r.Sent != 0 || r.Failed != 1 || r.Error != "the token has expired" {
			t.Errorf("what does not pass: %+v", r)
		}
		s.mocks["m"] = eureka.Mock{ID: "m", Service: "s", ModelType: "t", Data: json.RawMessage(`"{{if gt seq 3}}{{mod seq 0}}{{end}}"`), Rate: 1}
		s.fail = nil
		begin(t, p, mock.Request{Count: 10})
		pass(time.Minute)
		if r := newest(t, p); r.State != mock.Failed || r.Sent != 3 || !strings.Contains(r.Error, "greater than 0") {
			t.Errorf("a template that fails later: %+v", r)
		}
	})
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := newPlayer(t)
		defer p.Close()
		for field, r := range map[string]mock.Request{
			"rate": {Rate: 1001}, "count": {Count: mock.MaxCount + 1}, "for": {Time: mock.MaxTime + 1}, " rate": {Rate: -1}, " count": {Count: -1}, " for": {Time: -1},
		} {
			r.Mock = "m"
			if _, err := p.Run(t.Context(), anybody, r); eureka.CodeOf(err) != eureka.CodeInvalid || !strings.HasPrefix(eureka.MessageOf(err), strings.TrimSpace(field)+": ") {
				t.Errorf("%+v: %v", r, err)
			}
		}
		for range mock.MaxRuns {
			begin(t, p, mock.Request{})
		}
		if _, err := p.Run(t.Context(), anybody, mock.Request{Mock: "m"}); eureka.CodeOf(err) != eureka.CodeConflict {
			t.Errorf("one too many: %v", err)
		}
		pass(2 * time.Minute)
		for range 100 {
			begin(t, p, mock.Request{Count: 1})
			pass(time.Second)
		}
		runs, err := p.Runs(t.Context(), anybody, "m")
		if err != nil || len(runs) > 51 || slices.ContainsFunc(runs, func(r mock.Run) bool { return r.Count != 1 }) {
			t.Errorf("%d runs are kept, %v", len(runs), err)
		}
		for _, who := range []eureka.Identity{{}, {Scopes: eureka.ScopePublish | eureka.ScopeSubscribe, Channels: []string{"*"}}} {
			if _, err := p.Run(t.Context(), who, mock.Request{Mock: "m"}); err == nil {
				t.Errorf("%+v may play", who)
			}
			if _, err := p.List(t.Context(), who); err == nil {
				t.Errorf("%+v may list", who)
			}
		}
	})
}
