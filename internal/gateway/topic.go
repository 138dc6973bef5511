package gateway

import (
	"slices"
	"sync"

	"eureka"
)

// Selector is the filters of one channel's subscribers. The hub serializes its calls per channel.
type Selector interface {
	// Add puts a filter into the set; the set does not have it yet. An error refuses the subscription that brought it.
	Add(filter string) error
	// Remove takes a filter out of the set.
	Remove(filter string)
	// Select calls passes once for each filter of the set that the message passes.
	Select(f eureka.Facts, passes func(filter string))
}

// topic is the subscribers of one channel, grouped by what they receive.
type topic struct {
	id     string
	mu     sync.RWMutex
	groups []*group // without a filter: one per name, and one more while some are paused
	picky  *picky   // nil without a subscriber that has a filter
	count  int
}

// picky is the subscribers with filters. Many filters may be there, so nothing but the selector goes through all of them for a message.
type picky struct {
	groups   map[string][]*group // by filter
	mu       sync.Mutex          // serializes the selector; taken behind topic.mu
	selector Selector
}

// group is the subscribers of a channel that receive the same: under one name, through one filter.
type group struct {
	name   string
	filter string
	paused bool // gets no live messages
	items  []*item
}

// add puts an item into the group of what it receives. The caller holds mu; nothing has changed after an error.
func (t *topic) add(it *item, name, filter string, newSelector func() Selector) error {
	g, err := t.group(name, filter, it.pause != 0, newSelector)
	if err != nil {
		return err
	}
	it.group, it.index = g, len(g.items)
	g.items = append(g.items, it)
	t.count++
	return nil
}

// group finds or makes a group.
func (t *topic) group(name, filter string, paused bool, newSelector func() Selector) (*group, error) {
	groups := t.groups
	if filter != "" && t.picky != nil {
		groups = t.picky.groups[filter]
	} else if filter != "" {
		groups = nil
	}
	if at := slices.IndexFunc(groups, func(g *group) bool { return g.name == name && g.paused == paused }); at >= 0 {
		return groups[at], nil
	}
	g := &group{name: name, filter: filter, paused: paused}
	if filter == "" {
		t.groups = append(t.groups, g)
		return g, nil
	}
	p := t.picky
	if p == nil {
		if newSelector == nil {
			return nil, eureka.Errorf(eureka.CodeUnavailable, "subscriptions cannot have filters here")
		}
		p = &picky{groups: map[string][]*group{}, selector: newSelector()}
	}
	if len(groups) == 0 {
		p.mu.Lock()
		err := p.selector.Add(filter)
		p.mu.Unlock()
		if err != nil {
			return nil, err
		}
	}
	p.groups[filter] = append(groups, g) //nolint:gocritic // groups is what it had
	t.picky = p
	return g, nil
}

// remove takes an item out of its group. The caller holds mu.
func (t *topic) remove(it *item) {
	g := it.group
	last := g.items[len(g.items)-1]
	g.items[it.index], last.index = last, it.index
	g.items[len(g.items)-1] = nil
	g.items = g.items[:len(g.items)-1]
	t.count--
	if len(g.items) > 0 {
		return
	}
	other := func(o *group) bool { return o == g }
	if g.filter == "" {
		t.groups = slices.DeleteFunc(t.groups, other)
		return
	}
	p := t.picky
	if rest := slices.DeleteFunc(p.groups[g.filter], other); len(rest) > 0 {
		p.groups[g.filter] = rest
		return
	}
	delete(p.groups, g.filter)
	p.mu.Lock()
	p.selector.Remove(g.filter)
	p.mu.Unlock()
	if len(p.groups) == 0 {
		t.picky = nil
	}
}

// regroup moves an item to the group of what it receives from now on. The caller holds mu; nothing has changed after an error.
func (t *topic) regroup(it *item, name, filter string, newSelector func() Selector) error {
	if it.group.name == name && it.group.filter == filter && it.group.paused == (it.pause != 0) {
		return nil
	}
	// The new place comes first: a filter that stays is not taken out of the selector in between.
	moved := &item{pause: it.pause}
	if err := t.add(moved, name, filter, newSelector); err != nil {
		return err
	}
	t.remove(it)
	it.group, it.index = moved.group, moved.index
	it.group.items[it.index] = it
	return nil
}

// each calls f for every group. The caller holds mu.
func (t *topic) each(f func(g *group)) {
	for _, g := range t.groups {
		f(g)
	}
	if t.picky != nil {
		for _, groups := range t.picky.groups {
			for _, g := range groups {
				f(g)
			}
		}
	}
}

func (t *topic) entries() []*entry {
	t.mu.RLock()
	defer t.mu.RUnlock()
	entries := make([]*entry, 0, t.count)
	t.each(func(g *group) {
		for _, it := range g.items {
			entries = append(entries, it.entry)
		}
	})
	return entries
}

// selected calls f for each group whose filter the message passes. Without facts a frame is for all of them. The caller holds the topic's mu.
func (p *picky) selected(facts func() eureka.Facts, f func(g *group)) {
	if facts == nil {
		for _, groups := range p.groups {
			for _, g := range groups {
				f(g)
			}
		}
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.selector.Select(facts(), func(filter string) {
		for _, g := range p.groups[filter] {
			f(g)
		}
	})
}
