package app_test

import (
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
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

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

func hmacSigner(secret string) signer { return signer{"HS256", []byte(secret), nil} }

func newRSA() signer {
	k := must(rsa.GenerateKey(rand.Reader, 2048))
	return signer{"RS256", k, &k.PublicKey}
}

var (
	rsaSigner   = sync.OnceValue(newRSA)
	otherSigner = sync.OnceValue(newRSA)
	ecSigner    = sync.OnceValue(func() signer {
		k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		return signer{"ES256", k, &k.PublicKey}
	})
	edSigner = sync.OnceValue(func() signer {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		must(public, err)
		return signer{"EdDSA", private, public}
	})
)

// pem is the public key as a file has it.
func (s signer) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(s.public))})
}

func (s signer) file(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, s.pem(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// keySet is the public key as an issuer publishes it.
func (s signer) keySet(id string) []byte {
	jwk := must(jwkset.NewJWKFromKey(s.public, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: id}}))
	return must(json.Marshal(map[string]any{"keys": []any{jwk.Marshal()}}))
}

// raw signs a header and claims that are given as text.
func (s signer) raw(header, claims string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	return text + "." + base64.RawURLEncoding.EncodeToString(must(jwt.GetSigningMethod(s.algorithm).Sign(text, s.private)))
}

type claims = map[string]any

// token signs claims for ann, valid for an hour, with some changed; nil takes one away. id is the key's, "" for none.
func (s signer) token(id string, change claims) string {
	header := claims{"alg": s.algorithm, "typ": "JWT"}
	if id != "" {
		header["kid"] = id
	}
	now := time.Now()
	all := claims{
		"sub": "ann", "scope": "subscribe publish", "channels": []string{"*"}, "iat": now.Add(-time.Second).Unix(), "exp": now.Add(time.Hour).Unix(), "jti": rand.Text(),
	}
	maps.Copy(all, change)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return s.raw(string(must(json.Marshal(header))), string(must(json.Marshal(all))))
}

// token is one of the secret of these tests.
func token(change claims) string { return hmacSigner(jwtSecret).token("", change) }

// until is the claim of a token that ends soon; times in claims may have fractions.
func until(d time.Duration) float64 { return float64(time.Now().Add(d).UnixMilli()) / 1000 }

// issuer is an address that answers with keys.
func issuer(t testing.TB, answer http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return s.URL
}

func publishes(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }
}
