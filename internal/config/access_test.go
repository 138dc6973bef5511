package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"eureka"
	"eureka/internal/auth"
)

const secret = "0123456789abcdef0123456789abcdef"

func TestAuthentication(t *testing.T) {
	for name, tt := range map[string]struct {
		set           func(*Settings)
		authenticated bool
		undeclared    bool
	}{
		"none":                {func(*Settings) {}, false, true},
		"admin key":           {func(s *Settings) { s.AdminKey = secret }, true, false},
		"secret":              {func(s *Settings) { s.JWTSecret = secret }, true, false},
		"public key":          {func(s *Settings) { s.JWTPublicKey = "key.pem" }, true, false},
		"addresses":           {func(s *Settings) { s.JWTJWKS = []string{"https://a/keys"} }, true, false},
		"an issuer alone":     {func(s *Settings) { s.JWTIssuer, s.JWTAudience = "x", []string{"y"} }, false, true},
		"none, denied":        {func(s *Settings) { s.UndeclaredChannels = UndeclaredDeny }, false, false},
		"admin key, allowed":  {func(s *Settings) { s.AdminKey, s.UndeclaredChannels = secret, UndeclaredAllow }, true, true},
		"insecure is no auth": {func(s *Settings) { s.Insecure = true }, false, true},
	} {
		s := good()
		s.UndeclaredChannels = UndeclaredAuto
		tt.set(&s)
		if s.Authenticated() != tt.authenticated || s.AllowUndeclared() != tt.undeclared {
			t.Errorf("%s: authenticated %v, undeclared channels %v", name, s.Authenticated(), s.AllowUndeclared())
		}
	}
}

func TestAuthenticationOpensEveryAddress(t *testing.T) {
	for _, set := range []func(*Settings){
		func(s *Settings) { s.AdminKey = secret }, func(s *Settings) { s.JWTSecret = secret }, func(s *Settings) { s.JWTJWKS = []string{"https://a/keys"} },
	} {
		s := good()
		s.Listen = "0.0.0.0:1"
		set(&s)
		if err := s.Verify(); err != nil {
			t.Error(err)
		}
	}
}

