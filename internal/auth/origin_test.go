package auth_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"eureka"
	"eureka/internal/auth"
)

func TestOrigins(t *testing.T) {
	listed := []string{"https://app.example.com", "https://*.example.org", "http://shop.example.com:8080"}
	for _, tt := range []struct {
		origin string
		want   bool
	}{
		{"https://app.example.com", true},
		{"https://app.example.com:443", true},
		{"HTTPS://APP.EXAMPLE.COM", true},
		{"http://app.example.com", false},
		{"https://app.example.com:8443", false},
		{"https://app.example.com.evil.com", false},
		{"https://evilapp.example.com", false},
		{"https://app.example.com@evil.com", false},
		{"https://a.example.org", true},
		{"https://a.b.example.org", true},
		{"https://example.org", false},
		{"https://.example.org", false},
		{"https://evilexample.org", false},
		{"https://*.example.org", false},
		{"http://shop.example.com:8080", true},
		{"http://shop.example.com", false},
		{"http://localhost:3000", true},
		{"http://127.0.0.1:5173", true},
		{"http://[::1]:8832", true},
		{"http://localhost.evil.com", false},
		{"http://127.0.0.1.evil.com", false},
		{"http://evil.com", false},
		{"null", false},
		{"", false},
		{"file://", false},
		{"https://app.example.com/", false},
		{"https://app.example.com?x", false},
		{"chrome-extension://abc", false},
		{"https://app.example.com https://evil.com", false},
	} {
		t.Run(tt.origin, func(t *testing.T) {
			o, err := auth.NewOrigins(listed)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodGet, "http://evil.com/", http.NoBody)
			r.Header["Origin"] = []string{tt.origin}
			if got := o.Allowed(r); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
	t.Run("no header, two headers, same host, star, null", func(t *testing.T) {
		none, all, null := mustOrigins(t), mustOrigins(t, "*"), mustOrigins(t, "null")
		r := httptest.NewRequest(http.MethodGet, "http://evil.com/", http.NoBody)
		if !none.Allowed(r) {
			t.Error("a request of no page was refused")
		}
		r.Header["Origin"] = []string{"http://localhost", "http://evil.com"}
		if none.Allowed(r) {
			t.Error("two origins passed")
		}
		r.Header["Origin"] = []string{"http://evil.com"}
		if none.Allowed(r) || !all.Allowed(r) {
			t.Error("a rebound host passed, or * did not let it")
		}
		r.Header["Origin"] = []string{"null"}
		if none.Allowed(r) || !null.Allowed(r) {
			t.Error("null passed unlisted, or not when listed")
		}
	})
}

func TestNewOriginsRefuses(t *testing.T) {
	for _, entry := range []string{"", "app.example.com", "https://", "https://*", "https://*.com", "https://a.*.com", "https://x/y", "ftp://x", "https://u@x", "https://a b"} {
		if _, err := auth.NewOrigins([]string{entry}); eureka.CodeOf(err) != eureka.CodeInvalid {
			t.Errorf("%q: %v", entry, err)
		}
	}
	if _, err := auth.NewOrigins(make([]string, 1001)); err == nil {
		t.Error("1,001 entries were taken")
	}
}

func TestOpenIdentity(t *testing.T) {
	for query, want := range map[string]string{"": "", "user=ann": "ann", "user=%EC%A3%BC": "주"} {
		id, err := auth.OpenIdentity(httptest.NewRequest(http.MethodGet, "/?"+query, http.NoBody))
		if err != nil || id.User != want {
			t.Errorf("%s: %q, %v", query, id.User, err)
		}
	}
	for _, query := range []string{"user=%00", "user=%ff", "user=" + strings.Repeat("x", eureka.MaxUserLength+1)} {
		if _, err := auth.OpenIdentity(httptest.NewRequest(http.MethodGet, "/?"+query, http.NoBody)); eureka.CodeOf(err) != eureka.CodeInvalid {
			t.Errorf("%s: %v", query, err)
		}
	}
}

// FuzzOrigins: no origin that is not listed passes, whatever it looks like.
func FuzzOrigins(f *testing.F) {
	f.Add("https://app.example.com")
	f.Add("https://a.example.org:443")
	f.Add("http://[::1]:1")
	o, err := auth.NewOrigins([]string{"https://app.example.com", "https://*.example.org"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, origin string) {
		r := &http.Request{Header: http.Header{"Origin": []string{origin}}}
		if !o.Allowed(r) {
			return
		}
		lower := strings.TrimSuffix(strings.ToLower(origin), ":443")
		if lower == "https://app.example.com" || (strings.HasPrefix(lower, "https://") && strings.HasSuffix(lower, ".example.org")) {
			return
		}
		if !strings.Contains(lower, "localhost") && !strings.Contains(lower, "127.") && !strings.Contains(lower, "[") {
			t.Errorf("%q passed", origin)
		}
	})
}

func mustOrigins(t *testing.T, allowed ...string) *auth.Origins {
	t.Helper()
	o, err := auth.NewOrigins(allowed)
	if err != nil {
		t.Fatal(err)
	}
	return o
}
