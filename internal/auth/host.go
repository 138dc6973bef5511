package auth

import (
	"net"
	"net/http"
	"slices"
	"strings"

	"eureka"
)

// Hosts are the names by which a service without authentication may be called. A page of another site can give its own name this
// machine's address (DNS rebinding); its requests carry that name, and browsers send no Origin with those that read.
type Hosts struct {
	all     bool
	allowed []string
}

// NewHosts returns the names of the setting, beside those of the loopback interface, which always pass. all lets every name pass.
func NewHosts(allowed []string, all bool) (*Hosts, error) {
	h := &Hosts{all: all}
	for _, name := range allowed {
		name = strings.ToLower(strings.TrimSpace(name))
		host := hostName(name)
		if host == "" || strings.ContainsAny(name, "/@?#*, ") {
			return nil, eureka.FieldError("allowed_hosts", "%q is no host name", name)
		}
		h.allowed = append(h.allowed, host)
	}
	return h, nil
}

// Allowed returns CodeForbidden for a request to another name.
func (h *Hosts) Allowed(r *http.Request) error {
	name := hostName(strings.ToLower(r.Host))
	if h.all || loopback(name) || slices.Contains(h.allowed, name) {
		return nil
	}
	return eureka.Errorf(eureka.CodeForbidden, "a service without authentication answers to localhost alone; name others with the setting allowed_hosts")
}

// hostName is a host without its port and brackets; "" when what stands for the port is none.
func hostName(host string) string {
	if name, port, err := net.SplitHostPort(host); err == nil {
		if strings.ContainsFunc(port, func(r rune) bool { return r < '0' || r > '9' }) {
			return ""
		}
		host = name
	}
	return strings.TrimSuffix(strings.Trim(host, "[]"), ".")
}
