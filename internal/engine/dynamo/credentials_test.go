package dynamo

import (
	"context"
	"errors"
	"testing"
	"time"

	"eureka"
	"eureka/internal/auth"
	"eureka/internal/awslocal"
	"eureka/internal/porttest"
)

var _ auth.Keys = (*Keys)(nil)

func TestCredentials(t *testing.T) {
	at := endpoint(t)
	porttest.Credentials(t, func(t *testing.T) porttest.CredentialsHarness {
		t.Parallel()
		name := newTestTable(t)
		var h porttest.CredentialsHarness
		for range 2 {
			clock := newTestClock()
			e := testEngine(t, at, name, clock.option)
			refresh := func() {
				if err := e.Keys().Refresh(t.Context()); err != nil {
					t.Errorf("Refresh: %v", err)
				}
				clock.advance(time.Second) // a moment between two requests
			}
			h.Nodes = append(h.Nodes, porttest.CredentialsNode{
				Credentials: e.Credentials(),
				Key:         func(id string) (eureka.APIKey, bool) { refresh(); return e.Keys().Key(id) },
				Revoked:     func(id eureka.Identity) bool { refresh(); return e.Keys().Revoked(id) },
			})
		}
		return h
	})
}

func testKey(id string) eureka.APIKey {
	return eureka.APIKey{ID: id, Name: id, Hash: []byte("hash"), Scopes: eureka.ScopeAll, Channels: []string{"*"}, CreatedAt: 1}
}

// TestKeysCopy: one query in ten seconds; what it found is good for a minute without DynamoDB, and for no longer.
func TestKeysCopy(t *testing.T) {
	t.Parallel()
	proxy, clock := proxied(t, 1), newTestClock()
	name := newTestTable(t)
	other := testEngine(t, endpoint(t), name, nil).Credentials()
	keys := testEngine(t, proxy.Endpoint, name, clock.option).Keys()
	if _, ok := keys.Key("a"); ok || !keys.Revoked(eureka.Identity{User: "u"}) {
		t.Error("without a copy there is a key, or somebody may pass")
	}
	add := func(id string) {
		t.Helper()
		if err := other.AddKey(t.Context(), testKey(id)); err != nil {
			t.Fatal(err)
		}
	}
	knows := func(id string, want bool) {
		t.Helper()
		if _, ok := keys.Key(id); ok != want {
			t.Errorf("key %s: %t, want %t", id, ok, want)
		}
	}
	refresh := func(queries int) {
		t.Helper()
		proxy.Reset()
		if err := keys.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := proxy.Usage(); got.Total() != queries || got.Calls["Query"] != queries {
			t.Errorf("%v requests, want %d", got.Calls, queries)
		}
	}
	add("a")
	refresh(1)
	knows("a", true)
	add("b")
	clock.advance(9 * time.Second)
	refresh(0)
	knows("b", false)
	clock.advance(time.Second)
	refresh(1)
	knows("b", true)

	proxy.CrashAfter(0)
	clock.advance(59 * time.Second)
	if err := keys.Refresh(t.Context()); err != nil {
		t.Errorf("a copy of 59 seconds does not serve while DynamoDB is away: %v", err)
	}
	knows("b", true)
	if keys.Revoked(eureka.Identity{User: "u"}) {
		t.Error("it refuses everybody")
	}
	clock.advance(time.Second)
	if err := keys.Refresh(t.Context()); err == nil {
		t.Error("a copy of a minute is believed")
	}
	knows("b", false)
	if !keys.Revoked(eureka.Identity{User: "u"}) {
		t.Error("without a copy somebody may pass")
	}
	proxy.CrashAfter(-1)
	refresh(1)
	knows("b", true)
}

// TestKeysRefreshUnanswered: a request does not wait for DynamoDB while there is a copy, and no longer than it wants to without one.
func TestKeysRefreshUnanswered(t *testing.T) {
	t.Parallel()
	proxy, clock := proxied(t, 1), newTestClock()
	keys := testEngine(t, proxy.Endpoint, newTestTable(t), clock.option).Keys()
	if err := keys.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	proxy.Set(awslocal.Faults{Latency: time.Hour})
	clock.advance(20 * time.Second)
	if err := keys.Refresh(t.Context()); err != nil {
		t.Error(err)
	}
	clock.advance(time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := keys.Refresh(ctx); eureka.CodeOf(err) != eureka.CodeUnavailable || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestTooManyKeys(t *testing.T) {
	t.Parallel()
	e := testEngine(t, endpoint(t), newTestTable(t), nil)
	c := e.Credentials()
	if err := c.AddKey(t.Context(), testKey("a")); err != nil {
		t.Fatal(err)
	}
	it := apiKeyCount.item()
	it["n"] = number(eureka.MaxKeys)
	if err := e.table.put(t.Context(), it, condition{}); err != nil {
		t.Fatal(err)
	}
	if err := c.AddKey(t.Context(), testKey("b")); eureka.CodeOf(err) != eureka.CodeConflict {
		t.Errorf("one key more than there may be: %v", err)
	}
	if err := c.DeleteKey(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := c.AddKey(t.Context(), testKey("b")); err != nil {
		t.Errorf("after one was deleted: %v", err)
	}
}

// TestRevocationsEnd: they are kept for a year, and an earlier one does not replace a later one.
func TestRevocationsEnd(t *testing.T) {
	t.Parallel()
	clock := newTestClock()
	c := testEngine(t, endpoint(t), newTestTable(t), clock.option).Credentials()
	for _, at := range []int64{20, 10} {
		if err := c.Revoke(t.Context(), eureka.Revocation{User: "u", At: at}); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := c.Revocations(t.Context()); err != nil || len(all) != 1 || all[0].At != 20 {
		t.Errorf("%+v, %v", all, err)
	}
	clock.advance(365 * 24 * time.Hour)
	if all, err := c.Revocations(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("after a year: %+v, %v", all, err)
	}
	clock.advance(2 * 24 * time.Hour)
	if all, err := c.Revocations(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("after more than a year: %+v, %v", all, err)
	}
}
