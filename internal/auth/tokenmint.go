package auth

import (
	"crypto/rand"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"eureka"
)

// MintHS256 makes a token that a [Tokens] with the same secret, issuer and audience takes as id, for development and tests. The end
// of id is required; both its times are cut to seconds. Without IssuedAt the token is issued now, and without TokenID it gets a
// random one. CodeInvalid names what such a token cannot say; no error contains the secret.
func MintHS256(secret []byte, id eureka.Identity, issuer string, audience []string) (string, error) {
	k, err := secretKey("secret", secret)
	if err != nil {
		return "", err
	}
	if id.IssuedAt == 0 {
		id.IssuedAt = time.Now().UnixMilli()
	}
	if id.TokenID == "" {
		id.TokenID = rand.Text()
	}
	issued, expires := id.IssuedAt/1000, id.ExpiresAt/1000
	switch {
	case issued < 0 || expires <= issued || expires > maxSeconds:
		return "", eureka.FieldError("expires_at", "must be at least a second after the issue, and before the year 10000")
	case len(id.TokenID) > eureka.MaxTokenIDLength || hasControl(id.TokenID):
		return "", eureka.FieldError("token_id", "may have %d bytes and no control characters", eureka.MaxTokenIDLength)
	case hasControl(id.User):
		return "", eureka.FieldError("user", "has a control character")
	}
	if err := eureka.CheckUser(id.User); err != nil {
		return "", err
	}
	if err := eureka.CheckPatterns("channels", id.Channels); err != nil {
		return "", err
	}
	claims := jwt.MapClaims{
		"sub":      id.User,
		"scope":    id.Scopes.String(),
		"channels": append([]string{}, id.Channels...),
		"iat":      issued,
		"exp":      expires,
		"jti":      id.TokenID,
	}
	if issuer != "" {
		claims["iss"] = issuer
	}
	if len(audience) > 0 {
		claims["aud"] = audience
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(k.material)
	if err != nil {
		return "", eureka.WrapError(eureka.CodeInternal, err, "the token cannot be signed")
	}
	if len(token) > maxToken {
		return "", eureka.FieldError("channels", "make a token of %d bytes, the limit is %d", len(token), maxToken)
	}
	return token, nil
}
