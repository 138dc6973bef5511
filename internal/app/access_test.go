package app_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"eureka"
	"eureka/internal/app"
)

// TestOpenServiceIsForThisMachine: without authentication nothing is reached from elsewhere, not even through a browser on this machine.
func TestOpenServiceIsForThisMachine(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0"} {
		if _, err := app.New(app.Options{Settings: settings(t, "--listen="+address), Log: slog.New(slog.DiscardHandler)}); eureka.CodeOf(err) != eureka.CodeForbidden {
			t.Errorf("%s: %v", address, err)
		}
		for _, flag := range []string{"--insecure", "--admin-key=" + adminKey, "--jwt-secret=" + jwtSecret} {
			if _, err := app.New(app.Options{Settings: settings(t, "--listen="+address, flag), Log: slog.New(slog.DiscardHandler)}); err != nil {
				t.Errorf("%s %s: %v", address, flag, err)
			}
		}
	}
	n := serve(t, "--allowed-hosts=sockets.example.com")
	for host, allowed := range map[string]bool{
		"localhost:1": true, "127.0.0.1": true, "sockets.example.com": true, "evil.example": false, "evil.example:8832": false, "sockets.example.com.evil.example": false,
	} {
		for _, path := range []string{"/", "/hello", "/channels", "/metrics", "/docs", "/nothing"} {
			if a := n.call(t, "GET", path, "", "Host: "+host); (a.code() == eureka.CodeForbidden) == allowed {
				t.Errorf("%s of %s: %d %s", path, host, a.status, a.text)
			}
		}
		if a := n.call(t, "POST", "/channels/room/broadcast", `{"data":1}`, "Host: "+host); (a.status == http.StatusOK) != allowed {
			t.Errorf("a broadcast to %s: %d %s", host, a.status, a.text)
		}
		upgrade := n.call(t, "GET", "/", "", "Host: "+host, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 8")
		if (upgrade.code() == eureka.CodeForbidden) == allowed {
			t.Errorf("a handshake with %s: %d %s", host, upgrade.status, upgrade.text)
		}
	}
	// It takes no credential for an identity, and has none to manage.
	if a := n.call(t, "GET", "/keys", "", bearer(adminKey)); a.code() != eureka.CodeForbidden || !strings.Contains(a.text, "no authentication") {
		t.Errorf("keys of an open service: %d %s", a.status, a.text)
	}
	s := n.dial(t, "?user=ann&info&access_token=nonsense")
	s.await(`"user":"ann"`)
	s.ask(`{"action":"refresh","token":"x"}`, "there is nothing to refresh")
	s.ask(`{"action":"subscribe","channel":"nobody:made"}`, `"subscribed"`)
}

