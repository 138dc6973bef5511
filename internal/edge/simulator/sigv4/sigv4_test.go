package sigv4_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"eureka/internal/edge/simulator/sigv4"
)

var (
	now     = time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)
	lasting = sigv4.Key{ID: "AKIALASTING", Secret: "s3cret/+x", ARN: "arn:aws:iam::123456789012:user/x"}
	passing = sigv4.Key{ID: "ASIAPASSING", Secret: "other", Token: "to/ken+=", ARN: "arn:aws:sts::123456789012:assumed-role/x"}
)

func verifier() sigv4.Verifier {
	return sigv4.Verifier{
		Region: "eu-west-1", Service: "execute-api", Now: func() time.Time { return now },
		Find: func(id string) (sigv4.Key, bool) {
			for _, k := range []sigv4.Key{lasting, passing} {
				if k.ID == id {
					return k, true
				}
			}
			return sigv4.Key{}, false
		},
	}
}

// request is one that the SDK signed and that a server received.
type request struct {
	method, target, body string
	key                  sigv4.Key
	region, service      string
	at                   time.Time
	presign              bool
	change               func(*http.Request)
}

func (q request) received(t testing.TB) (*http.Request, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), q.method, "http://127.0.0.1:8832"+q.target, strings.NewReader(q.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	sum := sha256.Sum256([]byte(q.body))
	credentials := aws.Credentials{AccessKeyID: q.key.ID, SecretAccessKey: q.key.Secret, SessionToken: q.key.Token}
	signer := v4.NewSigner()
	if q.presign {
		r.Header.Del("Content-Type")
		signed, _, err := signer.PresignHTTP(context.Background(), credentials, r, hex.EncodeToString(sum[:]), q.service, q.region, q.at)
		if err != nil {
			t.Fatal(err)
		}
		if r.URL, err = url.Parse(signed); err != nil {
			t.Fatal(err)
		}
	} else if err := signer.SignHTTP(context.Background(), credentials, r, hex.EncodeToString(sum[:]), q.service, q.region, q.at); err != nil {
		t.Fatal(err)
	}
	// Over the wire, so that it is what a server sees.
	var seen *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.Clone(context.Background()) }))
	defer server.Close()
	host := r.URL.Host
	r.URL.Host, r.Host = strings.TrimPrefix(server.URL, "http://"), host
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if q.change != nil {
		q.change(seen)
	}
	return seen, []byte(q.body)
}

