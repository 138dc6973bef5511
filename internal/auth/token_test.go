package auth_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"eureka"
	"eureka/internal/auth"
)

func TestVerifyEachAlgorithm(t *testing.T) {
	want := eureka.Identity{
		User: "ada", Scopes: eureka.ScopeSubscribe | eureka.ScopePublish, Channels: []string{"room.*", "user.ada"},
		ExpiresAt: (start + 600) * 1000, TokenID: "t1", IssuedAt: (start - 10) * 1000,
	}
	certificate := func(s signer) []byte {
		template := &x509.Certificate{SerialNumber: big.NewInt(1)}
		der := must(x509.CreateCertificate(rand.Reader, template, template, s.public, s.private))
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	for _, tt := range []struct {
		name   string
		key    func(*auth.Issuer)
		signer signer
	}{
		{"HS256", func(i *auth.Issuer) { i.Secret = secret }, hmacSigner()},
		{"RS256", func(i *auth.Issuer) { i.PEM = rsaSigner().pem() }, rsaSigner()},
		{"RS256 certificate", func(i *auth.Issuer) { i.PEM = certificate(rsaSigner()) }, rsaSigner()},
		{"ES256", func(i *auth.Issuer) { i.PEM = ecSigner().pem() }, ecSigner()},
		{"EdDSA", func(i *auth.Issuer) { i.PEM, i.Algorithms = edSigner().pem(), []string{"EdDSA"} }, edSigner()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tokens := newTokens(t, options(issuer(tt.key)))
			for _, id := range []string{"", "some-key"} { // a key of the settings has no id
				token := tt.signer.token(id, claims(nil))
				for range 3 { // from the cache, too
					got, err := tokens.Verify(t.Context(), token)
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(want, withoutClaims(got)); diff != "" {
						t.Error(diff)
					}
					got.Channels[0] = "*" // is the caller's own
				}
				forged := token[:len(token)-8] + "AAAAAAAA"
				_, err := tokens.Verify(t.Context(), forged)
				wantRefused(t, err, eureka.CodeUnauthenticated, "signature", forged)
			}
		})
	}
}

