package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"eureka"
)

// Limits of tokens and of the settings about them.
const (
	maxToken      = 8 << 10 // bytes of a token
	maxIssuers    = 100
	minSecret     = 32 // bytes; RFC 7518 wants as many as HS256 puts out
	defaultLeeway = 5 * time.Second
	maxLeeway     = time.Minute
)

// Issuer is one trusted source of tokens, from the settings. Exactly one of Secret, PEM and JWKS is set.
type Issuer struct {
	Name       string   // required value of the claim iss; "" only for a single issuer, whose iss is then not checked
	Audience   []string // one of them must be in the claim aud; empty: aud is not checked
	Algorithms []string // subset of HS256, RS256, ES256 and EdDSA; empty: what the key is for
	Secret     []byte   // HS256 key, at least 32 bytes
	PEM        []byte   // one public key (PKIX), or a certificate of which the key alone is used
	JWKS       string   // address of the issuer's keys; https, or http on this machine alone
}

// JWKSIssuer reads an entry of the setting jwt_jwks: an address, or ISSUER=ADDRESS. name is the issuer of an entry that names none.
func JWKSIssuer(entry, name string) Issuer {
	// An issuer is most often an address itself, so only "=http" parts the two. No issuer has a query, but the address of keys may.
	if issuer, address, named := strings.Cut(entry, "=http"); named && !strings.Contains(issuer, "?") {
		return Issuer{Name: issuer, JWKS: strings.TrimSpace("http" + address)}
	}
	return Issuer{Name: name, JWKS: strings.TrimSpace(entry)}
}

// TokenOptions are what [NewTokens] needs.
type TokenOptions struct {
	Issuers   []Issuer          // 1 to 100, of different names
	Leeway    time.Duration     // how far the clocks of issuers may be ahead; 0 for 5 s, at most a minute
	Now       func() time.Time  // nil for time.Now
	Log       *slog.Logger      // nil for none
	Transport http.RoundTripper // carries the requests for keys; nil for one that follows the proxy settings of the environment
}

// Tokens verifies tokens (JWT, signed) of trusted issuers. It is safe for concurrent use.
type Tokens struct {
	sources map[string]*source // by name
	single  *source            // the source without a name, nil when there is none
	leeway  time.Duration
	now     func() time.Time
	cache   *tokenCache
}

// source is an Issuer made ready: with the one key of its settings, or with a set that is fetched.
type source struct {
	name       string
	audience   []string
	algorithms []string
	fixed      *key    // nil with fetched
	fetched    *keySet // nil with fixed
}

