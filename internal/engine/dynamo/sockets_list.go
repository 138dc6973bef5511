package dynamo

import (
	"context"
	"slices"
	"strings"
	"sync"

	"eureka"
)

// parallel is how many requests one call makes at the same time.
const parallel = 16

// List implements eureka.Sockets. A user's sockets stand together; those of a channel are read with its shards; all of them are read from every
// partition of entries, which costs about one unit for 16 sockets.
func (s *sockets) List(ctx context.Context, q eureka.SocketQuery) (eureka.Page[eureka.Socket], error) {
	var none eureka.Page[eureka.Socket]
	if err := q.Validate(); err != nil {
		return none, err
	}
	after, err := eureka.ParseSocketPosition(q.After)
	if err != nil {
		return none, err
	}
	var found []eureka.Socket
	switch {
	case q.ID != "":
		found, err = s.one(ctx, q.ID)
	case q.Channel != "":
		found, err = s.ofChannel(ctx, q.Channel)
	default:
		found, err = s.entries(ctx, q.User)
	}
	if err != nil {
		return none, err
	}
	found = slices.DeleteFunc(found, func(o eureka.Socket) bool { return q.Channel == "" && q.User != "" && o.User != q.User })
	if q.Channel != "" && (q.User != "" || q.ID != "") {
		if found, err = s.both(ctx, q, found); err != nil {
			return none, err
		}
	}
	page := pageOf(found, q, after)
	page.Items, err = s.complete(ctx, page.Items, q.Channel != "")
	return page, err
}

// pageOf sorts, counts and cuts.
func pageOf(found []eureka.Socket, q eureka.SocketQuery, after eureka.SocketPosition) eureka.Page[eureka.Socket] {
	order := func(a, b eureka.Socket) int {
		n := a.Position().Compare(b.Position())
		if !q.Asc {
			return -n
		}
		return n
	}
	slices.SortFunc(found, order)
	page := eureka.Page[eureka.Socket]{Total: len(found)}
	from := min(q.Offset(), len(found))
	if q.After != "" {
		from, _ = slices.BinarySearchFunc(found, after, func(o eureka.Socket, p eureka.SocketPosition) int {
			n := o.Position().Compare(p)
			if !q.Asc {
				n = -n
			}
			if n <= 0 { // the position itself is behind us too
				return -1
			}
			return 1
		})
	}
	to := min(from+q.Size(), len(found))
	page.Items = slices.Clone(found[from:to])
	if to < len(found) && to > from {
		page.Next = found[to-1].Position().String()
	}
	return page
}

func (s *sockets) one(ctx context.Context, id string) ([]eureka.Socket, error) {
	found, err := s.read(ctx, []string{id})
	if err != nil || found[id] == nil {
		return nil, err
	}
	return []eureka.Socket{socketOf(id, found[id])}, nil
}

// ofChannel returns the subscribers of a channel; all that is known of them is their id and their time.
func (s *sockets) ofChannel(ctx context.Context, channelID string) ([]eureka.Socket, error) {
	r, err := (*Engine)(s).runtime(ctx, channelID)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var found []eureka.Socket
	shards := make([]int, r.shards)
	for i := range shards {
		shards[i] = i
	}
	err = each(ctx, parallel, shards, func(ctx context.Context, shard int) error {
		for page, err := range (*Engine)(s).shardPages(ctx, channelID, shard) {
			if err != nil {
				return err
			}
			mu.Lock()
			for _, sub := range page {
				found = append(found, eureka.Socket{ID: sub.socketID, ConnectedAt: sub.connectedAt})
			}
			mu.Unlock()
		}
		return nil
	})
	return found, err
}

