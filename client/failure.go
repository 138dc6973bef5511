package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"

	"eureka"
)

// unreachable words a failed connection. One that no second try mends is CodeInvalid.
func (c *Client) unreachable(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var slow net.Error
	if errors.As(err, &slow) && slow.Timeout() {
		return eureka.WrapError(eureka.CodeTimeout, err, "the service at %s does not answer in time", c.base.Redacted())
	}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return eureka.WrapError(eureka.CodeInvalid, err, "the certificate of %s is not trusted; for one of your own name it, or its CA's, as SSL_CERT_FILE (Linux), or let the system trust it", c.base.Redacted())
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return eureka.WrapError(eureka.CodeInvalid, err, "the service at %s speaks no TLS; write its address with http://", c.base.Redacted())
	}
	return eureka.WrapError(eureka.CodeUnavailable, err, "no service answers at %s; start one with `eureka serve`, or name another with --url", c.base.Redacted())
}

// refused reads the service's error.
func refused(status int, text []byte) error {
	var d struct {
		Code   eureka.Code `json:"code"`
		Detail string      `json:"detail"`
		Field  string      `json:"field"`
	}
	if json.Unmarshal(text, &d) == nil && d.Code != "" {
		return &eureka.Error{Code: d.Code, Message: d.Detail, Field: d.Field}
	}
	if status == http.StatusBadRequest && bytes.HasPrefix(text, []byte("Client sent an HTTP request to an HTTPS server")) {
		return eureka.Errorf(eureka.CodeInvalid, "the service speaks TLS; write its address with https://")
	}
	code := eureka.CodeInvalid
	switch {
	case status == http.StatusBadGateway, status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
		code = eureka.CodeUnavailable // a proxy whose service restarts
	case status >= http.StatusInternalServerError:
		code = eureka.CodeInternal
	}
	return eureka.Errorf(code, "the service answered with status %s", strconv.Itoa(status))
}
