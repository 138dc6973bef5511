package natsengine

import (
	"strings"
	"testing"

	"eureka"
)

func TestEscapeToken(t *testing.T) {
	tests := []struct{ name, token string }{
		{"", "="},
		{"1000001", "1000001"},
		{"A-z_9", "A-z_9"},
		{"orders-api:order", "orders-api=3Aorder"},
		{"a.b", "a=2Eb"},
		{"=3A", "=3D3A"},
		{"*", "=2A"},
		{">", "=3E"},
		{"한", "=ED=95=9C"},
		{"\xff\x00 ", "=FF=00=20"},
	}
	for _, tt := range tests {
		if got := escapeToken(tt.name); got != tt.token {
			t.Errorf("escapeToken(%q) = %q, want %q", tt.name, got, tt.token)
		}
		if got, err := unescapeToken(tt.token); err != nil || got != tt.name {
			t.Errorf("unescapeToken(%q) = %q, %v; want %q", tt.token, got, err, tt.name)
		}
	}
}

func TestUnescapeTokenRefusesWhatIsNeverWritten(t *testing.T) {
	for _, s := range []string{"", "==", "=3", "=3a", "=41", "=G0", "a.b", "a b", "*", ">", "한", "x=", "x=2"} {
		if got, err := unescapeToken(s); eureka.CodeOf(err) != eureka.CodeInvalid {
			t.Errorf("unescapeToken(%q) = %q, %v; want an invalid error", s, got, err)
		}
	}
}

const tokenLetters = "=ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

func FuzzToken(f *testing.F) {
	for _, s := range []string{"", "=", "a:b.c", "한글", "\x00\xff", "=3A", "name.*.>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token := escapeToken(s)
		if token == "" || strings.ContainsFunc(token, func(r rune) bool { return !strings.ContainsRune(tokenLetters, r) }) {
			t.Fatalf("escapeToken(%q) = %q is no token", s, token)
		}
		if back, err := unescapeToken(token); err != nil || back != s {
			t.Fatalf("unescapeToken(escapeToken(%q)) = %q, %v", s, back, err)
		}
		if name, err := unescapeToken(s); err == nil && escapeToken(name) != s {
			t.Fatalf("unescapeToken(%q) = %q, whose token is %q", s, name, escapeToken(name))
		}
	})
}