// NewTokens checks the settings and makes a verifier of them; it fetches nothing. CodeInvalid names a bad setting.
func NewTokens(o TokenOptions) (*Tokens, error) {
	if o.Leeway < 0 || o.Leeway > maxLeeway {
		return nil, eureka.FieldError("leeway", "is %v; it may be 0 to %v", o.Leeway, maxLeeway)
	}
	if len(o.Issuers) == 0 || len(o.Issuers) > maxIssuers {
		return nil, eureka.FieldError("issuers", "has %d entries; there may be 1 to %d", len(o.Issuers), maxIssuers)
	}
	if o.Leeway == 0 {
		o.Leeway = defaultLeeway
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	t := &Tokens{sources: make(map[string]*source, len(o.Issuers)), leeway: o.Leeway, now: o.Now, cache: newTokenCache(maxCached)}
	client := newKeyClient(o.Transport)
	for i, issuer := range o.Issuers {
		field := fmt.Sprintf("issuers[%d]", i)
		s, err := newSource(field, issuer, func(address string) *keySet {
			return &keySet{issuer: issuer.Name, address: address, client: client, now: o.Now, log: o.Log}
		})
		if err != nil {
			return nil, err
		}
		switch {
		case s.name == "" && len(o.Issuers) > 1:
			return nil, eureka.FieldError(field+".name", "is empty; only a single issuer may do without")
		case s.name == "":
			t.single = s
		case t.sources[s.name] != nil:
			return nil, eureka.FieldError(field+".name", "is the name of another issuer too")
		}
		t.sources[s.name] = s
	}
	return t, nil
}

// newSource checks one issuer of the settings; fetch makes the set of keys at an address.
func newSource(field string, issuer Issuer, fetch func(address string) *keySet) (*source, error) {
	if slices.Contains(issuer.Audience, "") {
		return nil, eureka.FieldError(field+".audience", "has an empty entry")
	}
	s := &source{name: issuer.Name, audience: slices.Clone(issuer.Audience)}
	var fits []string
	given := 0
	if len(issuer.Secret) > 0 {
		given++
		k, err := secretKey(field+".secret", issuer.Secret)
		if err != nil {
			return nil, err
		}
		s.fixed, fits = k, []string{k.algorithm}
	}
	if len(issuer.PEM) > 0 {
		given++
		k, err := pemKey(field+".pem", issuer.PEM)
		if err != nil {
			return nil, err
		}
		s.fixed, fits = k, []string{k.algorithm}
	}
	if issuer.JWKS != "" {
		given++
		if err := checkAddress(field+".jwks", issuer.JWKS); err != nil {
			return nil, err
		}
		s.fetched, fits = fetch(issuer.JWKS), []string{algRS256, algES256, algEdDSA}
	}
	if given != 1 {
		return nil, eureka.FieldError(field, "has %d of secret, pem and jwks; exactly one is needed", given)
	}
	for _, algorithm := range issuer.Algorithms {
		if !slices.Contains(fits, algorithm) {
			return nil, eureka.FieldError(field+".algorithms", "%q does not fit the issuer's key; %q would", algorithm, fits)
		}
		s.algorithms = append(s.algorithms, algorithm)
	}
	if len(s.algorithms) == 0 {
		s.algorithms = fits
	}
	return s, nil
}

// Warm fetches the keys of all issuers that have an address, at the same time. CodeUnavailable says that some could not be fetched:
// the service may go on, since they are tried again when they are needed. The cause names the issuers.
func (t *Tokens) Warm(ctx context.Context) error {
	flights := make(map[*keySet]*flight)
	for _, s := range t.sources {
		if s.fetched != nil {
			flights[s.fetched] = s.fetched.begin(ctx)
		}
	}
	var failed []error
	for set, f := range flights {
		if err := f.wait(ctx); err != nil {
			failed = append(failed, fmt.Errorf("issuer %q: %w", set.issuer, err))
		}
	}
	if len(failed) > 0 {
		return eureka.WrapError(eureka.CodeUnavailable, errors.Join(failed...), "the keys of %d token issuers cannot be fetched now", len(failed))
	}
	return nil
}

// Verify returns who a token says its holder is, once its signature and its times have been checked. CodeUnauthenticated says
// why the token does not hold; CodeUnavailable that the keys of its issuer cannot be had now, or that ctx ended while they were
// fetched. No error contains the token or any part of it.
func (t *Tokens) Verify(ctx context.Context, token string) (eureka.Identity, error) {
	if len(token) > maxToken {
		return eureka.Identity{}, refuse("the token has %d bytes, the limit is %d", len(token), maxToken)
	}
	digest := sha256.Sum256([]byte(token))
	if id, ok := t.known(ctx, digest); ok {
		return id, nil
	}
	p, err := parseToken(token)
	if err != nil {
		return eureka.Identity{}, err
	}
	s, err := t.sourceOf(p)
	if err != nil {
		return eureka.Identity{}, err
	}
	k, err := s.keyFor(ctx, p.header)
	if err != nil {
		return eureka.Identity{}, err
	}
	if !k.verifies(p.signed, p.signature) {
		return eureka.Identity{}, refuse("the token's signature is not that of its issuer")
	}
	id, err := s.identity(p.claims, t.now(), t.leeway)
	if err != nil {
		return eureka.Identity{}, err
	}
	t.cache.put(digest, verified{id: id, key: k, source: s})
	return cloneIdentity(id), nil
}

// known returns the identity of a token that was verified before, while it and its key hold.
func (t *Tokens) known(ctx context.Context, digest [sha256.Size]byte) (eureka.Identity, bool) {
	v, ok := t.cache.get(digest)
	if !ok {
		return eureka.Identity{}, false
	}
	if t.now().UnixMilli() >= v.id.ExpiresAt || v.key.retired.Load() {
		t.cache.drop(digest)
		return eureka.Identity{}, false
	}
	if v.source.fetched != nil && !v.source.fetched.holds(ctx) {
		return eureka.Identity{}, false
	}
	return cloneIdentity(v.id), true
}

// sourceOf selects the source whose key has to verify the token. It reads the claim iss before that is verified, for this alone.
func (t *Tokens) sourceOf(p parsed) (*source, error) {
	if t.single != nil {
		return t.single, nil
	}
	raw, ok := p.claims["iss"]
	if !ok {
		return nil, refuse("the token has no claim %q", "iss")
	}
	name, ok := stringOf(raw)
	if !ok {
		return nil, refuse("the token's claim %q is no string", "iss")
	}
	if s := t.sources[name]; s != nil {
		return s, nil
	}
	return nil, refuse("the token's issuer is not trusted here")
}

// keyFor returns the one key of the source that fits the header. The source's algorithms decide, and not the header.
func (s *source) keyFor(ctx context.Context, h header) (*key, error) {
	if !slices.Contains(s.algorithms, h.algorithm) {
		return nil, refuse("the token's algorithm is not one that its issuer uses")
	}
	if s.fixed != nil { // its settings give it no id, so that the header's, if any, selects nothing
		return s.fixed, nil
	}
	return s.fetched.find(ctx, h.keyID, h.algorithm)
}

func cloneIdentity(id eureka.Identity) eureka.Identity {
	id.Channels = slices.Clone(id.Channels)
	return id
}

// refuse says why a token does not hold. The arguments are ours, and never what the token contains.
func refuse(format string, args ...any) error {
	return eureka.Errorf(eureka.CodeUnauthenticated, format, args...)
}
