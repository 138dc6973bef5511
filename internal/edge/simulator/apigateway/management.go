package apigateway

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"eureka/internal/edge/simulator/fault"
	"eureka/internal/edge/simulator/meter"
	"eureka/internal/edge/simulator/sigv4"
	"eureka/internal/pause"
)

// poster is what is behind an access key when a function signs with it.
type poster interface{ Posted() }

// serveManagement is @connections. id is the rest of the path as it was on the wire.
func (g *Gateway) serveManagement(w http.ResponseWriter, r *http.Request, id string) {
	id, err := url.PathUnescape(id)
	m := message{ConnectionID: id, RequestID: newID()}
	counter := map[string]meter.Counter{http.MethodPost: meter.Posts, http.MethodGet: meter.Gets, http.MethodDelete: meter.Deletes}[r.Method]
	if counter == "" || err != nil {
		m.Message = "Not Found"
		refuse(w, http.StatusNotFound, "NotFoundException", m)
		return
	}
	status, kind, text := g.manage(r, id, counter)
	g.options.Meter.Add(counter.Of(strconv.Itoa(status)), 1)
	switch {
	case kind != "":
		m.Message = text
		refuse(w, status, kind, m)
	case text != "":
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Amzn-Requestid", m.RequestID)
		_, _ = io.WriteString(w, text) //nolint:gosec // JSON for an SDK; a caller that is gone needs no answer
	default:
		w.Header().Set("X-Amzn-Requestid", m.RequestID)
		w.WriteHeader(status)
	}
}

// manage does what a request wants. kind is the error's type, empty on success; text is the error's message or the answer.
func (g *Gateway) manage(r *http.Request, id string, counter meter.Counter) (status int, kind, text string) {
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(g.options.Limits.MaxBody)))
	if err != nil {
		return http.StatusBadRequest, "BadRequestException", "The body cannot be read"
	}
	key, err := g.verifier.Verify(r, body)
	if err != nil {
		return http.StatusForbidden, refusalType(err), refusalText(err)
	}
	if counter == meter.Posts {
		if status, kind, text = g.admitPost(r.Context(), body); status != 0 {
			return status, kind, text
		}
	}
	if !g.requests.take(g.options.Now()) {
		return http.StatusTooManyRequests, "LimitExceededException", "Too Many Requests"
	}
	if !validID(id) {
		return http.StatusBadRequest, "BadRequestException", "Invalid connectionId: " + id
	}
	c := g.find(id)
	if c == nil {
		return http.StatusGone, "GoneException", "Gone"
	}
	switch counter {
	case meter.Posts:
		return g.post(c, body, key)
	case meter.Deletes:
		g.end(c, ending{code: closeNormal, reason: "Connection Closed Normally", say: true})
		return http.StatusNoContent, "", ""
	default:
		return http.StatusOK, "", describe(c)
	}
}

// admitPost does the faults of posts and checks the message; the status is 0 when it may go on.
func (g *Gateway) admitPost(ctx context.Context, body []byte) (status int, kind, text string) {
	if g.delay(ctx) != nil {
		return http.StatusRequestTimeout, "RequestTimeoutException", "the caller left"
	}
	if _, hit := g.options.Faults.Hit(fault.Throttle, ""); hit {
		return http.StatusTooManyRequests, "LimitExceededException", "Too Many Requests"
	}
	if len(body) > g.options.Limits.MaxMessage {
		return http.StatusRequestEntityTooLarge, "PayloadTooLargeException", "Message too long"
	}
	if !utf8.Valid(body) {
		// What AWS does with it is not documented; a text frame cannot carry it.
		return http.StatusBadRequest, "BadRequestException", "The message is not valid UTF-8"
	}
	return 0, "", ""
}

func (g *Gateway) post(c *connection, body []byte, key sigv4.Key) (status int, kind, text string) {
	if _, hit := g.options.Faults.Hit(fault.Gone, ""); hit {
		g.end(c, ending{code: closeAbnormal})
	}
	err := g.send(c, body)
	if p, ok := key.Owner.(poster); ok {
		p.Posted()
	}
	if err != nil {
		return http.StatusGone, "GoneException", "Gone"
	}
	return http.StatusOK, "", ""
}

// delay is what a post takes when it is slow on purpose.
func (g *Gateway) delay(ctx context.Context) error {
	rule, hit := g.options.Faults.Hit(fault.SlowPost, "")
	if !hit {
		return nil
	}
	return pause.For(ctx, rule.Delay)
}

// describe is what GET tells about a connection.
func describe(c *connection) string {
	const iso = "2006-01-02T15:04:05.000Z"
	text, err := json.Marshal(struct {
		ConnectedAt  string   `json:"connectedAt"`
		Identity     identity `json:"identity"`
		LastActiveAt string   `json:"lastActiveAt"`
	}{
		c.connectedAt.UTC().Format(iso), identity{SourceIP: c.identity.SourceIP, UserAgent: c.identity.UserAgent},
		time.Unix(0, c.lastActive.Load()).UTC().Format(iso),
	})
	if err != nil {
		return "{}" // strings can be encoded
	}
	return string(text)
}
