package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"eureka"
)

const (
	maxKeyID   = 512          // bytes of a header's kid
	maxSeconds = 253402300799 // the last second of the year 9999
	subMark    = "{sub}"      // stands for the token's sub in a pattern of its channels
)

// parsed is a token taken apart, of which nothing is verified yet.
type parsed struct {
	header    header
	claims    object
	signed    string // what the signature is over
	signature []byte
}

// header is what selects the key of a token; nothing else of a token's header is used.
type header struct{ algorithm, keyID string }

// object is a JSON object of which each member has a name of its own.
type object map[string]json.RawMessage

// parseToken takes a token apart: three parts in base64url without padding, of which the first two are JSON objects.
func parseToken(token string) (parsed, error) {
	head, rest, _ := strings.Cut(token, ".")
	body, tail, ok := strings.Cut(rest, ".")
	if !ok || strings.Contains(tail, ".") {
		return parsed{}, refuse("the token is neither an API key of this service nor in the three parts of a signed JWT")
	}
	p := parsed{signed: token[:len(head)+1+len(body)]}
	headBytes, ok1 := decodePart(head)
	bodyBytes, ok2 := decodePart(body)
	signature, ok3 := decodePart(tail)
	if !ok1 || !ok2 || !ok3 || len(signature) == 0 {
		return parsed{}, refuse("the token's parts are not in base64url, or it has no signature")
	}
	fields, ok1 := parseObject(headBytes)
	claims, ok2 := parseObject(bodyBytes)
	if !ok1 || !ok2 {
		return parsed{}, refuse("the token's header or claims are not a JSON object with each name once")
	}
	h, err := parseHeader(fields)
	p.header, p.claims, p.signature = h, claims, signature
	return p, err
}

// decodePart decodes one part. There is one way alone to write the same bytes: the decoder would skip line breaks.
func decodePart(part string) ([]byte, bool) {
	if strings.ContainsAny(part, "\r\n") {
		return nil, false
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(part)
	return data, err == nil
}

// parseObject reads one JSON object. encoding/json alone would take the last of two members of a name.
func parseObject(data []byte) (object, bool) {
	if !utf8.Valid(data) || !json.Valid(data) {
		return nil, false
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') {
		return nil, false
	}
	members := make(object)
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, false
		}
		text, ok := name.(string)
		if _, twice := members[text]; !ok || twice {
			return nil, false
		}
		var value json.RawMessage
		if decoder.Decode(&value) != nil {
			return nil, false
		}
		members[text] = bytes.TrimSpace(value)
	}
	return members, true
}

// parseHeader reads the fields that select a key. Fields that bring a key along or say where one is, or that change how the
// token is to be read, are refused; others, such as x5t, are left alone.
func parseHeader(fields object) (header, error) {
	for _, name := range []string{"crit", "jku", "jwk", "x5u", "x5c", "b64", "zip", "enc", "cty"} {
		if _, ok := fields[name]; ok {
			return header{}, refuse("the token's header has the field %q, which is not taken here", name)
		}
	}
	var h header
	var ok bool
	if h.algorithm, ok = stringOf(fields["alg"]); !ok {
		return header{}, refuse("the token's header has no algorithm")
	}
	if raw, has := fields["kid"]; has {
		if h.keyID, ok = stringOf(raw); !ok || h.keyID == "" || len(h.keyID) > maxKeyID {
			return header{}, refuse("the token's header has no valid key id; it may have 1 to %d bytes", maxKeyID)
		}
	}
	if raw, has := fields["typ"]; has {
		kind, ok := stringOf(raw)
		kind = strings.TrimPrefix(strings.ToLower(kind), "application/")
		if !ok || (kind != "jwt" && kind != "at+jwt") {
			return header{}, refuse("the token's header says that it is no access token")
		}
	}
	return h, nil
}

// identity reads the claims of a token whose signature holds.
func (s *source) identity(claims object, now time.Time, leeway time.Duration) (eureka.Identity, error) {
	if err := s.checkAudience(claims); err != nil {
		return eureka.Identity{}, err
	}
	var id eureka.Identity
	var err error
	if id.ExpiresAt, id.IssuedAt, err = checkTimes(claims, now, leeway); err != nil {
		return eureka.Identity{}, err
	}
	if id.User, err = text(claims, "sub"); err != nil {
		return eureka.Identity{}, err
	}
	if eureka.CheckUser(id.User) != nil || hasControl(id.User) {
		return eureka.Identity{}, refuse("the token's claim %q is no user name; it may have %d bytes and no control characters", "sub", eureka.MaxUserLength)
	}
	if id.TokenID, err = text(claims, "jti"); err != nil {
		return eureka.Identity{}, err
	}
	if len(id.TokenID) > eureka.MaxTokenIDLength || hasControl(id.TokenID) {
		return eureka.Identity{}, refuse("the token's claim %q is no id; it may have %d bytes and no control characters", "jti", eureka.MaxTokenIDLength)
	}
	if id.Scopes, err = scopesOf(claims); err != nil {
		return eureka.Identity{}, err
	}
	if id.Channels, err = channelsOf(claims, id.User); err != nil {
		return eureka.Identity{}, err
	}
	id.Claims, err = claimsOf(claims, id.User)
	return id, err
}

