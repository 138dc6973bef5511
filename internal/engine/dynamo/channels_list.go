package dynamo

import (
	"cmp"
	"context"
	"iter"
	"slices"

	"eureka"
)

// List implements eureka.Channels. All reads are consistent, so that callers see what they have written.
func (c *channels) List(ctx context.Context, q eureka.ChannelQuery) (eureka.Page[eureka.Channel], error) {
	page := eureka.Page[eureka.Channel]{Items: []eureka.Channel{}}
	if err := q.Validate(); err != nil {
		return page, err
	}
	if q.Sort.Field == "" {
		q.Sort = eureka.Sort{Field: "createdAt", Desc: true}
	}
	after, err := parsePosition(q.Sort, q.After)
	if err != nil {
		return page, err
	}
	f, err := newChannelFilter(q)
	if err != nil || f.nothing {
		return page, err
	}
	if f.all() && q.Sort.Field == "createdAt" {
		return c.listByTime(ctx, q, after)
	}
	found, err := c.plan(ctx, f)
	if err != nil {
		return page, err
	}
	return collect(found, f, q, after)
}

// listByTime reads no more than the page, what comes before it when it is chosen by number, and the count.
func (c *channels) listByTime(ctx context.Context, q eureka.ChannelQuery, after *position) (eureka.Page[eureka.Channel], error) {
	page := eureka.Page[eureka.Channel]{Items: []eureka.Channel{}}
	size, skip := q.Size(), q.Offset()
	more := false
	if size > 0 {
		in := query{partition: timePartition, reverse: q.Sort.Desc, consistent: true, limit: skip + size + 1}
		if after != nil {
			in.after = timeKey(after.value.number, after.id).sk
		}
		for it, err := range c.table.items(ctx, in) {
			switch {
			case err != nil:
				return page, err
			case skip > 0:
				skip--
			case len(page.Items) == size:
				more = true
			default:
				page.Items = append(page.Items, channelOf(it))
			}
		}
	}
	if more {
		page.Next = nextPosition(q.Sort, page.Items[size-1])
	} else if size > 0 && after == nil && q.Offset() == 0 {
		page.Total = len(page.Items)
		return page, nil
	}
	var err error
	page.Total, err = c.count(ctx)
	return page, err
}

// collect evaluates a query over channels that an index found, in memory that is bounded by where the page ends.
func collect(found iter.Seq2[eureka.Channel, error], f channelFilter, q eureka.ChannelQuery, after *position) (eureka.Page[eureka.Channel], error) {
	page := eureka.Page[eureka.Channel]{Items: []eureka.Channel{}}
	order := channelOrder(q.Sort)
	end := q.Offset() + q.Size() + 1
	var best []eureka.Channel
	var start eureka.Channel
	if after != nil {
		start = after.channel(q.Sort.Field)
	}
	seen := map[string]bool{}
	for ch, err := range found {
		switch {
		case err != nil:
			return page, err
		case seen[ch.ID] || !f.match(ch): // an index may show a channel twice while it is moved in it
			continue
		}
		seen[ch.ID] = true
		page.Total++
		if q.Size() == 0 || (after != nil && order(ch, start) <= 0) {
			continue
		}
		if best = append(best, ch); len(best) >= 2*end {
			slices.SortFunc(best, order)
			best = best[:end]
		}
	}
	slices.SortFunc(best, order)
	best = best[min(q.Offset(), len(best)):]
	if size := q.Size(); size > 0 && len(best) > size {
		best = best[:size]
		page.Next = nextPosition(q.Sort, best[size-1])
	}
	page.Items = append(page.Items, best...)
	return page, nil
}

// channelOrder compares channels as a sort wants them: by its field, then by id, both in its direction.
func channelOrder(sort eureka.Sort) func(a, b eureka.Channel) int {
	return func(a, b eureka.Channel) int {
		x, y := valueOf(sort.Field, a), valueOf(sort.Field, b)
		order := cmp.Or(cmp.Compare(x.text, y.text), cmp.Compare(x.number, y.number), cmp.Compare(a.ID, b.ID))
		if sort.Desc {
			return -order
		}
		return order
	}
}

// channel is a channel at the position, for comparing with others.
func (p *position) channel(field string) eureka.Channel {
	ch := eureka.Channel{ID: p.id}
	switch field {
	case "alias":
		ch.Alias = p.value.text
	case "service":
		ch.Service = p.value.text
	case "modelType":
		ch.ModelType = p.value.text
	case "modelId":
		ch.ModelID = p.value.text
	case "name":
		ch.Name = p.value.text
	case "createdAt":
		ch.CreatedAt = p.value.number
	case "updatedAt":
		ch.UpdatedAt = p.value.number
	}
	return ch
}

func (c *channels) errTooMany() error {
	return eureka.Errorf(eureka.CodeInvalid,
		"the query has to look at more than %d channels; narrow it by id, alias, service with modelType, or by words", c.limits.examined)
}
