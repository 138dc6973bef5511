// Package simtest gives the simulator's tests a real bootstrap binary whose every step they decide: it is built once, runs as the process of a
// function, and asks the test what to do with each event.
//
// It is linked into no binary.
package simtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Call is one event as it arrived in a process.
type Call struct {
	Role      string // EUREKA_ROLE
	Event     string
	RequestID string
	ARN       string
	Deadline  int64 // epoch milliseconds
	PID       int
	Env       []string
}

// Post is a message that the function sends over @connections.
type Post struct{ ID, Data string }

// Answer is what the process does with an event. Without anything it answers "null".
type Answer struct {
	Response string // JSON
	Error    string
	Panic    string
	Exit     int
	Log      []string
	Posts    []Post
	Big      int
}

var (
	once sync.Once
	dir  string
	errs error
)

// Main runs a package's tests and removes what Bootstrap has built.
func Main(m *testing.M) {
	m.Run()
	if dir != "" {
		_ = os.RemoveAll(dir)
	}
}

// Bootstrap builds the binary, the first time, and returns its path.
func Bootstrap(t testing.TB) string {
	t.Helper()
	once.Do(func() {
		if dir, errs = os.MkdirTemp("", "eureka-bootstrap"); errs != nil {
			return
		}
		//nolint:gosec // a package of this module
		command := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "bootstrap"),
			"eureka/internal/edge/simulator/simtest/testdata/bootstrap")
		if out, err := command.CombinedOutput(); err != nil {
			errs = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if errs != nil {
		t.Fatal(errs)
	}
	return filepath.Join(dir, "bootstrap")
}

// Script serves what functions ask, by decide, and returns its URL. decide may take its time, until its context ends with the process; it is called
// by many at once.
func Script(t testing.TB, decide func(context.Context, Call) Answer) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var c Call
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			t.Error(err)
		}
		a := decide(r.Context(), c)
		if a.Response == "" {
			a.Response = "null"
		}
		_ = json.NewEncoder(w).Encode(a) // the process may have been killed
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}
