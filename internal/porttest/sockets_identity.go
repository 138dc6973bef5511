package porttest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"eureka"
)

// identity has every field that an identity can have.
func identity() eureka.Identity {
	return eureka.Identity{
		User: "안나 é", Scopes: eureka.ScopeSubscribe | eureka.ScopePublish, Channels: []string{"room", "orders:*"},
		ExpiresAt: firstTime + 5, TokenID: "token 7", KeyID: "abcdefghijkl", IssuedAt: firstTime - 1,
	}
}

// socketsIdentities: who is behind a socket is kept for its edge alone, by engines that keep it at all.
func socketsIdentities(t *testing.T, h SocketsHarness) {
	n := h.Nodes[0]
	s := n.add(t, eureka.Socket{User: identity().User, ConnectedAt: firstTime, Identity: identity()})
	for i, other := range h.Nodes {
		for _, found := range other.list(t, eureka.SocketQuery{}).Items {
			if diff := cmp.Diff(eureka.Identity{}, found.Identity); diff != "" {
				t.Errorf("node %d lists an identity:\n%s", i, diff)
			}
		}
	}
	if keeper, keeps := n.Sockets.(eureka.SocketIdentities); keeps {
		socketsKeepIdentities(t, n, keeper, s.ID)
	}
	removed, err := n.Sockets.Remove(t.Context(), s.ID)
	if diff := cmp.Diff(eureka.Identity{}, removed.Identity); err != nil || diff != "" {
		t.Errorf("removed with %v and an identity:\n%s", err, diff)
	}
}

func socketsKeepIdentities(t *testing.T, n SocketsNode, keeper eureka.SocketIdentities, id string) {
	t.Helper()
	bare := n.add(t, eureka.Socket{ConnectedAt: firstTime})
	expired := n.add(t, eureka.Socket{ConnectedAt: firstTime, ExpiresAt: firstTime + 1, Identity: identity()})
	unknown := n.NewID()
	want := map[string]eureka.Identity{id: identity(), bare.ID: {}}
	check := func(when string) {
		t.Helper()
		got, err := keeper.Identities(t.Context(), id, bare.ID, id, unknown, expired.ID)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", when, err, diff)
		}
	}
	check("as added")
	fresh := eureka.Identity{User: identity().User, Scopes: eureka.ScopeManage, ExpiresAt: time.Now().UnixMilli()}
	if err := keeper.SetIdentity(t.Context(), id, fresh); err != nil {
		t.Fatal(err)
	}
	want[id] = fresh
	check("replaced")
	wantCode(t, "of an unknown socket", keeper.SetIdentity(t.Context(), unknown, fresh), eureka.CodeNotFound)
	if _, err := n.Sockets.Remove(t.Context(), bare.ID); err != nil {
		t.Fatal(err)
	}
	delete(want, bare.ID)
	check("ended")
	wantCode(t, "of an ended socket", keeper.SetIdentity(t.Context(), bare.ID, fresh), eureka.CodeNotFound)
	check("ended, and set nevertheless")
	if got, err := keeper.Identities(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("of no socket: %v, %v", got, err)
	}
}
