package apigw_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"eureka"
	"eureka/internal/auth"
	"eureka/internal/edge/apigw"
)

// kept is who is behind sockets, in memory. It is a fake that counts: the engine's own is held against the port's suite.
type kept struct {
	identities map[string]eureka.Identity
	reads      int
	err        error
}

func (k *kept) Identities(_ context.Context, ids ...string) (map[string]eureka.Identity, error) {
	k.reads++
	found := map[string]eureka.Identity{}
	for _, id := range ids {
		if identity, ok := k.identities[id]; ok {
			found[id] = identity
		}
	}
	return found, k.err
}

func (k *kept) SetIdentity(_ context.Context, id string, who eureka.Identity) error {
	k.identities[id] = who
	return k.err
}

// copied is an engine's copy of keys and revocations, in memory.
type copied struct {
	keys        map[string]eureka.APIKey
	revocations []eureka.Revocation
	refreshes   int
	err         error
}

func (c *copied) Key(id string) (eureka.APIKey, bool) {
	k, ok := c.keys[id]
	return k, ok
}

func (c *copied) Revoked(id eureka.Identity) bool {
	for _, r := range c.revocations {
		if r.Covers(id) {
			return true
		}
	}
	return false
}

func (c *copied) Refresh(context.Context) error {
	c.refreshes++
	return c.err
}

// secret signs the tests' tokens.
var secret = []byte(strings.Repeat("s", 32))

// clock is a time that tests move.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func newService(t *testing.T, k *kept, c *copied, at *clock) *apigw.Service {
	t.Helper()
	tokens, err := auth.NewTokens(auth.TokenOptions{Issuers: []auth.Issuer{{Secret: secret}}, Now: at.Now})
	if err != nil {
		t.Fatal(err)
	}
	checker, err := auth.NewAuthenticator(auth.AuthenticatorOptions{Tokens: tokens, Keys: c, Now: at.Now})
	if err != nil {
		t.Fatal(err)
	}
	s, err := apigw.NewService(apigw.ServiceOptions{Checker: checker, Refresh: c.Refresh, Kept: k, Now: at.Now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestHolder: who is behind a socket, from the table or from what this function remembers, and never when the credential has ended.
func TestHolder(t *testing.T) {
	at := &clock{time.UnixMilli(1700000000000)}
	ann := eureka.Identity{User: "ann", Scopes: eureka.ScopeSubscribe, Channels: []string{"*"}, TokenID: "t1", IssuedAt: at.now.UnixMilli(), ExpiresAt: at.now.Add(time.Minute).UnixMilli()}
	k := &kept{identities: map[string]eureka.Identity{"a=": ann}}
	c := &copied{keys: map[string]eureka.APIKey{}}
	s := newService(t, k, c, at)
	expect := func(what, socket string, want eureka.Code, reads int) {
		t.Helper()
		before := k.reads
		id, err := s.Holder(t.Context(), socket)
		if eureka.CodeOf(err) != want || k.reads-before != reads {
			t.Errorf("%s: %v with %d reads, want %q with %d", what, err, k.reads-before, want, reads)
		}
		if err != nil && id.Scopes != 0 {
			t.Errorf("%s: an identity with an error: %+v", what, id)
		}
	}
	expect("first", "a=", "", 1)
	expect("remembered", "a=", "", 0)
	expect("another socket", "b=", eureka.CodeGone, 1)
	at.now = at.now.Add(15 * time.Second)
	expect("no longer remembered", "a=", "", 1)
	c.revocations = []eureka.Revocation{{TokenID: "t1"}}
	expect("revoked", "a=", eureka.CodeUnauthenticated, 1)
	c.revocations = nil
	at.now = at.now.Add(45 * time.Second)
	expect("expired", "a=", eureka.CodeUnauthenticated, 1)
	fresh := ann
	fresh.ExpiresAt, fresh.TokenID = at.now.Add(time.Hour).UnixMilli(), "t2"
	k.identities["a="] = fresh // by another function
	expect("refreshed elsewhere", "a=", "", 1)
	fresh.KeyID = "abcdefghijkl"
	s.Changed("a=", fresh)
	expect("a key that is gone", "a=", "", 1) // the table has the older one
	k.identities["a="] = fresh
	s.Changed("a=", fresh)
	expect("a key that is gone, in the table too", "a=", eureka.CodeUnauthenticated, 1)
	c.keys[fresh.KeyID] = eureka.APIKey{}
	expect("a key that is there", "a=", "", 0)
	k.err = eureka.Errorf(eureka.CodeUnavailable, "the store does not answer")
	expect("remembered while the store is down", "a=", "", 0)
	at.now = at.now.Add(time.Minute)
	expect("the store is down", "a=", eureka.CodeUnavailable, 1)
	k.err, c.err = nil, eureka.Errorf(eureka.CodeUnavailable, "the store does not answer")
	expect("nobody knows what is revoked", "a=", eureka.CodeUnavailable, 0)
	for address, want := range map[string]eureka.Code{
		"/":               eureka.CodeUnauthenticated, // whoever brings no credential needs nobody to know it
		"/?access_token=": eureka.CodeUnauthenticated, "/?access_token=x": eureka.CodeUnavailable,
	} {
		if _, err := s.Handshake(httptest.NewRequest(http.MethodGet, address, nil)); eureka.CodeOf(err) != want {
			t.Errorf("%s while the store is down: %v, want %s", address, err, want)
		}
	}
}

// TestEnded: of many sockets, those whose credential has ended, with one read.
func TestEnded(t *testing.T) {
	at := &clock{time.UnixMilli(1700000000000)}
	live := eureka.Identity{User: "ann", Scopes: eureka.ScopeSubscribe}
	expired, revoked := live, live
	expired.ExpiresAt, revoked.User = at.now.UnixMilli(), "bob"
	k := &kept{identities: map[string]eureka.Identity{"a=": live, "b=": expired, "c=": revoked}}
	s := newService(t, k, &copied{revocations: []eureka.Revocation{{User: "bob", At: at.now.UnixMilli()}}}, at)
	ended, err := s.Ended(t.Context(), "a=", "b=", "c=", "gone=")
	if err != nil || len(ended) != 2 || eureka.MessageOf(ended["b="]) != "the credential has expired" || eureka.MessageOf(ended["c="]) != "the credential was revoked" || k.reads != 1 {
		t.Errorf("%v, %v, %d reads", ended, err, k.reads)
	}
}

func TestShortUser(t *testing.T) {
	long := strings.Repeat("r", 200)
	for arn, want := range map[string]string{
		"arn:aws:iam::123456789012:user/ann":                          "user/ann",
		"arn:aws:sts::123456789012:assumed-role/admin/a:b":            "assumed-role/admin/a:b",
		"arn:aws:sts::123456789012:assumed-role/" + long + "/session": (long + "/session")[len(long)+8-eureka.MaxUserLength:],
		"something else": "something else",
	} {
		h, err := apigw.NewHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, err := apigw.IAM{}.Handshake(r)
			if err != nil || eureka.CheckUser(id.User) != nil {
				t.Errorf("%s: %v", arn, err)
			}
			_, _ = w.Write([]byte(id.User))
		}))
		if err != nil {
			t.Fatal(err)
		}
		answer := invoke[struct{ Body string }](t, h, map[string]any{
			"rawPath": "/", "requestContext": map[string]any{"http": map[string]any{"method": "GET"}, "authorizer": map[string]any{"iam": map[string]any{"userArn": arn}}},
		})
		if answer.Body != want {
			t.Errorf("%s: %q, want %q", arn, answer.Body, want)
		}
	}
}
