package app_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestProfiles: they are served on an address of their own, to this machine's own names alone, and not on the service's.
func TestProfiles(t *testing.T) {
	n := serve(t, "--pprof", "127.0.0.1:0")
	get := func(url, host string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if host != "" {
			r.Host = host
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0, ""
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	base := "http://" + n.app.ProfileAddr()
	if status, text := get(base+"/debug/pprof/goroutine?debug=1", ""); status != http.StatusOK || !strings.Contains(text, "eureka/internal/gateway") {
		t.Errorf("%d: %.200s", status, text)
	}
	if status, text := get(base+"/debug/pprof/", "evil.example.com"); status != http.StatusForbidden {
		t.Errorf("under another name: %d: %.200s", status, text)
	}
	if status, _ := get(n.url+"/debug/pprof/", ""); status != http.StatusNotFound {
		t.Errorf("on the service's address: %d", status)
	}
	n.stop()
	if status, _ := get(base+"/debug/pprof/", ""); status != 0 {
		t.Errorf("after the stop: %d", status)
	}
	if plain := serve(t); plain.app.ProfileAddr() != "" {
		t.Errorf("without the setting: %s", plain.app.ProfileAddr())
	}
}
