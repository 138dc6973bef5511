package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"

	"eureka"
)

// How the keys of an issuer are fetched.
const (
	fetchTimeout = 5 * time.Second
	maxKeySet    = 1 << 20          // bytes of an answer
	maxKeys      = 100              // keys used of an answer
	refreshAfter = 10 * time.Minute // a set this old is fetched again while it is used
	retryAfter   = 30 * time.Second // shortest time between two fetches that failed, or that tokens with unknown keys asked for
	keepFor      = 24 * time.Hour   // a set that cannot be fetched again is used for as long
)

// keyName is what selects a key within the set of one issuer.
type keyName struct{ id, algorithm string }

// keySet is the keys of one issuer, fetched when they are first needed. Nothing but the settings says from where.
type keySet struct {
	issuer  string
	address string
	client  *http.Client
	now     func() time.Time
	log     *slog.Logger

	mu      sync.Mutex
	keys    map[keyName]*key
	fetched time.Time // start of the last fetch that succeeded, zero before
	tried   time.Time // start of the last fetch
	asked   time.Time // start of the last fetch for the sake of an unknown key
	failed  bool      // the last fetch failed
	current *flight   // the fetch under way, nil without
}

// flight is one fetch, which any number of callers wait for.
type flight struct {
	done chan struct{}
	err  error // to be read after done
}

// wait waits for the end of the fetch or of ctx. The fetch goes on without the caller.
func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// checkAddress checks the address of a key set: https, or http on this machine.
func checkAddress(field, address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.Opaque != "" || u.User != nil || u.Fragment != "" {
		return eureka.FieldError(field, "is no address; write it as https://issuer.example.com/jwks.json, without user or fragment")
	}
	ip, err := netip.ParseAddr(u.Hostname())
	local := u.Hostname() == "localhost" || (err == nil && ip.IsLoopback())
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return eureka.FieldError(field, "must be https; http is for this machine alone (localhost, 127.0.0.1)")
	}
	return nil
}

// newKeyClient makes the client that fetches keys: it follows no redirect and sends nothing along.
func newKeyClient(transport http.RoundTripper) *http.Client {
	if transport == nil {
		transport = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			ForceAttemptHTTP2:      true,
			MaxIdleConns:           maxIssuers,
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        time.Minute,
			TLSHandshakeTimeout:    fetchTimeout,
			MaxResponseHeaderBytes: 64 << 10,
		}
	}
	return &http.Client{
		Transport:     transport,
		Timeout:       fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// find returns the key of that id and algorithm; without an id, the only key for the algorithm. It waits for a fetch when there is
// no such key and a fetch is due or under way.
func (s *keySet) find(ctx context.Context, id, algorithm string) (*key, error) {
	s.mu.Lock()
	now := s.now()
	k := s.match(now, id, algorithm)
	if k != nil {
		s.refresh(ctx, now)
		s.mu.Unlock()
		return k, nil
	}
	f := s.current
	if f == nil && (s.asked.IsZero() || now.Sub(s.asked) >= retryAfter) {
		s.asked = now
		f = s.start(ctx, now)
	}
	failed := s.failed
	s.mu.Unlock()

	if f != nil {
		err := f.wait(ctx)
		s.mu.Lock()
		k = s.match(s.now(), id, algorithm)
		s.mu.Unlock()
		if k != nil {
			return k, nil
		}
		if err != nil {
			return nil, eureka.WrapError(eureka.CodeUnavailable, err, "the keys of the token's issuer cannot be fetched now")
		}
		failed = false
	}
	if failed {
		return nil, eureka.Errorf(eureka.CodeUnavailable, "the keys of the token's issuer cannot be fetched now")
	}
	return nil, refuse("the token's issuer has no key that the token names, or several where it names none")
}

// holds reports whether the keys may still be used, and fetches them anew in the background when it is time.
func (s *keySet) holds(ctx context.Context) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.refresh(ctx, now)
	return s.fresh(now)
}

// begin starts a fetch, or joins the one under way.
func (s *keySet) begin(ctx context.Context) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.start(ctx, s.now())
}

// The following are called with mu held.

// fresh reports whether there are keys that are not too old.
func (s *keySet) fresh(now time.Time) bool {
	return !s.fetched.IsZero() && now.Sub(s.fetched) < keepFor
}

func (s *keySet) match(now time.Time, id, algorithm string) *key {
	if !s.fresh(now) {
		return nil
	}
	if id != "" {
		return s.keys[keyName{id, algorithm}]
	}
	var only *key
	for name, k := range s.keys {
		if name.algorithm == algorithm {
			if only != nil {
				return nil
			}
			only = k
		}
	}
	return only
}