// TestPaths: what anybody may read, and that nothing else is open.
func TestPaths(t *testing.T) {
	n := guarded(t)
	_, reader := n.key(t, `{"name":"reader","scopes":["subscribe","publish"]}`)
	public := []string{"/", "/hello", "/healthz", "/readyz", "/docs", "/docs/docs.js", "/openapi.json", "/openapi.yaml"}
	for _, path := range public {
		for _, method := range []string{"GET", "HEAD"} {
			for _, headers := range [][]string{nil, {bearer("nonsense")}, {bearer(adminKey), "X-Api-Key: x"}} { // a credential is not looked at
				if a := n.call(t, method, path, "", headers...); a.status != http.StatusOK {
					t.Errorf("%s %s %v: %d %s", method, path, headers, a.status, a.text)
				}
			}
		}
	}
	// The document names every operation; those that are not public need a credential, whatever the method.
	var doc struct {
		Paths map[string]map[string]struct{ Security *[]any }
	}
	if err := json.Unmarshal([]byte(n.call(t, "GET", "/openapi.json", "").text), &doc); err != nil {
		t.Fatal(err)
	}
	operations := map[string][]string{"/metrics": {"GET"}, "/dev/@connections/{id}": {"GET", "POST", "DELETE"}}
	for path, methods := range doc.Paths {
		for method, operation := range methods {
			signed := path == "/events/sns" // the message's signature is its credential
			if open := operation.Security != nil; open != (signed || slices.Contains(public, path)) {
				t.Errorf("%s %s is documented as open: %v", method, path, open)
			} else if signed {
				if a := n.call(t, strings.ToUpper(method), path, `{"Type":"Notification"}`); a.status < 400 || a.status >= 500 {
					t.Errorf("an unsigned message: %d %s", a.status, a.text)
				}
			} else if !open {
				operations[path] = append(operations[path], strings.ToUpper(method))
			}
		}
	}
	if len(operations) < 15 {
		t.Fatalf("operations: %v", operations)
	}
	for path, methods := range operations {
		path = strings.NewReplacer("{id}", "x", "{user}", "x").Replace(path)
		if slices.Contains(methods, "GET") {
			methods = append(methods, "HEAD")
		}
		for _, method := range methods {
			for _, headers := range [][]string{nil, {bearer("nonsense")}, {"X-Api-Key: ek_aaaaaaaaaaaa_x"}, {"Cookie: access_token=" + adminKey}} {
				a := n.call(t, method, path, "{", headers...)
				if a.status != http.StatusUnauthorized || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") || a.header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s %s %v: %d %v %s", method, path, headers, a.status, a.header, a.text)
				}
			}
		}
	}
	for _, tt := range []struct {
		method, path, header string
		status               int
	}{
		{"GET", "/metrics", bearer(reader), http.StatusForbidden},
		{"HEAD", "/metrics", bearer(reader), http.StatusForbidden},
		{"GET", "/metrics", bearer(adminKey), http.StatusOK},
		{"GET", "/metrics?access_token=" + adminKey, "", http.StatusBadRequest},
		{"GET", "/channels?access_token=" + adminKey, "", http.StatusBadRequest},
		{"GET", "/docs/../channels", "", http.StatusUnauthorized},
		{"GET", "/docs/%2e%2e/channels", "", http.StatusNotFound},
		{"GET", "//channels", "", http.StatusUnauthorized},
		{"OPTIONS", "/channels", "", http.StatusMethodNotAllowed},
		{"OPTIONS", "/channels", "Origin: http://localhost:3000", http.StatusNoContent},
		{"OPTIONS", "/channels", "Origin: https://evil.example", http.StatusForbidden},
		{"OPTIONS", "/hello", "Origin: https://evil.example", http.StatusForbidden},
		{"TRACE", "/channels", "", http.StatusMethodNotAllowed},
		{"GET", "/nothing", "", http.StatusNotFound},
	} {
		var headers []string
		if tt.header != "" {
			headers = []string{tt.header}
		}
		if a := n.call(t, tt.method, tt.path, "", headers...); a.status != tt.status {
			t.Errorf("%s %s %s: %d %s, want %d", tt.method, tt.path, tt.header, a.status, a.text, tt.status)
		}
	}
	// The name that is called matters to an open service alone: a credential is nothing that a page of another site has.
	if a := n.call(t, "GET", "/channels", "", "Host: sockets.example.com", bearer(adminKey)); a.status != http.StatusOK {
		t.Errorf("another host: %d %s", a.status, a.text)
	}
}

