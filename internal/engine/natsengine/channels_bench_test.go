package natsengine

import (
	"fmt"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"eureka"
)

const benchChannels = 100_000

// kvEntry is a change as the watch delivers it.
type kvEntry struct {
	name     string
	value    []byte
	revision uint64
	op       jetstream.KeyValueOp
}

func (e kvEntry) Bucket() string                  { return "" }
func (e kvEntry) Key() string                     { return nameKeys + escapeToken(e.name) }
func (e kvEntry) Value() []byte                   { return e.value }
func (e kvEntry) Revision() uint64                { return e.revision }
func (e kvEntry) Created() time.Time              { return time.Time{} }
func (e kvEntry) Delta() uint64                   { return 0 }
func (e kvEntry) Operation() jetstream.KeyValueOp { return e.op }

func benchReplica(b *testing.B) *replica {
	b.Helper()
	r, err := newReplica(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(r.close)
	r.begin(time.Now())
	var entries []jetstream.KeyValueEntry
	put := func(name, value string) {
		entries = append(entries, kvEntry{name: name, value: []byte(value), revision: uint64(len(entries) + 1)})
	}
	for i := range benchChannels {
		id := strconv.Itoa(eureka.FirstChannelNumber + i)
		put("alias-"+id, `{"aliasOf":"`+id+`"}`)
		put(id, fmt.Sprintf(`{"channel":{"id":%q,"alias":"alias-%s","service":"service-%d","modelType":"model-%d","modelId":"%d",
			"name":"channel number %d","desc":"what happens to model %d of this service","createdAt":%d,"updatedAt":%d}}`,
			id, id, i%100, i%1000, i%7, i, i, 1_700_000_000_000+i, 1_700_000_000_000+i))
	}
	start := time.Now()
	changes := r.apply(entries, slog.New(slog.DiscardHandler))
	applied := time.Since(start)
	if err := r.flush(b.Context(), changes); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d channels: map %v, lists %v", benchChannels, applied, time.Since(start)-applied)
	return r
}

func BenchmarkChannelGet(b *testing.B) {
	r := benchReplica(b)
	s := &channelStore{replica: r}
	s.loaded.Store(true)
	var names []string
	for i := range 1024 {
		names = append(names, []string{"", "alias-"}[i%2]+strconv.Itoa(eureka.FirstChannelNumber+i*97))
	}
	b.Run("found", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				if _, err := s.Get(b.Context(), names[i%len(names)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	b.Run("missing", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Get(b.Context(), "nobody"); err == nil {
				b.Fatal("found")
			}
		}
	})
}

func BenchmarkChannelList(b *testing.B) {
	r := benchReplica(b)
	is := func(field string, values ...string) eureka.Condition {
		return eureka.Condition{Field: field, Values: values}
	}
	queries := []struct {
		name string
		q    eureka.ChannelQuery
	}{
		{"newest", eureka.ChannelQuery{}},
		{"by name", eureka.ChannelQuery{Sort: eureka.Sort{Field: "name"}}},
		{"page 900", eureka.ChannelQuery{Paging: eureka.Paging{Page: 900}}},
		{"by service", eureka.ChannelQuery{Where: []eureka.Condition{is("service", "service-7")}}},
		{"route", eureka.ChannelQuery{
			Where: []eureka.Condition{is("service", "service-7"), is("modelType", "model-7"), {Field: "modelId", Match: eureka.Missing}},
			Sort:  eureka.Sort{Field: "id"}, Paging: eureka.Paging{Limit: eureka.MaxLimit},
		}},
		{"text", eureka.ChannelQuery{Text: "number 4242"}},
		{"text common", eureka.ChannelQuery{Text: "chan what serv"}},
		{"largest page", eureka.ChannelQuery{Paging: eureka.Paging{Limit: eureka.MaxLimit}}},
		{"desc unindexed", eureka.ChannelQuery{Where: []eureka.Condition{is("desc", "nothing")}}},
	}
	for _, bb := range queries {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.list(b.Context(), bb.q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkChannelReplay opens a store on a bucket that has 100,000 channels.
func BenchmarkChannelReplay(b *testing.B) {
	s := startServer(b, b.TempDir())
	js := dialJetStream(b, s)
	o := storeOptions{JS: js, Namespace: namespace(b)}
	bucket, err := openBucket(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	for i := range benchChannels {
		id := strconv.Itoa(eureka.FirstChannelNumber + i)
		if _, err := js.PublishAsync(bucket.subject(id), fmt.Appendf(nil,
			`{"channel":{"id":%q,"service":"service-%d","modelType":"model-%d","name":"channel number %d"}}`, id, i%100, i%1000, i)); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	for b.Loop() {
		store := openStore(b, o)
		if page, err := store.List(b.Context(), eureka.ChannelQuery{}); err != nil || page.Total != benchChannels {
			b.Fatalf("%d channels, %v", page.Total, err)
		}
		store.close()
	}
}
