package dynamo

import (
	"context"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strconv"

	"eureka"
)

// Limits of a plan.
const (
	maxPlanQueries = 20 // queries of one index for one list
	fewCandidates  = 20 // so few are fetched without looking for a second word
	maxRepairs     = 25 // entries of words that one list removes
	// fetchCost is how many channels a query reads for what one fetched by its key costs.
	fetchCost = 8
)

// listLimits bound what one list reads.
type listLimits struct {
	examined    int // channels that it looks at
	wordEntries int // entries of one word; a word with more selects too little to be an index
}

// defaultListLimits are about 10 MB of channels, which is 2,500 read units.
var defaultListLimits = listLimits{examined: 20_000, wordEntries: 2000}

// found is what an index gives: at least every channel that the filter selects.
type found = iter.Seq2[eureka.Channel, error]

// plan chooses the index that reads the least for a filter: by id, by alias, by service with modelType, by a word of the text, by service, by
// a word of a value, by time of creation, or the list of all.
func (c *channels) plan(ctx context.Context, f channelFilter) (found, error) {
	for _, field := range []string{"id", "alias"} {
		if values := f.values(field); values != nil {
			return c.byName(ctx, values), nil
		}
	}
	services := f.values("service")
	if prefixes := modelPrefixes(services, f); len(f.valuesOrMissing("modelType")) > 0 && prefixes != nil {
		return c.byQueries(ctx, prefixes), nil
	}
	if terms := f.phrases.terms(); len(terms) > 0 {
		if entries, err := c.lookUpAll(ctx, terms); err != nil || entries != nil {
			return c.byWords(ctx, entries), err
		}
	}
	if prefixes := modelPrefixes(services, f); prefixes != nil {
		return c.byQueries(ctx, prefixes), nil
	}
	for _, field := range []string{"modelId", "modelType", "name", "desc", "service"} {
		if entries, err := c.lookUpValues(ctx, f.values(field)); err != nil || entries != nil {
			return c.byWords(ctx, entries), err
		}
	}
	if times := timePrefixes(f.values("createdAt")); times != nil {
		return c.byQueries(ctx, times), nil
	}
	total, err := c.count(ctx)
	if err != nil {
		return nil, err
	}
	if total > c.limits.examined {
		return nil, c.errTooMany() // before it is paid for
	}
	return c.byQueries(ctx, []query{{partition: timePartition}}), nil
}

// byName fetches channels by ids or aliases.
func (c *channels) byName(ctx context.Context, names []string) found {
	var keys []key
	for _, name := range names {
		if eureka.ValidName(name) {
			keys = append(keys, nameKey(name))
		}
	}
	return func(yield func(eureka.Channel, error) bool) {
		items, err := c.table.batchGet(ctx, keys, true)
		if err != nil {
			yield(eureka.Channel{}, err)
			return
		}
		for _, it := range items {
			if living(it) && !yield(channelOf(it), nil) {
				return
			}
		}
	}
}

// byQueries reads copies of channels, as many as one list may look at.
func (c *channels) byQueries(ctx context.Context, queries []query) found {
	return func(yield func(eureka.Channel, error) bool) {
		examined := 0
		for _, q := range queries {
			q.consistent = true
			for it, err := range c.table.items(ctx, q) {
				if examined++; examined > c.limits.examined && err == nil {
					err = c.errTooMany()
				}
				if err != nil {
					yield(eureka.Channel{}, err)
					return
				}
				if !yield(channelOf(it), nil) {
					return
				}
			}
		}
	}
}

// modelPrefixes are the parts of the services' partitions that a filter selects, nil when they are too many or there is no service.
func modelPrefixes(services []string, f channelFilter) []query {
	if len(services) == 0 || len(services) > maxPlanQueries {
		return nil
	}
	prefixes := make([]query, 0, len(services))
	for _, service := range services {
		prefixes = append(prefixes, query{partition: modelPartition + hash(service)})
	}
	for _, field := range []string{"modelType", "modelId"} {
		values := f.valuesOrMissing(field)
		if len(values) == 0 || len(values)*len(prefixes) > maxPlanQueries {
			return prefixes
		}
		var longer []query
		for _, p := range prefixes {
			for _, v := range values {
				longer = append(longer, query{partition: p.partition, prefix: p.prefix + hash(v) + "#"})
			}
		}
		prefixes = longer
	}
	return prefixes
}

func timePrefixes(times []string) []query {
	if len(times) == 0 || len(times) > maxPlanQueries {
		return nil
	}
	prefixes := make([]query, 0, len(times))
	for _, t := range times {
		n, err := strconv.ParseInt(t, 10, 64)
		if err != nil {
			return nil // canonical has seen to it
		}
		prefixes = append(prefixes, query{partition: timePartition, prefix: sortableTime(n) + "#"})
	}
	return prefixes
}

