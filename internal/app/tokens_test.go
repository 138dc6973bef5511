package app_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"eureka"
)

// TestEveryAlgorithm: tokens of each kind of key get a real client in, by the settings that an operator writes.
func TestEveryAlgorithm(t *testing.T) {
	for _, s := range []signer{hmacSigner(jwtSecret), rsaSigner(), ecSigner(), edSigner()} {
		t.Run(s.algorithm, func(t *testing.T) {
			var nodes []*node
			if s.public == nil {
				nodes = append(nodes, serve(t, "--jwt-secret="+jwtSecret))
			} else {
				nodes = append(nodes, serve(t, "--jwt-public-key="+s.file(t)), serve(t, "--jwt-jwks="+issuer(t, publishes(s.keySet("a")))))
			}
			for _, n := range nodes {
				n.dial(t, "?info", bearer(s.token("a", nil))).await(`"user":"ann"`)
				forged := s.token("a", nil)
				n.refused(t, eureka.CodeUnauthenticated, "", bearer(forged[:len(forged)-6]+"AAAAAA"))
			}
		})
	}
}

// TestTokensThatDoNotHold are refused by the handshake, by the HTTP API and by refresh, each with its reason and none with the token.
func TestTokensThatDoNotHold(t *testing.T) {
	one := issuer(t, publishes(rsaSigner().keySet("one")))
	two := issuer(t, publishes(otherSigner().keySet("two")))
	n := serve(t, "--jwt-secret="+jwtSecret, "--jwt-issuer=own", "--jwt-audience=eureka,other", "--jwt-jwks=one="+one+",two="+two, "--admin-key="+adminKey)
	own := hmacSigner(jwtSecret)
	with := func(change claims) claims {
		all := claims{"iss": "own", "aud": "eureka"}
		for name, value := range change {
			all[name] = value
		}
		return all
	}
	for _, good := range []string{
		own.token("", with(nil)), own.token("any", with(claims{"aud": []string{"x", "other"}})),
		rsaSigner().token("one", with(claims{"iss": "one"})), otherSigner().token("two", with(claims{"iss": "two"})), otherSigner().token("", with(claims{"iss": "two"})),
	} {
		n.dial(t, "?info", bearer(good)).await(`"user":"ann"`)
	}
	live := n.dial(t, "", bearer(own.token("", with(nil))))
	body := strings.Split(own.token("", with(nil)), ".")[1]
	none := func(name string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"`+name+`"}`)) + "." + body + "."
	}
	publicPEM, publicSet := rsaSigner().pem(), rsaSigner().keySet("one")
	for name, tt := range map[string]struct{ token, want string }{
		"expired":                    {own.token("", with(claims{"exp": time.Now().Add(-time.Second).Unix()})), "the token has expired"},
		"without an end":             {own.token("", with(claims{"exp": nil})), "it must have an end"},
		"of tomorrow":                {own.token("", with(claims{"nbf": time.Now().Add(time.Hour).Unix()})), "not valid yet"},
		"forged":                     {hmacSigner(jwtSecret+"x").token("", with(nil)), "signature"},
		"changed":                    {swap(own.token("", with(nil)), own.token("", with(claims{"sub": "eve"}))), "signature"},
		"alg none":                   {none("none"), "no signature"},
		"alg None":                   {none("None") + "AAAA", "algorithm"},
		"alg missing":                {own.raw(`{"typ":"JWT"}`, `{"iss":"own"}`), "no algorithm"},
		"audience of another":        {own.token("", with(claims{"aud": "billing"})), "not for this service"},
		"without an audience":        {own.token("", with(claims{"aud": nil})), "not for this service"},
		"issuer unknown":             {own.token("", with(claims{"iss": "evil"})), "issuer is not trusted"},
		"without an issuer":          {own.token("", with(claims{"iss": nil})), `no claim "iss"`},
		"oversized":                  {own.token("", with(claims{"x": strings.Repeat("x", 9000)})), "the limit is 8192"},
		"RS256 for a secret":         {rsaSigner().token("one", with(nil)), "algorithm"},
		"public PEM as a secret":     {signer{"HS256", publicPEM, nil}.token("one", with(claims{"iss": "one"})), "algorithm"},
		"public set as a secret":     {signer{"HS256", publicSet, nil}.token("one", with(claims{"iss": "one"})), "algorithm"},
		"PEM as a secret, named RS":  {signer{"HS256", bytes.TrimSpace(publicPEM), nil}.raw(`{"alg":"RS256","kid":"one"}`, `{"iss":"one","aud":"eureka","exp":1900000000}`), "signature"},
		"kid of another issuer":      {otherSigner().token("two", with(claims{"iss": "one"})), "no key that the token names"},
		"another issuer's key":       {otherSigner().token("one", with(claims{"iss": "one"})), "signature"},
		"own secret, another issuer": {own.token("one", with(claims{"iss": "one"})), "algorithm"},
		"another's key, own issuer":  {rsaSigner().token("", with(claims{"iss": "own"})), "algorithm"},
		"a key along":                {own.raw(`{"alg":"HS256","jwk":{"kty":"oct","k":"AA"}}`, `{"iss":"own","aud":"eureka","exp":1900000000}`), `"jwk"`},
		"an address along":           {rsaSigner().raw(`{"alg":"RS256","kid":"one","jku":"`+two+`"}`, `{"iss":"one","aud":"eureka","exp":1900000000}`), `"jku"`},
		"a filter that is no text":   {own.token("", with(claims{"filters": claims{"news": 1}})), "filters"},
		"garbage":                    {"garbage.garbage.garbage", "the token"},
	} {
		a := n.refused(t, eureka.CodeUnauthenticated, "", bearer(tt.token))
		b := n.call(t, "GET", "/channels", "", bearer(tt.token))
		c := live.ask(fmt.Sprintf(`{"action":"refresh","token":%q}`, tt.token), `"code":"unauthenticated"`)
		for where, text := range map[string]string{"handshake": a.text, "request": b.text, "refresh": c} {
			if !strings.Contains(strings.ReplaceAll(text, `\"`, `"`), tt.want) || strings.Contains(text, tt.token[:10]) {
				t.Errorf("%s, %s: %s, want …%s…", name, where, text, tt.want)
			}
		}
		if b.status != http.StatusUnauthorized {
			t.Errorf("%s: a request gets %d", name, b.status)
		}
	}
	live.ask(`{"action":"ping"}`, "pong") // a refused refresh changes nothing
}

// swap is the first token with the claims of the second.
func swap(first, second string) string {
	a, b := strings.Split(first, "."), strings.Split(second, ".")
	return a[0] + "." + b[1] + "." + a[2]
}

// TestAnIssuerThatDoesNotAnswer: the service starts and serves who needs no key of that issuer; tokens of it get an error that may be retried.
func TestAnIssuerThatDoesNotAnswer(t *testing.T) {
	t.Parallel() // it waits for a fetch that gives up after seconds
	s := edSigner()
	set := s.keySet("a")
	var followed atomic.Int64
	elsewhere := issuer(t, func(w http.ResponseWriter, _ *http.Request) {
		followed.Add(1)
		_, _ = w.Write(set)
	})
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		logged string
	}{
		"down":       {nil, "connection refused"},
		"failing":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, "the answer has the status 500"},
		"redirected": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere, http.StatusFound) }, "the answer has the status 302"},
		"huge": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.Copy(w, io.MultiReader(bytes.NewReader(set), strings.NewReader(strings.Repeat(" ", 2<<20))))
		}, "more than 1048576 bytes"},
		"no set": {publishes([]byte("<html>")), "no JSON key set"},
		"slow": {func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}, "context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			address := "http://127.0.0.1:1"
			if tt.answer != nil {
				address = issuer(t, tt.answer)
			}
			n := serve(t, "--jwt-jwks="+address+"/keys?key=confidential", "--admin-key="+adminKey)
			if n.call(t, "GET", "/readyz", "").status != http.StatusOK {
				t.Error("it is not ready")
			}
			n.dial(t, "", bearer(adminKey)).ask(`{"action":"ping"}`, "pong")
			a := n.refused(t, eureka.CodeUnavailable, "", bearer(s.token("a", nil)))
			if a.header.Get("Retry-After") == "" || !strings.Contains(a.text, "keys of the token's issuer cannot be fetched now") || strings.Contains(a.text, address) {
				t.Errorf("%v %s", a.header, a.text)
			}
			if got := n.log.String(); !strings.Contains(got, tt.logged) || strings.Contains(got, "confidential") {
				t.Errorf("logged %s", got)
			}
		})
	}
	if followed.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

// TestKeysRotate: a token of a new key makes the service look for it, and one of a key that nobody publishes does not make it ask again and again.
func TestKeysRotate(t *testing.T) {
	var body atomic.Pointer[[]byte]
	var asked atomic.Int64
	before, after := rsaSigner().keySet("a"), edSigner().keySet("b")
	body.Store(&before)
	n := serve(t, "--jwt-jwks="+issuer(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write(*body.Load())
	}))
	n.dial(t, "?info", bearer(rsaSigner().token("a", nil))).await("ann")
	body.Store(&after)
	n.dial(t, "?info", bearer(edSigner().token("b", nil))).await("ann")
	n.refused(t, eureka.CodeUnauthenticated, "", bearer(rsaSigner().token("a", nil)))
	for i := range 20 {
		n.refused(t, eureka.CodeUnauthenticated, "", bearer(edSigner().token(fmt.Sprint("nobody's", i), nil)))
	}
	if got := asked.Load(); got != 2 {
		t.Errorf("the issuer was asked %d times", got)
	}
}
