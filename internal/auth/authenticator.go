package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"eureka"
)

// Forms of credentials.
const (
	keyStart      = "ek_"     // an API key is ek_<id>_<secret>
	secretBytes   = 32        // random bytes of an API key's secret
	MinAdminKey   = 32        // characters of the admin key at the least
	protocolStart = "bearer." // of the subprotocol that carries a token
)

// Keys are the API keys and revocations as this node knows them. Its methods never block.
type Keys interface {
	// Key returns a key by its id.
	Key(id string) (eureka.APIKey, bool)
	// Revoked reports whether an identity's credential was taken back.
	Revoked(id eureka.Identity) bool
}

// Authenticator says who is behind a credential: a token, an API key, or the admin key of the settings.
type Authenticator struct {
	tokens *Tokens  // nil: tokens are refused
	admin  [32]byte // SHA-256 of the admin key
	open   bool     // there is an admin key
	keys   Keys
	now    func() time.Time
}

// AuthenticatorOptions configure an Authenticator.
type AuthenticatorOptions struct {
	Tokens   *Tokens // nil when the service takes no tokens
	AdminKey string  // "" for none; else at least MinAdminKey characters
	Keys     Keys
	Now      func() time.Time // nil means time.Now
}

// NewAuthenticator returns an Authenticator. CodeInvalid for an admin key that is too short.
func NewAuthenticator(o AuthenticatorOptions) (*Authenticator, error) {
	if o.AdminKey != "" && len(o.AdminKey) < MinAdminKey {
		return nil, eureka.FieldError("admin_key", "must have at least %d characters", MinAdminKey)
	}
	a := &Authenticator{tokens: o.Tokens, keys: o.Keys, now: o.Now, open: o.AdminKey != "", admin: sha256.Sum256([]byte(o.AdminKey))}
	if a.now == nil {
		a.now = time.Now
	}
	return a, nil
}

// Handshake says who is behind a WebSocket handshake. Its credential is in a header, in the subprotocol bearer.<credential>, or in the
// query, since browsers give no other choice. CodeUnauthenticated without a valid credential; CodeInvalid when there are several.
func (a *Authenticator) Handshake(r *http.Request) (eureka.Identity, error) {
	return a.only(r, slices.Concat(inHeaders(r.Header), inProtocols(r.Header), inQuery(r.URL.Query())),
		"a credential is needed: Authorization: Bearer <credential>, the subprotocol bearer.<credential>, or X-Api-Key")
}

// Request says who is behind an HTTP request. Its credential is in a header alone: addresses are kept by proxies and by histories. The
// errors are those of Handshake, and CodeInvalid for a credential in the query.
func (a *Authenticator) Request(r *http.Request) (eureka.Identity, error) {
	if len(given(inQuery(r.URL.Query()))) > 0 {
		return eureka.Identity{}, eureka.Errorf(eureka.CodeInvalid,
			"a credential in the query is taken from WebSocket handshakes alone; send Authorization: Bearer <credential>, or X-Api-Key")
	}
	return a.only(r, inHeaders(r.Header), "a credential is needed: Authorization: Bearer <credential>, or X-Api-Key")
}

// only says who is behind the one credential of a request; missing tells that there is none.
func (a *Authenticator) only(r *http.Request, found []string, missing string) (eureka.Identity, error) {
	found = given(found)
	switch {
	case len(found) == 1:
		return a.Verify(r.Context(), found[0])
	case len(found) > 1:
		return eureka.Identity{}, eureka.Errorf(eureka.CodeInvalid, "the request carries more than one credential; send one")
	case r.Header.Get("Authorization") != "":
		return eureka.Identity{}, eureka.Errorf(eureka.CodeUnauthenticated, "Authorization: the only scheme is Bearer, and a credential must follow it")
	default:
		return eureka.Identity{}, eureka.Errorf(eureka.CodeUnauthenticated, "%s", missing)
	}
}

// Verify says who is behind a credential. CodeUnauthenticated when it is not valid, expired or revoked; CodeUnavailable when that cannot be
// found out now.
func (a *Authenticator) Verify(ctx context.Context, credential string) (eureka.Identity, error) {
	id, err := a.verify(ctx, credential)
	if err != nil {
		return eureka.Identity{}, err
	}
	if err := a.holds(id); err != nil {
		return eureka.Identity{}, err
	}
	return id, nil
}

// Check says whether an identity that Verify returned before still holds. CodeUnauthenticated when it has expired, was revoked, or came from an
// API key that is no longer there.
func (a *Authenticator) Check(id eureka.Identity) error {
	if err := a.holds(id); err != nil {
		return err
	}
	if _, there := a.keys.Key(id.KeyID); id.KeyID != "" && !there {
		return errRevoked()
	}
	return nil
}

