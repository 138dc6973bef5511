package apigw_test

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"eureka/internal/edge/apigw"
)

// TestHTTPAnswers: what handlers write, and how much of it fits a function's answer.
func TestHTTPAnswers(t *testing.T) {
	const most = 4400 << 10
	page := bytes.Repeat([]byte(`<a href="x">é</a>`), most/18)
	for name, tt := range map[string]struct {
		write  http.HandlerFunc
		status int
		kind   string
		body   []byte
		base64 bool
	}{
		"nothing":    {func(http.ResponseWriter, *http.Request) {}, 200, "", nil, false},
		"no content": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, 204, "", nil, false},
		"status twice": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusTeapot)
			w.WriteHeader(http.StatusOK)
		}, 418, "", nil, false},
		"text":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("grüße")) }, 200, "text/plain; charset=utf-8", []byte("grüße"), false},
		"binary": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte{0xff, 0}) }, 200, "application/octet-stream", []byte{0xff, 0}, true},
		"large":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) }, 200, "text/html; charset=utf-8", page, true},
		"too large": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			for range 3 {
				_, _ = w.Write(page)
			}
		}, 413, "application/problem+json", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := apigw.NewHTTP(tt.write)
			if err != nil {
				t.Fatal(err)
			}
			answer := invoke[events.APIGatewayV2HTTPResponse](t, h, events.APIGatewayV2HTTPRequest{RawPath: "/"})
			body := []byte(answer.Body)
			if answer.IsBase64Encoded {
				if body, err = base64.StdEncoding.DecodeString(answer.Body); err != nil {
					t.Fatal(err)
				}
			}
			if answer.StatusCode != tt.status || answer.Headers["Content-Type"] != tt.kind || answer.IsBase64Encoded != tt.base64 {
				t.Errorf("%d %v base64 %v", answer.StatusCode, answer.Headers, answer.IsBase64Encoded)
			}
			if tt.status == http.StatusRequestEntityTooLarge {
				if !strings.Contains(answer.Body, `"code":"too_large"`) || !strings.Contains(answer.Body, "limit") {
					t.Errorf("%s", answer.Body)
				}
			} else if !bytes.Equal(body, tt.body) {
				t.Errorf("%d bytes, want %d", len(body), len(tt.body))
			}
			if len(answer.Body) > 6<<20 {
				t.Errorf("the answer has %d bytes", len(answer.Body))
			}
		})
	}
}