// TestWaysIn: every way of a credential into a socket, and no way without one.
func TestWaysIn(t *testing.T) {
	n := guarded(t)
	_, key := n.key(t, `{"name":"bot","scopes":["subscribe"],"user":"bot"}`)
	for name, tt := range map[string]struct {
		query   string
		headers []string
		user    string
	}{
		"bearer":               {"", []string{bearer(token(nil))}, "ann"},
		"bearer with a key":    {"", []string{bearer(key)}, "bot"},
		"admin key":            {"", []string{bearer(adminKey)}, ""},
		"subprotocol":          {"", []string{"Sec-Websocket-Protocol: eureka.v1, bearer." + token(nil)}, "ann"},
		"subprotocol, other":   {"", []string{"Sec-Websocket-Protocol: bearer." + key + ", eureka.v1"}, "bot"},
		"access_token":         {"?access_token=" + token(nil), nil, "ann"},
		"x-lemon-identity":     {"", []string{"X-Lemon-Identity: " + token(nil)}, "ann"},
		"x-lemon-identity in?": {"?x-lemon-identity=" + token(nil), nil, "ann"},
		"x-api-key":            {"", []string{"X-Api-Key: " + key}, "bot"},
		"x-api-key in query":   {"?x-api-key=" + key + "&default=&channels=", nil, "bot"},
		"empty others":         {"?x-lemon-identity=&access_token=" + token(nil), nil, "ann"},
		"beside another user":  {"?user=eve&access_token=" + token(nil), nil, "ann"},
	} {
		t.Run(name, func(t *testing.T) {
			s, a := n.try(t, tt.query, tt.headers...)
			if s == nil {
				t.Fatalf("refused with %d %s", a.status, a.text)
			}
			offered := strings.Contains(strings.Join(tt.headers, ""), "eureka.v1")
			if got := a.header.Get("Sec-Websocket-Protocol"); (got == "eureka.v1") != offered || strings.Contains(got, "bearer") {
				t.Errorf("the protocol %q was chosen", got)
			}
			for s.send(`{"action":"info"}`); ; {
				if got := s.next(); strings.Contains(got, `"action":"info"`) {
					if !strings.Contains(got, `"user":"`+tt.user+`"`) {
						t.Errorf("it is the socket of %s", got)
					}
					return
				}
			}
		})
	}
	wrong := token(nil)
	wrong = wrong[:len(wrong)-6] + "AAAAAA"
	for _, tt := range []struct {
		code    eureka.Code
		query   string
		headers []string
	}{
		{eureka.CodeUnauthenticated, "", nil},
		{eureka.CodeUnauthenticated, "?user=ann", nil},
		{eureka.CodeUnauthenticated, "", []string{bearer(wrong)}},
		{eureka.CodeUnauthenticated, "", []string{"Authorization: Basic YTpi"}},
		{eureka.CodeUnauthenticated, "", []string{"Sec-Websocket-Protocol: eureka.v1, bearer." + wrong}},
		{eureka.CodeUnauthenticated, "?access_token=" + wrong, nil},
		{eureka.CodeUnauthenticated, "?x-api-key=" + key + "x", nil},
		{eureka.CodeUnauthenticated, "?x-lemon-identity=" + wrong, nil},
		{eureka.CodeUnauthenticated, "", []string{bearer(adminKey + "x")}},
		{eureka.CodeInvalid, "?access_token=" + token(nil), []string{bearer(token(nil))}},
		{eureka.CodeInvalid, "", []string{bearer(key), "X-Api-Key: " + key}},
		{eureka.CodeInvalid, "?x-api-key=" + key, []string{"Sec-Websocket-Protocol: eureka.v1, bearer." + token(nil)}},
	} {
		a := n.refused(t, tt.code, tt.query, tt.headers...)
		if asks := a.header.Get("WWW-Authenticate") != ""; asks != (tt.code == eureka.CodeUnauthenticated) {
			t.Errorf("%s %v: WWW-Authenticate is %q", tt.query, tt.headers, a.header.Get("WWW-Authenticate"))
		}
	}
	eventually(t, "the refusals are counted", func() bool {
		return n.metric(t, `eureka_connects_total{result="unauthenticated"}`, bearer(adminKey)) == 9 && n.metric(t, `eureka_connects_total{result="invalid"}`, bearer(adminKey)) == 3
	})
}

// TestPageOrigins: a page's origin is checked before the credential is looked at, and before anything is upgraded.
func TestPageOrigins(t *testing.T) {
	n := guarded(t, "--allowed-origins=https://app.example.com")
	for origin, allowed := range map[string]bool{
		"https://app.example.com": true, "http://localhost:3000": true, "https://evil.example": false, "http://app.example.com": false, "null": false,
		n.url: true, "https://sockets.example.com": false,
	} {
		for _, credential := range []string{token(nil), "nonsense"} {
			headers := []string{"Origin: " + origin, "Host: sockets.example.com", bearer(credential)}
			code := map[bool]eureka.Code{false: eureka.CodeForbidden, true: eureka.CodeUnauthenticated}[allowed]
			if allowed && credential != "nonsense" {
				n.dial(t, "", "Origin: "+origin, bearer(credential))
				continue
			}
			n.refused(t, code, "", headers[0], headers[2])
			if a := n.call(t, "POST", "/channels/room/broadcast", `{"data":1}`, headers...); a.code() != code {
				t.Errorf("a request of a page of %s: %d %s", origin, a.status, a.text)
			}
		}
	}
}
