package chaos

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"
)

// What is counted.
const (
	kills        = "kills"
	stops        = "stops"
	freezes      = "freezes" // of nodes and NATS
	natsKills    = "NATS kills"
	natsStops    = "NATS stops"
	cuts         = "cuts"                     // of a node's connection to NATS
	losses       = "lost on the way"          // live messages of channels with history, from NATS to a node
	drops        = "drops"                    // sockets that a client let go of without a word
	acks         = "acks"                     // publishes that were accepted
	operations   = "operations"               // of publishers and clients
	resumes      = "resumes"                  // that were answered with recovered
	refusals     = "refused resumes"          // and those without
	slowCloses   = "closed as slow"           // sockets that the service closed because their client did not read
	drainCloses  = "closed by a stop"         // and because its node stopped
	otherCloses  = "closed otherwise"         // and for other reasons
	repeats      = "repeats"                  // requests with a key that were accepted before
	takeovers    = "answered after a failure" // requests with a key whose earlier one had failed long before
	unknowable   = "keys of unknown outcome"
	pages        = "reads"             // parts of history that clients asked for
	tornOff      = "lost connections"  // of nodes to NATS, that nobody cut
	liveMessages = "messages received" // on the channel without history
)

// fault is one kind of fault. It makes the fault and leaves the service running, if not ready yet.
type fault struct {
	name   string
	make   func(ctx context.Context, w *world, n *node, rng *rand.Rand)
	ofNATS bool // the external NATS is away meanwhile
}

// kill kills a node, in most cases in the middle of a request with a key.
func kill(ctx context.Context, w *world, n *node, rng *rand.Rand) {
	if rng.IntN(3) > 0 {
		w.awaitKeyed(ctx)
		pause(ctx, rng, 0, 8*time.Millisecond)
	}
	from := w.now()
	w.count(kills)
	n.kill()
	w.cut(n.name, from)
}

func killed(ctx context.Context, w *world, n *node, rng *rand.Rand) {
	kill(ctx, w, n, rng)
	pause(ctx, rng, 0, 1500*time.Millisecond)
	n.start()
}

// killedTwice kills a node again while it starts.
func killedTwice(ctx context.Context, w *world, n *node, rng *rand.Rand) {
	killed(ctx, w, n, rng)
	pause(ctx, rng, 0, 500*time.Millisecond)
	kill(ctx, w, n, rng)
	n.start()
}

func allKilled(ctx context.Context, w *world, _ *node, rng *rand.Rand) {
	for _, n := range w.nodes {
		kill(ctx, w, n, rng)
	}
	pause(ctx, rng, 0, time.Second)
	for _, n := range w.nodes {
		n.start()
	}
}

func stopped(ctx context.Context, w *world, n *node, rng *rand.Rand) {
	w.count(stops)
	n.stop()
	pause(ctx, rng, 0, time.Second)
	n.start()
}

// frozen freezes a node for a while, which clients and NATS may or may not notice.
func frozen(ctx context.Context, w *world, n *node, rng *rand.Rand) { w.freeze(ctx, &n.process, rng) }

func natsFrozen(ctx context.Context, w *world, _ *node, rng *rand.Rand) { w.freeze(ctx, w.nats, rng) }

func (w *world) freeze(ctx context.Context, p *process, rng *rand.Rand) {
	w.count(freezes)
	p.freeze()
	pause(ctx, rng, 0, 4*time.Second)
	p.thaw()
}

func natsStopped(ctx context.Context, w *world, _ *node, rng *rand.Rand) {
	w.count(natsStops)
	w.nats.stop()
	pause(ctx, rng, 0, 3*time.Second)
	w.startNATS()
}

func natsKilled(ctx context.Context, w *world, _ *node, rng *rand.Rand) {
	w.count(natsKills)
	w.nats.kill()
	pause(ctx, rng, 0, 3*time.Second)
	w.startNATS()
}

func natsAndNodeKilled(ctx context.Context, w *world, n *node, rng *rand.Rand) {
	w.count(natsKills)
	w.nats.kill()
	kill(ctx, w, n, rng)
	pause(ctx, rng, 0, 3*time.Second)
	w.startNATS()
	n.start()
}

// cutOff takes NATS away from one node alone.
func cutOff(ctx context.Context, w *world, n *node, rng *rand.Rand) {
	from := w.now()
	w.count(cuts)
	n.proxy.cut()
	pause(ctx, rng, 0, 2*time.Second)
	n.proxy.mend()
	if err := n.ready(ctx); err != nil {
		w.wrong("%v", err)
	}
	w.cut(n.name, from)
}

// deck has each kind of fault as often as it happens before all have.
func (w *world) deck() []fault {
	deck := []fault{{"killed", killed, false}, {"killed", killed, false}, {"killed twice", killedTwice, false}, {"stopped", stopped, false}, {"frozen", frozen, false}}
	if w.nats == nil {
		return append(deck, deck...)
	}
	return append(deck,
		fault{"killed with all others", allKilled, false}, fault{"cut off", cutOff, false}, fault{"cut off", cutOff, false}, fault{"cut off with all others: NATS stopped", natsStopped, true},
		fault{"frozen with all others: NATS frozen", natsFrozen, false}, fault{"cut off with all others: NATS killed", natsKilled, true}, fault{"killed with NATS", natsAndNodeKilled, true})
}

// maxExtension is how much longer a run may take than it was meant to, so that a slow machine does as much.
const maxExtension = 5 * time.Minute

// disturb makes faults for so long, and until enough was done.
func (w *world) disturb(ctx context.Context, rng *rand.Rand, length time.Duration) {
	began := w.now()
	var deck []fault
	for pause(ctx, rng, 500*time.Millisecond, 4500*time.Millisecond) {
		if gone := w.now() - began; gone >= length {
			lacking := w.lacking(w.counted())
			if len(lacking) == 0 {
				return
			}
			if gone >= length+maxExtension {
				w.wrong("not enough was done: %v", lacking)
				return
			}
			w.t.Logf("%s goes on: %s", w.name, strings.Join(lacking, ", "))
		}
		if len(deck) == 0 {
			deck = w.deck()
			rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		f := deck[0]
		deck = deck[1:]
		n, from := w.anyNode(rng), w.now()
		f.make(ctx, w, n, rng)
		if err := w.ready(ctx); err != nil {
			w.wrong("%v", err)
		}
		if f.ofNATS {
			w.cut("", from)
		}
		w.t.Logf("%s at %s: %s %s, ready after %s", w.name, from.Round(time.Millisecond), n.name, f.name, (w.now() - from).Round(time.Millisecond))
	}
}
