package config

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"eureka"
)

// TestTokenSettings: what is wrong with the keys of tokens is found by Verify, and named as a setting.
func TestTokenSettings(t *testing.T) {
	dir := t.TempDir()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	key, text := filepath.Join(dir, "key.pem"), filepath.Join(dir, "text")
	for path, content := range map[string][]byte{
		key: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), text: []byte("no key"),
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	secret := strings.Repeat("s", 32)
	for _, tt := range []struct {
		name string
		set  func(*Settings)
		want string // "" for taken
	}{
		{"a secret", func(s *Settings) { s.JWTSecret = secret }, ""},
		{"a short one", func(s *Settings) { s.JWTSecret = "short" }, "jwt_secret: has 5 bytes"},
		{"a public key", func(s *Settings) { s.JWTPublicKey = key }, ""},
		{"no file", func(s *Settings) { s.JWTPublicKey = dir + "/none" }, "jwt_public_key: "},
		{"a folder", func(s *Settings) { s.JWTPublicKey = dir }, "jwt_public_key: "},
		{"no key", func(s *Settings) { s.JWTPublicKey = text }, "jwt_public_key: must contain one public key"},
		{"an address", func(s *Settings) { s.JWTJWKS = []string{"https://id.example.com/jwks"} }, ""},
		{"one on this machine", func(s *Settings) { s.JWTJWKS = []string{"http://127.0.0.1:1/jwks"} }, ""},
		{"in the clear", func(s *Settings) { s.JWTJWKS = []string{"http://id.example.com/jwks"} }, "jwt_jwks: must be https"},
		{"no address", func(s *Settings) { s.JWTJWKS = []string{"jwks"} }, "jwt_jwks: is no address"},
		{"several issuers", func(s *Settings) {
			s.JWTSecret, s.JWTIssuer, s.JWTJWKS = secret, "dev", []string{"https://a.example.com/=https://a.example.com/jwks", "b=https://b.example.com/jwks"}
		}, ""},
		{"one without a name", func(s *Settings) { s.JWTSecret, s.JWTJWKS = secret, []string{"b=https://b.example.com/jwks"} }, "jwt_issuer: the keys of tokens come from 2 sources"},
		{"two of a name", func(s *Settings) { s.JWTJWKS = []string{"b=https://b.example.com/1", "b=https://b.example.com/2"} }, "jwt_issuer: the keys of tokens come from 2 sources"},
		{"an empty audience", func(s *Settings) { s.JWTSecret, s.JWTAudience = secret, []string{""} }, "jwt_audience: has an empty entry"},
	} {
		s := good()
		tt.set(&s)
		err := s.Verify()
		if tt.want == "" && (err != nil || !s.Authenticated()) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if tt.want != "" && (eureka.CodeOf(err) != eureka.CodeInvalid || !strings.HasPrefix(eureka.MessageOf(err), tt.want)) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestSyncInterval(t *testing.T) {
	for text, want := range map[string]time.Duration{"always": 0, "10ms": 10 * time.Millisecond, "1h": time.Hour} {
		always, interval, err := Settings{Sync: text}.SyncInterval()
		if err != nil || always != (text == "always") || interval != want {
			t.Errorf("%s: %v, %s, %v", text, always, interval, err)
		}
	}
	for _, text := range []string{"", "never", "0s", "9ms", "61m", "-1s", "1"} {
		if _, _, err := (Settings{Sync: text}).SyncInterval(); eureka.CodeOf(err) != eureka.CodeInvalid {
			t.Errorf("%q: %v", text, err)
		}
	}
}
