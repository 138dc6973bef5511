package rule

import (
	"slices"

	"eureka"
)

// Set is the filters of one channel's subscribers. A message is shown to those filters alone that can pass it, as far as they say so by an equality:
// data.userId == "x", event in ["a", "b"], service == "orders", alone or in a conjunction. It is not safe for concurrent use.
type Set struct {
	rules   *Rules
	entries map[string]*entry
	indexes map[string]*index // by the key of their path
	order   []*index          // the same
	rest    []*entry          // asked about each message
}

// index is the filters that ask for certain values at one path.
type index struct {
	path    path
	filters map[value][]*entry
	count   int // entries in filters
}

// entry is one filter of a set.
type entry struct {
	filter string
	rule   *compiled // nil for one whose index says all
	index  *index    // nil when it is in rest
	values []value
}

// NewSet returns an empty set.
func (r *Rules) NewSet() *Set {
	return &Set{rules: r, entries: map[string]*entry{}, indexes: map[string]*index{}}
}

// Add puts a filter into the set, which does not have it yet. CodeInvalid when it does not compile.
func (s *Set) Add(filter string) error {
	if s.entries[filter] != nil {
		return nil
	}
	rule, err := s.rules.get(eureka.RuleSubscription, filter)
	if err != nil {
		return err
	}
	e := &entry{filter: filter}
	if rule.where == nil || !rule.where.exact {
		e.rule = rule
	}
	s.entries[filter] = e
	if rule.where == nil {
		s.rest = append(s.rest, e)
		return nil
	}
	t := s.choose(rule.where.terms)
	key := t.path.key()
	x := s.indexes[key]
	if x == nil {
		x = &index{path: t.path, filters: map[value][]*entry{}}
		s.indexes[key] = x
		s.order = append(s.order, x)
	}
	e.index, e.values = x, t.values
	for _, v := range t.values {
		x.filters[v] = append(x.filters[v], e)
	}
	x.count += len(t.values)
	return nil
}

// choose picks the term by which the set has the fewest filters until now: event == "created" && data.userId == "x" goes to the latter. Among
// equals it is a path that is there already, and then one within data.
func (s *Set) choose(terms []term) term {
	type score struct{ shared, unknown, outside int }
	of := func(t term) score {
		x := s.indexes[t.path.key()]
		c := score{unknown: 1}
		if x != nil {
			c.unknown = 0
			for _, v := range t.values {
				c.shared += len(x.filters[v])
			}
		}
		if t.path.variable != "data" {
			c.outside = 1
		}
		return c
	}
	return slices.MinFunc(terms, func(a, b term) int {
		x, y := of(a), of(b)
		return slices.Compare([]int{x.shared, x.outside, x.unknown}, []int{y.shared, y.outside, y.unknown})
	})
}

// Remove takes a filter out of the set.
func (s *Set) Remove(filter string) {
	e := s.entries[filter]
	if e == nil {
		return
	}
	delete(s.entries, filter)
	same := func(o *entry) bool { return o == e }
	x := e.index
	if x == nil {
		s.rest = slices.DeleteFunc(s.rest, same)
		return
	}
	for _, v := range e.values {
		if left := slices.DeleteFunc(x.filters[v], same); len(left) > 0 {
			x.filters[v] = left
		} else {
			delete(x.filters, v)
		}
	}
	if x.count -= len(e.values); x.count == 0 {
		delete(s.indexes, x.path.key())
		s.order = slices.DeleteFunc(s.order, func(o *index) bool { return o == x })
	}
}

// Select calls passes once for each filter that the message passes. One that fails on the message does not pass, and is reported.
func (s *Set) Select(f eureka.Facts, passes func(filter string)) {
	in := &input{subject: eureka.RuleSubject{Facts: f}}
	for _, x := range s.order {
		if v, ok := in.at(x.path); ok {
			s.ask(x.filters[v], in, passes)
		}
	}
	s.ask(s.rest, in, passes)
}

func (s *Set) ask(entries []*entry, in *input, passes func(filter string)) {
	for _, e := range entries {
		if e.rule == nil || s.rules.passes(e.rule, in) {
			passes(e.filter)
		}
	}
}
