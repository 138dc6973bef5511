package porttest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"eureka"
)

// CredentialsNode is one node's or function's view of a store of credentials.
type CredentialsNode struct {
	eureka.Credentials
	// Key and Revoked are what the node checks credentials with, as auth.Keys. They may show a change of another node a moment later; the suite waits.
	Key     func(id string) (eureka.APIKey, bool)
	Revoked func(id eureka.Identity) bool
}

// CredentialsHarness is one fresh store of credentials as a suite sees it.
type CredentialsHarness struct {
	Nodes []CredentialsNode // at least one
}

// Credentials is the conformance suite of eureka.Credentials, and of what is checked with them.
func Credentials(t *testing.T, newHarness func(t *testing.T) CredentialsHarness) {
	t.Helper()
	tests := []struct {
		name string
		run  func(t *testing.T, h CredentialsHarness)
	}{
		{"Keys", credentialsKeys},
		{"KeyTwice", credentialsKeyTwice},
		{"DeletedKey", credentialsDeletedKey},
		{"Revocations", credentialsRevocations},
		{"RevokedOnAllNodes", credentialsRevoked},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t)
			if len(h.Nodes) == 0 {
				t.Fatal("the harness has no node")
			}
			tt.run(t, h)
		})
	}
}

func apiKey(id string, createdAt int64) eureka.APIKey {
	return eureka.APIKey{
		ID: id, Name: "key " + id, Hash: []byte(strings.Repeat("\x00\xff", 16)), Scopes: eureka.ScopePublish, Channels: []string{"*"}, CreatedAt: createdAt,
	}
}

func addKey(t *testing.T, n CredentialsNode, k eureka.APIKey) {
	t.Helper()
	if err := n.AddKey(t.Context(), k); err != nil {
		t.Fatalf("AddKey(%s): %v", k.ID, err)
	}
}

func wantKeys(t *testing.T, h CredentialsHarness, want ...eureka.APIKey) {
	t.Helper()
	for i, n := range h.Nodes {
		var diff string
		eventually(t, fmt.Sprintf("node %d lists %d keys", i, len(want)), func() bool {
			got, err := n.Keys(t.Context())
			if err != nil {
				t.Fatalf("Keys: %v", err)
			}
			diff = cmp.Diff(append([]eureka.APIKey{}, want...), got)
			return len(got) == len(want)
		})
		if diff != "" {
			t.Errorf("node %d (-want +got):\n%s", i, diff)
		}
	}
}

func credentialsKeys(t *testing.T, h CredentialsHarness) {
	wantKeys(t, h)
	full := apiKey("fullfullfull", firstTime)
	full.User, full.Channels, full.ExpiresAt = "한글 user", []string{"orders:*", "a", "b"}, firstTime+5
	full.Scopes = eureka.ScopeAll
	young, twin := apiKey("youngeryoung", firstTime+1), apiKey("abcdefghijkl", firstTime+1)
	for i, k := range []eureka.APIKey{young, full, twin} {
		addKey(t, h.Nodes[i%len(h.Nodes)], k)
		got, ok := h.Nodes[i%len(h.Nodes)].Key(k.ID)
		if diff := cmp.Diff(k, got); !ok || diff != "" {
			t.Errorf("whoever added the key cannot use it at once: %t\n%s", ok, diff)
		}
	}
	wantKeys(t, h, full, twin, young)
	for i, n := range h.Nodes {
		eventually(t, fmt.Sprintf("node %d takes the key", i), func() bool {
			got, ok := n.Key(full.ID)
			return ok && cmp.Equal(full, got)
		})
		if _, ok := n.Key("nobodynobody"); ok {
			t.Error("there is a key that nobody added")
		}
	}
}

func credentialsKeyTwice(t *testing.T, h CredentialsHarness) {
	var added atomic.Int64
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() {
			k := apiKey("samesamesame", firstTime)
			k.Name = fmt.Sprint(i)
			switch err := h.Nodes[i%len(h.Nodes)].AddKey(t.Context(), k); eureka.CodeOf(err) {
			case "":
				added.Add(1)
			case eureka.CodeConflict:
			default:
				t.Errorf("AddKey: %v", err)
			}
		})
	}
	all.Wait()
	if added.Load() != 1 {
		t.Errorf("%d callers added a key with the same id", added.Load())
	}
}

