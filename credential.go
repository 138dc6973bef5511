package eureka

import "context"

// Limits of API keys and revocations.
const (
	MaxKeys          = 10_000
	MaxRevocations   = 50_000
	MaxKeyNameLength = 128
	KeyIDLength      = 12 // characters of a-z and 2-7
)

// APIKey is a credential of a service as it is stored: its secret is known to its holder alone.
type APIKey struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"` // for people
	Hash      []byte   `json:"hash"` // SHA-256 of the secret, which is random and long enough to need no slower hash
	User      string   `json:"user,omitempty"`
	Scopes    Scope    `json:"scopes"`
	Channels  []string `json:"channels"`
	CreatedAt int64    `json:"createdAt"`           // epoch milliseconds
	ExpiresAt int64    `json:"expiresAt,omitempty"` // epoch milliseconds, 0 for never
}

// Validate checks the fields and returns a CodeInvalid error that names the first at fault.
func (k APIKey) Validate() error {
	if err := checkText("name", k.Name, MaxKeyNameLength); err != nil {
		return err
	}
	if err := CheckUser(k.User); err != nil {
		return err
	}
	switch {
	case k.Name == "":
		return FieldError("name", "is missing; say what the key is for")
	case k.Scopes == 0:
		return FieldError("scopes", "is missing; choose of subscribe, publish, manage")
	case k.ExpiresAt < 0:
		return FieldError("expiresAt", "must be epoch milliseconds")
	default:
		return CheckPatterns("channels", k.Channels)
	}
}

// Identity is who holds the key.
func (k APIKey) Identity() Identity {
	return Identity{User: k.User, Scopes: k.Scopes, Channels: k.Channels, ExpiresAt: k.ExpiresAt, KeyID: k.ID, IssuedAt: k.CreatedAt}
}

// Revocation takes back credentials before they expire: the one with TokenID, or all that User was given before At. One of the two is set.
type Revocation struct {
	TokenID string `json:"tokenId,omitempty"`
	User    string `json:"user,omitempty"`
	At      int64  `json:"at"` // epoch milliseconds
}

// Validate checks the fields and returns a CodeInvalid error that names the first at fault.
func (r Revocation) Validate() error {
	if (r.TokenID == "") == (r.User == "") {
		return Errorf(CodeInvalid, "a revocation names a tokenId or a user")
	}
	if err := checkText("tokenId", r.TokenID, MaxTokenIDLength); err != nil {
		return err
	}
	return CheckUser(r.User)
}

// Covers reports whether the revocation takes this identity's credential back. A credential that does not say when it was issued counts as
// issued before.
func (r Revocation) Covers(id Identity) bool {
	if r.TokenID != "" {
		return r.TokenID == id.TokenID
	}
	return r.User == id.User && id.IssuedAt <= r.At
}

// Credentials keeps API keys and revocations, the same on all nodes.
//
// Errors: CodeInvalid, CodeNotFound, CodeConflict, CodeUnavailable.
type Credentials interface {
	// AddKey stores a new key. CodeConflict when its id is there, or when there are MaxKeys.
	AddKey(ctx context.Context, k APIKey) error
	// DeleteKey removes a key; whoever uses it is refused from then on, on all nodes within a moment.
	DeleteKey(ctx context.Context, id string) error
	// Keys returns all keys, oldest first.
	Keys(ctx context.Context) ([]APIKey, error)
	// Revoke stores a revocation, for a year. CodeConflict when there are MaxRevocations.
	Revoke(ctx context.Context, r Revocation) error
	// Revocations returns all revocations, newest first.
	Revocations(ctx context.Context) ([]Revocation, error)
}
