package gateway

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"eureka"
	"eureka/internal/wire"
)

// shards is how many locks the registries are split over; a power of two.
const shards = 64

// conn is a connection as the hub sees it. None of its methods blocks.
type conn interface {
	// lane is where broadcasts for this connection go; nil when queue takes them. It is always the same.
	lane() *lane
	// queue takes complete WebSocket frames in one piece that others share: it must not be changed. It reports whether the frames were
	// taken; a connection that has ended, or overflows with these, takes none.
	queue(b []byte, frames int) bool
	// offer takes all frames or none: none when they would fill more than half of what may wait. open is false when the connection has ended.
	offer(frames [][]byte) (taken, open bool)
	// drained calls f once, in a goroutine of its own, when nothing waits to be written, or when the connection has ended.
	drained(f func())
	// end closes the connection: a bye frame that asks to wait for after, then the close code. Only the first call counts.
	end(code eureka.CloseCode, reason string, after time.Duration)
}

// HubOptions configure a Hub.
type HubOptions struct {
	Metrics     prometheus.Registerer // nil for none
	Now         func() time.Time      // nil means time.Now
	NewSelector func() Selector       // makes the set of a channel's filters; nil: subscriptions cannot have filters
}

// Hub is the registry of this node's sockets and subscriptions, and their fan-out. It is safe for concurrent use.
type Hub struct {
	seed       maphash.Seed
	now        func() time.Time
	selector   func() Selector
	open       atomic.Int64
	pending    sync.Map // socket id → conn, between attach and Add
	sockets    [shards]socketShard
	users      [shards]userShard
	channels   [shards]channelShard
	deliveries prometheus.Counter
}

type socketShard struct {
	mu      sync.RWMutex
	entries map[string]*entry
}

type userShard struct {
	mu    sync.RWMutex
	users map[string][]*entry
}

type channelShard struct {
	mu     sync.RWMutex
	topics map[string]*topic
}

// item is one subscription. index is where its part, or else group.direct, holds it; topic.mu guards group, part and index.
type item struct {
	entry *entry
	topic *topic
	group *group
	part  *part
	index int
	at    int64
	pause uint64 // not 0 while a replay has not come to the live messages
}

// NewHub returns an empty hub.
func NewHub(o HubOptions) *Hub {
	h := &Hub{seed: maphash.MakeSeed(), now: o.Now, selector: o.NewSelector}
	if h.now == nil {
		h.now = time.Now
	}
	for i := range shards {
		h.sockets[i].entries = map[string]*entry{}
		h.users[i].users = map[string][]*entry{}
		h.channels[i].topics = map[string]*topic{}
	}
	h.deliveries = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "eureka_deliveries_total", Help: "Frames handed to sockets by fan-out.",
	})
	if o.Metrics != nil {
		o.Metrics.MustRegister(h.deliveries, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "eureka_sockets_open", Help: "Sockets this node holds.",
		}, func() float64 { return float64(h.Sockets()) }))
	}
	return h
}

// Sockets is the number of sockets this node holds.
func (h *Hub) Sockets() int { return int(h.open.Load()) }

// attach binds a connection to the socket that Add will record under this id.
func (h *Hub) attach(id string, c conn) { h.pending.Store(id, c) }

// detach forgets a connection whose socket was never added.
func (h *Hub) detach(id string) { h.pending.Delete(id) }

// Add records a socket and binds the connection that was attached under its id, if any. CodeConflict when the id is there.
func (h *Hub) Add(s eureka.Socket) error {
	if err := s.Validate(); err != nil {
		return err
	}
	e := newEntry(&s)
	shard := &h.sockets[h.shard(s.ID)]
	shard.mu.Lock()
	if _, taken := shard.entries[s.ID]; taken {
		shard.mu.Unlock()
		return eureka.Errorf(eureka.CodeConflict, "socket %q exists already", s.ID)
	}
	if c, ok := h.pending.LoadAndDelete(s.ID); ok {
		e.conn, _ = c.(conn)
	}
	shard.entries[e.id] = e
	shard.mu.Unlock()
	h.open.Add(1)
	if s.User != "" {
		u := &h.users[h.shard(e.user)]
		u.mu.Lock()
		u.users[e.user] = append(u.users[e.user], e)
		u.mu.Unlock()
	}
	return nil
}