// refresh starts a fetch that nobody waits for when one is due.
func (s *keySet) refresh(ctx context.Context, now time.Time) {
	wait := refreshAfter
	if s.failed {
		wait = retryAfter
	}
	if now.Sub(s.tried) >= wait {
		s.start(ctx, now)
	}
}

// start starts a fetch unless one is under way. It outlives the caller's context; fetchTimeout ends it.
func (s *keySet) start(ctx context.Context, now time.Time) *flight {
	if s.current == nil {
		s.current, s.tried = &flight{done: make(chan struct{})}, now
		go s.run(context.WithoutCancel(ctx), s.current, now)
	}
	return s.current
}

// run is one fetch. When it fails the keys stay what they are.
func (s *keySet) run(ctx context.Context, f *flight, started time.Time) {
	keys, skipped, err := s.fetch(ctx)
	s.mu.Lock()
	s.current, s.failed = nil, err != nil
	changed := false
	if err == nil {
		changed = s.replace(keys)
		s.fetched = started
	}
	f.err = err
	s.mu.Unlock()
	close(f.done)
	switch {
	case err != nil:
		s.log.WarnContext(ctx, "cannot fetch the keys of a token issuer", slog.String("issuer", s.issuer), slog.Any("error", err))
	case changed:
		s.log.InfoContext(ctx, "keys of a token issuer have changed", slog.String("issuer", s.issuer),
			slog.Int("keys", len(keys)), slog.Int("unusable", skipped))
	}
}

// replace takes over the new keys; those that were there before stay the same, and those that are gone retire.
func (s *keySet) replace(keys map[keyName]*key) (changed bool) {
	for name, k := range keys {
		if before := s.keys[name]; before != nil && before.equal(k) {
			keys[name] = before
		} else {
			changed = true
		}
	}
	for name, k := range s.keys {
		if keys[name] != k {
			k.retired.Store(true)
			changed = true
		}
	}
	s.keys = keys
	return changed
}

// fetch asks the issuer for its keys.
func (s *keySet) fetch(ctx context.Context) (keys map[keyName]*key, skipped int, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.address, http.NoBody)
	if err != nil {
		return nil, 0, errors.New("the address is not valid")
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := s.client.Do(request)
	if err != nil {
		// The text of a url.Error has the address, whose query may be confidential.
		if outer, ok := errors.AsType[*url.Error](err); ok {
			err = outer.Err
		}
		return nil, 0, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("the answer has the status %d", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxKeySet+1))
	if err != nil {
		return nil, 0, err
	}
	if len(body) > maxKeySet {
		return nil, 0, fmt.Errorf("the answer has more than %d bytes", maxKeySet)
	}
	return parseKeySet(body)
}

// parseKeySet reads the keys that can be used; it skips the others, and fails when none is left: that is an accident of the issuer
// rather than its wish.
func parseKeySet(body []byte) (keys map[keyName]*key, skipped int, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(body, &set) != nil {
		return nil, 0, errors.New("the answer is no JSON key set")
	}
	keys = make(map[keyName]*key)
	for _, raw := range set.Keys {
		id, k, ok := parseKey(raw)
		if !ok || len(keys) >= maxKeys {
			skipped++
			continue
		}
		name := keyName{id, k.algorithm}
		if _, twice := keys[name]; twice {
			skipped++
			continue
		}
		keys[name] = k
	}
	if len(keys) == 0 {
		return nil, 0, fmt.Errorf("the answer has no usable key, and %d others", skipped)
	}
	return keys, skipped, nil
}

// parseKey reads one public key that is strong enough and meant for the signatures that it would be used for.
func parseKey(raw json.RawMessage) (id string, k *key, ok bool) {
	var fields jwkset.JWKMarshal
	if json.Unmarshal(raw, &fields) != nil || fields.USE == jwkset.UseEnc || len(fields.KID) > maxKeyID {
		return "", nil, false
	}
	if len(fields.KEYOPS) > 0 && !slices.Contains(fields.KEYOPS, jwkset.KeyOpsVerify) {
		return "", nil, false
	}
	// The key alone is of use here, without the certificates that may come with it.
	fields.X5C, fields.X5U, fields.X5T, fields.X5TS256 = nil, "", "", ""
	jwk, err := jwkset.NewJWKFromMarshal(fields, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return "", nil, false
	}
	k, err = publicKey(jwk.Key())
	if err != nil {
		return "", nil, false
	}
	named := string(fields.ALG)
	if named != "" && named != k.algorithm && (named != "Ed25519" || k.algorithm != algEdDSA) {
		return "", nil, false
	}
	return fields.KID, k, true
}
