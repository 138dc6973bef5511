package httpapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"eureka"
	"eureka/internal/problem"
	"eureka/internal/protocol"
)

// bodyTimeout bounds the reading of a request's body, so that a slow sender does not hold a handler.
const bodyTimeout = 20 * time.Second

// record is what one request leaves for its log line and its metrics.
type record struct {
	err error
}

type recordKey struct{}

// noteError keeps the cause of a failed request for its log line.
func noteError(ctx context.Context, err error) {
	if r, ok := ctx.Value(recordKey{}).(*record); ok && r.err == nil {
		r.err = err
	}
}

// statusWriter remembers the status that was written.
type statusWriter struct {
	http.ResponseWriter

	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// middleware is what every request goes through: id, log line, metrics, panics, origin, body, route.
func (a *api) middleware(mux *http.ServeMux) http.Handler {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "eureka_http_requests_total", Help: "HTTP requests by route, method and status.",
	}, []string{"route", "method", "status"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "eureka_http_request_seconds", Help: "Time to answer an HTTP request, by route and method.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
	}, []string{"route", "method"})
	if a.options.Registerer != nil {
		a.options.Registerer.MustRegister(requests, seconds)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		rec := &record{}
		ctx := context.WithValue(r.Context(), recordKey{}, rec)
		r = a.toSNS(withoutStage(r.WithContext(ctx)))
		sw := &statusWriter{ResponseWriter: w}
		id := requestID(r)
		h := sw.Header()
		h.Set("X-Request-Id", id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		_, route := mux.Handler(r)
		if route == "" {
			route = "none"
		}
		a.guard(mux, sw, r, route, rec)
		took := time.Since(began)
		requests.WithLabelValues(route, method(r.Method), strconv.Itoa(sw.status)).Inc()
		seconds.WithLabelValues(route, method(r.Method)).Observe(took.Seconds())
		a.logRequest(ctx, method(r.Method), route, id, sw.status, took, rec.err)
	})
}

// guard serves a request and turns a panic into an answer and a log entry; the service goes on.
func (a *api) guard(mux *http.ServeMux, w *statusWriter, r *http.Request, route string, rec *record) {
	defer func() {
		fault := recover()
		if fault == nil {
			return
		}
		rec.err = recovered(fault)
		a.options.Log.Error("a request panicked", slog.String("route", route), slog.Any("error", rec.err), slog.String("stack", string(debug.Stack())))
		if w.status == 0 {
			problem.Write(w, rec.err)
		}
	}()
	a.serve(mux, w, r)
}

func (a *api) logRequest(ctx context.Context, method, route, id string, status int, took time.Duration, err error) {
	level := slog.LevelDebug
	if status >= http.StatusInternalServerError {
		level = slog.LevelWarn
	}
	a.options.Log.LogAttrs(ctx, level, "request", slog.String("method", method), slog.String("route", route), slog.Int("status", status),
		slog.Duration("took", took), slog.String("request", id), slog.Any("error", err))
}

func (a *api) serve(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	if origin := r.Header.Get("Origin"); origin != "" {
		h := w.Header()
		h.Add("Vary", "Origin")
		if !a.options.OriginAllowed(r) {
			writeError(w, r, eureka.Errorf(eureka.CodeForbidden, "pages of this origin may not use the service (setting allowed_origins)"))
			return
		}
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After")
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE")
			h.Set("Access-Control-Allow-Headers", "Content-Type, Authorization, X-Api-Key, X-Lemon-Identity, X-Request-Id, Idempotency-Key")
			h.Set("Access-Control-Max-Age", "600")
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	_, route := mux.Handler(r)
	if route == "" {
		a.unrouted(mux, w, r)
		return
	}
	if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
		writeError(w, r, eureka.WrapError(eureka.CodeInvalid, err, "the query has a malformed escape or a semicolon"))
		return
	}
	r, err := a.identified(r, route)
	if err != nil {
		refuse(w, r, err)
		return
	}
	if err := a.takeBody(w, r); err != nil {
		refuse(w, r, err)
		return
	}
	mux.ServeHTTP(w, r)
}

// refuse answers with an error in the form that the path's clients know.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	if isConnections(r) {
		awsError(w, r, err)
		return
	}
	writeError(w, r, err)
}

// takeBody reads the whole body within its limits and checks what every operation would have to. curl's default content type and none at
// all are taken as JSON.
func (a *api) takeBody(w http.ResponseWriter, r *http.Request) error {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	limit, raw := a.options.MaxBody, isConnections(r)
	if raw {
		limit = eureka.MaxFrameBytes
	}
	// Not every server supports deadlines; those that hold their own connections do.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return a.bodyTooLarge(limit, raw)
	case err != nil:
		return eureka.WrapError(eureka.CodeInvalid, err, "the body could not be read")
	}
	r.Body = io.NopCloser(bytes.NewReader(text))
	r.ContentLength = int64(len(text))
	if raw {
		return nil
	}
	if len(text) == 0 {
		r.Body = http.NoBody
		return nil
	}
	if ownForms(r) {
		return nil
	}
	if err := acceptsJSON(r); err != nil {
		return err
	}
	if !utf8.Valid(text) {
		return eureka.FieldError("body", "is not valid UTF-8")
	}
	return protocol.CheckDepth(text)
}

// bodyTooLarge counts and words a refusal; raw bodies have the limit of frames, which is no setting.
func (a *api) bodyTooLarge(limit int64, raw bool) error {
	if raw {
		return eureka.Errorf(eureka.CodeTooLarge, "the body is over the limit of %d bytes", limit)
	}
	if a.options.Limited != nil {
		a.options.Limited("max_body_bytes")
	}
	return eureka.Errorf(eureka.CodeTooLarge, "the body is over the limit of %d bytes (setting max_body_bytes)", limit)
}

func acceptsJSON(r *http.Request) error {
	given := r.Header.Get("Content-Type")
	kind, _, err := mime.ParseMediaType(given)
	switch {
	case given == "", kind == "application/x-www-form-urlencoded", kind == "text/plain":
	case err != nil:
		return eureka.FieldError("Content-Type", "cannot be read; send application/json")
	case kind != "application/json" && !strings.HasSuffix(kind, "+json"):
		return eureka.FieldError("Content-Type", "is not JSON; send application/json")
	}
	r.Header.Set("Content-Type", "application/json")
	return nil
}

// unrouted answers a path or method that nothing is registered for.
func (a *api) unrouted(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		probe := r.Clone(r.Context())
		probe.Method = m
		if _, pattern := mux.Handler(probe); pattern != "" {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) == 0 {
		writeError(w, r, eureka.Errorf(eureka.CodeNotFound, "there is nothing at this path; see /docs"))
		return
	}
	d := problem.Of(eureka.Errorf(eureka.CodeInvalid, "the path takes %s, not this method", strings.Join(allowed, ", ")))
	d.Status, d.Title = http.StatusMethodNotAllowed, http.StatusText(http.StatusMethodNotAllowed)
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	noteError(r.Context(), d)
	d.Write(w)
}

func isConnections(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/@connections/") }

var requestIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// requestID is the client's id of the request when it is fit for a log, else a new one.
func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); requestIDPattern.MatchString(id) {
		return id
	}
	return rand.Text()[:16]
}

// method keeps metrics' labels few, whatever clients send.
func method(m string) string {
	if slices.Contains([]string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodHead}, m) {
		return m
	}
	return "other"
}
