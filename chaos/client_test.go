package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Bounds of one socket of a client.
const (
	dialTimeout  = 15 * time.Second
	writeTimeout = 15 * time.Second
	readLimit    = 8 << 20
	smallBuffer  = 32 << 10 // of the system, so that a client that stops reading is slow soon; much less makes every client slow
	smallSegment = 1400     // of the system likewise: the service's system sends what is on its way in units of it
	seenKept     = 30       // positions that a client may go back to
)

// following is what a client knows of a channel.
type following struct {
	subscribed bool       // on the present socket
	last       Position   // the newest message, or where it began
	from       Position   // everything behind it was promised on the present socket; zero when that is not known
	seen       []Position // the newest, in order
	marked     bool       // without history: a last message came on the present socket
}

// asked is a request on the present socket that has no answer yet.
type asked struct {
	action  string
	channel string
	since   Position
	publish *Publish
	at      time.Duration
}

// client is one listener, with the sockets that it has one after the other.
type client struct {
	world *world
	name  string
	rng   *rand.Rand // of its actor, not of its reader
	http  *http.Client
	home  []string // channels it listens to at the end

	mu        sync.Mutex
	events    []Event
	reads     []Read
	channels  map[string]*following
	pending   map[string]asked
	connected bool
	slow      time.Duration // how long the reader waits before it reads on
	refs      int
	n         map[string]int // of its own messages
}

func newClient(w *world, name string) *client {
	c := &client{world: w, name: name, rng: w.rng(), channels: map[string]*following{}, pending: map[string]asked{}, n: map[string]int{}}
	for _, at := range c.rng.Perm(len(w.channels))[:3+c.rng.IntN(4)] {
		c.home = append(c.home, w.channels[at].Name)
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	if c.rng.IntN(3) > 0 {
		dialer.Control = shrink
	}
	c.http = &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}
	for _, ch := range w.channels {
		c.channels[ch.Name] = &following{}
	}
	return c
}

// run has sockets until the context ends. It does things of its own until the world settles.
func (c *client) run(ctx context.Context) {
	defer c.http.CloseIdleConnections()
	for ctx.Err() == nil {
		if !c.session(ctx) {
			pause(ctx, c.rng, 20*time.Millisecond, 400*time.Millisecond)
		}
	}
}

// session is one socket. It reports whether there was one.
func (c *client) session(ctx context.Context) bool {
	node := c.world.anyNode(c.rng)
	c.mu.Lock()
	query := c.wishes()
	c.mu.Unlock()
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, response, err := websocket.Dial(dialing, "ws://"+node.address+"/?channels="+url.QueryEscape(query), &websocket.DialOptions{HTTPClient: c.http})
	if response != nil && response.Body != nil {
		_ = response.Body.Close()
	}
	if err != nil {
		c.mu.Lock()
		c.pending = map[string]asked{}
		c.mu.Unlock()
		return false
	}
	conn.SetReadLimit(readLimit)
	c.record(Event{Kind: Connected, Note: node.name})
	c.mu.Lock()
	c.connected = true
	c.mu.Unlock()
	reading, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.read(reading, conn)
	}()
	away := c.act(ctx, conn, node, done)
	_ = conn.CloseNow()
	stop()
	<-done
	c.ended()
	c.stayAway(ctx, away)
	return true
}

// stayAway waits, but no longer than until the world settles.
func (c *client) stayAway(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.world.settling:
	case <-ctx.Done():
	}
}

// wishes are the channels of a new socket as its address tells them. The caller holds mu.
func (c *client) wishes() string {
	c.pending = map[string]asked{}
	var list []string
	for _, name := range c.home {
		f := c.channels[name]
		since := f.last
		switch choice := c.rng.IntN(100); {
		case choice < 10 && len(f.seen) > 0:
			since = f.seen[c.rng.IntN(len(f.seen))]
		case choice < 13:
			since = Position{}
		}
		text := ""
		if since != (Position{}) {
			text = since.String()
		}
		list = append(list, name+"@"+text)
		c.pending["@"+name] = asked{action: "subscribe", channel: name, since: since}
	}
	return strings.Join(list, ",")
}

// ended notes the end of the socket. Publishes without an answer stay open for ever.
func (c *client) ended() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connected = false
	c.pending = map[string]asked{}
	for _, f := range c.channels {
		f.subscribed, f.from, f.marked = false, Position{}, false
	}
}

func (c *client) record(e Event) {
	e.At = c.world.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, e)
}

// act does things with a socket until it ends, or until it is to be ended; away is how long to stay away then.
func (c *client) act(ctx context.Context, conn *websocket.Conn, node *node, done <-chan struct{}) (away time.Duration) {
	for {
		timer := time.NewTimer(time.Duration(30+c.rng.IntN(1200)) * time.Millisecond)
		select {
		case <-done:
			timer.Stop()
			return 0
		case <-ctx.Done():
			timer.Stop()
			return 0
		case <-timer.C:
		case <-c.world.settling:
			timer.Stop()
			c.listen(ctx, conn, done)
			return 0
		}
		c.world.count(operations)
		switch choice := c.rng.IntN(100); {
		case choice < 35:
			c.publish(ctx, conn, node)
		case choice < 47:
			c.subscribe(ctx, conn, c.home[c.rng.IntN(len(c.home))])
		case choice < 57:
			c.unsubscribe(ctx, conn)
		case choice < 63:
			c.history(ctx, conn)
		case choice < 71:
			c.mu.Lock()
			c.slow = time.Duration(c.rng.IntN(9000)) * time.Millisecond
			c.mu.Unlock()
			if c.rng.IntN(10) == 0 {
				c.world.burst(c.home[c.rng.IntN(len(c.home))])
			}
		case choice < 77:
			c.world.count(drops)
			return time.Duration(c.rng.IntN(1000)) * time.Millisecond
		case choice < 80:
			c.world.count(drops)
			return time.Duration(3000+c.rng.IntN(4000)) * time.Millisecond // longer than the short channel's time
		case choice < 82:
			_ = conn.Close(websocket.StatusNormalClosure, "")
			return 0
		}
	}
}