func TestVerifyClaims(t *testing.T) {
	long := strings.Repeat("x", 129)
	type c = map[string]any
	for _, tt := range []struct {
		name   string
		change c
		want   string // part of the message
	}{
		{"expired", c{"exp": start - 1}, "expired"},
		{"expired now", c{"exp": start}, "expired"},
		{"exp missing", c{"exp": nil}, "no claim"},
		{"exp zero", c{"exp": 0}, "expired"},
		{"exp tiny", c{"exp": raw("1e-400")}, "expired"},
		{"exp text", c{"exp": "1900000000"}, "exp"},
		{"exp null", c{"exp": raw("null")}, "exp"},
		{"exp negative", c{"exp": -1}, "exp"},
		{"exp huge", c{"exp": raw("1e400")}, "exp"},
		{"exp past 9999", c{"exp": 253402300800}, "exp"},
		{"exp in milliseconds", c{"exp": start * 1000}, "exp"},
		{"exp list", c{"exp": []int{start + 600}}, "exp"},
		{"exp bool", c{"exp": true}, "exp"},
		{"nbf later", c{"nbf": start + 6}, "not valid yet"},
		{"nbf text", c{"nbf": "now"}, "nbf"},
		{"iat later", c{"iat": start + 6}, "future"},
		{"iat huge", c{"iat": raw("9e99")}, "iat"},
		{"iat object", c{"iat": c{}}, "iat"},
		{"iss other", c{"iss": "https://evil.example.com"}, "issuer"},
		{"iss longer", c{"iss": "https://issuer.example.com/"}, "issuer"},
		{"iss missing", c{"iss": nil}, "iss"},
		{"iss list", c{"iss": []string{"https://issuer.example.com"}}, "iss"},
		{"aud other", c{"aud": "other"}, "aud"},
		{"aud others", c{"aud": []string{"other", "eureka2"}}, "aud"},
		{"aud none", c{"aud": []string{}}, "aud"},
		{"aud missing", c{"aud": nil}, "aud"},
		{"aud number", c{"aud": 1}, "aud"},
		{"aud mixed", c{"aud": []any{"eureka", 1}}, "aud"},
		{"aud null in list", c{"aud": []any{"eureka", raw("null")}}, "aud"},
		{"sub number", c{"sub": 7}, "sub"},
		{"sub null", c{"sub": raw("null")}, "sub"},
		{"sub long", c{"sub": long}, "sub"},
		{"sub control", c{"sub": "a\nb"}, "sub"},
		{"sub NUL", c{"sub": "a\x00"}, "sub"},
		{"jti long", c{"jti": long}, "jti"},
		{"jti control", c{"jti": "a\tb"}, "jti"},
		{"jti number", c{"jti": 1}, "jti"},
		{"scope list", c{"scope": []string{"publish"}}, "scope"},
		{"scope null", c{"scope": raw("null")}, "scope"},
		{"scopes text", c{"scopes": "publish"}, "scopes"},
		{"scopes of numbers", c{"scopes": []int{1}}, "scopes"},
		{"scp object", c{"scp": c{"publish": true}}, "scp"},
		{"channels text", c{"channels": "room.*"}, "channels"},
		{"channels null", c{"channels": raw("null")}, "channels"},
		{"channels of null", c{"channels": raw("[null]")}, "channels"},
		{"channels empty pattern", c{"channels": []string{""}}, "channels"},
		{"channels bad pattern", c{"channels": []string{"a b"}}, "channels"},
		{"channels other mark", c{"channels": []string{"{name}"}}, "channels"},
		{"channels many", c{"channels": strings.Split(strings.Repeat("a,", 201), ",")}, "channels"},
		{"mark without sub", c{"sub": nil}, "channels"},
		{"mark with empty sub", c{"sub": ""}, "channels"},
		{"mark with wildcard", c{"sub": "*"}, "channels"},
		{"mark with wildcard inside", c{"sub": "a*a"}, "channels"},
		{"mark with bad letters", c{"sub": "ada@example.com"}, "channels"},
		{"mark within itself", c{"sub": "{sub}"}, "channels"},
		{"filters of another kind", c{"filters": c{"news": 1}}, "filters"},
		{"empty filter", c{"filters": c{"news": " "}}, "filters"},
		{"long filter", c{"filters": c{"news": strings.Repeat("x", 4097)}}, "filters"},
		{"filters for no pattern", c{"filters": c{"a b": "true"}}, "filters"},
		{"filters twice", c{"filters": raw(`{"news":"true","news":"false"}`)}, "filters"},
		{"filters null", c{"filters": raw(`null`)}, "filters"},
		{"filter of nobody", c{"sub": nil, "channels": nil, "filters": c{"{sub}": "true"}}, "filters"},
		{"filters of another type", c{"filters": []string{}}, "filters"},
		{"mark too long", c{"sub": "ada", "channels": []string{strings.Repeat("{sub}", 200)}}, "channels"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			token := hmacSigner().token("", claims(tt.change))
			_, err := secretTokens(t).Verify(t.Context(), token)
			wantRefused(t, err, eureka.CodeUnauthenticated, tt.want, token)
		})
	}
}

// raw is JSON that no Go value becomes.
type raw string

func (r raw) MarshalJSON() ([]byte, error) { return []byte(r), nil }

