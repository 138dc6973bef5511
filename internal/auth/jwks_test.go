package auth_test

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"eureka"
	"eureka/internal/auth"
)

// published is a verifier of one issuer whose keys the double answers, in the time of the test's bubble.
func published(t *testing.T, answer func(*http.Request) ([]byte, error)) (*auth.Tokens, *issuerDouble) {
	d := &issuerDouble{answer: answer}
	return newTokens(t, auth.TokenOptions{
		Issuers:   []auth.Issuer{{Name: "https://issuer.example.com", JWKS: "https://issuer.example.com/keys"}},
		Transport: d,
	}), d
}

// fresh is a token that holds for two days from now on; n makes it another one.
func fresh(s signer, id string, n int) string {
	return s.token(id, map[string]any{
		"iss": "https://issuer.example.com", "exp": time.Now().Add(48 * time.Hour).Unix(), "jti": fmt.Sprint(n),
	})
}

// code is that of verifying the token: "" when it holds.
func code(t *testing.T, tokens *auth.Tokens, token string) eureka.Code {
	t.Helper()
	_, err := tokens.Verify(t.Context(), token)
	if err != nil {
		wantRefused(t, err, eureka.CodeOf(err), "", token)
	}
	return eureka.CodeOf(err)
}

func wantCode(t *testing.T, what string, got, want eureka.Code) {
	t.Helper()
	if got != want {
		t.Errorf("%s: code %q, want %q", what, got, want)
	}
}

func wantCalls(t *testing.T, what string, d *issuerDouble, want int) {
	t.Helper()
	synctest.Wait()
	if got := d.count(); got != want {
		t.Errorf("%s: %d fetches, want %d", what, got, want)
	}
}

func with(fields map[string]any, name string, value any) map[string]any {
	fields[name] = value
	return fields
}

func TestPublishedKeys(t *testing.T) {
	const no = eureka.CodeUnauthenticated
	rsa, other, ec, ed := rsaSigner(), otherSigner(), ecSigner(), edSigner()
	hugeE := base64.RawURLEncoding.EncodeToString(append([]byte{1, 0, 0, 0, 0, 0}, 1, 0, 1))
	for _, tt := range []struct {
		name   string
		keys   []map[string]any
		signer signer
		id     string
		want   eureka.Code
	}{
		{"RS256", []map[string]any{rsa.jwk("a")}, rsa, "a", ""},
		{"ES256", []map[string]any{ec.jwk("a")}, ec, "a", ""},
		{"EdDSA", []map[string]any{ed.jwk("a")}, ed, "a", ""},
		{"Ed25519", []map[string]any{with(ed.jwk("a"), "alg", "Ed25519")}, ed, "a", ""},
		{"all", []map[string]any{rsa.jwk("a"), ec.jwk("b"), ed.jwk("c")}, ec, "b", ""},
		{"no kid, one key for alg", []map[string]any{rsa.jwk("a"), ec.jwk("b")}, ec, "", ""},
		{"no kid, two keys for alg", []map[string]any{rsa.jwk("a"), other.jwk("b")}, rsa, "", no},
		{"no kid on both sides", []map[string]any{rsa.jwk("")}, rsa, "", ""},
		{"kid of no key", []map[string]any{rsa.jwk("")}, rsa, "a", no},
		{"kid of another key", []map[string]any{rsa.jwk("a"), other.jwk("b")}, rsa, "b", no},
		{"kid of a key of another type", []map[string]any{rsa.jwk("a"), ec.jwk("b")}, rsa, "b", no},
		{"same kid, other type", []map[string]any{rsa.jwk("a"), ec.jwk("a")}, ec, "a", ""},
		{"same kid, first one", []map[string]any{rsa.jwk("a"), other.jwk("a")}, rsa, "a", ""},
		{"same kid, second one", []map[string]any{other.jwk("a"), rsa.jwk("a")}, rsa, "a", no},
		{"use enc", []map[string]any{with(rsa.jwk("a"), "use", "enc"), ec.jwk("b")}, rsa, "a", no},
		{"use sig", []map[string]any{with(rsa.jwk("a"), "use", "sig")}, rsa, "a", ""},
		{"use odd", []map[string]any{with(rsa.jwk("a"), "use", "other"), ec.jwk("b")}, rsa, "a", no},
		{"key_ops verify", []map[string]any{with(rsa.jwk("a"), "key_ops", []string{"verify"})}, rsa, "a", ""},
		{"key_ops other", []map[string]any{with(rsa.jwk("a"), "key_ops", []string{"encrypt"}), ec.jwk("b")}, rsa, "a", no},
		{"alg other", []map[string]any{with(rsa.jwk("a"), "alg", "PS256"), ec.jwk("b")}, rsa, "a", no},
		{"x5u is not fetched", []map[string]any{with(rsa.jwk("a"), "x5u", "http://evil.example.com")}, rsa, "a", ""},
		{"weak RSA", []map[string]any{newRSA(1024)().jwk("a"), ec.jwk("b")}, ec, "b", ""},
		{"other curve", []map[string]any{newEC(elliptic.P384())().jwk("a"), ec.jwk("b")}, ec, "b", ""},
		{"huge exponent", []map[string]any{with(rsa.jwk("a"), "e", hugeE), ec.jwk("b")}, rsa, "a", no},
		{"off the curve", []map[string]any{with(ec.jwk("a"), "x", "AAAA"), rsa.jwk("b")}, ec, "a", no},
		{"symmetric", []map[string]any{{"kty": "oct", "kid": "a", "k": base64.RawURLEncoding.EncodeToString(secret)}, ec.jwk("b")}, hmacSigner(), "a", no},
		{"kid of wrong type", []map[string]any{with(rsa.jwk("a"), "kid", 1), ec.jwk("b")}, rsa, "a", no},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tokens, d := published(t, serve(tt.keys...))
				wantCode(t, "token", code(t, tokens, fresh(tt.signer, tt.id, 1)), tt.want)
				if d.count() > 1 {
					t.Errorf("%d fetches", d.count())
				}
			})
		})
	}
}

func TestPublishedWeakKeysOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		weak := newRSA(1024)()
		tokens, _ := published(t, serve(weak.jwk("a")))
		wantCode(t, "weak", code(t, tokens, fresh(weak, "a", 1)), eureka.CodeUnavailable)
	})
}

func TestPublishedKeyLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := make([]map[string]any, 101)
		for i := range keys {
			keys[i] = edSigner().jwk(fmt.Sprint(i))
		}
		tokens, _ := published(t, serve(keys...))
		wantCode(t, "key 99", code(t, tokens, fresh(edSigner(), "99", 1)), "")
		wantCode(t, "key 100", code(t, tokens, fresh(edSigner(), "100", 1)), eureka.CodeUnauthenticated)
	})
}

func TestKeysOfAnotherIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &issuerDouble{answer: func(r *http.Request) ([]byte, error) {
			if r.URL.Host == "one.example.com" {
				return serve(rsaSigner().jwk("a"))(r)
			}
			return serve(otherSigner().jwk("b"))(r)
		}}
		tokens := newTokens(t, auth.TokenOptions{Transport: d, Issuers: []auth.Issuer{
			{Name: "one", JWKS: "https://one.example.com"}, {Name: "two", JWKS: "https://two.example.com"},
		}})
		if err := tokens.Warm(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			signer signer
			iss    string
			id     string
			ok     bool
		}{
			{rsaSigner(), "one", "a", true}, {otherSigner(), "two", "b", true},
			{rsaSigner(), "two", "a", false}, {rsaSigner(), "two", "b", false}, {otherSigner(), "one", "b", false}, {otherSigner(), "one", "a", false},
			{rsaSigner(), "two", "", false},
		} {
			token := tt.signer.token(tt.id, map[string]any{"iss": tt.iss, "exp": time.Now().Add(time.Hour).Unix()})
			_, err := tokens.Verify(t.Context(), token)
			if (err == nil) != tt.ok || (err != nil && eureka.CodeOf(err) != eureka.CodeUnauthenticated) {
				t.Errorf("issuer %s, key %s: %v", tt.iss, tt.id, err)
			}
		}
	})
}

func TestPublishedKeysRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens, d := published(t, serve(rsaSigner().jwk("a")))
		before := fresh(rsaSigner(), "a", 1)
		wantCode(t, "old key", code(t, tokens, before), "")
		wantCode(t, "old key, cached", code(t, tokens, before), "")
		wantCalls(t, "first", d, 1)

		// The issuer has a new key. Its first token makes the set be fetched, since the last time is long enough ago.
		d.set(serve(rsaSigner().jwk("a"), otherSigner().jwk("b")))
		<-time.After(31 * time.Second)
		wantCode(t, "new key", code(t, tokens, fresh(otherSigner(), "b", 1)), "")
		wantCode(t, "old key beside", code(t, tokens, before), "")
		wantCalls(t, "new key", d, 2)

		// It withdraws the old one. The background fetch of a token that holds finds that out.
		d.set(serve(otherSigner().jwk("b")))
		<-time.After(10*time.Minute - time.Second)
		wantCode(t, "withdrawn, not known yet", code(t, tokens, before), "")
		wantCalls(t, "not due", d, 2)
		<-time.After(time.Second)
		wantCode(t, "withdrawn, asks", code(t, tokens, before), "")
		wantCalls(t, "due", d, 3)
		wantCode(t, "withdrawn, cached token", code(t, tokens, before), eureka.CodeUnauthenticated)
		wantCode(t, "withdrawn, new token", code(t, tokens, fresh(rsaSigner(), "a", 2)), eureka.CodeUnauthenticated)

		// Another key under the same id is another key.
		d.set(serve(rsaSigner().jwk("b")))
		now := fresh(otherSigner(), "b", 3)
		wantCode(t, "before", code(t, tokens, now), "")
		<-time.After(10 * time.Minute)
		wantCode(t, "asks", code(t, tokens, now), "")
		synctest.Wait()
		wantCode(t, "replaced", code(t, tokens, now), eureka.CodeUnauthenticated)
		wantCode(t, "replacement", code(t, tokens, fresh(rsaSigner(), "b", 3)), "")
	})
}

func TestUnchangedKeysAreQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines bytes.Buffer
		tokens := newTokens(t, auth.TokenOptions{
			Issuers:   []auth.Issuer{{Name: "one", JWKS: "https://issuer.example.com/keys"}},
			Transport: &issuerDouble{answer: serve(edSigner().jwk("a"))},
			Log:       slog.New(slog.NewTextHandler(&lines, nil)),
		})
		for range 3 {
			if err := tokens.Warm(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if n := strings.Count(lines.String(), "\n"); n != 1 {
			t.Errorf("%d lines: %s", n, lines.String())
		}
	})
}

func TestUnknownKeysAreNoFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens, d := published(t, serve(edSigner().jwk("a")))
		for second := range 120 {
			for n := range 5 {
				wantCode(t, "flood", code(t, tokens, fresh(edSigner(), fmt.Sprint("x", second, n), n)), eureka.CodeUnauthenticated)
			}
			wantCode(t, "good", code(t, tokens, fresh(edSigner(), "a", second)), "")
			<-time.After(time.Second)
		}
		wantCalls(t, "two minutes", d, 4)

		d.set(down)
		for second := range 120 {
			got := code(t, tokens, fresh(edSigner(), fmt.Sprint("y", second), 1))
			wantCode(t, "unknown while down", got, eureka.CodeUnavailable)
			wantCode(t, "good while down", code(t, tokens, fresh(edSigner(), "a", second)), "")
			<-time.After(time.Second)
		}
		if n := d.count(); n > 12 {
			t.Errorf("%d fetches", n)
		}
	})
}

func TestPublishedKeysDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens, d := published(t, down)
		if err := tokens.Warm(t.Context()); eureka.CodeOf(err) != eureka.CodeUnavailable || !strings.Contains(err.Error(), "connection refused") ||
			strings.Contains(eureka.MessageOf(err), "refused") || strings.Contains(err.Error(), "/keys") {
			t.Errorf("Warm: %v", err)
		}
		token := fresh(edSigner(), "a", 1)
		for range 10 {
			wantCode(t, "from the start", code(t, tokens, token), eureka.CodeUnavailable)
		}
		wantCalls(t, "from the start", d, 2)
		forged := fresh(hmacSigner(), "a", 1)
		wantCode(t, "wrong algorithm needs no keys", code(t, tokens, forged), eureka.CodeUnauthenticated)

		d.set(serve(edSigner().jwk("a")))
		<-time.After(30 * time.Second)
		wantCode(t, "up", code(t, tokens, token), "")

		d.set(down)
		for range 24*60 - 1 {
			<-time.After(time.Minute)
			if got := code(t, tokens, token); got != "" {
				t.Fatalf("known key: %s", got)
			}
		}
		wantCode(t, "known key, new token", code(t, tokens, fresh(edSigner(), "a", 2)), "")
		<-time.After(time.Minute)
		wantCode(t, "after a day", code(t, tokens, token), eureka.CodeUnavailable)
		wantCode(t, "after a day, new token", code(t, tokens, fresh(edSigner(), "a", 3)), eureka.CodeUnavailable)
		d.set(serve(edSigner().jwk("a")))
		<-time.After(30 * time.Second)
		wantCode(t, "up again", code(t, tokens, token), "")
	})
}

func TestPublishedKeysSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens, d := published(t, hang)
		began := time.Now()
		wantCode(t, "hanging", code(t, tokens, fresh(edSigner(), "a", 1)), eureka.CodeUnavailable)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("took %v", took)
		}

		// Many wait for one slow answer; those who leave do not end it.
		release := make(chan struct{})
		d.set(func(r *http.Request) ([]byte, error) {
			select {
			case <-release:
				return serve(edSigner().jwk("a"))(r)
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		})
		<-time.After(30 * time.Second)
		first, cancel := context.WithCancel(t.Context())
		var left, served atomic.Int32
		var group sync.WaitGroup
		try := func(ctx context.Context, n int) {
			switch _, err := tokens.Verify(ctx, fresh(edSigner(), "a", n)); {
			case err == nil:
				served.Add(1)
			case eureka.CodeOf(err) == eureka.CodeUnavailable && errors.Is(err, context.Canceled):
				left.Add(1)
			default:
				t.Error(err)
			}
		}
		group.Go(func() { try(first, 0) })
		synctest.Wait()
		for n := range 50 {
			group.Go(func() { try(t.Context(), n) })
		}
		group.Go(func() {
			if err := tokens.Warm(t.Context()); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		if left.Load() != 1 || served.Load() != 0 {
			t.Errorf("%d left, %d served", left.Load(), served.Load())
		}
		close(release)
		group.Wait()
		if served.Load() != 50 {
			t.Errorf("%d served", served.Load())
		}
		wantCalls(t, "all", d, 2)
	})
}

func TestPublishedKeysOverHTTP(t *testing.T) {
	good := keySet(edSigner().jwk("a"))
	var evil atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		evil.Add(1)
		_, _ = w.Write(good)
	}))
	defer elsewhere.Close()
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   eureka.Code
	}{
		{"good", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(good) }, ""},
		{"redirected", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) }, eureka.CodeUnavailable},
		{"garbage", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, eureka.CodeUnavailable},
		{"nothing", func(http.ResponseWriter, *http.Request) {}, eureka.CodeUnavailable},
		{"no keys", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"keys":[]}`)) }, eureka.CodeUnavailable},
		{"null", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`null`)) }, eureka.CodeUnavailable},
		{"keys of other types", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"keys":[1,null,"x",[],{}]}`)) }, eureka.CodeUnavailable},
		{"error with keys", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write(good)
		}, eureka.CodeUnavailable},
		{"cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(good)+10))
			_, _ = w.Write(good)
		}, eureka.CodeUnavailable},
		{"huge", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(good)
			_, _ = w.Write([]byte(strings.Repeat(" ", 1<<20)))
		}, eureka.CodeUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(tt.answer)
			defer server.Close()
			tokens := newTokens(t, auth.TokenOptions{Issuers: []auth.Issuer{{JWKS: server.URL + "/keys?token=confidential"}}})
			if err := tokens.Warm(t.Context()); eureka.CodeOf(err) != tt.want {
				t.Errorf("Warm: %v", err)
			} else if err != nil && strings.Contains(err.Error(), "confidential") {
				t.Errorf("error has the address: %v", err)
			}
			wantCode(t, tt.name, code(t, tokens, fresh(edSigner(), "a", 1)), tt.want)
		})
	}
	if evil.Load() > 0 {
		t.Error("a redirect was followed")
	}
}