// listen only listens, to all of its channels, until the socket ends.
func (c *client) listen(ctx context.Context, conn *websocket.Conn, done <-chan struct{}) {
	for {
		for _, name := range c.home {
			c.mu.Lock()
			missing := !c.channels[name].subscribed && !c.waits(name)
			c.mu.Unlock()
			if missing {
				c.subscribe(ctx, conn, name)
			}
		}
		timer := time.NewTimer(2 * pollInterval)
		select {
		case <-done:
			timer.Stop()
			return
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// waits reports whether a request on a channel has no answer yet. The caller holds mu.
func (c *client) waits(channel string) bool {
	for _, a := range c.pending {
		if a.channel == channel && (a.action == "subscribe" || a.action == "unsubscribe") {
			return true
		}
	}
	return false
}

// subscribe subscribes, or subscribes again, from a position that the client knows.
func (c *client) subscribe(ctx context.Context, conn *websocket.Conn, channel string) {
	c.mu.Lock()
	f := c.channels[channel]
	if c.waits(channel) {
		c.mu.Unlock()
		return
	}
	since := f.last
	if f.subscribed {
		if f.from == (Position{}) {
			since = Position{}
		} else if n := len(f.seen); n > 0 && c.rng.IntN(2) == 0 {
			if old := f.seen[c.rng.IntN(n)]; old.Offset >= f.from.Offset {
				since = old
			}
		}
	}
	frame := map[string]any{"action": "subscribe", "channel": channel}
	if since != (Position{}) {
		frame["since"] = since.String()
	}
	c.ask(frame, asked{action: "subscribe", channel: channel, since: since})
	c.mu.Unlock()
	c.write(ctx, conn, frame)
}

func (c *client) unsubscribe(ctx context.Context, conn *websocket.Conn) {
	channel := c.home[c.rng.IntN(len(c.home))]
	c.mu.Lock()
	if !c.channels[channel].subscribed || c.waits(channel) {
		c.mu.Unlock()
		return
	}
	frame := map[string]any{"action": "unsubscribe", "channel": channel}
	c.ask(frame, asked{action: "unsubscribe", channel: channel})
	c.mu.Unlock()
	c.write(ctx, conn, frame)
}

// history asks for a part of a channel's history, the newest or from a position that the client knows.
func (c *client) history(ctx context.Context, conn *websocket.Conn) {
	channel := c.home[c.rng.IntN(len(c.home))]
	if !c.world.hasHistory(channel) {
		return
	}
	c.mu.Lock()
	f := c.channels[channel]
	frame := map[string]any{"action": "history", "channel": channel, "limit": 1 + c.rng.IntN(300)}
	var since Position
	if n := len(f.seen); n > 0 && c.rng.IntN(3) > 0 {
		since = f.seen[c.rng.IntN(n)]
		frame["since"] = since.String()
	}
	c.ask(frame, asked{action: "history", channel: channel, since: since})
	c.mu.Unlock()
	c.write(ctx, conn, frame)
}

// publish publishes one message, unless the one before has no answer.
func (c *client) publish(ctx context.Context, conn *websocket.Conn, node *node) {
	c.mu.Lock()
	for _, a := range c.pending {
		if a.publish != nil {
			c.mu.Unlock()
			return
		}
	}
	channel := c.world.channels[c.rng.IntN(len(c.world.channels))].Name
	c.n[channel]++
	data, content := makeBody(anySize(c.rng), c.name, c.n[channel])
	p := c.world.published(&Publish{Channel: channel, Content: content})
	frame := map[string]any{"action": "publish", "channel": channel, "event": "chaos", "data": json.RawMessage(data)}
	c.ask(frame, asked{action: "publish", channel: channel, publish: p})
	p.Attempts = append(p.Attempts, Attempt{Node: node.name, Sent: c.world.now()})
	c.mu.Unlock()
	c.write(ctx, conn, frame)
}

// ask notes a request. The caller holds mu.
func (c *client) ask(frame map[string]any, a asked) {
	c.refs++
	ref := fmt.Sprintf("r%d", c.refs)
	frame["ref"], a.at = ref, c.world.now()
	c.pending[ref] = a
}

// write sends a frame; a socket that fails is noticed by its reader.
func (c *client) write(ctx context.Context, conn *websocket.Conn, frame map[string]any) {
	text, err := json.Marshal(frame)
	if err != nil {
		c.world.wrong("%v", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	_ = conn.Write(ctx, websocket.MessageText, text)
}
