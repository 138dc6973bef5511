package porttest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"eureka"
)

// CredentialsNode is one node of the service under test.
type CredentialsNode struct {
	Credentials eureka.Credentials
	Key         func(id string) (eureka.APIKey, bool) // as the node checks a key
	Revoked     func(eureka.Identity) bool            // as it checks an identity
	Taken       func() int                            // how often it was told that something was taken back; nil: it is told of nothing
}

// taken is Taken, and for a node that is told of nothing one more at each call, since it has to look each time.
func (n CredentialsNode) taken(calls *int) int {
	if n.Taken == nil {
		*calls++
		return *calls
	}
	return n.Taken()
}

// CredentialsHarness is a fresh service with its nodes.
type CredentialsHarness struct{ Nodes []CredentialsNode }

// Credentials is the conformance suite of eureka.Credentials and of what a node knows of them.
func Credentials(t *testing.T, newHarness func(t *testing.T) CredentialsHarness) {
	t.Helper()
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, h CredentialsHarness)
	}{
		{"Keys", credentialsKeys},
		{"RemovedKeys", credentialsRemoved},
		{"RevokedToken", credentialsToken},
		{"RevokedUser", credentialsUser},
		{"Names", credentialsNames},
		{"AtTheSameTime", credentialsConcurrent},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, newHarness(t)) })
	}
}

func testKey(n int) eureka.APIKey {
	return eureka.APIKey{
		ID: fmt.Sprintf("key%09d", n), Name: fmt.Sprintf("key %d", n), Hash: bytes.Repeat([]byte{byte(n)}, 32), User: "ann",
		Scopes: eureka.ScopePublish | eureka.ScopeManage, Channels: []string{"order:*", "news"}, CreatedAt: int64(1000 + n), ExpiresAt: 9_000_000_000_000,
	}
}

// everywhere waits until something holds on every node.
func (h CredentialsHarness) everywhere(t *testing.T, what string, holds func(n CredentialsNode) bool) {
	t.Helper()
	for i, n := range h.Nodes {
		eventually(t, fmt.Sprintf("node %d: %s", i, what), func() bool { return holds(n) })
	}
}

func (h CredentialsHarness) last() CredentialsNode { return h.Nodes[len(h.Nodes)-1] }

