// Package sigv4 checks AWS signatures of version 4 as a service does that receives a request, in the Authorization header or in the query.
//
// It computes each signature itself, not by the SDK that signed it, so that a mistake of the signer shows. It never signs and keeps no secret.
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	timeFormat = "20060102T150405Z"
	// maxSkew is how far a request's time may be off, as AWS has it.
	maxSkew = 5 * time.Minute
	// maxExpires is how long a signed URL may live.
	maxExpires = 7 * 24 * time.Hour
	terminator = "aws4_request"
)

// Key is an access key and who has it.
type Key struct {
	ID, Secret string
	Token      string // session token of temporary credentials; empty for lasting ones
	ARN        string // of the user or role
	Owner      any    // what the caller of Verify wants to find behind the key
}

// Error is a refusal as AWS words it. Its HTTP status is 403.
type Error struct {
	Type    string // the X-Amzn-ErrorType
	Message string
}

// Error returns the type and the message.
func (e *Error) Error() string { return e.Type + ": " + e.Message }

// Verifier checks requests to one service in one region.
type Verifier struct {
	Region, Service string
	Find            func(accessKeyID string) (Key, bool)
	Now             func() time.Time
}

// signature is what a request says about its signature.
type signature struct {
	keyID, date, region, service string
	signed                       []string // names of headers, lower case
	value                        string
	time                         time.Time
	expires                      time.Duration // of a signed URL
	token                        string
	inQuery                      bool
}

