package auth_test

import (
	"context"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"eureka"
	"eureka/internal/auth"
)

func TestNewTokensRefuses(t *testing.T) {
	weak := func(s signer) func(*auth.Issuer) { return func(i *auth.Issuer) { i.PEM = s.pem() } }
	block := func(kind string, der []byte) func(*auth.Issuer) {
		return func(i *auth.Issuer) { i.PEM = pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	}
	address := func(a string) func(*auth.Issuer) { return func(i *auth.Issuer) { i.JWKS = a } }
	for name, change := range map[string]func(*auth.Issuer){
		"no key":            func(*auth.Issuer) {},
		"two keys":          func(i *auth.Issuer) { i.Secret, i.PEM = secret, rsaSigner().pem() },
		"key and address":   func(i *auth.Issuer) { i.Secret, i.JWKS = secret, "https://a.example.com" },
		"short secret":      func(i *auth.Issuer) { i.Secret = secret[:31] },
		"public secret":     func(i *auth.Issuer) { i.Secret = rsaSigner().pem() },
		"empty audience":    func(i *auth.Issuer) { i.Secret, i.Audience = secret, []string{""} },
		"none":              func(i *auth.Issuer) { i.Secret, i.Algorithms = secret, []string{"none"} },
		"RS256 for secret":  func(i *auth.Issuer) { i.Secret, i.Algorithms = secret, []string{"RS256"} },
		"HS256 for PEM":     func(i *auth.Issuer) { i.PEM, i.Algorithms = rsaSigner().pem(), []string{"RS256", "HS256"} },
		"HS256 for address": func(i *auth.Issuer) { i.JWKS, i.Algorithms = "https://a.example.com", []string{"HS256"} },
		"RSA 8193":          weak(signer{public: &rsa.PublicKey{N: new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 8192), big.NewInt(1)), E: 65537}}),
		"RSA 1024":          weak(newRSA(1024)()),
		"P-384":             weak(newEC(elliptic.P384())()),
		"private key":       block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(edSigner().private))),
		"garbage PEM":       block("PUBLIC KEY", []byte("garbage")),
		"garbage cert":      block("CERTIFICATE", []byte("garbage")),
		"no PEM":            func(i *auth.Issuer) { i.PEM = []byte("garbage") },
		"two PEM":           func(i *auth.Issuer) { i.PEM = append(rsaSigner().pem(), edSigner().pem()...) },
		"http":              address("http://issuer.example.com/jwks"),
		"http fake local":   address("http://localhost.example.com/jwks"),
		"http userinfo":     address("http://localhost@evil.example.com/jwks"),
		"https userinfo":    address("https://user:password@issuer.example.com/jwks"),
		"file":              address("file:///etc/passwd"),
		"no host":           address("https:///jwks"),
		"no address":        address("::"),
		"fragment":          address("https://issuer.example.com/jwks#x"),
	} {
		_, err := auth.NewTokens(options(issuer(change)))
		if eureka.CodeOf(err) != eureka.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), string(secret[:31])) || strings.Contains(err.Error(), "password") {
			t.Errorf("%s: error has the secret: %v", name, err)
		}
	}
	named := func(name string) auth.Issuer { return auth.Issuer{Name: name, Secret: secret} }
	for name, o := range map[string]auth.TokenOptions{
		"none": options(), "same name": options(named("a"), named("a")), "without name": options(named("a"), named("")),
		"leeway": {Issuers: []auth.Issuer{named("a")}, Leeway: time.Minute + 1}, "leeway negative": {Issuers: []auth.Issuer{named("a")}, Leeway: -1},
		"many": options(make([]auth.Issuer, 101)...),
	} {
		if _, err := auth.NewTokens(o); eureka.CodeOf(err) != eureka.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, a := range []string{"http://localhost:1/x", "http://127.0.0.1/x", "http://[::1]:80/x", "https://issuer.example.com/x?tenant=1"} {
		if _, err := auth.NewTokens(options(issuer(address(a)))); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
}

func TestMintHS256(t *testing.T) {
	want := eureka.Identity{
		User: "ada", Scopes: eureka.ScopePublish, Channels: []string{"room.*"}, ExpiresAt: (start + 60) * 1000, TokenID: "t9", IssuedAt: start * 1000,
	}
	token, err := auth.MintHS256(secret, want, "https://issuer.example.com", []string{"eureka"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := secretTokens(t).Verify(context.Background(), token)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, withoutClaims(got)); diff != "" {
		t.Error(diff)
	}
	soon := time.Now().Add(time.Hour).UnixMilli()
	tokens := newTokens(t, auth.TokenOptions{Issuers: []auth.Issuer{{Secret: secret}}, Log: slog.New(slog.DiscardHandler)})
	token, err = auth.MintHS256(secret, eureka.Identity{ExpiresAt: soon}, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err = tokens.Verify(t.Context(), token); err != nil || got.TokenID == "" || got.IssuedAt == 0 || got.Scopes != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	many := make([]string, eureka.MaxPatterns)
	for i := range many {
		many[i] = strings.Repeat("x", 60)
	}
	for name, bad := range map[string]eureka.Identity{
		"no end": {}, "end before issue": {ExpiresAt: 1000, IssuedAt: 2000}, "end too late": {ExpiresAt: 1 << 60}, "user": {ExpiresAt: soon, User: "\n"},
		"pattern": {ExpiresAt: soon, Channels: []string{" "}}, "id": {ExpiresAt: soon, TokenID: strings.Repeat("x", 129)}, "size": {ExpiresAt: soon, Channels: many},
	} {
		if _, err := auth.MintHS256(secret, bad, "", nil); eureka.CodeOf(err) != eureka.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := auth.MintHS256([]byte("short"), want, "", nil); eureka.CodeOf(err) != eureka.CodeInvalid {
		t.Errorf("short secret: %v", err)
	}
}
