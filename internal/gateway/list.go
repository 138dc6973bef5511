package gateway

import (
	"slices"

	"eureka"
)

// List returns this node's live sockets that the query selects, ordered by ConnectedAt and then ID. CodeInvalid for a position
// that is none of this list.
func (h *Hub) List(q eureka.SocketQuery) (eureka.Page[eureka.Socket], error) {
	if err := q.Validate(); err != nil {
		return eureka.Page[eureka.Socket]{}, err
	}
	after, err := eureka.ParseSocketPosition(q.After)
	if err != nil {
		return eureka.Page[eureka.Socket]{}, err
	}
	entries := h.selected(q)
	page := eureka.Page[eureka.Socket]{Total: len(entries)}
	if q.Size() == 0 {
		return page, nil
	}
	before := func(a, b eureka.SocketPosition) int {
		if q.Asc {
			return a.Compare(b)
		}
		return b.Compare(a)
	}
	slices.SortFunc(entries, func(a, b *entry) int { return before(a.position(), b.position()) })
	start := min(q.Offset(), len(entries))
	if q.After != "" {
		start = slices.IndexFunc(entries, func(e *entry) bool { return before(after, e.position()) < 0 })
		if start < 0 {
			start = len(entries)
		}
	}
	end := min(start+q.Size(), len(entries))
	for _, e := range entries[start:end] {
		e.mu.Lock()
		page.Items = append(page.Items, e.view())
		e.mu.Unlock()
	}
	if end < len(entries) && end > start {
		page.Next = entries[end-1].position().String()
	}
	return page, nil
}

// selected returns the live entries of a query, in no order.
func (h *Hub) selected(q eureka.SocketQuery) []*entry {
	now := h.now().UnixMilli()
	return slices.DeleteFunc(h.candidates(q), func(e *entry) bool {
		return (q.ID != "" && e.id != q.ID) || (q.User != "" && e.user != q.User) ||
			(e.expiresAt != 0 && e.expiresAt <= now)
	})
}

// candidates returns the entries of the narrowest registry that the query names; the caller filters by the rest.
func (h *Hub) candidates(q eureka.SocketQuery) []*entry {
	switch {
	case q.Channel != "":
		if t := h.topic(q.Channel); t != nil {
			return t.entries()
		}
		return nil
	case q.ID != "":
		if e := h.entry(q.ID); e != nil {
			return []*entry{e}
		}
		return nil
	case q.User != "":
		u := &h.users[h.shard(q.User)]
		u.mu.RLock()
		defer u.mu.RUnlock()
		return slices.Clone(u.users[q.User])
	}
	entries := make([]*entry, 0, h.Sockets())
	for i := range h.sockets {
		shard := &h.sockets[i]
		shard.mu.RLock()
		for _, e := range shard.entries {
			entries = append(entries, e)
		}
		shard.mu.RUnlock()
	}
	return entries
}
