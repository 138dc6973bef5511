package auth

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"eureka"
)

func TestTokenCacheIsBounded(t *testing.T) {
	c := newTokenCache(100)
	digest := func(n uint64) (d [sha256.Size]byte) {
		binary.BigEndian.PutUint64(d[:], n)
		return d
	}
	for n := range uint64(1000) {
		c.put(digest(n), verified{id: eureka.Identity{ExpiresAt: int64(n)}})
		c.put(digest(n), verified{id: eureka.Identity{ExpiresAt: int64(n)}})
		if v, ok := c.get(digest(n)); !ok || v.id.ExpiresAt != int64(n) {
			t.Fatalf("%d: %v, %v", n, v, ok)
		}
		if _, ok := c.get(digest(0)); !ok {
			t.Fatalf("%d: what is used was forgotten", n)
		}
		if size := len(c.young) + len(c.old); size > 100 {
			t.Fatalf("%d entries", size)
		}
	}
	c.drop(digest(999))
	if _, ok := c.get(digest(999)); ok {
		t.Error("dropped entry is there")
	}
	if _, ok := c.get(digest(1)); ok {
		t.Error("old entry is there")
	}
}

// Forget empties the cache of verified tokens, for benchmarks.
func Forget(t *Tokens) {
	t.cache.mu.Lock()
	defer t.cache.mu.Unlock()
	clear(t.cache.young)
	clear(t.cache.old)
}

func FuzzParseKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","use":"sig"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","x5c":["AA=="],"x5u":"https://evil.example.com"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, _, err := parseKeySet(body)
		if (err == nil) != (len(keys) > 0) || len(keys) > maxKeys {
			t.Fatalf("%d keys, error %v", len(keys), err)
		}
		for name, k := range keys {
			if name.algorithm != k.algorithm || k.algorithm == algHS256 || k.verifies("a.b", []byte("c")) {
				t.Fatalf("key %v of %v", name, k.algorithm)
			}
		}
	})
}