// wordEntries are entries of words, by channel id.
type wordEntries map[string][]item

// lookUpAll finds the channels that have all terms, nil when every term is that of too many. It stops looking when they are few.
func (c *channels) lookUpAll(ctx context.Context, terms []term) (wordEntries, error) {
	var all wordEntries
	for i, t := range terms {
		if i == maxPlanQueries || (all != nil && len(all) <= fewCandidates) {
			break
		}
		entries, err := c.lookUp(ctx, t)
		switch {
		case err != nil:
			return nil, err
		case entries == nil:
		case all == nil:
			all = entries
		default:
			maps.DeleteFunc(all, func(id string, _ []item) bool { return entries[id] == nil })
		}
	}
	return c.worthFetching(ctx, all)
}

// lookUpValues finds the channels that have a word of one of the values, by each value's longest word; nil when a value has no word or too many
// channels have it.
func (c *channels) lookUpValues(ctx context.Context, values []string) (wordEntries, error) {
	if len(values) == 0 || len(values) > maxPlanQueries {
		return nil, nil
	}
	all := wordEntries{}
	for _, value := range values {
		terms := phrases{append(splitWords(value), "")}.terms() // all of them are whole words
		if len(terms) == 0 || terms[0].word == "" {
			return nil, nil
		}
		entries, err := c.lookUp(ctx, terms[0])
		if err != nil || entries == nil {
			return nil, err
		}
		maps.Copy(all, entries)
	}
	return c.worthFetching(ctx, all)
}

// lookUp reads the entries of a term, nil when there are too many.
func (c *channels) lookUp(ctx context.Context, t term) (wordEntries, error) {
	partition, prefix := wordEntry(t.word)
	if t.whole {
		prefix += "#"
	}
	entries := wordEntries{}
	n := 0
	for it, err := range c.table.items(ctx, query{partition: partition, prefix: prefix, consistent: true, limit: c.limits.wordEntries + 1}) {
		if err != nil {
			return nil, err
		}
		if n++; n > c.limits.wordEntries {
			return nil, nil
		}
		_, id := wordEntryID(it.key())
		entries[id] = append(entries[id], it)
	}
	return entries, nil
}

// worthFetching returns nil for candidates that cost more to fetch than the list of all costs to read.
func (c *channels) worthFetching(ctx context.Context, entries wordEntries) (wordEntries, error) {
	if len(entries) <= 2*fewCandidates {
		return entries, nil
	}
	total, err := c.count(ctx)
	if err != nil || total <= len(entries)*fetchCost {
		return nil, err
	}
	return entries, nil
}

// byWords fetches the channels of entries, since entries may outlive what they were written for, and removes some of those that did.
func (c *channels) byWords(ctx context.Context, entries wordEntries) found {
	return func(yield func(eureka.Channel, error) bool) {
		var stale []item
		for ids := range slices.Chunk(slices.Collect(maps.Keys(entries)), maxBatchGet) {
			keys := make([]key, len(ids))
			for i, id := range ids {
				keys[i] = nameKey(id)
			}
			items, err := c.table.batchGet(ctx, keys, true)
			if err != nil {
				yield(eureka.Channel{}, err)
				return
			}
			for i, id := range ids {
				it := items[keys[i]]
				stale = append(stale, c.staleEntries(entries[id], id, it)...)
				if living(it) && it.text(attrID) == id && !yield(channelOf(it), nil) {
					return
				}
			}
		}
		c.repair(ctx, stale)
	}
}

// staleEntries are those that nothing can need any more: the channel is at their revision or a later one and does not have the word; or there
// is no such channel, and whoever was about to create it has had an hour.
func (c *channels) staleEntries(entries []item, id string, it item) []item {
	isChannel := it != nil && it.text(attrID) == id
	var has []string
	if isChannel && living(it) {
		has = wordsOf(channelOf(it))
	}
	var stale []item
	for _, e := range entries {
		word, _ := wordEntryID(e.key())
		over := revisionOf(e)+staleAfter < c.nowMicros()
		if isChannel {
			over = revisionOf(e) <= revisionOf(it)
		}
		if over && !slices.Contains(has, word) {
			stale = append(stale, e)
		}
	}
	return stale
}

// staleAfter is an hour, in the unit that revisions begin with.
const staleAfter = 3600 * 1_000_000

// repair removes stale entries, as far as they are as they were read. That it fails is no harm: readers pass them by.
func (c *channels) repair(ctx context.Context, stale []item) {
	stale = stale[:min(len(stale), maxRepairs)]
	err := each(ctx, wordWriters, stale, func(ctx context.Context, e item) error {
		_, err := c.table.remove(ctx, e.key(), condition{expression: "r = :r", values: item{":r": e[attrRevision]}})
		return unlessRefused(err)
	})
	if err != nil {
		c.options.Log.Debug("entries of words could not be removed", slog.Any("error", err))
	}
}