func credentialsDeletedKey(t *testing.T, h CredentialsHarness) {
	k := apiKey("abcdefghijkl", firstTime)
	addKey(t, h.Nodes[0], k)
	for i, n := range h.Nodes {
		eventually(t, fmt.Sprintf("node %d takes the key", i), func() bool {
			_, ok := n.Key(k.ID)
			return ok
		})
	}
	last := h.Nodes[len(h.Nodes)-1]
	if err := last.DeleteKey(t.Context(), k.ID); err != nil {
		t.Fatalf("DeleteKey: %v", err)
	}
	for i, n := range h.Nodes {
		eventually(t, fmt.Sprintf("node %d refuses the key", i), func() bool {
			_, ok := n.Key(k.ID)
			return !ok
		})
		wantCode(t, "DeleteKey again", n.DeleteKey(t.Context(), k.ID), eureka.CodeNotFound)
		wantCode(t, "DeleteKey of none", n.DeleteKey(t.Context(), strings.Repeat("k", 2000)), eureka.CodeNotFound)
	}
	wantKeys(t, h)
	addKey(t, last, k) // its id is free
	wantKeys(t, h, k)
}

func credentialsRevocations(t *testing.T, h CredentialsHarness) {
	revocations := []eureka.Revocation{
		{User: "u", At: firstTime + 3}, {TokenID: "한글/token #1", At: firstTime + 2}, {User: "token", At: firstTime + 1}, {TokenID: "token", At: firstTime},
	}
	for i := range revocations {
		r := revocations[len(revocations)-1-i]
		if err := h.Nodes[i%len(h.Nodes)].Revoke(t.Context(), r); err != nil {
			t.Fatalf("Revoke(%+v): %v", r, err)
		}
	}
	want := func() {
		t.Helper()
		for i, n := range h.Nodes {
			eventually(t, fmt.Sprintf("node %d lists the revocations", i), func() bool {
				got, err := n.Revocations(t.Context())
				if err != nil {
					t.Fatalf("Revocations: %v", err)
				}
				return cmp.Equal(revocations, got)
			})
		}
	}
	want()
	revocations[0].At += 10 // again, for later
	if err := h.Nodes[0].Revoke(t.Context(), revocations[0]); err != nil {
		t.Fatalf("Revoke: %v", err)
	}
	want()
}

func credentialsRevoked(t *testing.T, h CredentialsHarness) {
	ids := map[string]eureka.Identity{
		"its token":           {User: "other", TokenID: "t1", IssuedAt: firstTime + 100},
		"issued before":       {User: "u", TokenID: "t2", IssuedAt: firstTime},
		"not said when":       {User: "u"},
		"a key from before":   {User: "u", KeyID: "k", IssuedAt: firstTime - 1},
		"issued later":        {User: "u", TokenID: "t3", IssuedAt: firstTime + 1},
		"another user":        {User: "v", TokenID: "t4", IssuedAt: firstTime},
		"nobody":              {IssuedAt: firstTime},
		"a token named u":     {TokenID: "u", IssuedAt: firstTime},
		"a user named t1":     {User: "t1", IssuedAt: firstTime},
		"the token, in upper": {TokenID: "T1", IssuedAt: firstTime},
	}
	covered := []string{"its token", "issued before", "not said when", "a key from before"}
	for i, n := range h.Nodes {
		for name, id := range ids {
			eventually(t, fmt.Sprintf("node %d does not know of %s", i, name), func() bool { return !n.Revoked(id) })
		}
	}
	for i, r := range []eureka.Revocation{{TokenID: "t1", At: firstTime}, {User: "u", At: firstTime}} {
		if err := h.Nodes[i%len(h.Nodes)].Revoke(t.Context(), r); err != nil {
			t.Fatalf("Revoke(%+v): %v", r, err)
		}
	}
	for i, n := range h.Nodes {
		for _, name := range covered {
			eventually(t, fmt.Sprintf("node %d refuses: %s", i, name), func() bool { return n.Revoked(ids[name]) })
		}
		for name, id := range ids {
			if want := slices.Contains(covered, name); n.Revoked(id) != want {
				t.Errorf("node %d: %s is revoked: %t, want %t", i, name, !want, want)
			}
		}
	}
}
