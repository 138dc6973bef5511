package natsengine

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"eureka"
	"eureka/internal/pause"
)

// How long requests with a key are remembered, and how callers with the same key meet.
const (
	requestTTL    = 5 * time.Minute
	claimLease    = eureka.RequestLease // a claim that is older belongs to a caller that has ended
	claimPoll     = 25 * time.Millisecond
	claimPatience = 10 * time.Second
)

// requests is the answers to requests with a key, in a key-value bucket whose entries expire.
type requests struct {
	kv  jetstream.KeyValue
	now func() time.Time

	mu   sync.Mutex
	held map[string]holding // claims of this node
}

// claim is the value of a key: an answer, or, without one, that somebody is about to make it.
type claim struct {
	At     int64           `json:"at"`              // epoch milliseconds of the claim; 0 when it was given up
	First  int64           `json:"first,omitempty"` // of the first of those claims of which it is not known what they did
	Answer json.RawMessage `json:"answer,omitempty"`
}

// holding is a claim of this node.
type holding struct {
	first time.Time // when work under the key began
	again bool      // it began under an earlier claim, and it is not known what that did
	doubt bool      // nor what this one did
}

func openRequests(ctx context.Context, e *Engine) (*requests, error) {
	kv, err := e.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: e.options.Namespace + "_requests", Description: "answers to requests with an idempotency key", TTL: requestTTL, History: 1,
		Replicas: e.options.Replicas, Storage: jetstream.FileStorage, MaxValueSize: 1 << 20,
	})
	if err != nil {
		return nil, natsError(err, "the store of requests cannot be opened")
	}
	return &requests{kv: kv, now: e.options.now, held: map[string]holding{}}, nil
}

// Begin implements eureka.Requests.
func (r *requests) Begin(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, claimPatience)
	defer cancel()
	for {
		now := r.now()
		text, err := json.Marshal(claim{At: now.UnixMilli()})
		if err != nil {
			return nil, err
		}
		if _, err = r.kv.Create(ctx, key, text); err == nil {
			r.hold(key, holding{first: now})
			return nil, nil
		}
		if !errors.Is(err, jetstream.ErrKeyExists) {
			return nil, requestsError(err)
		}
		there, err := r.kv.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue // it expired meanwhile
		}
		if err != nil {
			return nil, requestsError(err)
		}
		var c claim
		if err := json.Unmarshal(there.Value(), &c); err != nil {
			return nil, eureka.WrapError(eureka.CodeInternal, err, "the answer kept for this request cannot be read")
		}
		if c.Answer != nil {
			return c.Answer, nil
		}
		if taken, err := r.takeOver(ctx, there, c); taken || err != nil {
			return nil, err
		}
		if pause.For(ctx, claimPoll) != nil {
			return nil, eureka.Errorf(eureka.CodeUnavailable, "a request with the same key is still being handled; try again")
		}
	}
}

// takeOver takes a claim that was given up, or whose holder has ended. It is not taken when another caller was first.
func (r *requests) takeOver(ctx context.Context, there jetstream.KeyValueEntry, c claim) (taken bool, err error) {
	now := r.now()
	if now.Sub(time.UnixMilli(c.At)) <= claimLease {
		return false, nil
	}
	mine := claim{At: now.UnixMilli(), First: c.First}
	if mine.First == 0 {
		mine.First = c.At
	}
	h := holding{first: time.UnixMilli(mine.First), again: true}
	if now.Sub(h.first) > requestTTL {
		h, mine.First = holding{first: now}, 0
	}
	text, err := json.Marshal(mine)
	if err != nil {
		return false, err
	}
	if _, err := r.kv.Update(ctx, there.Key(), text, there.Revision()); err != nil {
		return false, nil //nolint:nilerr // the next try tells whether another caller was first or NATS does not answer
	}
	r.hold(there.Key(), h)
	return true, nil
}

func (r *requests) hold(key string, h holding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held[key] = h
}

// release forgets and returns this node's claim.
func (r *requests) release(key string) holding {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.held[key]
	delete(r.held, key)
	return h
}

// openSince is when work began under a key that this node has claimed, when an earlier claim may have done it already.
func (r *requests) openSince(key string) (first time.Time, open bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.held[key]
	return h.first, h.again
}

// Finish implements eureka.Requests.
func (r *requests) Finish(ctx context.Context, key string, answer []byte) error {
	r.release(key)
	return r.put(ctx, key, claim{At: r.now().UnixMilli(), Answer: answer})
}

// Abandon implements eureka.Requests. When what failed may have been done all the same the claim is kept, free to be taken over.
func (r *requests) Abandon(ctx context.Context, key string) error {
	if h := r.release(key); h.again || h.doubt {
		return r.put(ctx, key, claim{First: h.first.UnixMilli()})
	}
	if err := r.kv.Purge(ctx, key); err != nil {
		return requestsError(err)
	}
	return nil
}

// doubted notes that a message was or may have been stored under a key of this node, in case its claim is given up.
func (r *requests) doubted(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h, ok := r.held[key]; ok {
		h.doubt = true
		r.held[key] = h
	}
}

func (r *requests) put(ctx context.Context, key string, c claim) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if _, err := r.kv.Put(ctx, key, text); err != nil {
		return requestsError(err)
	}
	return nil
}

func requestsError(err error) error {
	return natsError(err, "the store of requests does not answer")
}
