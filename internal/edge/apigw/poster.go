package apigw

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"eureka"
	"eureka/internal/engine/dynamo"
)

// Limits of one call to @connections.
const (
	postTimeout    = 10 * time.Second
	dialTimeout    = 3 * time.Second
	idleTimeout    = 45 * time.Second // shorter than API Gateway's own, so that a function that slept does not find its connections cut
	plainConns     = 256              // of HTTP/1.1, where each carries one call at a time
	secureConns    = 32               // of HTTP/2, where each carries a hundred: a function that starts with many posts must not begin with as many handshakes
	maxErrorBytes  = 4 << 10          // read of an answer
	signingService = "execute-api"
)

// emptyHash is the SHA-256 of no bytes.
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// PosterOptions configure a Poster.
type PosterOptions struct {
	URL         string // of the stage: https://{api}.execute-api.{region}.amazonaws.com/{stage}
	Region      string
	Credentials aws.CredentialsProvider
	Client      *http.Client     // nil for one that keeps its connections
	Now         func() time.Time // nil means time.Now
}

// Poster reaches sockets through API Gateway's management API. It is safe for concurrent use, tries once, and leaves the rest to its caller.
type Poster struct {
	options PosterOptions
	base    *url.URL // ends in /@connections/
	signer  *v4.Signer
}

var _ dynamo.Poster = (*Poster)(nil)

// NewPoster returns a Poster; it makes no request. CodeInvalid for a URL that is none.
func NewPoster(o PosterOptions) (*Poster, error) {
	base, err := url.Parse(o.URL)
	if err != nil || (base.Scheme != "https" && base.Scheme != "http") || base.Host == "" || base.RawQuery != "" || base.Fragment != "" || base.User != nil {
		return nil, eureka.Errorf(eureka.CodeInvalid, "%q is no URL of the form https://{api}.execute-api.{region}.amazonaws.com/{stage}", o.URL)
	}
	if o.Credentials == nil || o.Region == "" {
		return nil, errors.New("apigw: an option is missing")
	}
	if o.Client == nil {
		o.Client = NewClient(base.Scheme == "https")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Poster{options: o, base: base.JoinPath("@connections/"), signer: v4.NewSigner()}, nil
}

// NewClient returns a client that keeps its connections open, over HTTP/2 where TLS offers it. secure says that the URL is of https.
func NewClient(secure bool) *http.Client {
	conns := plainConns
	if secure {
		conns = secureConns
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: dialTimeout,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(conns)},
			MaxConnsPerHost: conns, MaxIdleConns: conns, MaxIdleConnsPerHost: conns, IdleConnTimeout: idleTimeout,
			HTTP2: &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 3 * time.Second},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Post implements dynamo.Poster.
func (p *Poster) Post(ctx context.Context, socketID string, frame []byte) error {
	if len(frame) > eureka.MaxFrameBytes {
		return eureka.Errorf(eureka.CodeTooLarge, "the frame is %d bytes long, the limit is %d", len(frame), eureka.MaxFrameBytes)
	}
	sum := sha256.Sum256(frame)
	return p.call(ctx, http.MethodPost, socketID, frame, hex.EncodeToString(sum[:]))
}

// Close implements dynamo.Poster.
func (p *Poster) Close(ctx context.Context, socketID string) error {
	return p.call(ctx, http.MethodDelete, socketID, nil, emptyHash)
}

func (p *Poster) call(ctx context.Context, method, socketID string, body []byte, hash string) error {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	request, err := p.request(ctx, method, socketID, body)
	if err != nil {
		return err
	}
	credentials, err := p.options.Credentials.Retrieve(ctx)
	if err == nil {
		err = p.signer.SignHTTP(ctx, credentials, request, hash, signingService, p.options.Region, p.options.Now())
	}
	if err != nil {
		return eureka.WrapError(eureka.CodeUnavailable, err, "the request to the socket's gateway cannot be signed")
	}
	response, err := p.options.Client.Do(request)
	if err != nil {
		return eureka.WrapError(eureka.CodeUnavailable, err, "the socket's gateway does not answer")
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxErrorBytes)) // also what lets the connection be used again
	if response.StatusCode/100 == 2 {
		return nil
	}
	return refusal(response, text, err)
}

func (p *Poster) request(ctx context.Context, method, socketID string, body []byte) (*http.Request, error) {
	if socketID == "" {
		return nil, errGone(nil)
	}
	target := *p.base
	// API Gateway's ids end in "=", which its own clients escape; url.PathEscape would not.
	target.Path, target.RawPath = p.base.Path+socketID, p.base.EscapedPath()+strings.ReplaceAll(url.QueryEscape(socketID), "+", "%20")
	request := (&http.Request{Method: method, URL: &target, Host: target.Host, Header: make(http.Header, 6)}).WithContext(ctx)
	if body != nil {
		request.Body = io.NopCloser(bytes.NewReader(body))
		request.ContentLength = int64(len(body))
		request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		request.Header.Set("Content-Type", "application/octet-stream")
	}
	return request, nil
}

// refusal translates an answer that is no success.
func refusal(response *http.Response, text []byte, readErr error) error {
	cause := &answer{status: response.StatusCode, kind: response.Header.Get("X-Amzn-Errortype"), text: string(text), err: readErr}
	switch status := response.StatusCode; {
	case status == http.StatusGone:
		return errGone(cause)
	case status == http.StatusBadRequest && strings.Contains(strings.ToLower(cause.text), "connectionid"):
		return errGone(cause) // no connection ever had such an id
	case status == http.StatusRequestEntityTooLarge:
		return eureka.WrapError(eureka.CodeTooLarge, cause, "the frame is larger than the socket's gateway takes")
	case status == http.StatusTooManyRequests:
		return eureka.WrapError(eureka.CodeRateLimited, cause, "the socket's gateway is busy; try again")
	default:
		// 403 too: a right that the function lacks is given later, and what waits in the queue until then is not lost.
		return eureka.WrapError(eureka.CodeUnavailable, cause, "the socket's gateway refused the request; try again")
	}
}

func errGone(cause error) error {
	return &eureka.Error{Code: eureka.CodeGone, Message: "the socket has ended", Err: cause}
}