func credentialsKeys(t *testing.T, h CredentialsHarness) {
	want := []eureka.APIKey{testKey(3), testKey(1), testKey(2)}
	want[0].CreatedAt = 1 // the oldest, whatever its id is
	for i, k := range []eureka.APIKey{want[2], want[0], want[1]} {
		n := h.Nodes[i%len(h.Nodes)]
		if err := n.Credentials.AddKey(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		if got, ok := n.Key(k.ID); !ok || cmp.Diff(k, got) != "" {
			t.Errorf("its creator does not know it at once: %+v, %v", got, ok)
		}
	}
	h.everywhere(t, "knows the keys, oldest first", func(n CredentialsNode) bool {
		got, err := n.Credentials.Keys(t.Context())
		return err == nil && cmp.Equal(want, got)
	})
	for _, n := range h.Nodes {
		if err := n.Credentials.AddKey(t.Context(), want[0]); eureka.CodeOf(err) != eureka.CodeConflict {
			t.Errorf("the same id again: %v", err)
		}
		if _, ok := n.Key("key999999999"); ok {
			t.Error("a key that nobody made")
		}
	}
}

func credentialsRemoved(t *testing.T, h CredentialsHarness) {
	first := h.Nodes[0]
	for i := range 20 {
		k := testKey(i)
		if err := first.Credentials.AddKey(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		// At once, while the news of its creation may still be on the way.
		if err := first.Credentials.DeleteKey(t.Context(), k.ID); err != nil {
			t.Fatal(err)
		}
		if _, ok := first.Key(k.ID); ok {
			t.Fatal("a removed key is taken")
		}
	}
	k := testKey(100)
	if err := first.Credentials.AddKey(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	h.everywhere(t, "knows the key", func(n CredentialsNode) bool { _, ok := n.Key(k.ID); return ok })
	calls, told := 0, make([]int, len(h.Nodes))
	for i, n := range h.Nodes {
		told[i] = n.taken(&calls)
	}
	if err := h.last().Credentials.DeleteKey(t.Context(), k.ID); err != nil {
		t.Fatal(err)
	}
	for i, n := range h.Nodes {
		eventually(t, "the key is gone and its node was told", func() bool {
			_, ok := n.Key(k.ID)
			list, err := n.Credentials.Keys(t.Context())
			return !ok && err == nil && len(list) == 0 && n.taken(&calls) > told[i]
		})
	}
	for _, id := range []string{k.ID, "key999999999"} {
		if err := first.Credentials.DeleteKey(t.Context(), id); eureka.CodeOf(err) != eureka.CodeNotFound {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func credentialsToken(t *testing.T, h CredentialsHarness) {
	calls, r := 0, eureka.Revocation{TokenID: "t1", At: 5000}
	if err := h.Nodes[0].Credentials.Revoke(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if !h.Nodes[0].Revoked(eureka.Identity{TokenID: "t1"}) {
		t.Error("it does not hold at once where it was made")
	}
	h.everywhere(t, "the token is revoked, whenever it was issued", func(n CredentialsNode) bool {
		return n.taken(&calls) > 0 && n.Revoked(eureka.Identity{TokenID: "t1", User: "ann", IssuedAt: 9000}) && n.Revoked(eureka.Identity{TokenID: "t1"})
	})
	for _, n := range h.Nodes {
		for _, id := range []eureka.Identity{{}, {TokenID: "t2"}, {TokenID: "T1"}, {User: "t1"}, {KeyID: "t1"}} {
			if n.Revoked(id) {
				t.Errorf("%+v is revoked too", id)
			}
		}
		if list, err := n.Credentials.Revocations(t.Context()); err != nil || len(list) != 1 || list[0] != r {
			t.Errorf("listed %+v, %v", list, err)
		}
	}
}

func credentialsUser(t *testing.T, h CredentialsHarness) {
	for _, r := range []eureka.Revocation{{User: "ann", At: 5000}, {User: "bob", At: 6000}} {
		if err := h.last().Credentials.Revoke(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	before := []eureka.Identity{{User: "ann", IssuedAt: 4999}, {User: "ann", IssuedAt: 5000}, {User: "ann"}, {User: "ann", KeyID: "k", IssuedAt: 1}}
	after := []eureka.Identity{{User: "ann", IssuedAt: 5001}, {User: "Ann"}, {User: "an"}, {User: ""}, {TokenID: "ann"}}
	h.everywhere(t, "what the user was given before is revoked", func(n CredentialsNode) bool {
		for _, id := range before {
			if !n.Revoked(id) {
				return false
			}
		}
		return n.Revoked(eureka.Identity{User: "bob"})
	})
	for _, n := range h.Nodes {
		for _, id := range after {
			if n.Revoked(id) {
				t.Errorf("%+v is revoked too", id)
			}
		}
	}
	// The later one of two holds, in whatever order they come.
	for _, at := range []int64{8000, 7000} {
		if err := h.Nodes[0].Credentials.Revoke(t.Context(), eureka.Revocation{User: "ann", At: at}); err != nil {
			t.Fatal(err)
		}
	}
	h.everywhere(t, "the later revocation holds", func(n CredentialsNode) bool {
		return n.Revoked(eureka.Identity{User: "ann", IssuedAt: 8000}) && !n.Revoked(eureka.Identity{User: "ann", IssuedAt: 8001})
	})
	h.everywhere(t, "newest first", func(n CredentialsNode) bool {
		list, err := n.Credentials.Revocations(t.Context())
		return err == nil && len(list) == 2 && list[0] == eureka.Revocation{User: "ann", At: 8000} && list[1].User == "bob"
	})
}

// credentialsNames: any text may be a user or the id of a token.
func credentialsNames(t *testing.T, h CredentialsHarness) {
	names := []string{
		"a.b", "a b", "*", ">", "ann@example.com", "주문", "=41", "a/b", "A", "a", `"`, "$KV.x", strings.Repeat("x", 128), strings.Repeat("é", 64), ".", "..",
	}
	for i, name := range names {
		for _, r := range []eureka.Revocation{{User: name, At: int64(i)}, {TokenID: name, At: int64(i)}} {
			if err := h.Nodes[0].Credentials.Revoke(t.Context(), r); err != nil {
				t.Fatalf("%q: %v", name, err)
			}
		}
	}
	h.everywhere(t, "each name stands for itself", func(n CredentialsNode) bool {
		list, err := n.Credentials.Revocations(t.Context())
		if err != nil || len(list) != 2*len(names) {
			return false
		}
		for i, name := range names {
			if !n.Revoked(eureka.Identity{TokenID: name}) || !n.Revoked(eureka.Identity{User: name, IssuedAt: int64(i)}) || n.Revoked(eureka.Identity{User: name, IssuedAt: int64(i + 1)}) {
				return false
			}
		}
		return true
	})
}

func credentialsConcurrent(t *testing.T, h CredentialsHarness) {
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			c := h.Nodes[w%len(h.Nodes)].Credentials
			for i := range 15 {
				k := testKey(w*100 + i)
				if err := c.AddKey(t.Context(), k); err != nil {
					t.Error(err)
				}
				if i%3 == 0 {
					if err := c.DeleteKey(t.Context(), k.ID); err != nil {
						t.Error(err)
					}
				}
				if err := c.Revoke(t.Context(), eureka.Revocation{User: "ann", At: int64(w*100 + i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	h.everywhere(t, "every node comes to the same", func(n CredentialsNode) bool {
		list, err := n.Credentials.Keys(t.Context())
		return err == nil && len(list) == 40 && n.Revoked(eureka.Identity{User: "ann", IssuedAt: 314})
	})
}