// Remove forgets a socket and its subscriptions and returns it as it was. CodeNotFound for everyone but one caller.
func (h *Hub) Remove(id string) (eureka.Socket, error) {
	shard := &h.sockets[h.shard(id)]
	shard.mu.Lock()
	e, ok := shard.entries[id]
	delete(shard.entries, id)
	shard.mu.Unlock()
	if !ok {
		return eureka.Socket{}, noSocket(id)
	}
	h.open.Add(-1)
	if user := e.user; user != "" {
		u := &h.users[h.shard(user)]
		u.mu.Lock()
		if rest := slices.DeleteFunc(u.users[user], func(o *entry) bool { return o == e }); len(rest) > 0 {
			u.users[user] = rest
		} else {
			delete(u.users, user)
		}
		u.mu.Unlock()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	socket := e.view()
	e.gone = true
	for _, it := range e.items {
		h.leave(it, false)
	}
	e.items = nil
	return socket, nil
}

// Subscribe adds a subscription, or replaces the socket's one for that channel: added is false then. CodeNotFound without the
// socket, CodeUnavailable for a filter on a hub that has no selectors, and the selector's error for one that it refuses; nothing has changed then.
func (h *Hub) Subscribe(sub eureka.Subscription) (added bool, err error) {
	return h.SubscribePaused(sub, 0)
}

// SubscribePaused is Subscribe for a subscription that gets no live messages until Replay ends this pause; 0 is no pause.
func (h *Hub) SubscribePaused(sub eureka.Subscription, pause uint64) (added bool, err error) {
	if err := sub.Validate(); err != nil {
		return false, err
	}
	e := h.entry(sub.SocketID)
	if e == nil {
		return false, noSocket(sub.SocketID)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone {
		return false, noSocket(sub.SocketID)
	}
	if at := e.find(sub.ChannelID); at >= 0 {
		return false, h.replace(e.items[at], sub, pause)
	}
	it := &item{entry: e, at: sub.SubscribedAt, pause: pause}
	if err := h.join(it, sub); err != nil {
		return false, err
	}
	e.insert(it)
	return true, nil
}

// replace turns a subscription into another one of the same channel. The caller holds its entry's lock.
func (h *Hub) replace(it *item, sub eureka.Subscription, pause uint64) error {
	it.topic.mu.Lock()
	defer it.topic.mu.Unlock()
	before := it.pause
	it.pause = pause
	if err := it.topic.regroup(it, sub.Name, sub.Filter, h.selector); err != nil {
		it.pause = before
		return err
	}
	it.at = sub.SubscribedAt
	return nil
}

// Unsubscribe ends a subscription. CodeNotFound when there is none.
func (h *Hub) Unsubscribe(socketID, channelID string) error {
	e := h.entry(socketID)
	if e == nil {
		return noSocket(socketID)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	at := e.find(channelID)
	if at < 0 {
		return eureka.Errorf(eureka.CodeNotFound, "socket %q is not subscribed to %q", socketID, channelID)
	}
	h.leave(e.items[at], false)
	e.items = slices.Delete(e.items, at, at+1)
	return nil
}

// Filter is the filter of a subscription, "" for none. ok is false when there is no such subscription.
func (h *Hub) Filter(socketID, channelID string) (filter string, ok bool) {
	e := h.entry(socketID)
	if e == nil {
		return "", false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	at := e.find(channelID)
	if at < 0 {
		return "", false
	}
	return e.items[at].group.filter, true
}

// Count is the number of this node's subscribers of a channel, those excepted left out. Filters do not count: they see messages.
func (h *Hub) Count(channelID string, except []string) int {
	t := h.topic(channelID)
	if t == nil {
		return 0
	}
	n := 0
	for i, id := range except {
		if e := h.entry(id); e != nil && !slices.Contains(except[:i], id) && e.listens(channelID) {
			n--
		}
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.count + n
}

// Send queues one text frame for a socket. CodeGone when it has ended.
func (h *Hub) Send(socketID string, frame []byte) error {
	e := h.entry(socketID)
	if e == nil || e.conn == nil || !e.conn.queue(wire.TextFrame(frame), 1) {
		return eureka.Errorf(eureka.CodeGone, "socket %q has ended", socketID)
	}
	return nil
}

// Close ends a socket with a bye frame and the code. CodeGone when it has ended already.
func (h *Hub) Close(socketID string, code eureka.CloseCode, reason string) error {
	e := h.entry(socketID)
	if e == nil || e.conn == nil {
		return eureka.Errorf(eureka.CodeGone, "socket %q has ended", socketID)
	}
	e.conn.end(code, reason, 0)
	return nil
}

// Move re-homes the subscriptions of one channel id to another, under the names and with the filters they have; to "" ends them. A socket that
// listens to the target already keeps that subscription alone. It returns how many left the first channel, and how many
// of those the second one gained.
func (h *Hub) Move(from, to string) (left, gained int) {
	t := h.topic(from)
	if t == nil {
		return 0, 0
	}
	for _, e := range t.entries() {
		l, g := h.moveOne(e, from, to)
		left += l
		gained += g
	}
	return left, gained
}

func (h *Hub) moveOne(e *entry, from, to string) (left, gained int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := e.find(from)
	if at < 0 || e.gone {
		return 0, 0
	}
	it := e.items[at]
	g := it.group // only changes under entry.mu, which is held
	h.leave(it, true)
	e.items = slices.Delete(e.items, at, at+1)
	if to == "" || e.find(to) >= 0 {
		return 1, 0
	}
	moved := &item{entry: e, at: it.at}
	if err := h.join(moved, eureka.Subscription{ChannelID: to, Name: g.name, Filter: g.filter}); err != nil {
		// The subscription cannot go on, and its client must know: it subscribes again when it is back.
		if e.conn != nil {
			e.conn.end(eureka.CloseInternal, "a subscription could not be moved", 0)
		}
		return 1, 0
	}
	e.insert(moved)
	return 1, 1
}

func (h *Hub) shard(key string) int { return int(maphash.String(h.seed, key) & (shards - 1)) }

func (h *Hub) entry(id string) *entry {
	shard := &h.sockets[h.shard(id)]
	shard.mu.RLock()
	defer shard.mu.RUnlock()
	return shard.entries[id]
}

func (h *Hub) topic(channelID string) *topic {
	shard := &h.channels[h.shard(channelID)]
	shard.mu.RLock()
	defer shard.mu.RUnlock()
	return shard.topics[channelID]
}

// join puts an item into a channel's list. The caller holds its entry's lock.
func (h *Hub) join(it *item, sub eureka.Subscription) error {
	for t := h.openTopic(sub.ChannelID, nil); ; t = h.openTopic(sub.ChannelID, t) {
		t.mu.Lock()
		if t.closed {
			t.mu.Unlock()
			continue
		}
		err := t.add(it, sub.Name, sub.Filter, h.selector)
		if err == nil {
			it.topic = t
		}
		h.unlock(t)
		return err
	}
}

// leave takes an item out of its channel's list; see group.leave. The caller holds its entry's lock.
func (h *Hub) leave(it *item, flush bool) {
	t := it.topic
	t.mu.Lock()
	t.remove(it, flush)
	h.unlock(t)
}

// openTopic finds or makes a channel's topic; another one than closed, which has no subscriber any more. A topic's lock may be long in coming, as
// publishers wait for lanes, so it is not waited for under that of a shard, which others need.
func (h *Hub) openTopic(channelID string, closed *topic) *topic {
	shard := &h.channels[h.shard(channelID)]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	t := shard.topics[channelID]
	if t == nil || t == closed {
		t = &topic{id: strings.Clone(channelID)} // it may be a part of something larger
		shard.topics[t.id] = t
	}
	return t
}

// unlock lets a topic go, for ever when nobody is in it.
func (h *Hub) unlock(t *topic) {
	t.closed = t.count == 0
	closed := t.closed
	t.mu.Unlock()
	if !closed {
		return
	}
	shard := &h.channels[h.shard(t.id)]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if shard.topics[t.id] == t {
		delete(shard.topics, t.id)
	}
}

func noSocket(id string) error {
	return eureka.Errorf(eureka.CodeNotFound, "there is no socket %q", id)
}
