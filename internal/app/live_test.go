package app_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"eureka"
)

// TestATokenExpiresInMidStream: messages flow up to the end, then comes a bye with 4401, and nothing after it.
func TestATokenExpiresInMidStream(t *testing.T) {
	t.Parallel()
	n := guarded(t)
	n.admin(t, "POST", "/channels/news", `{}`)
	ends := until(3 * time.Second)
	short := n.dial(t, "?channels=news", bearer(token(claims{"exp": ends})))
	long := n.dial(t, "?channels=news", bearer(token(nil)))
	_, key := n.key(t, fmt.Sprintf(`{"name":"short","scopes":["subscribe"],"expiresAt":%d}`, time.Now().Add(3*time.Second).UnixMilli()))
	keyed := n.dial(t, "?channels=news", bearer(key))
	done := make(chan struct{})
	published := make(chan int, 1)
	go func() {
		i := 0
		defer func() { published <- i }()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for ; ; i++ {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if a := n.call(t, "POST", "/channels/news/broadcast", fmt.Sprintf(`{"data":%d}`, i), bearer(adminKey)); a.status != 200 {
				t.Errorf("a broadcast: %d %s", a.status, a.text)
				return
			}
		}
	}()
	for _, s := range []*socket{short, keyed} {
		frames := s.ended(eureka.CloseUnauthenticated, "the credential has expired")
		if float64(time.Now().UnixMilli())/1000 < ends-0.01 {
			t.Error("closed before it expired")
		}
		for i, frame := range frames[:len(frames)-1] {
			if !strings.Contains(frame, fmt.Sprintf(`"data":%d,`, i)) {
				t.Fatalf("message %d is %s", i, frame)
			}
		}
		if len(frames) < 3 {
			t.Errorf("%d frames up to the end", len(frames))
		}
		if bye := frames[len(frames)-1]; !strings.Contains(bye, `"reconnect":false`) {
			t.Errorf("the bye is %s", bye)
		}
	}
	close(done)
	for i := range <-published { // who has not expired misses nothing
		long.await(fmt.Sprintf(`"data":%d,`, i))
	}
	n.refused(t, eureka.CodeUnauthenticated, "", bearer(key))
}

// TestRefresh: a socket gets past the end of its first token with a new one of the same user, and with nothing else.
func TestRefresh(t *testing.T) {
	t.Parallel()
	n := guarded(t)
	for _, channel := range []string{"news", "secret"} {
		n.admin(t, "POST", "/channels/"+channel, `{"presence":true}`)
	}
	watcher := n.dial(t, "?channels=secret", bearer(adminKey))
	s := n.dial(t, "?channels=news,secret", bearer(token(claims{"exp": until(6 * time.Second)})))
	watcher.await(`"action":"join","data":{"id":`)
	refresh := func(credential string) string {
		return fmt.Sprintf(`{"action":"refresh","ref":1,"token":%q}`, credential)
	}
	_, revoked := n.key(t, `{"name":"x","scopes":["subscribe"],"user":"ann"}`)
	n.admin(t, "DELETE", "/keys/"+revoked[3:15], "")
	n.admin(t, "POST", "/revocations", `{"tokenId":"taken back"}`)
	for _, tt := range []struct{ frame, want string }{
		{refresh(token(claims{"sub": "bob"})), `"code":"forbidden","message":"the token belongs to another user`},
		{refresh(token(claims{"sub": nil})), `"code":"forbidden"`},
		{refresh(adminKey), `"code":"forbidden"`},
		{refresh(token(claims{"exp": until(-time.Second)})), `"code":"unauthenticated"`},
		{refresh(token(claims{"jti": "taken back"})), `"message":"the credential was revoked"`},
		{refresh(revoked), `"code":"unauthenticated"`},
		{refresh(hmacSigner(adminKey).token("", nil)), `"code":"unauthenticated"`},
		{`{"action":"refresh","ref":1}`, `"message":"token: is missing"`},
		{`{"action":"refresh","ref":1,"token":{}}`, `"code":"invalid"`},
	} {
		if got := s.ask(tt.frame, tt.want); !strings.Contains(got, `"ref":1`) {
			t.Errorf("%s: %s", tt.frame, got)
		}
	}
	// One that covers less ends what it does not cover, says so, and lets the rest go on.
	ends := time.Now().Add(8 * time.Second).Unix()
	narrow := token(claims{"exp": ends, "channels": []string{"news"}, "scope": "subscribe"})
	s.ask(refresh(narrow), `"action":"refreshed"`)
	s.await(`"channel":"secret","error":{"code":"forbidden","message":"the credential does not cover this channel"}`)
	watcher.await(`"action":"leave"`)
	s.ask(`{"action":"subscribe","channel":"secret"}`, `"code":"forbidden"`)
	s.ask(`{"action":"publish","channel":"news","data":1}`, `lacks the scope \"publish\"`)
	n.admin(t, "POST", "/channels/secret/broadcast", `{"data":"hidden"}`)
	n.admin(t, "POST", "/channels/news/broadcast", `{"data":"seen"}`)
	s.await(`"data":"seen"`)
	// It outlives its first token; the answer says until when, in milliseconds.
	got := s.ask(refresh(narrow), `"action":"refreshed"`)
	var reply struct{ Data struct{ ExpiresAt int64 } }
	if err := json.Unmarshal([]byte(got), &reply); err != nil || reply.Data.ExpiresAt != ends*1000 {
		t.Errorf("%s, %v", got, err)
	}
	s.ended(eureka.CloseUnauthenticated, "the credential has expired")
	if time.Now().Unix() < ends {
		t.Error("closed before the new token expired")
	}
}

