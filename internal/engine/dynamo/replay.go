package dynamo

import (
	"context"
	"crypto/rand"
	"log/slog"
	"slices"
	"time"

	"eureka"
	"eureka/internal/pause"
	"eureka/internal/protocol"
)

const (
	replayDelay  = time.Second      // so that the reply of the subscribe, or the connect, comes before
	replayPage   = 100              // messages between two saves
	replayLease  = 20 * time.Second // renewed for each page
	replayUnseen = 15 * time.Second // how long a replay may take to begin behind its task
	replayQuiet  = 3 * time.Minute  // after which one that has not moved gets a task again
	holdUpTime   = time.Second      // how long its posts may hold up the shard whose lease it has
)

// replay sends one socket what it missed on one channel. While the subscriber's item has attrReplay, live delivery passes it by.
type replay struct {
	e                   *Engine
	socketID, channelID string
	connectedAt         int64
	id                  string
	shard               int
	key                 key
	at                  uint64 // everything up to this offset was sent
	name                string
	filter              filter

	token string    // of this run
	until time.Time // how long this run may post
}

func (e *Engine) newReplay(channelID string, shard int, k key, id string) *replay {
	s := subscriberOf(k.item())
	return &replay{
		e: e, socketID: s.socketID, connectedAt: s.connectedAt, channelID: channelID, shard: shard, key: k, id: id, token: rand.Text(),
	}
}

func (p *replay) task(since int64, attempt int) Task {
	return Task{
		Kind: TaskReplay, Channel: p.channelID, Shard: p.shard, Sockets: []string{p.socketID}, Replay: p.id, Entry: p.key.sk, Since: since, Attempt: attempt,
	}
}

// beginReplay makes a subscription live at once when it missed nothing, and else leaves its replay to the queue: a subscribe posts nothing itself.
func (e *Engine) beginReplay(ctx context.Context, w writing, r runtime) error {
	p := e.newReplay(w.sub.ChannelID, w.shard, w.key(), w.replay)
	p.at = w.from
	if r.head == w.from {
		live, err := p.liveAtOnce(ctx)
		if err != nil || live {
			return err
		}
	}
	return e.enqueue(ctx, replayDelay, p.task(e.nowMillis(), 0))
}

// liveAtOnce makes the subscription live if nobody is delivering, and everybody else has had exactly what this socket had.
func (p *replay) liveAtOnce(ctx context.Context) (bool, error) {
	l, err := p.e.acquire(ctx, p.channelID, p.shard)
	if err != nil || l == nil {
		return false, err
	}
	r, err := p.e.runtime(ctx, p.channelID)
	if err != nil {
		return false, p.e.letGo(ctx, l, err)
	}
	if l.mark != p.at || r.head != p.at {
		return false, p.e.save(ctx, l, false)
	}
	live, err := p.live(ctx, l)
	if err != nil || !live {
		return live, err
	}
	return true, p.e.deliverLeft(ctx, p.channelID, p.shard, l.mark)
}

// deliverLeft has the queue deliver what was stored while a lease was held by somebody who delivers nothing.
func (e *Engine) deliverLeft(ctx context.Context, channelID string, shard int, mark uint64) error {
	r, err := e.runtime(ctx, channelID)
	if err != nil || r.head <= mark {
		return err
	}
	return e.enqueue(ctx, 0, e.deliverTask(channelID, shard))
}

// holdBack takes a live subscriber out of live delivery and has what it missed replayed from an offset. The task comes first, and waits a while for its
// replay to begin: a subscriber that was taken out must not be left alone.
func (e *Engine) holdBack(ctx context.Context, l *lease, s subscriber, offset uint64) error {
	p := e.newReplay(l.channelID, l.shard, s.key, rand.Text())
	task := p.task(e.nowMillis(), 0)
	task.Early = true
	if err := e.enqueue(ctx, retryDelay, task); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, noteTime)
	defer cancel()
	_, err := e.table.update(ctx, s.key, change{
		expression: "SET p = :from, q = :id, pm = :now", only: "attribute_exists(" + KeyPartition + ") AND attribute_not_exists(p)",
		values: item{":from": unsigned(offset), ":id": text(p.id), ":now": number(e.nowMillis())},
	})
	return unlessRefused(err) // it has left, or is replayed to already
}

// heal gives a replay that has not moved for long a task again: the one that it had ended among the dead letters.
func (e *Engine) heal(ctx context.Context, l *lease, s subscriber) error {
	if !e.olderThan(s.moved, replayQuiet) {
		return nil
	}
	_, err := e.table.update(ctx, s.key, change{
		expression: "SET pm = :now", only: "q = :id AND pm = :before",
		values: item{":now": number(e.nowMillis()), ":before": number(s.moved), ":id": text(s.replayID)},
	})
	if isRefused(err) {
		return nil
	}
	if err != nil {
		return err
	}
	e.options.Log.Warn("a replay has not moved for long; it gets another task", slog.String("channel", l.channelID), slog.String("socket", s.socketID))
	return e.enqueue(ctx, 0, e.newReplay(l.channelID, l.shard, s.key, s.replayID).task(e.nowMillis(), 0))
}

