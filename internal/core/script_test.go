package core_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"eureka"
	"eureka/internal/core"
	"eureka/internal/engine/natsengine"
	"eureka/internal/gateway"
	"eureka/internal/rule"
)

var update = flag.Bool("update", false, "rewrite the golden part of the scripts")

// node is fixed so that socket ids, which start with it, are the same in every run.
const node = "aaaaaaaa"

// start of the clock of every script; it moves a second per line.
var start = time.UnixMilli(1700000000000)

// TestScripts runs each testdata/*.script line by line against the core on the real embedded engine. A line is followed, indented, by
// what came of it: the frames that answered (<), the messages that were delivered (=) and the errors (!).
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("testdata", "*.script"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".script"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			var r *runner
			for line := range strings.Lines(string(text)) {
				line = strings.TrimRight(line, "\n")
				if strings.HasPrefix(line, "  ") {
					continue
				}
				got.WriteString(line + "\n")
				if line == "" || strings.HasPrefix(line, "#") {
					continue
				}
				if r == nil || strings.HasPrefix(line, "core") {
					r = newRunner(t, line)
				}
				for _, out := range r.run(line) {
					got.WriteString("  " + out + "\n")
				}
			}
			if *update {
				if err := os.WriteFile(path, []byte(got.String()), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(text), got.String()); diff != "" {
				t.Errorf("%s (-want +got); run with -update when the change is meant:\n%s", path, diff)
			}
		})
	}
}

// runner runs the lines of one script.
type runner struct {
	t    *testing.T
	core *core.Core
	spy  *spy
	now  time.Time
}

func newRunner(t *testing.T, line string) *runner {
	t.Helper()
	r := &runner{t: t, now: start}
	rules := rule.New(rule.Options{})
	hub := gateway.NewHub(gateway.HubOptions{Now: func() time.Time { return r.now }, NewSelector: func() gateway.Selector { return rules.NewSet() }})
	engine, err := natsengine.Open(t.Context(), natsengine.Options{
		DataDir: t.TempDir(), Node: node, Registry: hub, Delivery: hub, Replays: hub, Rules: rules, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	r.spy = &spy{Fanout: engine.Fanout()}
	r.core, err = core.New(core.Options{
		Ports: core.Ports{Channels: engine.Channels(), Sockets: engine.Sockets(), Fanout: r.spy, Sender: engine.Sender(), History: engine.History(), Requests: engine.Requests(), Credentials: engine.Credentials()},
		Node:  node, AllowUndeclared: !strings.Contains(line, "deny"), MaxSubscriptions: 3,
		MaxAge: map[bool]time.Duration{true: time.Hour}[strings.Contains(line, "maxage")],
		Rules:  rules, Now: func() time.Time { return r.now }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *runner) run(line string) []string {
	r.now = r.now.Add(time.Second)
	verb, rest, _ := strings.Cut(line, " ")
	var out []string
	var err error
	switch {
	case verb == "core":
	case verb == "connect":
		out, err = r.connect(rest)
	case verb == "disconnect":
		err = r.core.Disconnect(r.t.Context(), node+rest, eureka.CloseNormal, "")
	case strings.HasSuffix(verb, ">"):
		for _, f := range r.core.Frame(r.t.Context(), core.FrameRequest{
			SocketID: node + strings.TrimSuffix(verb, ">"), Identity: eureka.Everyone(""), Text: []byte(rest),
		}).Frames {
			out = append(out, "< "+string(f))
		}
	default:
		out, err = r.call(verb, rest)
	}
	out = append(out, r.spy.taken()...)
	if err != nil {
		out = append(out, "! "+string(eureka.CodeOf(err))+": "+eureka.MessageOf(err))
	}
	return out
}

func (r *runner) connect(rest string) (out []string, err error) {
	id, query, _ := strings.Cut(rest, " ?")
	values, err := url.ParseQuery(query)
	if err != nil {
		r.t.Fatal(err)
	}
	result, err := r.core.Connect(r.t.Context(), core.ConnectRequest{
		SocketID: node + id, Identity: eureka.Everyone(values.Get("user")), Query: values,
	})
	for _, f := range result.Frames {
		out = append(out, "< "+string(f))
	}
	return out, err
}

// call runs what the HTTP API offers: a verb and a JSON argument.
func (r *runner) call(verb, argument string) ([]string, error) {
	ctx, who := r.t.Context(), eureka.Everyone("")
	name, rest, _ := strings.Cut(argument, " ")
	into := func(text string, v any) {
		if err := json.Unmarshal([]byte(text), v); err != nil {
			r.t.Fatalf("%s %s: %v", verb, argument, err)
		}
	}
	var result any
	var err error
	switch verb {
	case "create":
		var ch eureka.Channel
		into(argument, &ch)
		result, err = r.core.CreateChannel(ctx, who, ch)
	case "channel":
		result, err = r.core.Channel(ctx, who, name)
	case "update":
		var p core.ChannelPatch
		into(rest, &p)
		result, err = r.core.UpdateChannel(ctx, who, name, p)
	case "delete":
		result, err = r.core.DeleteChannel(ctx, who, name)
	case "channels":
		var q eureka.ChannelQuery
		into(argument, &q)
		result, err = r.core.ListChannels(ctx, who, q)
	case "publish":
		p := core.PublishRequest{Counted: true}
		into(argument, &p)
		result, err = r.core.Publish(ctx, who, p)
	case "route":
		var ev eureka.Event
		into(argument, &ev)
		result, err = r.core.Route(ctx, who, ev)
	case "socket":
		result, err = r.core.Socket(ctx, who, node+name)
	case "sockets":
		var q eureka.SocketQuery
		into(argument, &q)
		result, err = r.core.ListSockets(ctx, who, q)
	case "user":
		result, err = r.core.SendToUser(ctx, who, name, core.Direct{Data: json.RawMessage(rest)})
	case "send":
		err = r.core.SendToSocket(ctx, who, node+name, core.Direct{Data: json.RawMessage(rest)})
	case "frame":
		err = r.core.SendFrame(ctx, who, node+name, []byte(rest))
	case "kick":
		result, err = r.core.Kick(ctx, who, node+name, rest)
	default:
		r.t.Fatalf("unknown verb %q", verb)
	}
	if err != nil || result == nil {
		return nil, err
	}
	text, err := json.Marshal(scrub(result))
	if err != nil {
		r.t.Fatal(err)
	}
	return []string{string(text)}, nil
}

// scrub zeroes revisions, which are the engine's own numbers.
func scrub(result any) any {
	switch v := result.(type) {
	case core.ChannelView:
		v.Revision = 0
		return v
	case eureka.Page[core.ChannelView]:
		for i := range v.Items {
			v.Items[i].Revision = 0
		}
		v.Next = fmt.Sprintf("%v", v.Next != "")
		return v
	default:
		return result
	}
}

// spy notes what goes to the real Fanout behind it.
type spy struct {
	eureka.Fanout

	mu       sync.Mutex
	messages []eureka.Message
}

func (s *spy) Deliver(ctx context.Context, m eureka.Message) (eureka.Delivery, error) {
	s.mu.Lock()
	s.messages = append(s.messages, m)
	s.mu.Unlock()
	return s.Fanout.Deliver(ctx, m)
}

func (s *spy) taken() (lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.messages {
		line := fmt.Sprintf("= %s %s", m.ChannelID, m.Action)
		if m.Event != "" {
			line += " " + m.Event
		}
		line += " " + string(m.Data)
		if len(m.Except) > 0 {
			line += " except " + strings.Join(m.Except, ",")
		}
		lines = append(lines, line)
	}
	s.messages = nil
	return lines
}
