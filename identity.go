package eureka

import (
	"encoding/json"
	"strings"
)

// Scope is one thing that a credential lets its holder do; scopes combine by or.
type Scope uint8

// The scopes. Each covers what its comment says and nothing of the others.
const (
	ScopeSubscribe Scope = 1 << iota // listen to channels, read their history and their presence
	ScopePublish                     // publish on channels and report events
	ScopeManage                      // declare channels, list and close sockets, send to them, keys and revocations
)

// ScopeAll is every scope.
const ScopeAll = ScopeSubscribe | ScopePublish | ScopeManage

// scopeNames are the scopes as tokens and settings write them, in the order of their bits.
var scopeNames = []string{"subscribe", "publish", "manage"}

// ScopeNames lists the names of all scopes.
func ScopeNames() []string { return append([]string(nil), scopeNames...) }

// ParseScopes reads names separated by spaces or commas. Unknown names are left out, since a token may carry scopes of other services:
// known reports whether every name was one of ours.
func ParseScopes(text string) (scopes Scope, known bool) {
	known = true
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' }) {
		found := false
		for i, name := range scopeNames {
			if word == name {
				scopes |= 1 << i
				found = true
			}
		}
		known = known && found
	}
	return scopes, known
}

// String is the names of the scopes, separated by spaces.
func (s Scope) String() string {
	var names []string
	for i, name := range scopeNames {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

// Limits of an identity.
const (
	MaxPatterns      = 200  // channel patterns of one credential
	MaxTokenIDLength = 128  // bytes of a token's id
	MaxClaimsLength  = 4096 // bytes of the claims that are kept for rules
	MaxFilters       = 50   // filters of one credential
)

// Identity is who is behind a socket or a request, and what they may do. The zero identity may do nothing.
type Identity struct {
	User      string   // at most MaxUserLength bytes; "" when anonymous
	Scopes    Scope    // what it may do
	Channels  []string // patterns of the channels that ScopeSubscribe and ScopePublish hold for; see MatchPattern
	ExpiresAt int64    // epoch milliseconds from when on it may do nothing; 0 for never
	TokenID   string   // id of its token (jti), by which that can be revoked; "" without one
	KeyID     string   // id of its API key; "" when it came from a token
	IssuedAt  int64    // epoch milliseconds when its token was issued; 0 when unknown
	Claims    *Claims  // what rules see of its token, and its filters; nil for none. Sockets with the same token share it: it is never written to
}

// Claims are what a token says beyond what Identity reads of it.
type Claims struct {
	// Raw is the claims as a JSON object, without filters; nil when they are over MaxClaimsLength: a rule that asks for claims fails then.
	Raw json.RawMessage `json:"raw,omitempty"`
	// Filters restrict what its holder receives: what comes from a channel must pass each filter whose pattern matches one of its names.
	Filters []ClaimFilter `json:"filters,omitempty"`
}

// ClaimFilter is one filter of a credential.
type ClaimFilter struct {
	Pattern string `json:"pattern"` // of channels' names; see MatchPattern
	Filter  string `json:"filter"`  // at most MaxRuleLength bytes
}

// RuleClaims is what rules see of the credential. Without a token they see an object without members.
func (id Identity) RuleClaims() json.RawMessage {
	switch {
	case id.Claims == nil:
		return json.RawMessage(`{}`)
	case id.Claims.Raw == nil:
		return nil
	default:
		return id.Claims.Raw
	}
}

// Filters returns the filters that hold for a channel, in the order of the credential. names are its id, its alias, and the name that its holder
// used.
func (id Identity) Filters(names ...string) []string {
	if id.Claims == nil {
		return nil
	}
	var filters []string
	for _, f := range id.Claims.Filters {
		for _, name := range names {
			if name != "" && MatchPattern(f.Pattern, name) {
				filters = append(filters, f.Filter)
				break
			}
		}
	}
	return filters
}

// Everyone is the identity of every caller of a service without authentication: it may do everything. user is what the caller
// calls itself.
func Everyone(user string) Identity {
	return Identity{User: user, Scopes: ScopeAll, Channels: []string{"*"}}
}

// Can returns nil when the identity has the scope, CodeForbidden when it has others, and CodeUnauthenticated when it has expired by now.
func (id Identity) Can(scope Scope, now int64) error {
	switch {
	case id.ExpiresAt != 0 && now >= id.ExpiresAt:
		return Errorf(CodeUnauthenticated, "the credential has expired")
	case id.Scopes&scope != scope:
		return Errorf(CodeForbidden, "the credential lacks the scope %q", scope.String())
	default:
		return nil
	}
}

// CanReach is Can for one channel: one of its names must match a pattern of the identity. names are its id, its alias, or an
// undeclared name.
func (id Identity) CanReach(scope Scope, now int64, names ...string) error {
	if err := id.Can(scope, now); err != nil {
		return err
	}
	for _, pattern := range id.Channels {
		for _, name := range names {
			if name != "" && MatchPattern(pattern, name) {
				return nil
			}
		}
	}
	return Errorf(CodeForbidden, "the credential does not cover this channel")
}

// CheckPatterns checks channel patterns of a credential: at most MaxPatterns, each 1 to MaxNameLength bytes of channel name characters
// and "*". CodeInvalid names the field.
func CheckPatterns(field string, patterns []string) error {
	if len(patterns) > MaxPatterns {
		return FieldError(field, "has %d patterns, the limit is %d", len(patterns), MaxPatterns)
	}
	for _, pattern := range patterns {
		// With each wildcard as one more letter a pattern has the form of a name.
		if !ValidName(strings.ReplaceAll(pattern, "*", "x")) {
			return FieldError(field, "%q is no channel pattern; write a channel's name, with * for any characters", clipPattern(pattern))
		}
	}
	return nil
}

func clipPattern(pattern string) string {
	return strings.ToValidUTF8(pattern[:min(len(pattern), MaxNameLength)], "")
}

// MatchPattern reports whether a channel name matches a pattern, in which each "*" stands for any characters, none included. Its
// time is bounded by the product of both lengths.
func MatchPattern(pattern, name string) bool {
	p, n, star, mark := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
