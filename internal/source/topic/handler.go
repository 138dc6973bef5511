package topic

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"eureka"
	"eureka/internal/intake"
	"eureka/internal/problem"
	"eureka/internal/source"
)

// Source is the name under which the events are counted.
const Source = "sns"

// How old a message may be. SNS tries for an hour at the most.
const (
	maxAge  = time.Hour
	maxSkew = 5 * time.Minute // of the clocks
)

// maxSeen is how many messages are remembered for as long as they could be sent again.
const maxSeen = 1 << 16

// Lines of the log about what was not taken; the metrics count all of it.
const (
	logEvery = 10 * time.Second
	logBurst = 5
)

// rawHeader is on what a topic delivers raw, which it does not sign.
const rawHeader = "X-Amz-Sns-Rawdelivery"

// Options configure New. Topics, Intake and Log are required.
type Options struct {
	Topics    []string          // ARNs that are allowed; * in the name stands for any characters
	Transport http.RoundTripper // to SNS; nil for the usual one
	Intake    *source.Intake
	Log       *slog.Logger
	Now       func() time.Time // nil for time.Now
}

// Handler is the endpoint of topics' subscriptions.
type Handler struct {
	options Options
	fetcher *fetcher
	seen    seen
	lines   *rate.Limiter // of the log, about what was not taken
}

// New returns the endpoint. CodeInvalid for a topic that is none.
func New(o Options) (*Handler, error) {
	if o.Intake == nil || o.Log == nil || len(o.Topics) == 0 {
		return nil, errors.New("topic: an option is missing")
	}
	for _, arn := range o.Topics {
		if err := CheckTopic(arn); err != nil {
			return nil, err
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	return &Handler{options: o, fetcher: newFetcher(o.Transport, o.Now), seen: seen{until: map[string]time.Time{}}, lines: rate.NewLimiter(rate.Every(logEvery), logBurst)}, nil
}

// done is the answer to what was taken.
type done struct {
	Accepted  int      `json:"accepted"`
	Channels  []string `json:"channels"`
	Confirmed bool     `json:"confirmed,omitempty"`
}

// ServeHTTP implements http.Handler. The request's body must be bounded. SNS repeats what is answered with 429 or 5xx, and nothing else.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		problem.Write(w, eureka.WrapError(eureka.CodeInvalid, err, "the body could not be read"))
		return
	}
	out, err := h.take(r.Context(), r.Header, body)
	if err != nil {
		if h.lines.AllowN(h.options.Now(), 1) { // anybody can post here
			h.options.Log.WarnContext(r.Context(), "a message of SNS was not taken", slog.Any("error", err))
		}
		problem.Write(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(out); err != nil {
		h.options.Log.DebugContext(r.Context(), "SNS did not wait for its answer", slog.Any("error", err))
	}
}

func (h *Handler) take(ctx context.Context, header http.Header, body []byte) (done, error) {
	m, err := h.authentic(ctx, header, body)
	switch {
	case source.Refused(err):
		h.options.Intake.Refuse(Source)
		return done{}, err
	case err != nil: // its certificate cannot be had now, and SNS sends it again
		h.options.Intake.Metrics().Count(Source, 0, 0, 1)
		return done{}, err
	}
	now := h.options.Now()
	if h.seen.has(m.MessageID, now) {
		return done{Channels: []string{}}, nil // it was taken: SNS did not get the answer, or somebody sends it again
	}
	out := done{Channels: []string{}}
	switch m.Type {
	case typeConfirmation:
		out.Confirmed, err = true, h.confirm(ctx, m)
	case typeUnsubscribed:
		h.options.Log.WarnContext(ctx, "a topic was unsubscribed and delivers no more; subscribe it again if that was not meant", slog.String("topic", m.TopicArn))
	default:
		var events []eureka.Event
		// Nothing but the message's text: its attributes, and whatever else somebody put into the body, are not signed.
		if events, err = intake.Queued(intake.Message{ID: m.MessageID, Body: m.Message}); err != nil {
			h.options.Intake.Refuse(Source)
			return done{}, err
		}
		taken := h.options.Intake.Take(ctx, Source, events)
		out.Accepted, err = taken.Accepted, taken.Err
		out.Channels = slices.Concat(out.Channels, taken.Channels)
	}
	if err != nil {
		return done{}, err
	}
	h.seen.add(m.MessageID, now)
	return out, nil
}

// authentic reads a message and makes sure that an allowed topic has sent it, not long ago.
func (h *Handler) authentic(ctx context.Context, header http.Header, body []byte) (message, error) {
	if header.Get(rawHeader) == "true" {
		return message{}, eureka.Errorf(eureka.CodeInvalid, "the subscription delivers raw, and raw messages have no signature; switch raw message delivery off")
	}
	m, err := read(body)
	if err != nil {
		return m, err
	}
	if !slices.ContainsFunc(h.options.Topics, func(pattern string) bool { return eureka.MatchPattern(pattern, m.TopicArn) }) {
		return m, eureka.Errorf(eureka.CodeForbidden, "this topic may not deliver here (setting sns_topics)")
	}
	at, err := m.time()
	if err != nil {
		return m, err
	}
	if age := h.options.Now().Sub(at); age > maxAge || age < -maxSkew {
		return m, eureka.Errorf(eureka.CodeForbidden, "the message is not of the last hour")
	}
	address, err := m.certificateURL()
	if err != nil {
		return m, err
	}
	certificate, err := h.fetcher.certificate(ctx, address)
	if err != nil {
		return m, err
	}
	return m, m.verify(certificate)
}

// confirm tells SNS that the subscription is wanted.
func (h *Handler) confirm(ctx context.Context, m message) error {
	address, err := m.confirmURL()
	if err != nil {
		return err
	}
	if _, err := h.fetcher.get(ctx, address); err != nil {
		return err
	}
	h.options.Log.InfoContext(ctx, "the subscription of a topic is confirmed", slog.String("topic", m.TopicArn))
	return nil
}

// seen remembers messages for as long as they could be sent again; the oldest are forgotten when there are too many. Nodes do not share it: what another
// node took in the last five minutes is known by the identity of its events.
type seen struct {
	mu    sync.Mutex
	until map[string]time.Time
	order []string
}

func (s *seen) has(id string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	until, ok := s.until[id]
	return ok && now.Before(until)
}

func (s *seen) add(id string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.until[id]; !ok {
		s.order = append(s.order, id)
	}
	s.until[id] = now.Add(maxAge + maxSkew)
	for len(s.order) > 0 && (len(s.order) > maxSeen || now.After(s.until[s.order[0]])) {
		delete(s.until, s.order[0])
		s.order = s.order[1:]
	}
}