// Verify returns the key that signed a request, or an *Error. body is the request's whole body, which Verify does not read.
func (v Verifier) Verify(r *http.Request, body []byte) (Key, error) {
	s, err := parse(r)
	if err != nil {
		return Key{}, err
	}
	key, ok := v.Find(s.keyID)
	if !ok || s.token != key.Token {
		return Key{}, &Error{"UnrecognizedClientException", "The security token included in the request is invalid."}
	}
	if s.region != v.Region || s.service != v.Service {
		return Key{}, mismatch("Credential should be scoped to a valid region, and to the service %s.", v.Service)
	}
	if err := s.fresh(v.Now()); err != nil {
		return Key{}, err
	}
	payload := hash(body)
	if told := r.Header.Get("X-Amz-Content-Sha256"); told != "" && told != payload {
		return Key{}, mismatch("The provided 'x-amz-content-sha256' header does not match what was computed.")
	}
	want, err := s.compute(r, key.Secret, payload)
	if err != nil {
		return Key{}, err
	}
	if !hmac.Equal([]byte(want), []byte(s.value)) {
		return Key{}, mismatch("The request signature we calculated does not match the signature you provided. " +
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return key, nil
}

func mismatch(format string, args ...any) *Error {
	return &Error{"InvalidSignatureException", fmt.Sprintf(format, args...)}
}

func incomplete(format string, args ...any) *Error {
	return &Error{"IncompleteSignatureException", fmt.Sprintf(format, args...)}
}

// claim is the text that a signature is made of, from the header or from the query.
type claim struct{ credential, signed, value, date, token string }

func parse(r *http.Request) (signature, error) {
	var s signature
	var c claim
	var err error
	switch {
	case r.Header.Get("Authorization") != "":
		c, err = headerClaim(r.Header)
	case r.URL.Query().Get("X-Amz-Signature") != "":
		s.inQuery = true
		c, s.expires, err = queryClaim(r.URL.Query())
	default:
		err = &Error{"MissingAuthenticationTokenException", "Missing Authentication Token"}
	}
	if err != nil {
		return s, err
	}
	parts := strings.Split(c.credential, "/")
	if len(parts) != 5 || parts[4] != terminator || c.signed == "" || c.value == "" {
		return s, incomplete("Authorization needs a Credential of five parts, SignedHeaders and a Signature.")
	}
	s.keyID, s.date, s.region, s.service = parts[0], parts[1], parts[2], parts[3]
	s.signed, s.value, s.token = strings.Split(c.signed, ";"), c.value, c.token
	if s.time, err = time.Parse(timeFormat, c.date); err != nil || s.time.Format("20060102") != s.date {
		return s, incomplete("X-Amz-Date must be there, as %s, on the day of the Credential.", timeFormat)
	}
	if !slices.Contains(s.signed, "host") {
		return s, incomplete("'Host' must be a 'SignedHeader'.")
	}
	return s, nil
}

func headerClaim(h http.Header) (claim, error) {
	name, rest, _ := strings.Cut(h.Get("Authorization"), " ")
	if name != algorithm {
		return claim{}, &Error{"MissingAuthenticationTokenException", "Missing Authentication Token"}
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[key] = value
	}
	return claim{fields["Credential"], fields["SignedHeaders"], fields["Signature"], h.Get("X-Amz-Date"), h.Get("X-Amz-Security-Token")}, nil
}

func queryClaim(q url.Values) (claim, time.Duration, error) {
	if q.Get("X-Amz-Algorithm") != algorithm {
		return claim{}, 0, incomplete("X-Amz-Algorithm must be %s.", algorithm)
	}
	seconds, err := strconv.Atoi(q.Get("X-Amz-Expires"))
	expires := time.Duration(seconds) * time.Second
	if q.Has("X-Amz-Expires") && (err != nil || seconds <= 0 || seconds > int(maxExpires.Seconds())) {
		return claim{}, 0, incomplete("X-Amz-Expires must be 1 to %d seconds.", int(maxExpires.Seconds()))
	}
	return claim{
		q.Get("X-Amz-Credential"), q.Get("X-Amz-SignedHeaders"), q.Get("X-Amz-Signature"), q.Get("X-Amz-Date"), q.Get("X-Amz-Security-Token"),
	}, expires, nil
}

func (s signature) fresh(now time.Time) error {
	until := s.time.Add(max(maxSkew, s.expires))
	if now.After(until) {
		return mismatch("Signature expired: %s is now earlier than %s.", s.time.Format(timeFormat), now.UTC().Add(-maxSkew).Format(timeFormat))
	}
	if s.time.After(now.Add(maxSkew)) {
		return mismatch("Signature not yet current: %s is still later than %s.", s.time.Format(timeFormat), now.UTC().Add(maxSkew).Format(timeFormat))
	}
	return nil
}

// compute returns the signature that the request should have.
func (s signature) compute(r *http.Request, secret, payload string) (string, error) {
	query, err := canonicalQuery(r.URL.RawQuery, s.inQuery)
	if err != nil {
		return "", err
	}
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	var canonical strings.Builder
	// Every service but S3 has the path, as it is on the wire, encoded once more.
	canonical.WriteString(r.Method + "\n" + escape(path, true) + "\n" + query + "\n")
	for _, name := range s.signed {
		canonical.WriteString(name + ":" + headerValue(r, name) + "\n")
	}
	canonical.WriteString("\n" + strings.Join(s.signed, ";") + "\n" + payload)
	scope := strings.Join([]string{s.date, s.region, s.service, terminator}, "/")
	text := strings.Join([]string{algorithm, s.time.Format(timeFormat), scope, hash([]byte(canonical.String()))}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range []string{s.date, s.region, s.service, terminator} {
		key = mac(key, part)
	}
	return hex.EncodeToString(mac(key, text)), nil
}

func headerValue(r *http.Request, name string) string {
	switch name {
	case "host":
		return r.Host
	case "content-length":
		return strconv.FormatInt(r.ContentLength, 10)
	}
	var values []string
	for _, value := range r.Header.Values(name) {
		values = append(values, strings.Join(strings.Fields(value), " "))
	}
	return strings.Join(values, ",")
}

// canonicalQuery sorts the parameters and encodes them anew. The signature itself is left out of a signed URL.
func canonicalQuery(raw string, signed bool) (string, error) {
	if raw == "" {
		return "", nil
	}
	var pairs [][2]string
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		key, value, _ := strings.Cut(part, "=")
		k, errKey := url.QueryUnescape(key)
		v, errValue := url.QueryUnescape(value)
		if errKey != nil || errValue != nil {
			return "", incomplete("The query string is not well-formed.")
		}
		if signed && k == "X-Amz-Signature" {
			continue
		}
		pairs = append(pairs, [2]string{escape(k, false), escape(v, false)})
	}
	slices.SortFunc(pairs, func(a, b [2]string) int {
		if c := strings.Compare(a[0], b[0]); c != 0 {
			return c
		}
		return strings.Compare(a[1], b[1])
	})
	out := make([]string, len(pairs))
	for i, p := range pairs {
		out[i] = p[0] + "=" + p[1]
	}
	return strings.Join(out, "&"), nil
}

// escape encodes all bytes but RFC 3986's unreserved ones and, in a path, the slash.
func escape(s string, path bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == '~', path && c == '/':
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