// workReplay does a TaskReplay.
func (e *Engine) workReplay(ctx context.Context, t Task) error {
	if len(t.Sockets) != 1 || len(t.Entry) <= stampDigits {
		return eureka.FieldError("sockets", "a replay is for one socket")
	}
	p := e.newReplay(t.Channel, t.Shard, key{shardKey(t.Channel, t.Shard), t.Entry}, t.Replay)
	switch state, err := p.load(ctx); {
	case err != nil || state == over:
		return err
	case state == unseen:
		if !t.Early || e.olderThan(t.Since, replayUnseen) {
			return nil
		}
		return e.enqueue(ctx, replayUnseen/2, t)
	}
	return e.continueReplay(ctx, p, t)
}

// continueReplay takes a replay on for as long as one call may, and queues what is left of it.
func (e *Engine) continueReplay(ctx context.Context, p *replay, t Task) error {
	if held, err := p.hold(ctx); err != nil || !held {
		if err == nil {
			err = e.enqueue(ctx, time.Second, p.task(t.Since, t.Attempt+1)) // the one before it has to stop first
		}
		return err
	}
	next, err := p.run(ctx)
	if letErr := p.letGo(ctx); err == nil {
		err = letErr
	}
	switch {
	case err != nil || next == ended:
		return err
	case next == goOn:
		return e.enqueue(ctx, 0, p.task(t.Since, t.Attempt))
	case e.olderThan(t.Since, workTime):
		return eureka.Errorf(eureka.CodeUnavailable, "socket %q takes no frames", p.socketID)
	default:
		return e.enqueue(ctx, backOff(t.Attempt), p.task(t.Since, t.Attempt+1))
	}
}

// state is where a replay stands when its task comes.
type state int

const (
	under  state = iota // way
	over                // finished, replaced, or the socket has ended
	unseen              // not begun yet, or finished
)

// load reads where the replay stands.
func (p *replay) load(ctx context.Context) (state, error) {
	it, err := p.e.table.get(ctx, p.key, true)
	switch {
	case err != nil || it == nil || expired(it, p.e.options.Now()):
		return over, err
	case !it.has(attrReplay):
		return unseen, nil
	case it.text(attrReplayID) != p.id:
		return over, nil
	}
	p.at, p.name, p.filter = it.offset(attrReplay), subscriberOf(it).called(p.channelID), filterOf(it)
	return under, p.e.readFilters(ctx, []*filter{&p.filter})
}

type progress int

const (
	goOn     progress = iota
	tryLater          // the socket takes nothing at the moment
	ended
)

// run sends page by page, and makes the subscription live when it has caught up.
func (p *replay) run(ctx context.Context) (progress, error) {
	for wait := holePause; ; {
		caughtUp, next, err := p.page(ctx)
		if err != nil || next != goOn {
			return next, err
		}
		if caughtUp {
			if live, err := p.catchUp(ctx); err != nil || live {
				return ended, err
			}
			if err := pause.For(ctx, wait); err != nil {
				return ended, storeError(ctx, err)
			}
			wait = min(2*wait, maxHolePause)
		}
		if !enoughTime(ctx) {
			return goOn, nil
		}
		if renewed, err := p.hold(ctx); err != nil || !renewed {
			return tryLater, err
		}
	}
}

// page sends what comes next; caughtUp when that was all.
func (p *replay) page(ctx context.Context) (caughtUp bool, next progress, err error) {
	r, err := p.e.runtime(ctx, p.channelID)
	if err != nil {
		return false, ended, err
	}
	w, err := p.e.walk(ctx, p.channelID, r, walk{from: p.at, limit: replayPage})
	switch {
	case eureka.CodeOf(err) == eureka.CodeGap:
		next, err = p.tellGap(ctx, r)
		return false, next, err
	case err != nil:
		return false, ended, err
	case len(w.found) == 0 && w.last == p.at:
		return w.end, goOn, nil
	}
	next, err = p.send(ctx, r, w, replayLease)
	return w.end && p.at == w.last, next, err
}

// send posts a page, for as long as limit and the right to post allow, and saves how far it came.
func (p *replay) send(ctx context.Context, r runtime, w walk, limit time.Duration) (progress, error) {
	limited, stop := context.WithTimeout(ctx, limit)
	defer stop()
	posting, cancel := p.e.within(limited, p.until)
	defer cancel()
	before := p.at
	for _, s := range w.found {
		if slices.Contains(s.except, p.socketID) || !p.e.sieve(s.body, s.origin).passes(p.filter) {
			p.at = s.offset
			continue
		}
		frame := protocol.AppendMessage(nil, p.name, protocol.AppendID(slices.Clone(s.body), r.cursor(s.offset).String()))
		outcome := p.e.post(posting, p.socketID, p.connectedAt, frame)
		if outcome == gone {
			p.e.settle(ctx, p.channelID, subscriber{key: p.key, socketID: p.socketID}, gone)
			return ended, nil
		}
		if outcome == later {
			if posting.Err() != nil && p.at > before {
				return p.move(ctx, goOn) // it is not the socket's fault
			}
			return p.move(ctx, tryLater)
		}
		p.at = s.offset
	}
	p.at = max(p.at, w.last)
	return p.move(ctx, goOn)
}