// both keeps those subscribers of a channel that are the user's, and the one socket that was asked for.
func (s *sockets) both(ctx context.Context, q eureka.SocketQuery, found []eureka.Socket) ([]eureka.Socket, error) {
	if q.ID != "" && q.User == "" {
		subscribed, err := s.table.get(ctx, mirrorKey(q.ID, q.Channel), true)
		if err != nil || subscribed == nil {
			return nil, err
		}
		return found, nil
	}
	of, err := s.entries(ctx, q.User)
	if err != nil {
		return nil, err
	}
	users := make(map[string]bool, len(of))
	for _, o := range of {
		users[o.ID] = true
	}
	return slices.DeleteFunc(found, func(o eureka.Socket) bool { return !users[o.ID] || (q.ID != "" && o.ID != q.ID) }), nil
}

// entries returns the live sockets of a user, or of everybody.
func (s *sockets) entries(ctx context.Context, user string) ([]eureka.Socket, error) {
	var buckets []string
	prefix := ""
	if user != "" {
		prefix = entriesOf(user)
		buckets = append(buckets, entryKey(user, "", 0).pk)
	} else {
		for n := range listBuckets {
			buckets = append(buckets, bucketKey(n))
		}
	}
	var mu sync.Mutex
	var found []eureka.Socket
	err := each(ctx, parallel, buckets, func(ctx context.Context, bucket string) error {
		for it, err := range s.table.items(ctx, query{partition: bucket, prefix: prefix, consistent: true}) {
			if err != nil {
				return err
			}
			if alive(it, (*Engine)(s).nowMillis()) {
				mu.Lock()
				found = append(found, socketOf(entryID(it), it))
				mu.Unlock()
			}
		}
		return nil
	})
	return found, err
}

// entryID is the socket's id in the key of its entry; ids may have a # themselves.
func entryID(it item) string {
	parts := strings.SplitN(it.text(KeySort), "#", 3)
	return parts[len(parts)-1]
}

// complete adds what a list shows beside: each socket's subscriptions, and with bare all but its id and time. Sockets that have ended since go.
func (s *sockets) complete(ctx context.Context, page []eureka.Socket, bare bool) ([]eureka.Socket, error) {
	if bare {
		ids := make([]string, len(page))
		for i, o := range page {
			ids[i] = o.ID
		}
		found, err := s.read(ctx, ids)
		if err != nil {
			return nil, err
		}
		page = slices.DeleteFunc(page, func(o eureka.Socket) bool { return found[o.ID] == nil })
		for i, o := range page {
			page[i] = socketOf(o.ID, found[o.ID])
		}
	}
	at := make([]int, len(page))
	for i := range at {
		at[i] = i
	}
	err := each(ctx, parallel, at, func(ctx context.Context, i int) error {
		var notes []item
		for it, err := range s.table.items(ctx, query{partition: socketKey(page[i].ID).pk, prefix: "c#", consistent: true}) {
			if err != nil {
				return err
			}
			notes = append(notes, it)
		}
		var err error
		page[i].Subscriptions, err = (*Engine)(s).subscriptions(ctx, page[i].ID, notes)
		return err
	})
	return page, err
}

// CountSubscribers implements eureka.SubscriberCounter: a consistent count of every shard of each channel.
func (s *sockets) CountSubscribers(ctx context.Context, channelIDs []string) (map[string]int, error) {
	var mu sync.Mutex
	counts := make(map[string]int, len(channelIDs))
	err := each(ctx, parallel, channelIDs, func(ctx context.Context, id string) error {
		n, err := (*Engine)(s).countSubscribers(ctx, id)
		mu.Lock()
		counts[id] = n
		mu.Unlock()
		return err
	})
	return counts, err
}

func (e *Engine) countSubscribers(ctx context.Context, channelID string) (int, error) {
	r, err := e.runtime(ctx, channelID)
	if err != nil {
		return 0, err
	}
	total := 0
	for shard := range r.shards {
		// Items of sockets past their time may still be there for some minutes.
		n, err := e.table.count(ctx, query{
			partition: shardKey(channelID, shard), consistent: true, filter: "attribute_not_exists(#ttl) OR #ttl >= :late", names: map[string]string{"#ttl": KeyTTL},
			values: item{":late": number(e.options.Now().Add(socketMargin).Unix())},
		})
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}
