package natsengine

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"eureka"
)

// mocks is eureka.Mocks in a key-value bucket, read whenever one is asked for.
type mocks struct{ engine *Engine }

var errNoMock = eureka.Errorf(eureka.CodeNotFound, "there is no such mock")

func (s *mocks) config() jetstream.KeyValueConfig {
	o := s.engine.options
	return jetstream.KeyValueConfig{
		Bucket: o.Namespace + "_mocks", Description: "sample events", History: 1, Replicas: o.Replicas, Storage: jetstream.FileStorage,
	}
}

// bucket opens the bucket; nil when nothing was ever kept.
func (s *mocks) bucket(ctx context.Context) (jetstream.KeyValue, error) {
	kv, err := s.engine.js.KeyValue(ctx, s.config().Bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, nil
	}
	return kv, mocksError(err)
}

// CreateMock implements eureka.Mocks.
func (s *mocks) CreateMock(ctx context.Context, m eureka.Mock) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	kv, err := s.engine.js.CreateOrUpdateKeyValue(ctx, s.config())
	if err != nil {
		return mocksError(err)
	}
	all, err := s.Mocks(ctx)
	if err != nil {
		return err
	}
	if len(all) >= eureka.MaxMocks {
		return eureka.Errorf(eureka.CodeConflict, "there are %d mocks already; delete some", len(all))
	}
	_, err = kv.Create(ctx, escapeToken(m.ID), text)
	if errors.Is(err, jetstream.ErrKeyExists) {
		return eureka.Errorf(eureka.CodeConflict, "id: %q is the id of another mock", m.ID)
	}
	return mocksError(err)
}

// Mock implements eureka.Mocks.
func (s *mocks) Mock(ctx context.Context, id string) (eureka.Mock, error) {
	m, _, err := s.get(ctx, id)
	return m, err
}

func (s *mocks) get(ctx context.Context, id string) (eureka.Mock, jetstream.KeyValue, error) {
	var m eureka.Mock
	kv, err := s.bucket(ctx)
	if err != nil {
		return m, nil, err
	}
	if kv == nil || !eureka.ValidName(id) {
		return m, nil, errNoMock
	}
	entry, err := kv.Get(ctx, escapeToken(id))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return m, nil, errNoMock
	}
	if err != nil {
		return m, nil, mocksError(err)
	}
	if err := json.Unmarshal(entry.Value(), &m); err != nil {
		return m, nil, eureka.WrapError(eureka.CodeInternal, err, "a mock cannot be read")
	}
	return m, kv, nil
}

// UpdateMock implements eureka.Mocks.
func (s *mocks) UpdateMock(ctx context.Context, m eureka.Mock) error {
	_, kv, err := s.get(ctx, m.ID)
	if err != nil {
		return err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = kv.Put(ctx, escapeToken(m.ID), text)
	return mocksError(err)
}

// DeleteMock implements eureka.Mocks.
func (s *mocks) DeleteMock(ctx context.Context, id string) error {
	_, kv, err := s.get(ctx, id)
	if err != nil {
		return err
	}
	return mocksError(kv.Purge(ctx, escapeToken(id)))
}

// Mocks implements eureka.Mocks.
func (s *mocks) Mocks(ctx context.Context) ([]eureka.Mock, error) {
	kv, err := s.bucket(ctx)
	if kv == nil || err != nil {
		return nil, err
	}
	watcher, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, mocksError(err)
	}
	defer func() { _ = watcher.Stop() }()
	var all []eureka.Mock
	for complete := false; !complete; {
		select {
		case entry, open := <-watcher.Updates():
			if complete = entry == nil; !complete {
				var m eureka.Mock
				if err := json.Unmarshal(entry.Value(), &m); err != nil {
					return nil, eureka.WrapError(eureka.CodeInternal, err, "a mock cannot be read")
				}
				all = append(all, m)
			} else if !open {
				return nil, eureka.Errorf(eureka.CodeUnavailable, "the store of mocks does not answer")
			}
		case <-ctx.Done():
			return nil, mocksError(ctx.Err())
		}
	}
	slices.SortFunc(all, func(a, b eureka.Mock) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}

func mocksError(err error) error {
	if err == nil {
		return nil
	}
	return natsError(err, "the store of mocks does not answer")
}
