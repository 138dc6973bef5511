package rule

import (
	"container/list"
	"sync"

	"eureka"
)

// cache keeps the rules that were used last, by kind and text. It is safe for concurrent use.
type cache struct {
	mu      sync.Mutex
	size    int
	byRule  map[ruleKey]*list.Element
	recency list.List // of *cached, the last used first
}

type ruleKey struct {
	kind eureka.RuleKind
	text string
}

// cached is a rule that is compiled by whoever asks for it first; others wait.
type cached struct {
	key  ruleKey
	once sync.Once
	rule *compiled
	err  error
}

func newCache(size int) *cache { return &cache{size: size, byRule: map[ruleKey]*list.Element{}} }

// get returns a rule, compiled. A rule that does not compile is not kept.
func (c *cache) get(kind eureka.RuleKind, text string, compile func() (*compiled, error)) (*compiled, error) {
	key := ruleKey{kind, text}
	c.mu.Lock()
	element := c.byRule[key]
	if element != nil {
		c.recency.MoveToFront(element)
	} else {
		element = c.recency.PushFront(&cached{key: key})
		c.byRule[key] = element
		if c.recency.Len() > c.size {
			c.drop(c.recency.Back())
		}
	}
	entry, _ := element.Value.(*cached)
	c.mu.Unlock()
	entry.once.Do(func() { entry.rule, entry.err = compile() })
	if entry.err != nil {
		c.mu.Lock()
		if c.byRule[key] == element {
			c.drop(element)
		}
		c.mu.Unlock()
	}
	return entry.rule, entry.err
}

// drop forgets an element. The caller holds mu.
func (c *cache) drop(element *list.Element) {
	entry, _ := c.recency.Remove(element).(*cached)
	delete(c.byRule, entry.key)
}
