package topic

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	"eureka"
)

// Limits of what is fetched from SNS.
const (
	fetchTimeout    = 5 * time.Second
	maxFetched      = 64 << 10
	maxFetches      = 4 // at a time; over it SNS is asked to come again
	maxCertificates = 32
	forget          = time.Minute // until a certificate that could not be had is asked for again
)

// fetcher gets certificates, each once, and confirms subscriptions.
type fetcher struct {
	client *http.Client
	now    func() time.Time
	turns  chan struct{}

	mu    sync.Mutex
	known map[string]*certificate
}

// certificate is one that was fetched, or why not.
type certificate struct {
	once  sync.Once
	cert  *x509.Certificate
	err   error
	until time.Time // when it was no success: until when it is not asked for again
}

func newFetcher(transport http.RoundTripper, now func() time.Time) *fetcher {
	return &fetcher{
		client: &http.Client{
			Transport: transport, Timeout: fetchTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return errors.New("topic: a redirect, which SNS has no need of")
			},
		},
		now: now, turns: make(chan struct{}, maxFetches), known: map[string]*certificate{},
	}
}

// get fetches a few bytes. CodeUnavailable when there is no answer or none of status 200.
func (f *fetcher) get(ctx context.Context, address string) ([]byte, error) {
	select {
	case f.turns <- struct{}{}:
		defer func() { <-f.turns }()
	default:
		return nil, eureka.Errorf(eureka.CodeUnavailable, "too much is being fetched from SNS")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, eureka.WrapError(eureka.CodeInvalid, err, "the address cannot be used")
	}
	response, err := f.client.Do(request)
	if err != nil {
		return nil, eureka.WrapError(eureka.CodeUnavailable, err, "SNS does not answer")
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxFetched+1))
	switch {
	case err != nil:
		return nil, eureka.WrapError(eureka.CodeUnavailable, err, "the answer of SNS broke off")
	case response.StatusCode != http.StatusOK:
		return nil, eureka.WrapError(eureka.CodeUnavailable, errors.New(response.Status), "SNS refused the request")
	case len(text) > maxFetched:
		return nil, eureka.Errorf(eureka.CodeUnavailable, "the answer of SNS is too long")
	}
	return text, nil
}

// certificate returns the one at an address, which was checked. Requests for one that is being fetched wait for it.
func (f *fetcher) certificate(ctx context.Context, address string) (*x509.Certificate, error) {
	now := f.now()
	f.mu.Lock()
	c := f.known[address]
	if c == nil || (!c.until.IsZero() && now.After(c.until)) {
		if len(f.known) >= maxCertificates {
			// SNS has a few; more than that are somebody's nonsense.
			maps.DeleteFunc(f.known, func(_ string, c *certificate) bool { return !c.until.IsZero() })
		}
		if len(f.known) >= maxCertificates {
			clear(f.known)
		}
		c = &certificate{}
		f.known[address] = c
	}
	f.mu.Unlock()
	c.once.Do(func() {
		// What others wait for does not end with this request.
		cert, err := f.load(context.WithoutCancel(ctx), address)
		f.mu.Lock()
		defer f.mu.Unlock()
		if c.cert, c.err = cert, err; err != nil {
			c.until = now.Add(forget)
		}
	})
	if c.err != nil {
		return nil, c.err
	}
	if now.Before(c.cert.NotBefore) || now.After(c.cert.NotAfter) {
		return nil, eureka.Errorf(eureka.CodeForbidden, "the certificate of the message is not valid now")
	}
	return c.cert, nil
}

func (f *fetcher) load(ctx context.Context, address string) (*x509.Certificate, error) {
	text, err := f.get(ctx, address)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, eureka.Errorf(eureka.CodeForbidden, "what SigningCertURL points to is no certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, eureka.WrapError(eureka.CodeForbidden, err, "what SigningCertURL points to is no certificate")
	}
	if _, ok := cert.PublicKey.(*rsa.PublicKey); !ok {
		return nil, eureka.Errorf(eureka.CodeForbidden, "the certificate of the message has no RSA key")
	}
	return cert, nil
}
