package simulator

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"eureka"
	"eureka/internal/edge/simulator/fault"
	"eureka/internal/problem"
)

// controlHelp is what GET / of the control endpoint says.
const controlHelp = `eureka simulate, control endpoint

GET    /endpoints                where everything is
GET    /meter[?format=text]      what was counted, and what it costs
GET    /faults                   the faults in force and what they did
POST   /faults                   puts faults in force; one a line, as --fault takes them
DELETE /faults                   ends all faults
GET    /queues                   how many messages wait
GET    /connections              the open sockets
DELETE /connections/{id}?how=    breaks a socket: cut (the default), lost (cut, without $disconnect) or age (as after two hours)
POST   /crowd?n=&side=&target=   adds n sockets without clients; target is path and query of their handshake, side how many connect at a time
GET    /crowd[?reset=true]       what the crowd received
DELETE /crowd[?side=]            the crowd leaves
POST   /schedule                 runs the schedule's function now and waits for it
POST   /functions/reset          ends the idle processes of all functions, so that the next start cold
`

// Limits of the control endpoint.
const (
	maxFaults = 64 << 10 // bytes of a list of faults
	maxCrowd  = 100_000
)

// controlHandler is the control endpoint.
func (s *Simulator) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, controlHelp) }) // who is gone needs no help
	for pattern, f := range map[string]func(r *http.Request) (any, error){
		"GET /endpoints":           func(*http.Request) (any, error) { return s.Endpoints(), nil },
		"GET /faults":              func(*http.Request) (any, error) { return s.Faults(), nil },
		"POST /faults":             s.controlPutFaults,
		"DELETE /faults":           func(*http.Request) (any, error) { s.ClearFaults(); return s.Faults(), nil },
		"GET /queues":              func(r *http.Request) (any, error) { return s.Depths(r.Context()) },
		"GET /connections":         func(*http.Request) (any, error) { return s.gateway.Connections(), nil },
		"DELETE /connections/{id}": s.controlBreak,
		"POST /crowd":              s.controlJoin,
		"GET /crowd":               func(r *http.Request) (any, error) { return s.gateway.Crowd(r.URL.Query().Get("reset") == "true"), nil },
		"DELETE /crowd":            s.controlLeave,
		"POST /schedule":           s.controlSchedule,
		"POST /functions/reset":    s.controlReset,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			v, err := f(r)
			s.controlAnswer(w, v, err)
		})
	}
	mux.HandleFunc("GET /meter", s.controlMeter)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A page in a browser could send requests to any port of this machine; it cannot hide that it does.
		if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
			problem.Write(w, eureka.Errorf(eureka.CodeForbidden, "the control endpoint is not for pages"))
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (s *Simulator) controlAnswer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		problem.Write(w, err)
		return
	}
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		s.log.Error("the control endpoint has no answer", slog.Any("error", err))
		problem.Write(w, eureka.WrapError(eureka.CodeInternal, err, "the answer cannot be encoded"))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, '\n')) // who is gone needs no answer
}

func (s *Simulator) controlMeter(w http.ResponseWriter, r *http.Request) {
	report, err := s.Report()
	if err == nil && r.URL.Query().Get("format") == "text" {
		_ = report.Print(w) // who is gone needs no answer
		return
	}
	s.controlAnswer(w, report, err)
}

func (s *Simulator) controlPutFaults(r *http.Request) (any, error) {
	text, err := io.ReadAll(io.LimitReader(r.Body, maxFaults+1))
	if err != nil || len(text) > maxFaults {
		return nil, eureka.WrapError(eureka.CodeTooLarge, err, "a list of faults may have %d bytes", maxFaults)
	}
	var rules []fault.Rule
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		rule, err := fault.Parse(line)
		if err != nil {
			return nil, eureka.Errorf(eureka.CodeInvalid, "%v", err)
		}
		rules = append(rules, rule)
	}
	for _, rule := range rules {
		if err := s.PutFault(rule); err != nil {
			return nil, err
		}
	}
	return s.Faults(), nil
}

func (s *Simulator) controlBreak(r *http.Request) (any, error) {
	id := r.PathValue("id")
	var found bool
	switch how := r.URL.Query().Get("how"); how {
	case "", "cut":
		found = s.gateway.Cut(id, false)
	case "lost":
		found = s.gateway.Cut(id, true)
	case "age":
		found = s.gateway.Age(id)
	default:
		return nil, eureka.FieldError("how", "must be cut, lost or age")
	}
	if !found {
		return nil, eureka.Errorf(eureka.CodeNotFound, "there is no open socket %q", id)
	}
	return map[string]string{"ended": id}, nil
}

func (s *Simulator) controlJoin(r *http.Request) (any, error) {
	q := r.URL.Query()
	n, err := strconv.Atoi(q.Get("n"))
	if err != nil || n < 1 || n > maxCrowd {
		return nil, eureka.FieldError("n", "must be 1 to %d", maxCrowd)
	}
	side, err := s.side(q)
	if err != nil {
		return nil, err
	}
	target := q.Get("target")
	if target == "" {
		target = "/" + s.options.Stage
	}
	if u, err := url.ParseRequestURI(target); err != nil || u.Host != "" {
		return nil, eureka.FieldError("target", "must be a path with a query, such as /dev?channels=A")
	}
	header := http.Header{}
	if authorization := r.Header.Get("Authorization"); authorization != "" {
		header.Set("Authorization", authorization)
	}
	if err := s.gateway.Join(r.Context(), n, side, target, header); err != nil {
		return nil, eureka.Errorf(eureka.CodeUnavailable, "%v", err)
	}
	return s.gateway.Crowd(false), nil
}

// side is how many sockets of the crowd do something at a time.
func (s *Simulator) side(q url.Values) (int, error) {
	if !q.Has("side") {
		return min(16, s.options.Concurrency), nil
	}
	side, err := strconv.Atoi(q.Get("side"))
	if err != nil || side < 1 || side > s.options.Concurrency {
		return 0, eureka.FieldError("side", "must be 1 to %d", s.options.Concurrency)
	}
	return side, nil
}

func (s *Simulator) controlLeave(r *http.Request) (any, error) {
	side, err := s.side(r.URL.Query())
	if err != nil {
		return nil, err
	}
	s.gateway.Leave(side)
	return s.gateway.Crowd(false), nil
}

func (s *Simulator) controlSchedule(r *http.Request) (any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), specs[roleSchedule].timeout)
	defer cancel()
	if err := s.schedule.Run(ctx); err != nil {
		return nil, eureka.WrapError(eureka.CodeUnavailable, err, "the schedule's function failed")
	}
	return map[string]bool{"ok": true}, nil
}

func (s *Simulator) controlReset(*http.Request) (any, error) {
	for _, f := range s.functions {
		f.Reset()
	}
	return map[string]bool{"ok": true}, nil
}