// TestAnExpiredTokenDoesNothing: between its end and the close no frame of it is acted on.
func TestAnExpiredTokenDoesNothing(t *testing.T) {
	t.Parallel()
	n := guarded(t)
	n.admin(t, "POST", "/channels/news", `{}`)
	ends := until(3 * time.Second)
	s := n.dial(t, "", bearer(token(claims{"exp": ends})))
	s.ask(`{"action":"publish","channel":"news","data":1}`, `"published"`)
	listener := n.dial(t, "?channels=news", bearer(adminKey))
	eventually(t, "the token has ended", func() bool { return float64(time.Now().UnixMilli())/1000 > ends })
	s.send(`{"action":"publish","channel":"news","data":"too late"}`)
	_, _, frames := s.end() // the frame may meet the close
	if all := strings.Join(frames, "\n"); strings.Contains(all, "published") {
		t.Errorf("it was acted on: %s", all)
	}
	n.admin(t, "POST", "/channels/news/broadcast", `{"data":"last"}`)
	listener.await("last")
}

// TestRevocationReachesEveryNode: what is taken back on one node ends at once on both, live sockets and new ones, and nothing else does.
func TestRevocationReachesEveryNode(t *testing.T) {
	nats := natsServer(t)
	a, b := guarded(t, nats), guarded(t, nats)
	both := []*node{a, b}
	id, key := a.key(t, `{"name":"bot","scopes":["subscribe"],"user":"bot"}`)
	eventually(t, "both nodes know the key", func() bool { return b.call(t, "GET", "/channels", "", bearer(key)).status == 403 })
	early := token(claims{"jti": "early", "iat": time.Now().Add(-time.Minute).Unix()})
	single := token(claims{"jti": "single"})
	kept := token(claims{"sub": "carol", "jti": "kept"})
	for name, tt := range map[string]struct {
		credential string
		take       func(n *node)
	}{
		"token": {single, func(n *node) { n.admin(t, "POST", "/revocations", `{"tokenId":"single"}`) }},
		"user":  {early, func(n *node) { n.admin(t, "POST", "/revocations", `{"user":"ann"}`) }},
		"key":   {key, func(n *node) { n.admin(t, "DELETE", "/keys/"+id, "") }},
	} {
		t.Run(name, func(t *testing.T) {
			var gone, stay []*socket
			for _, n := range both {
				gone = append(gone, n.dial(t, "", bearer(tt.credential)), n.dial(t, "?access_token="+tt.credential))
				stay = append(stay, n.dial(t, "", bearer(kept)), n.dial(t, "", bearer(adminKey)))
			}
			tt.take(b)
			for _, s := range gone {
				s.ended(eureka.CloseUnauthenticated, "the credential was revoked")
			}
			for _, n := range both {
				eventually(t, "the credential is refused everywhere", func() bool {
					s, answer := n.try(t, "", bearer(tt.credential))
					return s == nil && answer.code() == eureka.CodeUnauthenticated
				})
			}
			for _, s := range stay {
				s.ask(`{"action":"ping"}`, "pong")
			}
		})
	}
	// What the user is given from now on holds: the second of a token's iat must be over for that.
	eventually(t, "a token of later is taken", func() bool {
		s, _ := a.try(t, "", bearer(token(claims{"iat": time.Now().Unix()})))
		return s != nil
	})
	var list struct{ List []eureka.Revocation }
	if err := json.Unmarshal([]byte(a.admin(t, "GET", "/revocations", "")), &list); err != nil || len(list.List) != 2 {
		t.Errorf("listed %+v, %v", list, err)
	}
}

// TestRevocationOfASocketAfterRefresh: a socket is found by the credential it has now, and not by the one it came with.
func TestRevocationOfASocketAfterRefresh(t *testing.T) {
	n := guarded(t)
	s := n.dial(t, "", bearer(token(claims{"jti": "first"})))
	s.ask(fmt.Sprintf(`{"action":"refresh","token":%q}`, token(claims{"jti": "second"})), "refreshed")
	n.admin(t, "POST", "/revocations", `{"tokenId":"first"}`)
	s.ask(`{"action":"ping"}`, "pong")
	n.admin(t, "POST", "/revocations", `{"tokenId":"second"}`)
	s.ended(eureka.CloseUnauthenticated, "the credential was revoked")
}

// TestKeysSurviveARestart: they are kept as hashes, and what was taken back stays so.
func TestKeysSurviveARestart(t *testing.T) {
	dir := "--data-dir=" + t.TempDir()
	n := guarded(t, dir)
	_, key := n.key(t, `{"name":"bot","scopes":["subscribe"],"channels":["news"]}`)
	id, gone := n.key(t, `{"name":"gone","scopes":["subscribe"]}`)
	n.admin(t, "DELETE", "/keys/"+id, "")
	n.admin(t, "POST", "/revocations", `{"user":"ann"}`)
	old := token(claims{"iat": time.Now().Add(-time.Minute).Unix()})
	n.stop()
	n = guarded(t, dir)
	n.dial(t, "", bearer(key)).ask(`{"action":"ping"}`, "pong")
	n.refused(t, eureka.CodeUnauthenticated, "", bearer(gone))
	n.refused(t, eureka.CodeUnauthenticated, "", bearer(old))
	if listed := n.admin(t, "GET", "/keys", ""); strings.Contains(listed, key[16:]) || strings.Contains(listed, "hash") || !strings.Contains(listed, `"name":"bot"`) {
		t.Errorf("listed %s", listed)
	}
}
