package apigw_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"eureka"
	"eureka/internal/auth"
	"eureka/internal/core"
	"eureka/internal/edge/apigw"
	"eureka/internal/protocol"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// noting is a Handler, a Sender and a Poster that write down what they are told.
type noting struct{ strings.Builder }

func (n *noting) note(format string, args ...any) { n.WriteString(fmt.Sprintf(format, args...) + "\n") }

func (n *noting) Connect(_ context.Context, r core.ConnectRequest) (core.ConnectResult, error) {
	n.note("connect %s\n  remote %q origin %q agent %q\n  query %v\n  identity %+v", r.SocketID, r.Remote, r.Origin, r.Agent, r.Query, r.Identity)
	return core.ConnectResult{}, nil
}

func (n *noting) Frame(_ context.Context, r core.FrameRequest) core.FrameResult {
	n.note("frame %s %q\n  identity %+v", r.SocketID, r.Text, r.Identity)
	_, err := protocol.Parse(r.Text)
	return core.FrameResult{Frames: [][]byte{protocol.EncodeError(nil, "", err)}}
}

func (n *noting) Disconnect(_ context.Context, id string, code eureka.CloseCode, reason string) error {
	n.note("disconnect %s %d %q", id, code, reason)
	return nil
}

func (n *noting) Send(_ context.Context, id string, frame []byte) error {
	n.note("send %s %s", id, frame)
	return nil
}

// Close is eureka.Sender's; the Poster's is noPoster's.
func (n *noting) Close(_ context.Context, id string, code eureka.CloseCode, reason string) error {
	n.note("close %s %d %q", id, code, reason)
	return nil
}

// noPoster is for tests that post nothing.
type noPoster struct{ t testing.TB }

func (p noPoster) Post(_ context.Context, id string, frame []byte) error {
	p.t.Errorf("posted to %s: %s", id, frame)
	return nil
}

func (p noPoster) Close(_ context.Context, id string) error {
	p.t.Errorf("closed %s", id)
	return nil
}

// TestGoldenEvents: what the edge makes of each event of testdata, and what it answers.
func TestGoldenEvents(t *testing.T) {
	origins, err := auth.NewOrigins([]string{"https://app.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join("testdata", "[wh]*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatal("no events")
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		for kind, access := range map[string]apigw.Access{"open": apigw.Open{}, "iam": apigw.IAM{}} {
			if kind == "iam" && !strings.HasPrefix(name, "ws-connect-") && !strings.Contains(name, "http-iam") {
				continue // who is behind it is no matter
			}
			t.Run(name+"/"+kind, func(t *testing.T) {
				n := &noting{}
				var h invoker
				if strings.HasPrefix(name, "ws-") {
					h, err = apigw.NewSockets(apigw.SocketsOptions{
						Handler: n, Access: access, Origins: origins, Sender: n, Poster: noPoster{t}, Queue: apigw.NewQueue(nil, ""), Log: testLog(t),
					})
				} else {
					h, err = apigw.NewHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n.request(w, r, access) }))
				}
				if err != nil {
					t.Fatal(err)
				}
				payload, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				answer, err := h.Invoke(t.Context(), payload)
				if err != nil {
					n.note("error %s", err)
				} else {
					n.note("-> %s", answer)
				}
				golden(t, name+"."+kind, n.String())
			})
		}
	}
}

// request writes down a request as a handler sees it.
func (n *noting) request(w http.ResponseWriter, r *http.Request, access apigw.Access) {
	body, err := io.ReadAll(r.Body)
	n.note("%s %s\n  path %q query %q\n  host %q from %q\n  body %d %q %v", r.Method, r.RequestURI, r.URL.Path, r.URL.RawQuery, r.Host, r.RemoteAddr, r.ContentLength, body, err)
	var header []string
	for name, values := range r.Header {
		header = append(header, fmt.Sprintf("%s: %q", name, values))
	}
	slices.Sort(header)
	n.note("  header %s", strings.Join(header, ", "))
	id, err := access.Handshake(r)
	n.note("  identity %+v %s %s", id, eureka.CodeOf(err), eureka.MessageOf(err))
	w.Header().Add("Set-Cookie", "a=1; Path=/")
	w.Header().Add("Set-Cookie", "b=2")
	w.Header().Add("Vary", "Origin")
	w.Header().Add("Vary", "Accept")
	_, _ = io.WriteString(w, "grüße")
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); run with -update when the change is meant:\n%s", path, diff)
	}
}

// FuzzSocketEvents: whatever an event holds, the edge neither panics nor answers what is no answer.
func FuzzSocketEvents(f *testing.F) {
	seeds(f, "ws-*.json")
	origins, err := auth.NewOrigins([]string{"*"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		n := &noting{}
		h, err := apigw.NewSockets(apigw.SocketsOptions{
			Handler: n, Access: apigw.Open{}, Origins: origins, Sender: n, Poster: noPoster{t}, Queue: apigw.NewQueue(nil, ""), Log: testLog(t),
		})
		if err != nil {
			t.Fatal(err)
		}
		checkAnswer(t, h, payload)
	})
}

// FuzzHTTPEvents is FuzzSocketEvents for the HTTP API.
func FuzzHTTPEvents(f *testing.F) {
	seeds(f, "http-*.json")
	f.Fuzz(func(t *testing.T, payload []byte) {
		h, err := apigw.NewHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, r.Body)
			if r.URL.Path == "" || r.URL.Path[0] != '/' || r.Host != "" && r.Header.Get("Host") != "" {
				t.Errorf("%+v", r)
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
		checkAnswer(t, h, payload)
	})
}

func seeds(f *testing.F, pattern string) {
	paths, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		payload, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
}

func checkAnswer(t *testing.T, h invoker, payload []byte) {
	t.Helper()
	text, err := h.Invoke(t.Context(), payload)
	if err != nil {
		if eureka.CodeOf(err) != eureka.CodeInvalid {
			t.Fatal(err)
		}
		return
	}
	var answer struct{ StatusCode int }
	if err := json.Unmarshal(text, &answer); err != nil || answer.StatusCode < 200 || answer.StatusCode > 599 {
		t.Fatalf("%s: %v", text, err)
	}
}
