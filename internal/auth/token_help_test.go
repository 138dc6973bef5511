package auth_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"eureka"
	"eureka/internal/auth"
)

// start is when the tests take place.
const start = 1_800_000_000

var secret = []byte("0123456789abcdef0123456789abcdef")

// signer makes signatures of one key.
type signer struct {
	algorithm string
	private   any
	public    crypto.PublicKey
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newRSA(bits int) func() signer {
	return sync.OnceValue(func() signer {
		k := must(rsa.GenerateKey(rand.Reader, bits))
		return signer{"RS256", k, &k.PublicKey}
	})
}

func newEC(curve elliptic.Curve) func() signer {
	return sync.OnceValue(func() signer {
		k := must(ecdsa.GenerateKey(curve, rand.Reader))
		return signer{"ES256", k, &k.PublicKey}
	})
}

var (
	rsaSigner   = newRSA(2048)
	otherSigner = newRSA(2048)
	ecSigner    = newEC(elliptic.P256())
	edSigner    = sync.OnceValue(func() signer {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		must(public, err)
		return signer{"EdDSA", private, public}
	})
)

func hmacSigner() signer { return signer{"HS256", secret, nil} }

// pem is the public key as settings have it.
func (s signer) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(s.public))})
}

// jwk is the public key as an issuer publishes it.
func (s signer) jwk(id string) map[string]any {
	options := jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: id}}
	jwk := must(jwkset.NewJWKFromKey(s.public, options))
	fields := map[string]any{}
	must(0, json.Unmarshal(must(json.Marshal(jwk.Marshal())), &fields))
	return fields
}

// raw signs a header and claims that are given as text.
func (s signer) raw(header, claims string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	signature := must(jwt.GetSigningMethod(s.algorithm).Sign(text, s.private))
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// token signs claims; id is the key's, "" for none.
func (s signer) token(id string, claims map[string]any) string {
	header := map[string]any{"alg": s.algorithm, "typ": "JWT"}
	if id != "" {
		header["kid"] = id
	}
	return s.raw(string(must(json.Marshal(header))), string(must(json.Marshal(claims))))
}

// claims are valid ones with some changed; nil takes one away.
func claims(change map[string]any) map[string]any {
	all := map[string]any{
		"iss": "https://issuer.example.com", "aud": "eureka", "sub": "ada", "scope": "subscribe publish",
		"channels": []string{"room.*", "user.{sub}"}, "iat": start - 10, "nbf": start - 10, "exp": start + 600, "jti": "t1",
	}
	maps.Copy(all, change)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

func issuer(change func(*auth.Issuer)) auth.Issuer {
	i := auth.Issuer{Name: "https://issuer.example.com", Audience: []string{"eureka"}}
	change(&i)
	return i
}

func options(issuers ...auth.Issuer) auth.TokenOptions {
	return auth.TokenOptions{Issuers: issuers, Now: func() time.Time { return time.Unix(start, 0) }}
}

func newTokens(t testing.TB, o auth.TokenOptions) *auth.Tokens {
	t.Helper()
	tokens, err := auth.NewTokens(o)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// secretTokens is a verifier with one HS256 issuer.
func secretTokens(t testing.TB) *auth.Tokens {
	return newTokens(t, options(issuer(func(i *auth.Issuer) { i.Secret = secret })))
}

// wantRefused checks code and text of the error for a token, and that the error has nothing of the token in it.
func wantRefused(t *testing.T, err error, code eureka.Code, text, token string) {
	t.Helper()
	var e *eureka.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T), want an *eureka.Error", err, err)
	}
	if e.Code != code || !strings.Contains(e.Message, text) {
		t.Errorf("error %v, want %s with %q", err, code, text)
	}
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 8 && strings.Contains(err.Error(), part) {
			t.Errorf("error contains the token: %v", err)
		}
	}
}

// issuerDouble answers requests for keys without a network, so that a test may have its own time.
type issuerDouble struct {
	mu     sync.Mutex
	calls  int
	answer func(*http.Request) ([]byte, error)
}

func (d *issuerDouble) RoundTrip(r *http.Request) (*http.Response, error) {
	d.mu.Lock()
	d.calls++
	answer := d.answer
	d.mu.Unlock()
	body, err := answer(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
}

func (d *issuerDouble) set(answer func(*http.Request) ([]byte, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer = answer
}

func (d *issuerDouble) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls
}

// keySet is the text of a key set.
func keySet(keys ...map[string]any) []byte {
	return must(json.Marshal(map[string]any{"keys": append([]map[string]any{}, keys...)}))
}

// serve answers with a key set.
func serve(keys ...map[string]any) func(*http.Request) ([]byte, error) {
	body := keySet(keys...)
	return func(*http.Request) ([]byte, error) { return body, nil }
}

func down(*http.Request) ([]byte, error) { return nil, errors.New("connection refused") }

// hang answers when the client gives up.
func hang(r *http.Request) ([]byte, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}
