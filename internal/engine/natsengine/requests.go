package natsengine

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"eureka"
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
}

// claim is the value of a key: an answer, or, without one, that somebody is about to make it.
type claim struct {
	At     int64           `json:"at"` // epoch milliseconds of the claim
	Answer json.RawMessage `json:"answer,omitempty"`
}

func openRequests(ctx context.Context, e *Engine) (*requests, error) {
	kv, err := e.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: e.options.Namespace + "_requests", Description: "answers to requests with an idempotency key", TTL: requestTTL, History: 1,
		Replicas: e.options.Replicas, Storage: jetstream.FileStorage, MaxValueSize: 1 << 20,
	})
	if err != nil {
		return nil, natsError(err, "the store of requests cannot be opened")
	}
	return &requests{kv: kv, now: e.options.now}, nil
}

// Begin implements eureka.Requests.
func (r *requests) Begin(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, claimPatience)
	defer cancel()
	for {
		text, err := json.Marshal(claim{At: r.now().UnixMilli()})
		if err != nil {
			return nil, err
		}
		if _, err = r.kv.Create(ctx, key, text); err == nil {
			return nil, nil
		}
		if !errors.Is(err, jetstream.ErrKeyExists) {
			return nil, requestsError(err)
		}
		there, err := r.kv.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue // abandoned or expired meanwhile
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
		if r.now().Sub(time.UnixMilli(c.At)) > claimLease {
			if _, err = r.kv.Update(ctx, key, text, there.Revision()); err == nil {
				return nil, nil
			}
		}
		if wait(ctx, claimPoll) != nil {
			return nil, eureka.Errorf(eureka.CodeUnavailable, "a request with the same key is still being handled; try again")
		}
	}
}

// Finish implements eureka.Requests.
func (r *requests) Finish(ctx context.Context, key string, answer []byte) error {
	text, err := json.Marshal(claim{At: r.now().UnixMilli(), Answer: answer})
	if err != nil {
		return err
	}
	if _, err := r.kv.Put(ctx, key, text); err != nil {
		return requestsError(err)
	}
	return nil
}

// Abandon implements eureka.Requests.
func (r *requests) Abandon(ctx context.Context, key string) error {
	if err := r.kv.Purge(ctx, key); err != nil {
		return requestsError(err)
	}
	return nil
}

func requestsError(err error) error {
	return natsError(err, "the store of requests does not answer")
}
