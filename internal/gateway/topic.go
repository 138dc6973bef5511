package gateway

import (
	"slices"
	"strings"
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
	closed bool // it is empty and out of the hub; a channel that has subscribers again has another topic
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
	size   int
	direct []*item // those whose connections take broadcasts by themselves
	parts  []*part // the others, by lane; those that are empty are gone
}

// join gives an item its place.
func (g *group) join(it *item) {
	g.size++
	it.group = g
	c := it.entry.conn
	if c == nil || c.lane() == nil {
		it.index = len(g.direct)
		g.direct = append(g.direct, it)
		return
	}
	at := slices.IndexFunc(g.parts, func(p *part) bool { return p.lane == c.lane() })
	if at < 0 {
		at = len(g.parts)
		g.parts = append(g.parts, &part{lane: c.lane()})
	}
	g.parts[at].sit(it, c)
}

// leave takes an item's place away; with flush its connection has got all that was delivered before.
func (g *group) leave(it *item, flush bool) {
	g.size--
	if p := it.part; p != nil {
		if p.leave(it, flush); len(p.seats) == 0 {
			g.parts = slices.DeleteFunc(g.parts, func(o *part) bool { return o == p })
		}
		return
	}
	last := g.direct[len(g.direct)-1]
	g.direct[it.index], last.index = last, it.index
	g.direct[len(g.direct)-1] = nil
	g.direct = g.direct[:len(g.direct)-1]
}

// each calls f for every item.
func (g *group) each(f func(it *item)) {
	for _, it := range g.direct {
		f(it)
	}
	for _, p := range g.parts {
		p.mu.Lock()
		for i := range p.seats {
			f(p.seats[i].item)
		}
		p.mu.Unlock()
	}
}

// add puts an item into the group of what it receives. The caller holds mu; nothing has changed after an error.
func (t *topic) add(it *item, name, filter string, newSelector func() Selector) error {
	g, err := t.group(name, filter, it.pause != 0, newSelector)
	if err != nil {
		return err
	}
	g.join(it)
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
	g := &group{name: strings.Clone(name), filter: strings.Clone(filter), paused: paused}
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
	p.groups[g.filter] = append(groups, g)
	t.picky = p
	return g, nil
}

// remove takes an item out of its group; see group.leave. The caller holds mu.
func (t *topic) remove(it *item, flush bool) {
	g := it.group
	it.group = nil
	g.leave(it, flush)
	t.count--
	t.tidy(g)
}

// tidy forgets a group that has become empty. The caller holds mu.
func (t *topic) tidy(g *group) {
	if g.size > 0 {
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
	// The new group comes first: a filter that stays is not taken out of the selector in between.
	g, err := t.group(name, filter, it.pause != 0, newSelector)
	if err != nil {
		return err
	}
	before := it.group
	before.leave(it, true)
	g.join(it)
	t.tidy(before)
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
		g.each(func(it *item) { entries = append(entries, it.entry) })
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
