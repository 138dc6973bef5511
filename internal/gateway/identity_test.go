package gateway

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"eureka"
)

// TestRevokedMeanwhile: a credential that is taken back while nobody can find its socket by it does not keep the socket.
func TestRevokedMeanwhile(t *testing.T) { both(t, testRevokedMeanwhile) }

func testRevokedMeanwhile(t *testing.T, how Sockets) {
	for name, run := range map[string]func(w *world) (code eureka.CloseCode, last string){
		"during the handshake": func(w *world) (eureka.CloseCode, string) {
			w.who = func(*http.Request) (eureka.Identity, error) { return eureka.Identity{TokenID: "revoked"}, nil }
			return w.closed(w.dial(""))
		},
		"during a refresh": func(w *world) (eureka.CloseCode, string) {
			c := w.dial("")
			w.write(c, "become good")
			if got := w.read(c); got != "refreshed" {
				t.Errorf("got %s", got)
			}
			w.write(c, "become revoked")
			return w.closed(c)
		},
		"by a look at all": func(w *world) (eureka.CloseCode, string) {
			c, other := w.dial(""), w.dial("")
			w.write(c, "become found")
			if got := w.read(c); got != "refreshed" {
				t.Errorf("got %s", got)
			}
			w.gateway.CloseRevoked(func(id eureka.Identity) bool { return id.TokenID == "found" })
			code, last := w.closed(c)
			w.write(other, "x")
			if got := w.read(other); got != "echo x" {
				t.Errorf("the other socket got %s", got)
			}
			return code, last
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, how, Limits{})
			w.revoked = func(id eureka.Identity) bool { return id.TokenID == "revoked" }
			code, last := run(w)
			if code != eureka.CloseUnauthenticated || !strings.Contains(last, `"reason":"the credential was revoked","reconnect":false`) {
				t.Errorf("closed with %d after %s", code, last)
			}
		})
	}
}

// TestPlacesAreGivenBack: however a handshake or a socket ends, its user's place is free again.
func TestPlacesAreGivenBack(t *testing.T) { both(t, testPlacesAreGivenBack) }

func testPlacesAreGivenBack(t *testing.T, how Sockets) {
	w := newWorld(t, how, Limits{MaxSocketsPerUser: 1, MaxSockets: 1})
	count := func() int {
		w.gateway.admission.mu.Lock()
		defer w.gateway.admission.mu.Unlock()
		return w.gateway.admission.open["ann"]
	}
	users := func() int {
		w.gateway.admission.mu.Lock()
		defer w.gateway.admission.mu.Unlock()
		return len(w.gateway.admission.open)
	}
	first := w.dial("?user=ann")
	if count() != 1 {
		t.Errorf("%d places are taken", count())
	}
	// Of others who came through the first look at max_sockets while there was room.
	bob := newStream(w.gateway, &reader{})
	bob.identity.Store(&eureka.Identity{User: "bob"})
	if err := w.gateway.register(bob); eureka.CodeOf(err) != eureka.CodeRateLimited || !strings.Contains(eureka.MessageOf(err), limitSockets) || users() != 1 {
		t.Errorf("a second socket is registered: %v, %d users", err, users())
	}
	_ = first.CloseNow()
	eventually(t, "the place is free", func() bool { return count() == 0 })
	w.handler.refusal = eureka.Errorf(eureka.CodeUnavailable, "not now")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+"/?user=ann", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
		request.Header.Set(key, value)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil || response.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("%v, %v", response, err)
	}
	_ = response.Body.Close()
	if count() != 0 || w.gateway.registry.count() != 0 {
		t.Error("a handshake that core refused keeps its place")
	}
}

// TestUsersThatAreForgotten: the rates of users take bounded memory, and those who are busy are not forgotten before the others.
func TestUsersThatAreForgotten(t *testing.T) {
	a := newAdmission(&Limits{UserConnectsPerSecond: 1})
	now := time.Now()
	for range 2 {
		if limit := a.enter("busy"); limit != "" {
			t.Fatalf("over %s", limit)
		}
	}
	if limit := a.enter("busy"); limit != limitUserConnects {
		t.Fatalf("over %q", limit)
	}
	a.enter("quiet")
	a.forget(now.Add(1500 * time.Millisecond)) // the allowance of the quiet one is full again, that of the busy one is not
	if len(a.users) != 1 || a.users["busy"] == nil {
		t.Errorf("left are %v", a.users)
	}
	for i := range maxUserLimiters + 10 {
		a.leave("busy")
		a.enter(strings.Repeat("x", i%100) + string(rune('a'+i%26)) + time.Duration(i).String())
		if len(a.users) > maxUserLimiters {
			t.Fatalf("%d users are remembered", len(a.users))
		}
	}
}
