package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/nats-io/nats-server/v2/server"

	"eureka"
	"eureka/internal/auth"
)

// hoard is every secret of a test, and everything that was said while they were used.
type hoard struct {
	t       *testing.T
	address string
	secrets map[string]string // what must not be found, by what it is
	said    map[string]string // what was said, by where
}

// keep remembers a credential; of a token and of a key only the parts that give something away.
func (h *hoard) keep(what, credential string) string {
	h.t.Helper()
	secret := credential
	if parts := strings.Split(credential, "."); len(parts) == 3 {
		secret = parts[1]
		h.secrets["the signature of "+what] = parts[2]
	} else if parts := strings.Split(credential, "_"); parts[0] == "ek" && len(parts) == 3 {
		secret = parts[2]
	}
	if len(secret) < 16 {
		h.t.Fatalf("%s is too short to be searched for", what)
	}
	h.secrets[what] = secret
	return credential
}

// say collects a text.
func (h *hoard) say(where, text string) string {
	h.said[where] += text + "\n"
	return text
}

// search looks for every secret in everything that was said.
func (h *hoard) search() {
	h.t.Helper()
	for where, text := range h.said {
		for what, secret := range h.secrets {
			if at := strings.Index(text, secret); at >= 0 {
				h.t.Errorf("%s is in %s: …%.200s…", what, where, text[max(0, at-100):])
			}
		}
	}
}