// move saves how far the replay came, and returns next unless the replay is over.
func (p *replay) move(ctx context.Context, next progress) (progress, error) {
	_, err := p.e.table.update(ctx, p.key, change{
		expression: "SET p = :at, pm = :now", only: "q = :id", values: item{":at": unsigned(p.at), ":id": text(p.id), ":now": number(p.e.nowMillis())},
	})
	if isRefused(err) {
		return ended, nil // unsubscribed, or begun again
	}
	return next, err
}

// catchUp makes the subscription live if that leaves no hole: while it holds the shard's lease, when the socket has had all that others have. False when
// somebody else delivers just now, or there is more to send.
func (p *replay) catchUp(ctx context.Context) (bool, error) {
	l, err := p.e.acquire(ctx, p.channelID, p.shard)
	if err != nil || l == nil {
		return false, err
	}
	live, err := p.catchUpHolding(ctx, l)
	if err != nil {
		return false, p.e.letGo(ctx, l, err)
	}
	if !live {
		if err := p.e.save(ctx, l, false); err != nil {
			return false, err
		}
	}
	// What was stored while the lease was held was left to its holder; the subscriber, if live now, gets it with the others.
	return live, p.e.deliver(ctx, p.channelID, p.shard, publishTurns, nil)
}

func (p *replay) catchUpHolding(ctx context.Context, l *lease) (bool, error) {
	r, err := p.e.runtime(ctx, p.channelID)
	if err != nil {
		return false, err
	}
	// The others first: they may not have had yet what this one was sent already.
	if l.mark < p.at {
		if err := p.e.deliverRest(ctx, l, r, nil); err != nil {
			return false, err
		}
	}
	if l.mark > p.at {
		w, err := p.e.walk(ctx, p.channelID, r, walk{from: p.at, limit: replayPage})
		if eureka.CodeOf(err) == eureka.CodeGap {
			return false, nil // the next page tells the socket
		}
		if err != nil {
			return false, err
		}
		w.found = slices.DeleteFunc(w.found, func(s stored) bool { return s.offset > l.mark })
		w.last = min(w.last, l.mark)
		// A socket that takes its frames slowly gets them when everybody else is not waiting for it.
		if next, err := p.send(ctx, r, w, holdUpTime); err != nil || next != goOn || p.at < l.mark {
			return false, err
		}
	}
	// A mark below what the socket has had makes doubles at the worst, of which its cursor tells.
	return p.live(ctx, l)
}

// live ends the replay and gives the lease up in one transaction: a subscriber that came to life under a lease that was lost meanwhile would have missed
// what its next holder delivered. True as well when the replay is over for another reason.
func (p *replay) live(ctx context.Context, l *lease) (bool, error) {
	err := p.e.table.transact(ctx,
		step{key: deliveryKey(l.channelID, l.shard), change: &change{
			expression: "SET m = :mark REMOVE l, lx", only: "l = :token", values: item{":mark": unsigned(l.mark), ":token": text(l.token)},
		}},
		step{key: p.key, change: &change{expression: "REMOVE p, q, pm", only: "q = :id", values: item{":id": text(p.id)}}},
	)
	switch refusal := refused(err); {
	case refusal == nil:
		return err == nil, err
	case refusal.step == 0:
		return false, errLeaseLost
	default:
		return true, p.e.save(ctx, l, false) // unsubscribed, or begun again
	}
}

// tellGap tells the socket that some of what it missed is no longer there, and goes on behind that.
func (p *replay) tellGap(ctx context.Context, r runtime) (progress, error) {
	p.e.options.Log.Warn("a client asked for messages that expired while they were sent; it is told", slog.String("channel", p.channelID))
	w, err := p.e.walk(ctx, p.channelID, r, walk{from: p.at, lenient: true, limit: 1})
	if err != nil {
		return ended, err
	}
	posting, cancel := p.e.within(ctx, p.until)
	defer cancel()
	frame := protocol.EncodeError(nil, p.name, eureka.Errorf(eureka.CodeGap, "messages expired while they were sent; fetch the state again"))
	switch p.e.post(posting, p.socketID, p.connectedAt, frame) {
	case gone:
		p.e.settle(ctx, p.channelID, subscriber{key: p.key, socketID: p.socketID}, gone)
		return ended, nil
	case later:
		return p.move(ctx, tryLater)
	case posted, refusedForGood:
	}
	p.at = w.begin()
	return p.move(ctx, goOn)
}
