package auth_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"eureka"
	"eureka/internal/auth"
)

// FuzzVerify verifies any text, and any header and claims with a valid signature. What is accepted must have been signed, and must
// be an identity within its limits.
func FuzzVerify(f *testing.F) {
	const body = `{"iss":"https://issuer.example.com","aud":["eureka"],"sub":"ada","exp":1900000000,"scope":"publish","channels":["a.{sub}","*"],"jti":"x","iat":1}`
	good := hmacSigner().raw(`{"alg":"HS256"}`, body)
	for _, token := range []string{good, "", "..", good + ".", strings.Replace(good, ".", "..", 1), good[:len(good)-2], rsaSigner().token("a", claims(nil))} {
		f.Add(token, `{"alg":"HS256","typ":"JWT","kid":"a"}`, body)
	}
	f.Add("", `{"alg":"none"}`, `{"exp":1e400}`)
	f.Add("", `{"alg":"HS256","alg":"none"}`, `{"exp":1900000000,"exp":null,"scopes":[],"scp":"x"}`)
	tokens := secretTokens(f)
	f.Fuzz(func(t *testing.T, token, header, claims string) {
		checkVerify(t, tokens, token)
		checkVerify(t, tokens, hmacSigner().raw(header, claims))
	})
}

func checkVerify(t *testing.T, tokens *auth.Tokens, token string) {
	id, err := tokens.Verify(t.Context(), token)
	if err != nil {
		var e *eureka.Error
		if !errors.As(err, &e) || e.Code != eureka.CodeUnauthenticated || e.Message == "" {
			t.Fatalf("error %v", err)
		}
		return
	}
	parts := strings.Split(token, ".")
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(parts[0] + "." + parts[1]))
	if len(parts) != 3 || parts[2] != base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) {
		t.Fatal("accepted without a signature")
	}
	var fields struct {
		Algorithm string `json:"alg"`
	}
	head, _ := base64.RawURLEncoding.DecodeString(parts[0])
	if json.Unmarshal(head, &fields) != nil || fields.Algorithm == "" {
		t.Fatalf("accepted the header %s", head)
	}
	if eureka.CheckUser(id.User) != nil || eureka.CheckPatterns("channels", id.Channels) != nil || id.Channels == nil ||
		id.ExpiresAt <= start*1000 || id.ExpiresAt > 253402300799000 || id.IssuedAt < 0 || id.IssuedAt > (start+5)*1000 ||
		len(id.TokenID) > eureka.MaxTokenIDLength || id.Scopes&^eureka.ScopeAll != 0 {
		t.Fatalf("accepted %+v", id)
	}
}

// BenchmarkVerify is the cost of a token that was not seen before, for each algorithm, and of one that was.
func BenchmarkVerify(b *testing.B) {
	for _, s := range []signer{hmacSigner(), rsaSigner(), ecSigner(), edSigner()} {
		key := func(i *auth.Issuer) { i.Secret = secret }
		if s.public != nil {
			key = func(i *auth.Issuer) { i.PEM = s.pem() }
		}
		token := s.token("a", claims(nil))
		b.Run(s.algorithm, func(b *testing.B) {
			tokens := newTokens(b, options(issuer(key)))
			b.ReportAllocs()
			for b.Loop() {
				auth.Forget(tokens)
				if _, err := tokens.Verify(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(s.algorithm+"/cached", func(b *testing.B) {
			tokens := newTokens(b, options(issuer(key)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tokens.Verify(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
