package natsengine

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"eureka"
)

// directory is the sockets of all nodes: writes go to this node's registry, questions to every live node.
type directory struct{ engine *Engine }

// countTimeout bounds how long a publish waits for numbers alone.
const countTimeout = 500 * time.Millisecond

// chunkBytes is about how large one part of a listing is; NATS carries 1 MB by default.
const chunkBytes = 256 << 10

// maxQuestion bounds a question of another node.
const maxQuestion = 512 << 10

// listing is one part of a node's answer to a list query.
type listing struct {
	Total   int             `json:"total"`
	Sockets []eureka.Socket `json:"sockets"`
	More    bool            `json:"more"` // this node has sockets behind those
}

// listQuestion asks a node for its first Want sockets of a query.
type listQuestion struct {
	Query eureka.SocketQuery `json:"query"`
	Want  int                `json:"want"`
}

// countQuestion asks a node how many of its sockets listen to each channel, those excepted left out.
type countQuestion struct {
	Channels []string `json:"channels"`
	Except   []string `json:"except,omitempty"`
}

// Add implements eureka.Sockets.
func (d *directory) Add(_ context.Context, s eureka.Socket) error {
	if err := s.Validate(); err != nil {
		return err
	}
	s.Identity = eureka.Identity{} // the gateway has it
	return d.engine.options.Registry.Add(s)
}

// Remove implements eureka.Sockets.
func (d *directory) Remove(_ context.Context, id string) (eureka.Socket, error) {
	s, err := d.engine.options.Registry.Remove(id)
	if err != nil {
		return s, err
	}
	for _, sub := range s.Subscriptions {
		d.engine.bus.release(sub.ChannelID, 1)
	}
	return s, nil
}

// Subscribe implements eureka.Sockets.
func (d *directory) Subscribe(ctx context.Context, sub eureka.Subscription) (eureka.Subscribed, error) {
	if err := sub.Validate(); err != nil {
		return eureka.Subscribed{}, err
	}
	bus := d.engine.bus
	if err := bus.acquire(sub.ChannelID); err != nil {
		return eureka.Subscribed{}, err
	}
	s, added, err := d.subscribe(ctx, sub)
	if err != nil || !added {
		bus.release(sub.ChannelID, 1)
	}
	if err != nil {
		return eureka.Subscribed{}, err
	}
	// An undeclared name may have become an alias while this call was on its way; later changes come through the watch.
	if ch, err := d.engine.channels.Get(ctx, sub.ChannelID); err == nil && ch.ID != sub.ChannelID {
		bus.rehome(sub.ChannelID, ch.ID)
	}
	return s, nil
}

func (d *directory) subscribe(ctx context.Context, sub eureka.Subscription) (eureka.Subscribed, bool, error) {
	ch, err := d.engine.channels.Get(ctx, sub.ChannelID)
	if err == nil && ch.History != nil && ch.ID == sub.ChannelID {
		return d.engine.history.subscribe(ctx, sub)
	}
	added, err := d.engine.options.Registry.Subscribe(sub)
	return eureka.Subscribed{}, added, err
}

// Unsubscribe implements eureka.Sockets.
func (d *directory) Unsubscribe(_ context.Context, socketID, channelID string) error {
	if err := d.engine.options.Registry.Unsubscribe(socketID, channelID); err != nil {
		return err
	}
	d.engine.bus.release(channelID, 1)
	return nil
}

// List implements eureka.Sockets.
func (d *directory) List(ctx context.Context, q eureka.SocketQuery) (eureka.Page[eureka.Socket], error) {
	if err := q.Validate(); err != nil {
		return eureka.Page[eureka.Socket]{}, err
	}
	if _, err := eureka.ParseSocketPosition(q.After); err != nil {
		return eureka.Page[eureka.Socket]{}, err
	}
	if q.ID != "" && strings.HasPrefix(q.ID, d.engine.options.Node) {
		// Only this node can have it, and a socket asks for itself with every frame.
		return d.engine.options.Registry.List(q)
	}
	want := q.Offset() + q.Size()
	all, err := d.local(q, want)
	if err != nil {
		return eureka.Page[eureka.Socket]{}, err
	}
	totals, more := map[string]int{}, all.More
	missing, err := ask(ctx, d.engine, "list", listQuestion{q, want}, askTimeout, func(node string, part listing) {
		totals[node] = part.Total
		more = more || part.More
		all.Sockets = append(all.Sockets, part.Sockets...)
	})
	if err == nil {
		err = unanswered(missing)
	}
	if err != nil {
		return eureka.Page[eureka.Socket]{}, err
	}
	page := eureka.Page[eureka.Socket]{Total: all.Total}
	for _, n := range totals {
		page.Total += n
	}
	slices.SortFunc(all.Sockets, func(a, b eureka.Socket) int {
		if q.Asc {
			return a.Position().Compare(b.Position())
		}
		return b.Position().Compare(a.Position())
	})
	start := min(q.Offset(), len(all.Sockets))
	end := min(start+q.Size(), len(all.Sockets))
	page.Items = all.Sockets[start:end]
	if end > start && (end < len(all.Sockets) || more) {
		page.Next = all.Sockets[end-1].Position().String()
	}
	return page, nil
}