// checkAudience checks for whom the token was made. By whom is settled: its iss selected the source whose key verified it.
func (s *source) checkAudience(claims object) error {
	raw, has := claims["aud"]
	var audience []string
	if has {
		name, single := stringOf(raw)
		names, several := stringsOf(raw)
		switch {
		case single:
			audience = []string{name}
		case several:
			audience = names
		default:
			return refuse("the token's claim %q is neither a string nor an array of strings", "aud")
		}
	}
	if len(s.audience) > 0 && !slices.ContainsFunc(s.audience, func(want string) bool { return slices.Contains(audience, want) }) {
		return refuse("the token is not for this service: its claim %q names another", "aud")
	}
	return nil
}

// checkTimes returns the end and the issue of the token in epoch milliseconds. The leeway is for the beginning alone: a token
// ends when it says.
func checkTimes(claims object, now time.Time, leeway time.Duration) (expires, issued int64, err error) {
	latest := now.Add(leeway).UnixMilli()
	expires, has, err := milliseconds(claims, "exp")
	switch {
	case err != nil:
		return 0, 0, err
	case !has:
		return 0, 0, refuse("the token has no claim %q; it must have an end", "exp")
	case expires <= 0 || now.UnixMilli() >= expires:
		return 0, 0, refuse("the token has expired")
	}
	if begins, _, err := milliseconds(claims, "nbf"); err != nil {
		return 0, 0, err
	} else if begins > latest {
		return 0, 0, refuse("the token is not valid yet")
	}
	if issued, _, err = milliseconds(claims, "iat"); err != nil {
		return 0, 0, err
	}
	if issued > latest {
		return 0, 0, refuse("the token was issued in the future")
	}
	return expires, issued, nil
}

// scopesOf reads the scopes. A token that says nothing of scopes may subscribe; one that names only those of others may do nothing.
func scopesOf(claims object) (eureka.Scope, error) {
	var scopes eureka.Scope
	named := false
	for _, name := range []string{"scope", "scopes", "scp"} {
		raw, ok := claims[name]
		if !ok {
			continue
		}
		named = true
		list, isText := stringOf(raw)
		words, isArray := stringsOf(raw)
		switch {
		case isText && name != "scopes":
			found, _ := eureka.ParseScopes(list)
			scopes |= found
		case isArray && name != "scope":
			for _, word := range words {
				if strings.ContainsAny(word, " ,") { // one scope of another service, and not several of ours
					continue
				}
				found, _ := eureka.ParseScopes(word)
				scopes |= found
			}
		default:
			return 0, refuse("the token's claim %q is not of its type: scope is a string, scopes an array of strings, scp either", name)
		}
	}
	if !named {
		return eureka.ScopeSubscribe, nil
	}
	return scopes, nil
}

// channelsOf reads the channel patterns, with the user in place of each mark. Without the claim there are none.
func channelsOf(claims object, user string) ([]string, error) {
	raw, has := claims["channels"]
	if !has {
		return []string{}, nil
	}
	patterns, ok := stringsOf(raw)
	if !ok || len(patterns) > eureka.MaxPatterns {
		return nil, refuse("the token's claim %q is no array of at most %d strings", "channels", eureka.MaxPatterns)
	}
	for i, pattern := range patterns {
		if !strings.Contains(pattern, subMark) {
			continue
		}
		// A user of the name "*" would reach what is everybody's.
		if user == "" || strings.Contains(user, "*") {
			return nil, refuse("the token's claim %q needs a claim %q that can be part of a channel's name", "channels", "sub")
		}
		patterns[i] = strings.ReplaceAll(pattern, subMark, user)
	}
	if eureka.CheckPatterns("channels", patterns) != nil {
		return nil, refuse("the token's claim %q has an entry that is no channel pattern", "channels")
	}
	return patterns, nil
}

// hasControl reports whether s has a control character, line breaks and tabs included: neither name nor id has those.
func hasControl(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }

// text reads a claim that is a string; without the claim it is "".
func text(claims object, name string) (string, error) {
	raw, has := claims[name]
	if !has {
		return "", nil
	}
	s, ok := stringOf(raw)
	if !ok {
		return "", refuse("the token's claim %q is no string", name)
	}
	return s, nil
}

// milliseconds reads a claim that is a time in epoch seconds, in the years 1970 to 9999; a fraction is cut to milliseconds.
func milliseconds(claims object, name string) (at int64, has bool, err error) {
	raw, has := claims[name]
	if !has {
		return 0, false, nil
	}
	// Nothing else in JSON starts so; null and "1" are no numbers.
	if len(raw) > 0 && (raw[0] >= '0' && raw[0] <= '9') {
		if seconds, err := strconv.ParseFloat(string(raw), 64); err == nil && seconds <= maxSeconds {
			return int64(math.Floor(seconds * 1000)), true, nil
		}
	}
	return 0, true, refuse("the token's claim %q is no time in seconds, from 1970 to 9999", name)
}

// stringOf reads a JSON string, and nothing that encoding/json would take for one, such as null.
func stringOf(raw json.RawMessage) (string, bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err == nil
}

// stringsOf reads a JSON array of strings.
func stringsOf(raw json.RawMessage) ([]string, bool) {
	if len(raw) == 0 || raw[0] != '[' {
		return nil, false
	}
	var elements []json.RawMessage
	if json.Unmarshal(raw, &elements) != nil {
		return nil, false
	}
	list := make([]string, len(elements))
	for i, element := range elements {
		var ok bool
		if list[i], ok = stringOf(element); !ok {
			return nil, false
		}
	}
	return list, true
}