func keyFile(t *testing.T, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func publicKey(t *testing.T) string {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return keyFile(t, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// TestTokenSettings: a mistake is found before the start and named by its setting, and no error repeats a secret.
func TestTokenSettings(t *testing.T) {
	good1 := publicKey(t)
	for name, tt := range map[string]struct {
		set  func(*Settings)
		want string // start of the message; "" when it is taken
	}{
		"secret":       {func(s *Settings) { s.JWTSecret = secret }, ""},
		"short secret": {func(s *Settings) { s.JWTSecret = secret[:31] }, "jwt_secret: has 31 bytes; at least 32 are needed"},
		"file":         {func(s *Settings) { s.JWTPublicKey = good1 }, ""},
		"missing file": {func(s *Settings) { s.JWTPublicKey = "missing.pem" }, "jwt_public_key: missing.pem is no readable PEM file"},
		"directory":    {func(s *Settings) { s.JWTPublicKey = t.TempDir() }, "jwt_public_key: "},
		"huge file":    {func(s *Settings) { s.JWTPublicKey = keyFile(t, make([]byte, maxKeyFile+1)) }, "jwt_public_key: "},
		"no PEM":       {func(s *Settings) { s.JWTPublicKey = keyFile(t, []byte(secret)) }, "jwt_public_key: must contain one public key"},
		"private key": {func(s *Settings) {
			s.JWTPublicKey = keyFile(t, []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
		}, "jwt_public_key: must be of the PEM type"},
		"secret and file":      {func(s *Settings) { s.JWTSecret, s.JWTPublicKey = secret, good1 }, "jwt_public_key: cannot be set beside jwt_secret"},
		"address":              {func(s *Settings) { s.JWTJWKS = []string{"https://a.example.com/keys"} }, ""},
		"address of one":       {func(s *Settings) { s.JWTJWKS = []string{"https://a.example.com/=https://a.example.com/keys"} }, ""},
		"address with a query": {func(s *Settings) { s.JWTJWKS = []string{"https://a.example.com/keys?next=https://b.example.com"} }, ""},
		"two addresses": {func(s *Settings) {
			s.JWTJWKS = []string{"one=https://a.example.com/keys", "two=https://b.example.com/keys"}
		}, ""},
		"secret and addresses": {func(s *Settings) {
			s.JWTSecret, s.JWTIssuer, s.JWTJWKS = secret, "own", []string{"one=https://a.example.com/keys"}
		}, ""},
		"without names": {func(s *Settings) {
			s.JWTJWKS = []string{"https://a.example.com/keys", "two=https://b.example.com/keys"}
		}, "jwt_issuer: is needed"},
		"secret without name": {func(s *Settings) { s.JWTSecret, s.JWTJWKS = secret, []string{"two=https://b.example.com/keys"} }, "jwt_issuer: is needed"},
		"one name twice": {func(s *Settings) {
			s.JWTJWKS = []string{"one=https://a.example.com/keys", "one=https://b.example.com/keys"}
		}, `jwt_jwks: names the issuer "one" twice`},
		"name of the secret": {func(s *Settings) {
			s.JWTSecret, s.JWTIssuer, s.JWTJWKS = secret, "one", []string{"one=https://b.example.com/keys"}
		}, `jwt_jwks: names the issuer "one" twice`},
		"plain http":          {func(s *Settings) { s.JWTJWKS = []string{"http://a.example.com/keys?" + secret} }, "jwt_jwks: must be https"},
		"password in address": {func(s *Settings) { s.JWTJWKS = []string{"https://ann:" + secret + "@a.example.com/keys"} }, "jwt_jwks: is no address"},
		"empty address":       {func(s *Settings) { s.JWTJWKS = []string{""} }, "jwt_jwks: has 0 of"},
		"empty audience":      {func(s *Settings) { s.JWTSecret, s.JWTAudience = secret, []string{"a", ""} }, "jwt_audience: has an empty entry"},
		"too many":            {func(s *Settings) { s.JWTJWKS = make([]string, 101) }, "jwt_jwks: has 101 entries"},
	} {
		s := good()
		tt.set(&s)
		err := s.Verify()
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if eureka.CodeOf(err) != eureka.CodeInvalid || !strings.HasPrefix(eureka.MessageOf(err), tt.want) {
			t.Errorf("%s: %v, want %s…", name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), secret[:31]) {
			t.Errorf("%s: the secret is in: %v", name, err)
		}
	}
	if tokens, err := good().Tokens(auth.TokenOptions{}); tokens != nil || err != nil {
		t.Errorf("without keys: %v, %v", tokens, err)
	}
}

// TestSecretsAreNotShown: what `eureka config` prints of each setting that is or may hold a secret.
func TestSecretsAreNotShown(t *testing.T) {
	s := good()
	s.AdminKey, s.JWTSecret, s.NATS = secret, secret, "nats://ann:"+secret+"@h"
	s.JWTJWKS = []string{"https://issuer.example.com=https://keys.example.com/x?key=" + secret, "https://ann:" + secret + "@b.example.com"}
	got := map[string]string{}
	for _, d := range Declarations() {
		got[d.Key] = d.Value(s)
		if strings.Contains(got[d.Key], secret) {
			t.Errorf("%s shows a secret: %s", d.Key, got[d.Key])
		}
	}
	for key, want := range map[string]string{
		"admin_key": "xxxxx", "jwt_secret": "xxxxx", "nats": "nats://xxxxx@h",
		// All behind the ? goes, the comma too: rather too much than too little.
		"jwt_jwks": "https://issuer.example.com=https://keys.example.com/x?xxxxxhttps://xxxxx@b.example.com",
	} {
		if got[key] != want {
			t.Errorf("%s is shown as %s, want %s", key, got[key], want)
		}
	}
}
