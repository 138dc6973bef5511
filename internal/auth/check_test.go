package auth_test

import (
	"testing"
	"time"

	"eureka"
	"eureka/internal/auth"
)

// kept is credentials in memory, as an engine's copy has them.
type kept struct {
	keys        map[string]eureka.APIKey
	revocations []eureka.Revocation
}

func (k *kept) Key(id string) (eureka.APIKey, bool) {
	key, ok := k.keys[id]
	return key, ok
}

func (k *kept) Revoked(id eureka.Identity) bool {
	for _, r := range k.revocations {
		if r.Covers(id) {
			return true
		}
	}
	return false
}

func TestCheck(t *testing.T) {
	now := time.UnixMilli(1700000000000)
	key, credential := auth.NewKey(eureka.APIKey{Name: "k", User: "svc", Scopes: eureka.ScopePublish, Channels: []string{"*"}, CreatedAt: now.UnixMilli() - 10})
	store := &kept{keys: map[string]eureka.APIKey{key.ID: key}}
	a, err := auth.NewAuthenticator(auth.AuthenticatorOptions{Keys: store, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	id, err := a.Verify(t.Context(), credential)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(id *eureka.Identity, k *kept)
		want   eureka.Code
	}{
		{"nothing changed", func(*eureka.Identity, *kept) {}, ""},
		{"expired", func(id *eureka.Identity, _ *kept) { id.ExpiresAt = now.UnixMilli() }, eureka.CodeUnauthenticated},
		{"expires next", func(id *eureka.Identity, _ *kept) { id.ExpiresAt = now.UnixMilli() + 1 }, ""},
		{"key deleted", func(_ *eureka.Identity, k *kept) { k.keys = nil }, eureka.CodeUnauthenticated},
		{"no key, none deleted", func(id *eureka.Identity, k *kept) { id.KeyID, k.keys = "", nil }, ""},
		{"user revoked", func(_ *eureka.Identity, k *kept) {
			k.revocations = []eureka.Revocation{{User: "svc", At: now.UnixMilli()}}
		}, eureka.CodeUnauthenticated},
		{"user revoked before", func(_ *eureka.Identity, k *kept) {
			k.revocations = []eureka.Revocation{{User: "svc", At: now.UnixMilli() - 11}}
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checked, mine := id, *store
			tt.change(&checked, &mine)
			a, err := auth.NewAuthenticator(auth.AuthenticatorOptions{Keys: &mine, Now: func() time.Time { return now }})
			if err != nil {
				t.Fatal(err)
			}
			if got := eureka.CodeOf(a.Check(checked)); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