func TestVerify(t *testing.T) {
	good := request{method: "POST", target: "/dev/@connections/L0SM9cOFvHcCIhw%3D", body: `{"a":1}`, key: lasting, region: "eu-west-1", service: "execute-api", at: now}
	with := func(f func(*request)) request {
		q := good
		f(&q)
		return q
	}
	const mismatch, incomplete = "InvalidSignatureException", "IncompleteSignatureException"
	for name, tt := range map[string]struct {
		request request
		want    string // type of the error
	}{
		"good":      {good, ""},
		"temporary": {with(func(q *request) { q.key = passing }), ""},
		"query":     {with(func(q *request) { q.method, q.target, q.body = "GET", "/?b=2&a=%C3%A4+x&a=1&c", "" }), ""},
		"signed URL": {with(func(q *request) {
			q.method, q.target, q.body, q.presign = "GET", "/?channels=A%2CB&X-Amz-Expires=60", "", true
		}), ""},
		"signed, token": {with(func(q *request) { q.method, q.body, q.presign, q.key = "GET", "", true, passing }), ""},
		"a bit early":   {with(func(q *request) { q.at = now.Add(4 * time.Minute) }), ""},
		"expired":       {with(func(q *request) { q.at = now.Add(-6 * time.Minute) }), mismatch},
		"not yet":       {with(func(q *request) { q.at = now.Add(6 * time.Minute) }), mismatch},
		"wrong secret":  {with(func(q *request) { q.key.Secret = "x" }), mismatch},
		"unknown key":   {with(func(q *request) { q.key.ID = "AKIAOTHER" }), "UnrecognizedClientException"},
		"without token": {with(func(q *request) { q.key = passing; q.key.Token = "" }), "UnrecognizedClientException"},
		"wrong region":  {with(func(q *request) { q.region = "us-east-1" }), mismatch},
		"wrong service": {with(func(q *request) { q.service = "sqs" }), mismatch},
		"other path": {with(func(q *request) {
			q.change = func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/dev/@connections/x", "" }
		}), mismatch},
		"other method":    {with(func(q *request) { q.change = func(r *http.Request) { r.Method = "DELETE" } }), mismatch},
		"other query":     {with(func(q *request) { q.change = func(r *http.Request) { r.URL.RawQuery = "a=1" } }), mismatch},
		"other host":      {with(func(q *request) { q.change = func(r *http.Request) { r.Host = "example.com" } }), mismatch},
		"other type":      {with(func(q *request) { q.change = func(r *http.Request) { r.Header.Set("Content-Type", "x") } }), mismatch},
		"lying body hash": {with(func(q *request) { q.change = func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "00") } }), mismatch},
		"no signature":    {with(func(q *request) { q.change = func(r *http.Request) { r.Header.Del("Authorization") } }), "MissingAuthenticationTokenException"},
		"a bearer token":  {with(func(q *request) { q.change = func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") } }), "MissingAuthenticationTokenException"},
		"no date":         {with(func(q *request) { q.change = func(r *http.Request) { r.Header.Del("X-Amz-Date") } }), incomplete},
		"half of it": {with(func(q *request) {
			q.change = func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=a") }
		}), incomplete},
		"host unsigned": {with(func(q *request) {
			q.change = func(r *http.Request) {
				r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), ";host", "", 1))
			}
		}), incomplete},
		"bad expiry": {with(func(q *request) {
			q.method, q.body, q.presign = "GET", "", true
			q.change = func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Expires=x" }
		}), incomplete},
	} {
		t.Run(name, func(t *testing.T) {
			r, body := tt.request.received(t)
			key, err := verifier().Verify(r, body)
			var refused *sigv4.Error
			if errors.As(err, &refused); tt.want != "" {
				if refused == nil || refused.Type != tt.want {
					t.Errorf("%v, want %s", err, tt.want)
				}
				return
			}
			if err != nil || key.ARN != tt.request.key.ARN {
				t.Errorf("%+v, %v", key, err)
			}
		})
	}
	r, _ := good.received(t)
	if _, err := verifier().Verify(r, []byte(`{"a":2}`)); err == nil {
		t.Error("another body passes")
	}
	later := verifier()
	later.Now = func() time.Time { return now.Add(10 * time.Minute) }
	r, _ = with(func(q *request) { q.method, q.target, q.body, q.presign = "GET", "/?X-Amz-Expires=900", "", true }).received(t)
	if _, err := later.Verify(r, nil); err != nil {
		t.Errorf("a signed URL within its time: %v", err)
	}
}

// FuzzVerify: whatever a header or a query says, nobody gets in without a signature, and nothing panics.
func FuzzVerify(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=AKIALASTING/20250301/eu-west-1/execute-api/aws4_request, SignedHeaders=host;x-amz-date, Signature=00", "a=1", "20250301T120000Z")
	f.Add("", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIALASTING%2F20250301%2Feu-west-1%2Fexecute-api%2Faws4_request&X-Amz-Signature=00&X-Amz-SignedHeaders=host&X-Amz-Date=20250301T120000Z", "")
	f.Fuzz(func(t *testing.T, authorization, query, date string) {
		r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/", RawQuery: query}, Host: "h", Header: http.Header{}, Body: http.NoBody}
		r.Header.Set("Authorization", authorization)
		r.Header.Set("X-Amz-Date", date)
		if _, err := verifier().Verify(r, bytes.Repeat([]byte("x"), 3)); err == nil {
			t.Errorf("%q %q %q passes", authorization, query, date)
		}
	})
}
