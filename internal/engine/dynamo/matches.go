package dynamo

import (
	"context"

	"eureka"
)

// countMatches counts the subscribers of all shards that are to get a message. It costs what reading them costs; only those with a filter are fetched.
func (e *Engine) countMatches(ctx context.Context, m eureka.Message, who *sieve) (int, error) {
	r, err := e.runtime(ctx, m.ChannelID)
	if err != nil {
		return 0, err
	}
	except, unfiltered, filtered := exclude(m.Except), 0, 0
	for shard := range r.shards {
		q := query{
			partition: shardKey(m.ChannelID, shard), consistent: true, attributes: []string{KeyPartition, KeySort, KeyTTL, attrPasses},
			filter: "attribute_exists(f) OR #ttl < :late", names: map[string]string{"#ttl": KeyTTL},
			values: item{":late": number(e.options.Now().Add(socketMargin).Unix())},
		}
		n, err := e.table.apart(ctx, q, func(page []item) error {
			n, err := e.matchesOf(ctx, page, except, who)
			filtered += n
			return err
		})
		if err != nil {
			return 0, err
		}
		unfiltered += n
	}
	if unfiltered == 0 || len(m.Except) == 0 {
		return unfiltered + filtered, nil
	}
	notes := make([]key, 0, len(m.Except))
	for _, id := range m.Except {
		notes = append(notes, mirrorKey(id, m.ChannelID))
	}
	found, err := e.table.batchGet(ctx, notes, false)
	if err != nil {
		return 0, err
	}
	for _, note := range found {
		if !note.has(attrPasses) {
			unfiltered--
		}
	}
	return max(0, unfiltered) + filtered, nil
}

// matchesOf counts among some subscribers' items those that are to get a message.
func (e *Engine) matchesOf(ctx context.Context, page []item, except excluded, who *sieve) (int, error) {
	now, filters := e.options.Now(), make([]filter, 0, len(page))
	for _, it := range page {
		if !expired(it, now) && !except.has(subscriberOf(it).socketID) {
			filters = append(filters, filterOf(it))
		}
	}
	unread := make([]*filter, len(filters))
	for i := range filters {
		unread[i] = &filters[i]
	}
	if err := e.readFilters(ctx, unread); err != nil {
		return 0, err
	}
	n := 0
	for _, f := range filters {
		if !enoughTime(ctx) {
			return 0, errOutOfTime
		}
		if who.passes(f) {
			n++
		}
	}
	return n, nil
}
