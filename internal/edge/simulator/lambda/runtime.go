package lambda

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// apiVersion is the first segment of the runtime API's paths.
const apiVersion = "/2018-06-01/runtime"

// invocation is one event on its way through a process.
type invocation struct {
	id       string
	event    []byte
	arn      string
	deadline time.Time
	answer   chan answer // takes one
	once     sync.Once
	doomed   bool  // its process is to be killed
	killAt   int64 // after so many posts
	posts    atomic.Int64
}

type answer struct {
	payload []byte
	err     error
}

func newInvocation(event []byte) *invocation {
	return &invocation{id: newID(), event: event, answer: make(chan answer, 1)}
}

// runtimeAPI is what the process talks to.
func (p *Process) runtimeAPI() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+apiVersion+"/invocation/next", p.next)
	mux.HandleFunc("POST "+apiVersion+"/invocation/{id}/response", p.response)
	mux.HandleFunc("POST "+apiVersion+"/invocation/{id}/error", p.failure)
	mux.HandleFunc("POST "+apiVersion+"/init/error", p.initError)
	return mux
}

func (p *Process) next(w http.ResponseWriter, r *http.Request) {
	select {
	case p.asked <- struct{}{}:
	default: // it asked before, on a connection that broke
	}
	select {
	case inv := <-p.deliver:
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.deadline.UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", inv.arn)
		h.Set("Lambda-Runtime-Trace-Id", fmt.Sprintf("Root=1-%08x-%s;Parent=%s;Sampled=0", time.Now().Unix(), trace(inv.id), trace(inv.id)[:16]))
		_, _ = w.Write(inv.event) // when it ends meanwhile, its end tells
	case <-r.Context().Done():
	case <-p.exited:
	}
}

// trace makes 24 hexadecimal digits of a request id.
func trace(id string) string { return id[:8] + id[9:13] + id[14:18] + id[19:23] + id[24:28] }

// of returns the invocation that a request is about; it answers the request itself when there is none.
func (p *Process) of(w http.ResponseWriter, r *http.Request) *invocation {
	p.mu.Lock()
	inv := p.current
	p.mu.Unlock()
	if inv == nil || inv.id != r.PathValue("id") {
		reply(w, http.StatusBadRequest, &Error{"InvalidRequestID", "Invalid request ID"})
		return nil
	}
	return inv
}

func (p *Process) response(w http.ResponseWriter, r *http.Request) {
	inv := p.of(w, r)
	if inv == nil {
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxPayload+1))
	if err != nil {
		return // its end tells
	}
	if len(body) > MaxPayload {
		inv.finish(answer{err: &Error{tooLarge, fmt.Sprintf("Response payload size exceeded maximum allowed payload size (%d bytes).", MaxPayload)}})
		reply(w, http.StatusRequestEntityTooLarge, &Error{"RequestEntityTooLarge", "Exceeded maximum allowed payload size"})
		return
	}
	// A runtime that streams tells of a failure behind the body.
	a := answer{payload: body}
	if kind := r.Trailer.Get("Lambda-Runtime-Function-Error-Type"); kind != "" {
		a = answer{err: &Error{kind, "the answer broke off"}}
	}
	inv.settle(w, a)
}

func (p *Process) failure(w http.ResponseWriter, r *http.Request) {
	inv := p.of(w, r)
	if inv == nil {
		return
	}
	inv.settle(w, answer{err: readError(r)})
}

func (p *Process) initError(w http.ResponseWriter, r *http.Request) {
	select {
	case p.failed <- readError(r):
		accepted(w)
	default:
		reply(w, http.StatusForbidden, &Error{"InvalidStateTransition", "the error of the start was told before"})
	}
}

// finish keeps the first answer and reports whether this is it.
func (inv *invocation) finish(a answer) (first bool) {
	inv.once.Do(func() {
		inv.answer <- a
		first = true
	})
	return first
}

// settle takes what a runtime answers and tells it whether that counts.
func (inv *invocation) settle(w http.ResponseWriter, a answer) {
	if inv.finish(a) {
		accepted(w)
		return
	}
	reply(w, http.StatusBadRequest, &Error{"InvalidStateTransition", "State transition is not allowed"})
}

// readError reads the error that a runtime reports; one it does not explain still has a type.
func readError(r *http.Request) *Error {
	var e Error
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxPayload))
	if err == nil {
		err = json.Unmarshal(body, &e)
	}
	if err != nil {
		e.Message = string(body)
	}
	if e.Type == "" {
		e.Type = r.Header.Get("Lambda-Runtime-Function-Error-Type")
	}
	if e.Type == "" {
		e.Type = "Runtime.Unknown"
	}
	return &e
}

func accepted(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"OK"}`) // its end tells when nobody reads
}

func reply(w http.ResponseWriter, status int, e *Error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(e) // its end tells when nobody reads
}