func TestVerifyIdentity(t *testing.T) {
	const sub, pub, manage = eureka.ScopeSubscribe, eureka.ScopePublish, eureka.ScopeManage
	type c = map[string]any
	type id = eureka.Identity
	for _, tt := range []struct {
		name   string
		change c
		want   func(*eureka.Identity)
	}{
		{"leeway", c{"nbf": start + 5, "iat": start + 5}, func(i *id) { i.IssuedAt = (start + 5) * 1000 }},
		{"fractions", c{"exp": start + 0.5, "iat": start - 0.25}, func(i *id) { i.ExpiresAt, i.IssuedAt = start*1000+500, start*1000-250 }},
		{"last second", c{"exp": 253402300799}, func(i *id) { i.ExpiresAt = 253402300799000 }},
		{"exponent", c{"exp": raw("1.9e9")}, func(i *id) { i.ExpiresAt = 1900000000000 }},
		{"no iat, nbf, jti", c{"iat": nil, "nbf": nil, "jti": nil}, func(i *id) { i.IssuedAt, i.TokenID = 0, "" }},
		{"aud among others", c{"aud": []string{"other", "eureka"}}, func(*id) {}},
		{"no scope claim", c{"scope": nil}, func(i *id) { i.Scopes = sub }},
		{"empty scope", c{"scope": ""}, func(i *id) { i.Scopes = 0 }},
		{"scopes of others", c{"scope": "openid email manage:all"}, func(i *id) { i.Scopes = 0 }},
		{"scopes", c{"scope": nil, "scopes": []string{"manage", "openid"}}, func(i *id) { i.Scopes = manage }},
		{"scopes with separators", c{"scope": nil, "scopes": []string{"x manage", "y,publish"}}, func(i *id) { i.Scopes = 0 }},
		{"scp list", c{"scope": nil, "scp": []string{"publish"}}, func(i *id) { i.Scopes = pub }},
		{"scp text", c{"scope": nil, "scp": "publish manage"}, func(i *id) { i.Scopes = pub | manage }},
		{"several", c{"scope": "subscribe", "scp": []string{"publish"}}, func(i *id) { i.Scopes = sub | pub }},
		{"no channels", c{"channels": nil}, func(i *id) { i.Channels = []string{} }},
		{"empty channels", c{"channels": []string{}}, func(i *id) { i.Channels = []string{} }},
		{"anonymous", c{"sub": nil, "channels": []string{"news"}}, func(i *id) { i.User, i.Channels = "", []string{"news"} }},
		{"mark twice", c{"channels": []string{"a.{sub}.{sub}"}}, func(i *id) { i.Channels = []string{"a.ada.ada"} }},
		{"sub outside of names", c{"sub": "ada@example.com *", "channels": []string{"*"}}, func(i *id) { i.User, i.Channels = "ada@example.com *", []string{"*"} }},
		{"no filter", c{"filters": c{}}, func(*id) {}},
		{"other claims", c{"email": "a@b", "Exp": 1, "EXP": 1, "SUB": "eve"}, func(*id) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := id{
				User: "ada", Scopes: sub | pub, Channels: []string{"room.*", "user.ada"},
				ExpiresAt: (start + 600) * 1000, TokenID: "t1", IssuedAt: (start - 10) * 1000,
			}
			tt.want(&want)
			got, err := secretTokens(t).Verify(t.Context(), hmacSigner().token("", claims(tt.change)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, withoutClaims(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func withoutClaims(id eureka.Identity) eureka.Identity {
	id.Claims = nil
	return id
}

func TestVerifyKeepsClaims(t *testing.T) {
	type c = map[string]any
	got, err := secretTokens(t).Verify(t.Context(), hmacSigner().token("", claims(c{
		"role": "editor", "filters": c{"news": "data.id == 1", "user.{sub}": "true"},
	})))
	if err != nil {
		t.Fatal(err)
	}
	want := []eureka.ClaimFilter{{Pattern: "news", Filter: "data.id == 1"}, {Pattern: "user.ada", Filter: "true"}}
	if diff := cmp.Diff(want, got.Claims.Filters); diff != "" {
		t.Error(diff)
	}
	raw := string(got.Claims.Raw)
	if !strings.Contains(raw, `"role":"editor"`) || strings.Contains(raw, "filters") {
		t.Errorf("kept %s", raw)
	}
	got, err = secretTokens(t).Verify(t.Context(), hmacSigner().token("", claims(c{"more": strings.Repeat("x", eureka.MaxClaimsLength), "filters": c{"news": "false"}})))
	if err != nil || got.Claims.Raw != nil || len(got.Claims.Filters) != 1 {
		t.Errorf("claims over the limit: %+v, %v", got.Claims, err)
	}
}

func TestVerifyForm(t *testing.T) {
	const head, body = `{"alg":"HS256"}`, `{"iss":"https://issuer.example.com","aud":"eureka","exp":1900000000}`
	h := hmacSigner()
	good := h.raw(head, body)
	if _, err := secretTokens(t).Verify(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	with := func(fields string) string { return h.raw(`{"alg":"HS256",`+fields+`}`, body) }
	cut := strings.LastIndex(good, ".")
	dots := strings.Split(good, ".")
	cases := map[string]string{
		"empty": "", "dots": "..", "one part": "abc", "two parts": good[:cut], "four parts": good + ".x", "five parts": good + ".x.y",
		"no signature": good[:cut+1], "truncated": good[:len(good)-1], "truncated much": good[:cut+5], "padded": good + "=", "line break": good + "\n",
		"line break inside": good[:10] + "\r\n" + good[10:], "space": " " + good, "bearer": "Bearer " + good, "no base64": dots[0] + ".!!!." + dots[2],
		"odd bits":       good[:len(good)-1] + string(oddBits(good[len(good)-1])),
		"swapped claims": dots[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"eve"}`)) + "." + dots[2],
		"header no JSON": h.raw(`{`, body), "header list": h.raw(`[]`, body), "header null": h.raw(`null`, body), "header trailing": h.raw(head+"{}", body),
		"claims list": h.raw(head, `[]`), "claims text": h.raw(head, `"x"`), "claims trailing": h.raw(head, body+body), "claims NaN": h.raw(head, `{"exp":NaN}`),
		"claims twice": h.raw(head, strings.Replace(body, `{`, `{"exp":1900000000,`, 1)), "claims not UTF-8": h.raw(head, strings.Replace(body, `{`, "{\"sub\":\"\xff\",", 1)),
		"alg missing": h.raw(`{}`, body), "alg null": h.raw(`{"alg":null}`, body), "alg number": h.raw(`{"alg":1}`, body), "alg list": h.raw(`{"alg":["HS256"]}`, body),
		"alg twice": h.raw(`{"alg":"none","alg":"HS256"}`, body), "alg other name": h.raw(`{"ALG":"HS256"}`, body), "alg escaped twice": h.raw(`{"alg":"HS256","\u0061lg":"none"}`, body),
		"alg lower": h.raw(`{"alg":"hs256"}`, body), "alg HS512": h.raw(`{"alg":"HS512"}`, body), "alg unknown": h.raw(`{"alg":"XX"}`, body), "alg RS256": h.raw(`{"alg":"RS256"}`, body),
		"crit": with(`"crit":["exp"]`), "crit empty": with(`"crit":[]`), "jku": with(`"jku":"https://evil.example.com"`), "x5u": with(`"x5u":"https://evil.example.com"`),
		"jwk": with(`"jwk":{"kty":"oct","k":"AA"}`), "x5c": with(`"x5c":[]`), "b64": with(`"b64":false`), "zip": with(`"zip":"DEF"`), "enc": with(`"enc":"A128GCM"`), "cty": with(`"cty":"JWT"`),
		"kid number": with(`"kid":1`), "kid empty": with(`"kid":""`), "kid null": with(`"kid":null`), "kid long": with(`"kid":"` + strings.Repeat("k", 513) + `"`),
		"typ logout": with(`"typ":"logout+jwt"`), "typ number": with(`"typ":1`),
		"oversized": h.raw(head, `{"x":"`+strings.Repeat("x", 9000)+`"}`),
	}
	for i, none := range []string{"none", "None", "NONE", "nOnE", "", " none", "none "} {
		text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"`+none+`"}`)) + "." + dots[1] + "."
		cases[fmt.Sprint("none unsigned ", i)] = text
		cases[fmt.Sprint("none signed ", i)] = text + dots[2]
	}
	for name, token := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := secretTokens(t).Verify(t.Context(), token); err == nil {
				t.Error("accepted")
			} else {
				wantRefused(t, err, eureka.CodeUnauthenticated, "the token", token)
			}
		})
	}
	for name, token := range map[string]string{"x5t": with(`"x5t":"AA"`), "at+jwt": with(`"typ":"application/AT+JWT"`), "unknown": with(`"nonce":"x"`)} {
		if _, err := secretTokens(t).Verify(t.Context(), token); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := secretTokens(t).Verify(t.Context(), cases["oversized"])
	wantRefused(t, err, eureka.CodeUnauthenticated, "the limit is 8192", "")
}

// oddBits is another last letter for the same bytes, as a lax decoder has it: 32 bytes leave two bits of it unused.
func oddBits(last byte) byte {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return letters[strings.IndexByte(letters, last)^1]
}

func TestVerifyConfusion(t *testing.T) {
	// The public key, in each form that it is known in, is no secret to sign with.
	tokens := newTokens(t, options(issuer(func(i *auth.Issuer) { i.PEM = rsaSigner().pem() })))
	der := must(x509.MarshalPKIXPublicKey(rsaSigner().public))
	for _, public := range [][]byte{rsaSigner().pem(), bytes.TrimSpace(rsaSigner().pem()), der} {
		token := signer{"HS256", public, nil}.token("", claims(nil))
		_, err := tokens.Verify(t.Context(), token)
		wantRefused(t, err, eureka.CodeUnauthenticated, "algorithm", token)
		renamed := signer{"HS256", public, nil}.raw(`{"alg":"RS256"}`, `{"iss":"https://issuer.example.com","aud":"eureka","exp":1900000000}`)
		_, err = tokens.Verify(t.Context(), renamed)
		wantRefused(t, err, eureka.CodeUnauthenticated, "signature", renamed)
	}
	// Each of two issuers speaks for itself alone.
	both := newTokens(t, options(
		issuer(func(i *auth.Issuer) { i.PEM = rsaSigner().pem() }),
		issuer(func(i *auth.Issuer) { i.Name, i.PEM = "two", otherSigner().pem() })))
	for _, tt := range []struct {
		signer signer
		issuer string
		ok     bool
	}{
		{rsaSigner(), "https://issuer.example.com", true},
		{otherSigner(), "two", true},
		{rsaSigner(), "two", false},
		{otherSigner(), "https://issuer.example.com", false},
		{rsaSigner(), "three", false},
		{rsaSigner(), "", false},
	} {
		if _, err := both.Verify(t.Context(), tt.signer.token("", claims(map[string]any{"iss": tt.issuer}))); (err == nil) != tt.ok {
			t.Errorf("issuer %q: %v", tt.issuer, err)
		}
	}
}

func TestVerifyWithoutNameOrAudience(t *testing.T) {
	tokens := newTokens(t, options(auth.Issuer{Secret: secret}))
	for _, change := range []map[string]any{nil, {"iss": nil, "aud": nil}, {"iss": 1, "aud": []string{"x"}}} {
		if _, err := tokens.Verify(t.Context(), hmacSigner().token("", claims(change))); err != nil {
			t.Errorf("%v: %v", change, err)
		}
	}
	_, err := tokens.Verify(t.Context(), hmacSigner().token("", claims(map[string]any{"aud": 1})))
	wantRefused(t, err, eureka.CodeUnauthenticated, "aud", "")
}

func TestVerifyCacheEnds(t *testing.T) {
	now := time.Unix(start, 0)
	o := options(issuer(func(i *auth.Issuer) { i.Secret = secret }))
	o.Now = func() time.Time { return now }
	tokens := newTokens(t, o)
	token := hmacSigner().token("", claims(nil))
	for _, tt := range []struct {
		after time.Duration
		ok    bool
	}{{0, true}, {599 * time.Second, true}, {600 * time.Second, false}, {601 * time.Second, false}} {
		now = time.Unix(start, 0).Add(tt.after)
		if _, err := tokens.Verify(t.Context(), token); (err == nil) != tt.ok {
			t.Errorf("after %v: %v", tt.after, err)
		}
	}
}

func TestVerifyConcurrently(t *testing.T) {
	tokens := newTokens(t, options(issuer(func(i *auth.Issuer) { i.PEM = edSigner().pem() })))
	good := []string{}
	for i := range 8 {
		good = append(good, edSigner().token("", claims(map[string]any{"jti": fmt.Sprint(i)})))
	}
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			for n := range 20 {
				if id, err := tokens.Verify(t.Context(), good[(i+n)%8]); err != nil || id.TokenID != fmt.Sprint((i+n)%8) {
					t.Errorf("%+v, %v", id, err)
				}
			}
		})
	}
	group.Wait()
}
