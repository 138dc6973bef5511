package natsengine

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"eureka"
)

// How nodes know each other.
const (
	beatInterval = time.Second
	lease        = 5 * time.Second // a node that was silent for longer is gone
	helloWait    = 250 * time.Millisecond
)

// beat is what a node says of itself.
type beat struct {
	Node     string `json:"node"`
	Instance string `json:"instance"`        // tells two processes with one id apart
	Hello    bool   `json:"hello,omitempty"` // a new node, which wants to hear from everyone now
	Bye      bool   `json:"bye,omitempty"`   // a node that stops
}

// peers is the table of the other live nodes.
type peers struct {
	engine   *Engine
	subject  string
	mu       sync.Mutex
	seen     map[string]time.Time
	instance string
	twin     atomic.Bool // another process has this node's id
	started  bool
	ended    chan struct{}
	running  sync.WaitGroup
}

func newPeers(e *Engine) *peers {
	return &peers{engine: e, subject: e.subject("nodes", "beat"), seen: map[string]time.Time{}, ended: make(chan struct{}), instance: randomID(16)}
}

// start announces this node and returns when the others have had time to answer.
func (p *peers) start(ctx context.Context) error {
	if _, err := p.engine.nc.Subscribe(p.subject, p.heard); err != nil {
		return natsError(err, "NATS does not answer")
	}
	if err := p.say(beat{Hello: true}); err != nil {
		return natsError(err, "NATS does not answer")
	}
	if err := p.engine.nc.FlushTimeout(flushTimeout); err != nil {
		return natsError(err, "NATS does not answer")
	}
	p.started = true
	p.running.Go(p.run)
	if p.engine.embedded != nil {
		return nil // nobody else can be on a server that listens on no port
	}
	timer := time.NewTimer(helloWait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	if p.twin.Load() {
		return eureka.Errorf(eureka.CodeConflict, "another node with the id %s runs on this NATS; leave the setting node out, or give each its own", p.engine.options.Node)
	}
	return nil
}

func (p *peers) run() {
	ticker := time.NewTicker(beatInterval)
	defer ticker.Stop()
	for {
		select {
		case <-p.ended:
			return
		case <-ticker.C:
			_ = p.say(beat{}) // while NATS is away nobody can hear it
			p.engine.metrics.nodes.Set(float64(len(p.alive()) + 1))
		}
	}
}

func (p *peers) say(b beat) error {
	b.Node, b.Instance = p.engine.options.Node, p.instance
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return p.engine.nc.Publish(p.subject, text)
}

func (p *peers) heard(msg *nats.Msg) {
	var b beat
	if len(msg.Data) > 1024 || json.Unmarshal(msg.Data, &b) != nil || !validNodeID(b.Node) {
		p.engine.metrics.malformed.Inc()
		return
	}
	if b.Node == p.engine.options.Node {
		p.ownID(b)
		return
	}
	p.mu.Lock()
	_, known := p.seen[b.Node]
	if b.Bye {
		delete(p.seen, b.Node)
	} else {
		p.seen[b.Node] = time.Now()
	}
	p.mu.Unlock()
	if !known && !b.Bye {
		p.engine.options.Log.Info("a node joined", slog.String("node", b.Node))
	}
	if b.Hello {
		_ = p.say(beat{})
	}
}

// ownID handles a beat under this node's own id: usually its own, but two processes may have been given one id. Their lists would leave
// each other's sockets out, so neither may pass for ready.
func (p *peers) ownID(b beat) {
	if b.Instance == p.instance {
		return
	}
	if p.twin.Swap(!b.Bye) != !b.Bye {
		p.engine.options.Log.Error("another process uses this node's id", slog.String("node", b.Node), slog.Bool("gone", b.Bye))
	}
	if b.Hello {
		_ = p.say(beat{}) // so that the newcomer sees it too
	}
}

// alive returns the other nodes whose lease runs, in order.
func (p *peers) alive() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var nodes []string
	for node, at := range p.seen {
		if time.Since(at) > lease {
			delete(p.seen, node)
			p.engine.options.Log.Warn("a node is gone without a word", slog.String("node", node))
			continue
		}
		nodes = append(nodes, node)
	}
	slices.Sort(nodes)
	return nodes
}

func (p *peers) isAlive(node string) bool { return slices.Contains(p.alive(), node) }

func (p *peers) stop() {
	if !p.started {
		return
	}
	close(p.ended)
	p.running.Wait()
	_ = p.say(beat{Bye: true}) // without it the lease ends by itself
}

// askTimeout is how long a live node has for an answer.
const askTimeout = 2 * time.Second

// answer is one part of a node's reply to a question for all nodes.
type answer[T any] struct {
	Node string `json:"node"`
	Last bool   `json:"last"`
	Part T      `json:"part"`
}

// ask puts a question to all other live nodes and calls take for each part of their answers. It returns the nodes that did not answer in
// time and still should have.
func ask[T any](ctx context.Context, e *Engine, what string, question any, timeout time.Duration, take func(node string, part T)) ([]string, error) {
	waiting := map[string]bool{}
	for _, node := range e.peers.alive() {
		waiting[node] = true
	}
	if len(waiting) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	inbox, err := e.nc.SubscribeSync(e.nc.NewRespInbox())
	if err != nil {
		return nil, natsError(err, "the other nodes cannot be asked: NATS does not answer")
	}
	defer func() { _ = inbox.Unsubscribe() }()
	msg := &nats.Msg{Subject: e.subject("nodes", what), Reply: inbox.Subject, Data: text, Header: nats.Header{askerHeader: {e.options.Node}}}
	if err := e.nc.PublishMsg(msg); err != nil {
		return nil, natsError(err, "the other nodes cannot be asked: NATS does not answer")
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for len(waiting) > 0 {
		msg, err := inbox.NextMsgWithContext(ctx)
		if err != nil {
			break
		}
		var a answer[T]
		if json.Unmarshal(msg.Data, &a) != nil {
			e.metrics.malformed.Inc()
			continue
		}
		// A node that joined meanwhile answers too, and counts.
		take(a.Node, a.Part)
		if a.Last {
			delete(waiting, a.Node)
		}
	}
	var missing []string
	for node := range waiting {
		if e.peers.isAlive(node) {
			missing = append(missing, node)
		}
	}
	slices.Sort(missing)
	return missing, nil
}

// reply sends one part of an answer.
func reply[T any](e *Engine, msg *nats.Msg, last bool, part T) {
	text, err := json.Marshal(answer[T]{e.options.Node, last, part})
	if err == nil {
		err = msg.Respond(text)
	}
	if err != nil {
		e.options.Log.Warn("a question of another node could not be answered", slog.String("subject", msg.Subject), slog.Any("error", err))
	}
}

func unanswered(nodes []string) error {
	if len(nodes) == 0 {
		return nil
	}
	return eureka.Errorf(eureka.CodeUnavailable, "node %s did not answer; try again", nodes[0])
}