// local returns this node's first want sockets of a query, however its pages are cut.
func (d *directory) local(q eureka.SocketQuery, want int) (listing, error) {
	q.Page = 0
	var l listing
	for {
		q.Limit = min(want-len(l.Sockets), eureka.MaxLimit)
		if q.Limit <= 0 {
			q.Limit = -1
		}
		page, err := d.engine.options.Registry.List(q)
		if err != nil {
			return l, err
		}
		if l.Total == 0 {
			l.Total = page.Total
		}
		l.Sockets = append(l.Sockets, page.Items...)
		l.More = page.Next != ""
		if !l.More || len(l.Sockets) >= want {
			return l, nil
		}
		q.After = page.Next
	}
}

// CountSubscribers implements eureka.SubscriberCounter.
func (d *directory) CountSubscribers(ctx context.Context, channelIDs []string) (map[string]int, error) {
	counts := make(map[string]int, len(channelIDs))
	for _, id := range channelIDs {
		counts[id] = d.engine.options.Delivery.Count(id, nil)
	}
	missing, err := ask(ctx, d.engine, "count", countQuestion{Channels: channelIDs}, askTimeout, func(_ string, part map[string]int) {
		for id, n := range part {
			counts[id] += n
		}
	})
	if err == nil {
		err = unanswered(missing)
	}
	return counts, err
}

// countElsewhere is how many sockets of other nodes a message would reach. A node that does not say is left out: the
// number is told to the publisher and changes nothing for subscribers.
func (d *directory) countElsewhere(ctx context.Context, channelID string, except []string) int {
	n := 0
	missing, err := ask(ctx, d.engine, "count", countQuestion{[]string{channelID}, except}, countTimeout, func(_ string, part map[string]int) {
		n += part[channelID]
	})
	if err != nil || len(missing) > 0 {
		d.engine.options.Log.Warn("not every node said how many sockets get a message", slog.Any("missing", missing), slog.Any("error", err))
	}
	return n
}

// answer subscribes to the questions of other nodes.
func (e *Engine) answer() error {
	for subject, handler := range map[string]nats.MsgHandler{
		e.subject("nodes", "list"):                e.answerList,
		e.subject("nodes", "count"):               e.answerCount,
		e.subject("node", e.options.Node, "send"): e.answerSend,
	} {
		if _, err := e.nc.Subscribe(subject, handler); err != nil {
			return natsError(err, "NATS does not answer")
		}
	}
	return nil
}

func (e *Engine) answerList(msg *nats.Msg) {
	var q listQuestion
	if !e.question(msg, &q) || q.Query.Validate() != nil || q.Want < 0 || q.Want > eureka.MaxOffset+eureka.MaxLimit {
		return
	}
	l, err := e.dir.local(q.Query, q.Want)
	if err != nil {
		e.options.Log.Warn("a list for another node failed", slog.Any("error", err))
		return
	}
	for {
		n, size := 0, 0
		for n < len(l.Sockets) && (n == 0 || size < chunkBytes) {
			text, err := json.Marshal(l.Sockets[n])
			if err != nil {
				return
			}
			size += len(text)
			n++
		}
		part := listing{Total: l.Total, Sockets: l.Sockets[:n], More: l.More}
		l.Sockets = l.Sockets[n:]
		reply(e, msg, len(l.Sockets) == 0, part)
		if len(l.Sockets) == 0 {
			return
		}
	}
}

func (e *Engine) answerCount(msg *nats.Msg) {
	var q countQuestion
	if !e.question(msg, &q) {
		return
	}
	counts := map[string]int{}
	for _, id := range q.Channels {
		if n := e.options.Delivery.Count(id, q.Except); n > 0 {
			counts[id] = n
		}
	}
	reply(e, msg, true, counts)
}

// question reads a question of another node. This node's own is none: it knows its sockets already.
func (e *Engine) question(msg *nats.Msg, into any) bool {
	if msg.Reply == "" || len(msg.Data) > maxQuestion || json.Unmarshal(msg.Data, into) != nil {
		e.metrics.malformed.Inc()
		return false
	}
	return msg.Header.Get(askerHeader) != e.options.Node
}

// askerHeader names the node that asks.
const askerHeader = "Eureka-Node"
