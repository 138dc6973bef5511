// Package auth decides who is behind a request and whether a browser page may speak for them. It never talks to an engine, never
// writes an answer, and never logs a credential.
package auth

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"eureka"
)

// maxOrigins bounds the setting; each origin is compared with each request of a browser.
const maxOrigins = 1000

// Origins are the browser pages that may use the service. A request without an Origin header does not come from a page and passes.
// Pages of this machine (localhost, 127.0.0.0/8, ::1, any port) always pass.
type Origins struct {
	all      bool
	exact    map[string]bool
	suffixes []suffix
}

// suffix is a pattern https://*.example.com.
type suffix struct{ scheme, host, port string }

// NewOrigins compiles the setting: exact origins ("https://app.example.com"), one leading wildcard label
// ("https://*.example.com"), "null" for pages without an origin, or "*" for all. CodeInvalid names a bad entry.
func NewOrigins(allowed []string) (*Origins, error) {
	if len(allowed) > maxOrigins {
		return nil, eureka.FieldError("allowed_origins", "has %d entries, the limit is %d", len(allowed), maxOrigins)
	}
	o := &Origins{exact: make(map[string]bool, len(allowed))}
	for _, entry := range allowed {
		entry = strings.TrimSpace(entry)
		switch entry {
		case "*":
			o.all = true
			continue
		case "null":
			o.exact["null"] = true
			continue
		}
		u, ok := parseOrigin(entry)
		if !ok {
			return nil, eureka.FieldError("allowed_origins", "%q is no origin; write it as https://app.example.com or https://*.example.com", entry)
		}
		host := u.Hostname()
		rest, wild := strings.CutPrefix(host, "*.")
		switch {
		case strings.Contains(rest, "*"), wild && !strings.Contains(rest, "."):
			return nil, eureka.FieldError("allowed_origins", "%q: a wildcard stands for the first label of a host of three or more", entry)
		case wild:
			o.suffixes = append(o.suffixes, suffix{u.Scheme, "." + rest, port(u)})
		default:
			o.exact[canonical(u)] = true
		}
	}
	return o, nil
}

// Allowed reports whether the request may come from where it says. A page of another host does not pass by naming the
// same host in its Host header. A GET to the same host has no Origin in browsers and passes: rebinding a name is not stopped here.
func (o *Origins) Allowed(r *http.Request) bool {
	values := r.Header.Values("Origin")
	if len(values) == 0 {
		return true
	}
	if len(values) > 1 {
		return false
	}
	if o.all {
		return true
	}
	if values[0] == "null" {
		return o.exact["null"]
	}
	u, ok := parseOrigin(values[0])
	if !ok || strings.Contains(u.Host, "*") {
		return false
	}
	if loopback(u.Hostname()) || o.exact[canonical(u)] {
		return true
	}
	for _, s := range o.suffixes {
		if s.scheme == u.Scheme && s.port == port(u) && strings.HasSuffix(u.Hostname(), s.host) && len(u.Hostname()) > len(s.host) {
			return true
		}
	}
	return false
}

// parseOrigin accepts scheme://host[:port] and nothing more, in lower case.
func parseOrigin(s string) (*url.URL, bool) {
	u, err := url.Parse(strings.ToLower(s))
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil ||
		u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" || strings.HasSuffix(s, "#") {
		return nil, false
	}
	return u, true
}

func canonical(u *url.URL) string { return u.Scheme + "://" + net.JoinHostPort(u.Hostname(), port(u)) }

func port(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case u.Scheme == "https":
		return "443"
	default:
		return "80"
	}
}

func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}

// OpenIdentity is who a client is while the service has no authentication: whoever it says (?user=NAME), or nobody.
func OpenIdentity(r *http.Request) (eureka.Identity, error) {
	user := r.URL.Query().Get("user")
	return eureka.Everyone(user), eureka.CheckUser(user)
}
