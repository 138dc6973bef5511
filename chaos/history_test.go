package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"eureka"
)

// page is one answer of a read of history.
type page struct {
	List []struct {
		ID   string          `json:"id"`
		Data json.RawMessage `json:"data"`
	} `json:"list"`
	Cursor string `json:"cursor"`
	More   bool   `json:"more"`
}

func (p *page) stored() ([]Stored, error) {
	out := make([]Stored, 0, len(p.List))
	for _, m := range p.List {
		at, err := readPosition(m.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, Stored{at, readBody(m.Data)})
	}
	return out, nil
}

// readPage reads a part of a channel's history; gap reports that what is behind since is no longer all there.
func (w *world) readPage(ctx context.Context, n *node, channel string, since Position, limit int) (p page, gap bool, err error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if since != (Position{}) {
		query.Set("since", since.String())
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.address+"/channels/"+channel+"/messages?"+query.Encode(), http.NoBody)
	if err != nil {
		return p, false, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return p, false, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	switch {
	case err != nil:
		return p, false, err
	case response.StatusCode == http.StatusGone:
		return p, true, nil
	case response.StatusCode != http.StatusOK:
		return p, false, fmt.Errorf("the history of %s answers %d: %.300s", channel, response.StatusCode, text)
	}
	return p, false, json.Unmarshal(text, &p)
}

// declare makes the channels and returns where the history of each begins.
func (w *world) declare(ctx context.Context) (map[string]Position, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	begins := map[string]Position{}
	for _, ch := range w.channels {
		if ch.Size == 0 {
			continue
		}
		for {
			at, err := w.declareOne(ctx, ch)
			if err == nil {
				begins[ch.Name] = at
				break
			}
			if !rest(ctx, pollInterval) {
				return nil, err
			}
		}
	}
	return begins, nil
}

func (w *world) declareOne(ctx context.Context, ch Channel) (Position, error) {
	text := fmt.Sprintf(`{"history":{"size":%d,"ttl":"%s"}}`, ch.Size, ch.TTL)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.nodes[0].address+"/channels/"+ch.Name, strings.NewReader(text))
	if err != nil {
		return Position{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return Position{}, err
	}
	answer, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	// A conflict is an answer that did not come the last time.
	if err != nil || (response.StatusCode/100 != 2 && response.StatusCode != http.StatusConflict) {
		return Position{}, fmt.Errorf("declaring %s: %d %s %w", ch.Name, response.StatusCode, answer, err)
	}
	p, _, err := w.readPage(ctx, w.nodes[0], ch.Name, Position{}, 1)
	if err != nil {
		return Position{}, err
	}
	return readPosition(p.Cursor)
}

// historyReader follows all channels by reading their histories again and again.
type historyReader struct {
	world  *world
	rng    *rand.Rand
	client Client
}

func (h *historyReader) run(ctx context.Context, begins map[string]Position) {
	for channel, at := range begins {
		h.note(Event{Kind: Subscribed, Channel: channel, Position: at})
	}
	for pause(ctx, h.rng, 300*time.Millisecond, time.Second) {
		for _, ch := range h.world.channels {
			if ch.Size == 0 || ctx.Err() != nil {
				continue
			}
			begins[ch.Name] = h.follow(ctx, ch.Name, begins[ch.Name])
		}
	}
}

func (h *historyReader) note(e Event) {
	e.At = h.world.now()
	h.client.Events = append(h.client.Events, e)
}

// follow reads a channel on from a position and returns the next one. A read that fails is tried in the next round.
func (h *historyReader) follow(ctx context.Context, channel string, since Position) Position {
	p, gap, err := h.world.readPage(ctx, h.world.anyNode(h.rng), channel, since, 1+h.rng.IntN(1000))
	if err != nil {
		return since
	}
	if gap {
		p, _, err = h.world.readPage(ctx, h.world.anyNode(h.rng), channel, Position{}, 1)
		if err != nil {
			return since
		}
	}
	next, err := readPosition(p.Cursor)
	if err != nil {
		h.world.wrong("the history of %s has the cursor %q", channel, p.Cursor)
		return since
	}
	if gap {
		h.note(Event{Kind: Subscribed, Channel: channel, Since: since, Position: next})
		return next
	}
	messages, err := p.stored()
	if err != nil {
		h.world.wrong("the history of %s: %v", channel, err)
	}
	for _, m := range messages {
		h.note(Event{Kind: Received, Channel: channel, Position: m.Position, Content: m.Content})
	}
	return next
}

// histories reads all that channels retain at the end. begins is where those begin that retain everything.
func (w *world) histories(ctx context.Context, begins map[string]Position) ([]History, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var all []History
	for _, ch := range w.channels {
		if ch.Size == 0 {
			continue
		}
		for {
			h, err := w.history(ctx, w.nodes[len(all)%len(w.nodes)], ch, begins[ch.Name])
			if err == nil {
				all = append(all, h)
				break
			}
			if errors.Is(err, errGap) || !rest(ctx, pollInterval) {
				return all, err
			}
		}
	}
	return all, nil
}

var errGap = errors.New("a channel that retains everything has a gap")

func (w *world) history(ctx context.Context, n *node, ch Channel, begin Position) (History, error) {
	h := History{Channel: ch.Name, Began: w.now()}
	since := Position{}
	if ch.Size > eureka.MaxHistoryPage {
		since = begin
	}
	for more := true; more; {
		p, gap, err := w.readPage(ctx, n, ch.Name, since, eureka.MaxHistoryPage)
		if err == nil && gap {
			err = fmt.Errorf("%w: %s behind %s", errGap, ch.Name, since)
		}
		if err != nil {
			return h, err
		}
		messages, err := p.stored()
		if err != nil {
			return h, err
		}
		h.Messages = append(h.Messages, messages...)
		if since, err = readPosition(p.Cursor); err != nil {
			return h, err
		}
		more = p.More && ch.Size > eureka.MaxHistoryPage
	}
	h.Read = w.now()
	return h, nil
}
