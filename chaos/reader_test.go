package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coder/websocket"

	"eureka"
)

// frame is what the service sends.
type frame struct {
	Action  string          `json:"action"`
	Channel string          `json:"channel"`
	Ref     string          `json:"ref"`
	Event   string          `json:"event"`
	ID      string          `json:"id"`
	Data    json.RawMessage `json:"data"`
	Error   struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// read writes down what comes until the socket ends.
func (c *client) read(ctx context.Context, conn *websocket.Conn) {
	bye := ""
	for {
		c.mu.Lock()
		slow := c.slow
		c.slow = 0
		c.mu.Unlock()
		if slow > 0 {
			rest(ctx, slow)
		}
		_, text, err := conn.Read(ctx)
		if err != nil {
			switch code := websocket.CloseStatus(err); {
			case code == websocket.StatusCode(eureka.CloseSlowConsumer): // the service counts them: a client that does not read may never hear of it
			case code == websocket.StatusCode(eureka.CloseRestart):
				c.world.count(drainCloses)
			case code >= 0 && code != websocket.StatusNormalClosure:
				c.world.count(otherCloses)
				c.world.wrong("%s was closed: %v", c.name, err)
			}
			if errors.Is(err, websocket.ErrMessageTooBig) {
				c.world.wrong("%s: %v", c.name, err)
			}
			c.record(Event{Kind: Closed, Note: bye + err.Error()})
			return
		}
		var f frame
		if err := json.Unmarshal(text, &f); err != nil {
			c.world.wrong("%s got a frame that is no JSON: %.200s", c.name, text)
			continue
		}
		if f.Action == "bye" {
			bye = string(f.Data) + " "
			continue
		}
		if err := c.take(f); err != nil {
			c.world.wrong("%s got %.300s: %v", c.name, text, err)
		}
	}
}

// take notes one frame.
func (c *client) take(f frame) error {
	now := c.world.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f.Action {
	case "message":
		return c.message(now, f)
	case "subscribed":
		return c.subscribed(now, f)
	case "unsubscribed":
		delete(c.pending, f.Ref)
		if ch := c.channels[f.Channel]; ch != nil {
			ch.subscribed, ch.from = false, Position{}
		}
		c.events = append(c.events, Event{At: now, Kind: Unsubscribed, Channel: f.Channel})
		return nil
	case "published":
		return c.published(now, f)
	case "history":
		return c.page(now, f)
	case "error":
		return c.failed(now, f)
	default:
		return errors.New("no such frame is expected")
	}
}

// message notes a message. The caller holds mu.
func (c *client) message(now time.Duration, f frame) error {
	at, err := readPosition(f.ID)
	ch := c.channels[f.Channel]
	if err != nil || ch == nil {
		return fmt.Errorf("its cursor or channel is strange: %w", err)
	}
	if f.Event != "chaos" {
		return errors.New("its event is not the one that was sent")
	}
	c.events = append(c.events, Event{At: now, Kind: Received, Channel: f.Channel, Position: at, Content: readBody(f.Data)})
	if at == (Position{}) {
		ch.marked = ch.marked || c.events[len(c.events)-1].Content.Publisher == markerName
		c.world.count(liveMessages)
		return nil
	}
	if at.Epoch != ch.last.Epoch || at.Offset > ch.last.Offset {
		ch.last = at
		ch.seen = append(ch.seen, at)
		if len(ch.seen) > 2*seenKept {
			ch.seen = slices.Clone(ch.seen[seenKept:])
		}
	}
	if ch.subscribed && ch.from == (Position{}) {
		ch.from = at
	}
	return nil
}

// subscribed notes the answer to a subscription. The caller holds mu.
func (c *client) subscribed(now time.Duration, f frame) error {
	ref := f.Ref
	if ref == "" {
		ref = "@" + f.Channel
	}
	a, ok := c.pending[ref]
	delete(c.pending, ref)
	var data struct {
		Cursor    string `json:"cursor"`
		Recovered *bool  `json:"recovered"`
	}
	if err := json.Unmarshal(f.Data, &data); err != nil || !ok || a.channel != f.Channel {
		return fmt.Errorf("it answers nothing: %w", err)
	}
	at, err := readPosition(data.Cursor)
	if err != nil {
		return err
	}
	if asks := a.since != (Position{}); asks != (data.Recovered != nil) {
		return errors.New("recovered is there, or is not, against what was asked")
	}
	e := Event{At: now, Kind: Subscribed, Channel: f.Channel, Position: at, Since: a.since, Recovered: data.Recovered != nil && *data.Recovered}
	c.events = append(c.events, e)
	switch {
	case e.Recovered:
		c.world.count(resumes)
	case a.since != (Position{}):
		c.world.count(refusals)
	}
	ch := c.channels[f.Channel]
	again := ch.subscribed
	ch.subscribed = true
	switch {
	case !e.Recovered:
		ch.last, ch.from, ch.seen = at, at, nil
	case !again:
		ch.from = a.since
	}
	return nil
}

// published notes the answer to a message of its own. The caller holds mu.
func (c *client) published(now time.Duration, f frame) error {
	a, ok := c.pending[f.Ref]
	delete(c.pending, f.Ref)
	if !ok || a.publish == nil {
		return errors.New("it answers nothing")
	}
	var data struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(f.Data, &data); err != nil {
		return err
	}
	at, err := readPosition(data.ID)
	last := &a.publish.Attempts[len(a.publish.Attempts)-1]
	last.Acked, last.ID, last.Done, last.Answer = err == nil, at, now, string(f.Data)
	c.world.count(acks)
	return err
}

// page notes an answer with a part of history. The caller holds mu.
func (c *client) page(now time.Duration, f frame) error {
	a, ok := c.pending[f.Ref]
	delete(c.pending, f.Ref)
	if !ok || a.action != "history" || a.channel != f.Channel {
		return errors.New("it answers nothing")
	}
	var p page
	if err := json.Unmarshal(f.Data, &p); err != nil {
		return err
	}
	messages, err := p.stored()
	if err != nil {
		return err
	}
	cursor, err := readPosition(p.Cursor)
	if err != nil {
		return err
	}
	if len(messages) > 0 {
		c.world.count(pages)
	}
	c.reads = append(c.reads, Read{Client: c.name, At: now, Channel: f.Channel, Since: a.since, Cursor: cursor, Messages: messages})
	return nil
}

// failed notes an error: a gap, or a request that was refused. The caller holds mu.
func (c *client) failed(now time.Duration, f frame) error {
	a, asked := c.pending[f.Ref]
	switch {
	case f.Ref != "" && asked:
		delete(c.pending, f.Ref)
		switch {
		case f.Error.Code == "unavailable", f.Error.Code == "timeout":
		case f.Error.Code == "gone": // the socket is ending
		case f.Error.Code == "gap" && a.action == "history":
		default:
			return fmt.Errorf("%s was refused", a.action)
		}
		return nil
	case f.Channel != "" && f.Error.Code == "gap":
		if ch := c.channels[f.Channel]; ch != nil {
			ch.from = Position{}
		}
		c.events = append(c.events, Event{At: now, Kind: Gap, Channel: f.Channel, Note: f.Error.Message})
		return nil
	case f.Ref == "" && f.Channel != "" && c.pending["@"+f.Channel].action != "":
		delete(c.pending, "@"+f.Channel)
		return errors.New("a channel was refused at the connection")
	default:
		return errors.New("no such error is expected")
	}
}
