package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"net/http"
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

// Identify says who is behind a request. CodeUnauthenticated without a valid credential; CodeInvalid when the request carries several.
func (a *Authenticator) Identify(r *http.Request) (eureka.Identity, error) {
	credential, err := credentialOf(r)
	if err != nil {
		return eureka.Identity{}, err
	}
	if credential == "" {
		return eureka.Identity{}, eureka.Errorf(eureka.CodeUnauthenticated,
			"a credential is needed: Authorization: Bearer <token>, the WebSocket subprotocol bearer.<token>, or X-Api-Key")
	}
	return a.Verify(r.Context(), credential)
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
	sum := sha256.Sum256([]byte(secret))
	// The comparison is made for an unknown id too, so that time does not tell which ids exist.
	if subtle.ConstantTimeCompare(sum[:], k.Hash) != 1 || !ok {
		return eureka.Identity{}, wrong
	}
	return k.Identity(), nil
}

// credentialOf finds the one credential of a request, "" for none.
func credentialOf(r *http.Request) (string, error) {
	var found []string
	add := func(value string) {
		if value != "" {
			found = append(found, value)
		}
	}
	for _, value := range r.Header.Values("Authorization") {
		scheme, credential, ok := strings.Cut(value, " ")
		if !ok || !strings.EqualFold(scheme, "Bearer") {
			return "", eureka.Errorf(eureka.CodeUnauthenticated, "Authorization: only the scheme Bearer is taken")
		}
		add(strings.TrimSpace(credential))
	}
	for _, value := range r.Header.Values("Sec-Websocket-Protocol") {
		for protocol := range strings.SplitSeq(value, ",") {
			if credential, ok := strings.CutPrefix(strings.TrimSpace(protocol), protocolStart); ok {
				add(credential)
			}
		}
	}
	query := r.URL.Query()
	for _, name := range []string{"X-Api-Key", "X-Lemon-Identity"} {
		for _, value := range r.Header.Values(name) {
			add(value)
		}
		for _, value := range query[strings.ToLower(name)] {
			add(value)
		}
	}
	for _, value := range query["access_token"] {
		add(value)
	}
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		return found[0], nil
	default:
		return "", eureka.Errorf(eureka.CodeInvalid, "the request carries more than one credential; send one")
	}
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