func (a *Authenticator) holds(id eureka.Identity) error {
	if id.ExpiresAt != 0 && a.now().UnixMilli() >= id.ExpiresAt {
		return eureka.Errorf(eureka.CodeUnauthenticated, "the credential has expired")
	}
	if a.keys.Revoked(id) {
		return errRevoked()
	}
	return nil
}

func errRevoked() error {
	return eureka.Errorf(eureka.CodeUnauthenticated, "the credential was revoked")
}

func (a *Authenticator) verify(ctx context.Context, credential string) (eureka.Identity, error) {
	sum := sha256.Sum256([]byte(credential))
	switch {
	case a.open && subtle.ConstantTimeCompare(sum[:], a.admin[:]) == 1:
		return eureka.Everyone(""), nil
	case strings.HasPrefix(credential, keyStart):
		return a.verifyKey(credential)
	case a.tokens == nil:
		return eureka.Identity{}, eureka.Errorf(eureka.CodeUnauthenticated, "the service takes API keys alone; the credential is none")
	default:
		return a.tokens.Verify(ctx, credential)
	}
}

func (a *Authenticator) verifyKey(credential string) (eureka.Identity, error) {
	wrong := eureka.Errorf(eureka.CodeUnauthenticated, "the API key is not known")
	id, secret, ok := strings.Cut(strings.TrimPrefix(credential, keyStart), "_")
	if !ok || len(id) != eureka.KeyIDLength || len(secret) > 2*secretBytes {
		return eureka.Identity{}, wrong
	}
	k, ok := a.keys.Key(id)
	var want [sha256.Size]byte // of no secret, and compared for an unknown id too: time does not tell which ids exist
	ok = ok && copy(want[:], k.Hash) == len(k.Hash) && len(k.Hash) == len(want)
	sum := sha256.Sum256([]byte(secret))
	if subtle.ConstantTimeCompare(sum[:], want[:]) != 1 || !ok {
		return eureka.Identity{}, wrong
	}
	return k.Identity(), nil
}

// inHeaders returns the credentials in the headers that every kind of request may have. Authorization of another scheme is none of ours: a
// proxy may want it, and AWS clients sign with it.
func inHeaders(header http.Header) []string {
	var found []string
	for _, value := range header.Values("Authorization") {
		if scheme, credential, _ := strings.Cut(value, " "); strings.EqualFold(scheme, "Bearer") {
			found = append(found, strings.TrimSpace(credential))
		}
	}
	return append(append(found, header.Values("X-Api-Key")...), header.Values("X-Lemon-Identity")...)
}

// inProtocols returns the credentials in the subprotocols that a handshake offers.
func inProtocols(header http.Header) []string {
	var found []string
	for _, value := range header.Values("Sec-Websocket-Protocol") {
		for protocol := range strings.SplitSeq(value, ",") {
			if credential, ok := strings.CutPrefix(strings.TrimSpace(protocol), protocolStart); ok {
				found = append(found, credential)
			}
		}
	}
	return found
}

// Bare reports whether a request carries nothing that could be a credential, wherever one may stand: nobody has to look anything up to refuse it.
func Bare(r *http.Request) bool {
	return len(given(slices.Concat(inHeaders(r.Header), inProtocols(r.Header), inQuery(r.URL.Query())))) == 0
}

// inQuery returns the credentials in a query; the last two names are those of the original's clients.
func inQuery(query url.Values) []string {
	return slices.Concat(query["access_token"], query["x-api-key"], query["x-lemon-identity"])
}

// given leaves out what is empty: the original's clients send their parameters whether they have a value or not.
func given(credentials []string) []string {
	return slices.DeleteFunc(credentials, func(credential string) bool { return credential == "" })
}

// NewKey makes an API key with a new id and secret. credential is what its holder sends; it cannot be had again.
func NewKey(k eureka.APIKey) (stored eureka.APIKey, credential string) {
	raw := make([]byte, secretBytes)
	_, _ = rand.Read(raw) // never fails, by its contract
	id := make([]byte, eureka.KeyIDLength*5/8+1)
	_, _ = rand.Read(id)
	k.ID = strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(id))[:eureka.KeyIDLength]
	secret := strings.NewReplacer("-", "A", "_", "B").Replace(base64.RawURLEncoding.EncodeToString(raw))
	sum := sha256.Sum256([]byte(secret))
	k.Hash = sum[:]
	return k, keyStart + k.ID + "_" + secret
}