// mint is `eureka token`.
func (h *hoard) mint(what, secret string, id eureka.Identity) string {
	h.t.Helper()
	token, err := auth.MintHS256([]byte(secret), id, "", nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.keep(what, token)
}

// request makes a request and collects its answer.
func (h *hoard) request(method, path, body string, header http.Header) (status int, text string) {
	h.t.Helper()
	request, err := http.NewRequestWithContext(h.t.Context(), method, "http://"+h.address+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	request.Header = header.Clone()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return response.StatusCode, h.say("the answer to "+method, fmt.Sprint(response.Header, string(answer)))
}

// connect tries a handshake and collects what comes of it; a socket that got in tries to refresh with the credential.
func (h *hoard) connect(query, credential string, header http.Header) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	options := &websocket.DialOptions{HTTPHeader: header.Clone()}
	if offered := header.Get("Sec-Websocket-Protocol"); offered != "" {
		options.Subprotocols = strings.Split(offered, ", ")
		options.HTTPHeader.Del("Sec-Websocket-Protocol")
	}
	c, response, err := websocket.Dial(ctx, "ws://"+h.address+"/"+query, options)
	if err != nil {
		if response == nil {
			h.t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		h.say("a refused handshake", fmt.Sprint(response.Header, string(text)))
		return
	}
	h.say("a handshake", fmt.Sprint(response.Header))
	defer func() { _ = c.CloseNow() }()
	for _, frame := range []string{`{"action":"info"}`, fmt.Sprintf(`{"action":"refresh","token":%q}`, credential), fmt.Sprintf(`{"action":"refresh","token":%q}`, credential[:len(credential)-3])} {
		if err := c.Write(ctx, websocket.MessageText, []byte(frame)); err != nil {
			h.t.Fatal(err)
		}
		_, text, err := c.Read(ctx)
		if err != nil {
			h.t.Fatal(err)
		}
		h.say("a frame", string(text))
	}
}

// try uses a credential in every way that there is.
func (h *hoard) try(credential string) {
	h.t.Helper()
	headers := []http.Header{
		{"Authorization": {"Bearer " + credential}}, {"Authorization": {"Basic " + credential}}, {"Authorization": {credential}},
		{"X-Api-Key": {credential}}, {"X-Lemon-Identity": {credential}}, {"X-Api-Key": {credential}, "Authorization": {"Bearer " + credential}},
	}
	queries := []string{"?access_token=" + credential, "?x-api-key=" + credential, "?x-lemon-identity=" + credential, "?access_token=" + credential + "&x-api-key=" + credential}
	for _, header := range headers {
		h.connect("", credential, header)
		for _, path := range []string{"/channels", "/metrics", "/@connections/x", "/hello", "/nothing"} {
			h.request("GET", path, "", header)
		}
		h.request("POST", "/channels/room/broadcast", `{"data":`, header)
	}
	for _, query := range queries {
		h.connect(query, credential, http.Header{})
		h.connect(query, credential, http.Header{"Origin": {"https://evil.example"}})
		for _, path := range []string{"/channels", "/metrics", "/hello", "/nothing"} {
			h.request("GET", path+query, "", http.Header{})
		}
		h.request("GET", "/channels"+query+"&x=%zz", "", http.Header{})
	}
	for _, protocols := range []string{"eureka.v1, bearer." + credential, "bearer." + credential + ", bearer." + credential} {
		h.connect("", credential, http.Header{"Sec-Websocket-Protocol": {protocols}})
	}
	environ := []string{"EUREKA_URL=http://" + h.address, "EUREKA_TOKEN=" + credential}
	for _, args := range [][]string{{"channels", "list"}, {"--json", "sockets", "list"}, {"publish", "room", "1"}, {"keys", "list"}, {"revoke", "list"}, {"--url", "http://127.0.0.1:1", "keys", "list"}} {
		r := run(h.t, environ, args...)
		h.say("the command "+strings.Join(args, " "), r.stdout+r.stderr)
	}
}

func natsWithPassword(t *testing.T, user, password string) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true, Username: user, Password: password,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(patience) {
		t.Fatal("NATS does not start")
	}
	return strings.Replace(s.ClientURL(), "nats://", "nats://"+user+":"+password+"@", 1)
}

// TestNoSecretIsSaid runs the service with its log at level debug, uses right and wrong credentials in every way, and searches all that was
// said for them: the log, answers, frames, metrics, the settings in force, and what commands print.
func TestNoSecretIsSaid(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			h := &hoard{t: t, secrets: map[string]string{}, said: map[string]string{}}
			admin, secret := h.keep("the admin key", "admin-"+rand.Text()+rand.Text()), h.keep("the secret of tokens", "secret-"+rand.Text()+rand.Text())
			password, keyOfKeys := h.keep("the password of NATS", rand.Text()), h.keep("the query of the key address", rand.Text())
			environ := []string{
				"EUREKA_ADMIN_KEY=" + admin, "EUREKA_JWT_SECRET=" + secret, "EUREKA_JWT_ISSUER=", "EUREKA_NATS=" + natsWithPassword(t, "bob", password),
				"EUREKA_LOG_LEVEL=debug", "EUREKA_LOG_FORMAT=" + format, "EUREKA_DATA_DIR=" + t.TempDir(), "EUREKA_LISTEN=127.0.0.1:0", "EUREKA_DRAIN_SPREAD=1ms",
			}
			b := start(environ, "--json", "serve")
			b.await(t, &b.stdout, "\n")
			var up struct{ Listening string }
			if err := json.Unmarshal([]byte(b.stdout.String()), &up); err != nil {
				t.Fatal(err)
			}
			h.address = up.Listening
			_, created := h.request("POST", "/keys", `{"name":"bot","scopes":["subscribe","publish"],"user":"bot"}`, http.Header{"Authorization": {"Bearer " + admin}})
			delete(h.said, "the answer to POST") // the one answer that gives a key out
			_, rest, _ := strings.Cut(created, `"key":"`)
			key, _, _ := strings.Cut(rest, `"`)
			h.keep("the API key", key)

			hour := time.Now().Add(time.Hour).UnixMilli()
			all := eureka.Identity{User: "ann", Scopes: eureka.ScopeAll, Channels: []string{"*"}, ExpiresAt: hour}
			good := h.mint("a good token", secret, all)
			forged := h.mint("a forged token", admin, all)
			all.ExpiresAt, all.IssuedAt = time.Now().Add(-time.Hour).UnixMilli(), time.Now().Add(-2*time.Hour).UnixMilli()
			expired := h.mint("an expired token", secret, all)
			for _, credential := range []string{
				admin, key, good, forged, expired, h.keep("a wrong admin key", "wrong-"+rand.Text()), h.keep("a wrong API key", "ek_aaaaaaaaaaaa_"+rand.Text()+rand.Text()[:17]),
			} {
				h.try(credential)
			}
			h.say("/metrics", func() string {
				_, text := h.request("GET", "/metrics", "", http.Header{"Authorization": {"Bearer " + admin}})
				return text
			}())
			for _, path := range []string{"/keys", "/sockets", "/revocations", "/openapi.json"} {
				_, text := h.request("GET", path, "", http.Header{"Authorization": {"Bearer " + admin}})
				h.say(path, text)
			}
			for _, args := range [][]string{
				{"config"}, {"config", "--json"}, {"config", "check"}, {"serve", "--help"}, {"config", "--help"}, {"token", "--help"}, {"serve", "--admin-keyy=" + admin},
				{"config", "--jwt-jwks=https://issuer.example.com=https://keys.example.com/?key=" + keyOfKeys, "--jwt-issuer=own"},
				{"serve", "--jwt-jwks=http://keys.example.com/?key=" + keyOfKeys}, {"serve", "--jwt-jwks=https://bob:" + keyOfKeys + "@keys.example.com"},
				{"serve", "--jwt-secret=" + password[:16]}, {"serve", "--admin-key=" + password[:16]}, {"serve", "--insecure"}, {"config", "check", "--insecure"},
			} {
				r := run(t, environ, args...)
				h.say("eureka "+args[0], r.stdout+r.stderr)
			}
			file := filepath.Join(t.TempDir(), "eureka.yaml")
			if err := os.WriteFile(file, []byte("admin_key: ["+admin+"\njwt_secret: {a: "+secret+"}\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			r := run(t, nil, "config", "check", file)
			h.say("config check of a broken file", r.stdout+r.stderr)
			b.signals <- syscall.SIGTERM
			if code := b.end(t); code != 0 {
				t.Errorf("it ended with %d", code)
			}
			log := h.say("the log", b.stderr.String())
			for _, want := range []string{`unauthenticated`, `GET /channels`, "401", "DEBUG"} {
				if !strings.Contains(log, want) {
					t.Errorf("the log says nothing of %s: %.2000s", want, log)
				}
			}
			if !strings.Contains(h.said["eureka config"], "xxxxx") || !strings.Contains(h.said["a frame"], `"refreshed"`) || !strings.Contains(h.said["a refused handshake"], `"unauthenticated"`) || !strings.Contains(h.said["/metrics"], "eureka_connects_total") {
				t.Error("not everything was tried")
			}
			h.search()
		})
	}
}
