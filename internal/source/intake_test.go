package source_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"eureka"
	"eureka/internal/core"
	"eureka/internal/source"
)

// router is a fake of the core that a test scripts: it notes what comes and fails as it is told. The real one is behind the tests of each source.
type router struct {
	mu    sync.Mutex
	got   []string
	fail  map[string][]error // of the next tries, by model id
	takes time.Duration
}

func (r *router) Route(_ context.Context, who eureka.Identity, ev eureka.Event) (core.RouteResult, error) {
	if who.Scopes != eureka.ScopePublish {
		return core.RouteResult{}, eureka.Errorf(eureka.CodeForbidden, "who")
	}
	<-time.After(r.takes)
	r.mu.Lock()
	defer r.mu.Unlock()
	if string(ev.Data) == `"panic"` {
		panic("a bug")
	}
	if errs := r.fail[ev.ModelID]; len(errs) > 0 {
		r.fail[ev.ModelID] = errs[1:]
		return core.RouteResult{}, errs[0]
	}
	r.got = append(r.got, ev.ModelID+" "+string(ev.Data))
	return core.RouteResult{Channels: []string{"orders", "order-" + ev.ModelID}}, nil
}

func events(models ...string) []eureka.Event {
	var list []eureka.Event
	for n, model := range models {
		list = append(list, eureka.Event{Service: "shop", ModelType: "order", ModelID: model, Data: json.RawMessage(fmt.Sprint(n))})
	}
	return list
}

func newIntake(t *testing.T, r source.Router) (*source.Intake, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	i, err := source.New(source.Options{Router: r, Workers: 4, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Metrics: registry})
	if err != nil {
		t.Fatal(err)
	}
	return i, registry
}

func TestTake(t *testing.T) {
	busy, bad := eureka.Errorf(eureka.CodeUnavailable, "busy"), eureka.Errorf(eureka.CodeInvalid, "bad")
	synctest.Test(t, func(t *testing.T) {
		r := &router{fail: map[string][]error{"a": {busy, busy}, "b": {bad}, "c": {busy, busy, busy, busy, busy}}, takes: time.Millisecond}
		i, registry := newIntake(t, r)
		out := i.Take(t.Context(), "sqs", events("a", "a", "b", "c", "d"))
		if out.Accepted != 3 || eureka.MessageOf(out.Err) != "busy" {
			t.Errorf("%+v", out)
		}
		if diff := cmp.Diff([]string{"orders", "order-a", "order-d"}, out.Channels); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		// The first of a was tried again, and the second waited for it.
		if diff := cmp.Diff([]string{"d 4", "a 0", "a 1"}, r.got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if out := i.Take(t.Context(), "sqs", events("b")); out.Err != nil {
			t.Error(out.Err)
		}
		r.fail["b"] = []error{bad}
		if out := i.Take(t.Context(), "nats", events("b")); !source.Refused(out.Err) || out.Accepted != 0 {
			t.Errorf("%+v", out)
		}
		i.Refuse("nats")
		i.Metrics().Count("http", 2, 1, 1)
		i.Wait()
		want := `
# HELP eureka_events_accepted_total Events that were accepted; one that comes again within five minutes counts here and is not delivered again.
# TYPE eureka_events_accepted_total counter
eureka_events_accepted_total{source="http"} 2
eureka_events_accepted_total{source="nats"} 0
eureka_events_accepted_total{source="sqs"} 4
# HELP eureka_events_failed_total Events that could not be accepted for now.
# TYPE eureka_events_failed_total counter
eureka_events_failed_total{source="http"} 1
eureka_events_failed_total{source="nats"} 0
eureka_events_failed_total{source="sqs"} 1
# HELP eureka_events_in_flight Events of a source that wait or are being routed.
# TYPE eureka_events_in_flight gauge
eureka_events_in_flight{source="http"} 0
eureka_events_in_flight{source="nats"} 0
eureka_events_in_flight{source="sqs"} 0
# HELP eureka_events_received_total Events that a source brought, again ones included; one for a message that cannot be read.
# TYPE eureka_events_received_total counter
eureka_events_received_total{source="http"} 4
eureka_events_received_total{source="nats"} 2
eureka_events_received_total{source="sqs"} 6
# HELP eureka_events_refused_total Events that are refused however often they come.
# TYPE eureka_events_refused_total counter
eureka_events_refused_total{source="http"} 1
eureka_events_refused_total{source="nats"} 2
eureka_events_refused_total{source="sqs"} 1
`
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
	})
}

// TestTakeAtTheEnd: what has no place yet when a source stops is not taken, and a bug in the core costs its event alone.
func TestTakeAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &router{}
		i, _ := newIntake(t, r)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if out := i.Take(ended, "sqs", events("a")); eureka.CodeOf(out.Err) != eureka.CodeUnavailable || source.Refused(out.Err) || len(r.got) != 0 {
			t.Errorf("%+v, %v", out, r.got)
		}
		faulty := append(events("a"), events("b")...)
		faulty[0].Data = json.RawMessage(`"panic"`)
		if out := i.Take(t.Context(), "sqs", faulty); out.Err == nil || out.Accepted != 1 {
			t.Errorf("%+v", out)
		}
	})
}
