package apigateway

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"eureka"
	"eureka/internal/edge/simulator/fault"
	"eureka/internal/edge/simulator/meter"
	"eureka/internal/wire"
)

const (
	closeGoingAway = int(eureka.CloseGoingAway)
	closeAbnormal  = int(eureka.CloseAbnormal)
	closeNoStatus  = int(eureka.CloseNoStatus)
	closeNormal    = 1000

	writeTimeout = 10 * time.Second
	closeTimeout = 5 * time.Second // for a client's answer to a close frame
)

// errGone says that a socket has ended or does not live yet.
var errGone = errors.New("the socket is gone")

// connection is one socket. Until it is open nobody can post to it.
type connection struct {
	id          string
	connectedAt time.Time
	identity    identity
	host        string // of the handshake

	lastActive atomic.Int64 // epoch nanoseconds
	idle, age  *time.Timer

	mu     sync.Mutex
	conn   net.Conn // nil for a member of the crowd
	member *crowd
	open   bool
}

// ending is how a socket ends.
type ending struct {
	code   int
	reason string // of the event; the close frame has none but for faults of the client
	say    bool   // with a close frame
	silent bool   // without a $disconnect
}

// active notes a message in either direction.
func (c *connection) active(now time.Time) { c.lastActive.Store(now.UnixNano()) }

// send writes one text message. The error is errGone when the socket has ended, which the write may have found out.
func (g *Gateway) send(c *connection, text []byte) error {
	c.mu.Lock()
	if !c.open {
		c.mu.Unlock()
		return errGone
	}
	// AWS bills what it takes, not what arrives.
	g.options.Meter.Add(meter.MessagesOut, 1)
	g.options.Meter.Add(meter.Metered, metered(len(text), 32<<10))
	g.options.Meter.Add(meter.BytesOut, float64(len(text))/1e9)
	err := c.write(wire.TextFrames(text, g.options.Limits.MaxFrame), writeTimeout)
	c.mu.Unlock()
	if err != nil {
		g.end(c, ending{code: closeAbnormal})
		return errGone
	}
	c.active(g.options.Now())
	if c.member != nil {
		c.member.got(c, text, g.options.Now())
	}
	return nil
}

// metered is how many times a size is billed in steps.
func metered(n, step int) float64 { return float64(max((n+step-1)/step, 1)) }

// write writes bytes; the caller holds mu.
func (c *connection) write(b []byte, patience time.Duration) error {
	if c.conn == nil {
		return nil
	}
	if err := c.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := c.conn.Write(b)
	return err
}

// cut closes the TCP connection.
func (c *connection) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		_ = c.conn.Close()
	}
}

// isOpen reports whether the socket lives.
func (c *connection) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

// find returns the connection that is open under an id.
func (g *Gateway) find(id string) *connection {
	g.mu.Lock()
	c := g.connections[id]
	g.mu.Unlock()
	if c == nil || !c.isOpen() {
		return nil
	}
	return c
}

// establish finishes a handshake by writing its answer, and makes the connection reachable: whoever finds it waits until the answer is written.
func (g *Gateway) establish(c *connection, conn net.Conn, answer []byte) error {
	c.active(g.options.Now())
	c.mu.Lock()
	g.mu.Lock()
	old := g.connections[c.id]
	g.connections[c.id], g.newest = c, c
	g.mu.Unlock()
	c.conn, c.open = conn, true
	c.age = time.AfterFunc(g.options.Limits.Age, func() {
		g.end(c, ending{code: closeGoingAway, reason: "Going away", say: true})
	})
	c.idle = time.AfterFunc(g.options.Limits.Idle, func() { g.checkIdle(c) })
	g.options.Meter.Add(meter.Connects, 1)
	err := c.write(answer, writeTimeout)
	c.mu.Unlock()
	if old != nil { // DuplicateID
		g.end(old, ending{code: closeAbnormal, silent: true})
	}
	return err
}

// checkIdle closes a socket that was idle for too long, or looks again when it may be.
func (g *Gateway) checkIdle(c *connection) {
	left := g.options.Limits.Idle - g.options.Now().Sub(time.Unix(0, c.lastActive.Load()))
	if left <= 0 {
		g.end(c, ending{code: closeGoingAway, reason: "Going away", say: true})
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open {
		c.idle.Reset(left)
	}
}

// end ends a socket, for the first who calls it: nobody finds it any more, its client is told, and so is the function.
func (g *Gateway) end(c *connection, how ending) {
	if g.finish(c, how) && g.begin() {
		go func() {
			defer g.work.Done()
			g.disconnect(c, how)
		}()
	}
}

// finish is end without telling the function. It reports whether that is still to be done.
func (g *Gateway) finish(c *connection, how ending) bool {
	if !c.shut(how) {
		return false
	}
	now := g.options.Now()
	g.mu.Lock()
	if g.connections[c.id] == c {
		delete(g.connections, c.id)
	}
	if g.newest == c {
		g.newest = nil
	}
	g.mu.Unlock()
	g.options.Meter.Add(meter.Ends, 1)
	g.options.Meter.Add(meter.ConnectionMn, now.Sub(c.connectedAt).Minutes())
	if c.member != nil {
		c.member.left(c)
	}
	if how.silent {
		return false
	}
	_, lost := g.options.Faults.Hit(fault.LostDisconnect, "")
	if lost {
		g.options.Log.Info("a $disconnect is lost on purpose", slog.String("connection", c.id))
	}
	return !lost
}

// shut keeps everybody from writing on, tells the client when it is to be told, and reports whether the connection was open.
func (c *connection) shut(how ending) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return false
	}
	c.open = false
	c.age.Stop()
	c.idle.Stop()
	switch {
	case c.conn == nil:
	case how.say:
		reason := how.reason
		if how.code == closeNormal {
			reason = ""
		}
		// The client may be gone already; else it has a while to answer, and the reader then closes.
		_ = c.write(wire.CloseFrame(eureka.CloseCode(how.code), reason), closeTimeout) //nolint:gosec // a close code
		_ = c.conn.SetReadDeadline(time.Now().Add(closeTimeout))
	default:
		_ = c.conn.Close()
	}
	return true
}

// Connection is an open socket, as the control endpoint shows it.
type Connection struct {
	ID          string    `json:"id"`
	ConnectedAt time.Time `json:"connectedAt"`
	SourceIP    string    `json:"sourceIp"`
	UserAgent   string    `json:"userAgent"`
}

// Connections are the open sockets.
func (g *Gateway) Connections() []Connection {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Connection, 0, len(g.connections))
	for _, c := range g.connections {
		out = append(out, Connection{c.id, c.connectedAt, c.identity.SourceIP, c.identity.UserAgent})
	}
	return out
}

// Cut breaks a socket's connection as a network does, with or without the $disconnect that follows. It reports whether there was one.
func (g *Gateway) Cut(id string, silent bool) bool {
	c := g.find(id)
	if c == nil {
		return false
	}
	g.end(c, ending{code: closeAbnormal, silent: silent})
	return true
}

// Age ends a socket as if its two hours were over. It reports whether there was one.
func (g *Gateway) Age(id string) bool {
	c := g.find(id)
	if c == nil {
		return false
	}
	g.end(c, ending{code: closeGoingAway, reason: "Going away", say: true})
	return true
}
