package auth

import (
	"crypto/sha256"
	"sync"

	"eureka"
)

// maxCached bounds the verified tokens that are remembered.
const maxCached = 10_000

// verified is what is remembered of a token: never the token itself.
type verified struct {
	id     eureka.Identity
	key    *key
	source *source
}

// tokenCache remembers verified tokens by their digest, so that clients that all reconnect at once do not cost a signature each.
// It is two generations of maps: when the young one is full it becomes the old one, and the old one is forgotten.
type tokenCache struct {
	mu         sync.Mutex
	generation int // entries of one generation
	young, old map[[sha256.Size]byte]verified
}

func newTokenCache(limit int) *tokenCache {
	return &tokenCache{generation: limit / 2, young: make(map[[sha256.Size]byte]verified)}
}

// get returns the entry, which the caller must not change. What is used stays.
func (c *tokenCache) get(digest [sha256.Size]byte) (verified, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.young[digest]; ok {
		return v, true
	}
	v, ok := c.old[digest]
	if ok {
		delete(c.old, digest)
		c.add(digest, v)
	}
	return v, ok
}

func (c *tokenCache) put(digest [sha256.Size]byte, v verified) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.old, digest)
	c.add(digest, v)
}

func (c *tokenCache) drop(digest [sha256.Size]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.young, digest)
	delete(c.old, digest)
}

func (c *tokenCache) add(digest [sha256.Size]byte, v verified) {
	if _, ok := c.young[digest]; !ok && len(c.young) >= c.generation {
		c.young, c.old = make(map[[sha256.Size]byte]verified, c.generation), c.young
	}
	c.young[digest] = v
}
