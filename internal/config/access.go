package config

import (
	"errors"
	"os"
	"strings"
	"time"

	"eureka"
	"eureka/internal/auth"
)

// maxKeyFile is the largest file of a public key, in bytes.
const maxKeyFile = 64 << 10

// Authenticated reports whether the settings switch authentication on.
func (s Settings) Authenticated() bool { return s.AdminKey != "" || s.takesTokens() }

func (s Settings) takesTokens() bool {
	return s.JWTSecret != "" || s.JWTPublicKey != "" || len(s.JWTJWKS) > 0
}

// AllowUndeclared reports whether channels that nobody created may be used.
func (s Settings) AllowUndeclared() bool {
	return s.UndeclaredChannels == UndeclaredAllow || (s.UndeclaredChannels != UndeclaredDeny && !s.Authenticated())
}

// Issuers are the sources of tokens that the settings name; none when the service takes no tokens. CodeInvalid or CodeNotFound for a bad
// public key file.
func (s Settings) Issuers() ([]auth.Issuer, error) {
	var issuers []auth.Issuer
	if s.JWTSecret != "" {
		issuers = append(issuers, auth.Issuer{Name: s.JWTIssuer, Secret: []byte(s.JWTSecret)})
	}
	if s.JWTPublicKey != "" {
		info, err := os.Stat(s.JWTPublicKey)
		if err != nil || !info.Mode().IsRegular() || info.Size() > maxKeyFile {
			return nil, eureka.FieldError("jwt_public_key", "%s is no readable PEM file", s.JWTPublicKey)
		}
		text, err := os.ReadFile(s.JWTPublicKey)
		if err != nil {
			return nil, eureka.WrapError(eureka.CodeInvalid, err, "jwt_public_key: %s cannot be read", s.JWTPublicKey)
		}
		issuers = append(issuers, auth.Issuer{Name: s.JWTIssuer, PEM: text})
	}
	for _, entry := range s.JWTJWKS {
		// An issuer is most often an address itself, so only "=http" parts the two.
		name, address, named := strings.Cut(entry, "=http")
		if named {
			address = "http" + address
		} else {
			name, address = s.JWTIssuer, entry
		}
		issuers = append(issuers, auth.Issuer{Name: name, JWKS: address})
	}
	for i := range issuers {
		issuers[i].Audience = s.JWTAudience
	}
	return issuers, nil
}

// checkAccess checks who may come in.
func (s Settings) checkAccess() error {
	if _, err := auth.NewOrigins(s.AllowedOrigins); err != nil {
		return err
	}
	if _, err := auth.NewHosts(s.AllowedHosts, s.Insecure); err != nil {
		return err
	}
	if s.AdminKey != "" && len(s.AdminKey) < auth.MinAdminKey {
		return eureka.FieldError("admin_key", "must have at least %d characters", auth.MinAdminKey)
	}
	return s.checkTokens()
}

// checkTokens checks the settings about tokens as the service will, and names what is wrong as a setting.
func (s Settings) checkTokens() error {
	issuers, err := s.Issuers()
	if err != nil || len(issuers) == 0 {
		return err
	}
	_, err = auth.NewTokens(auth.TokenOptions{Issuers: issuers}) // fetches nothing
	e, ok := errors.AsType[*eureka.Error](err)
	if !ok {
		return err
	}
	keys := map[string]string{"secret": "jwt_secret", "pem": "jwt_public_key", "jwks": "jwt_jwks", "name": "jwt_issuer", "audience": "jwt_audience"}
	key := keys[e.Field[strings.LastIndexByte(e.Field, '.')+1:]]
	text := strings.TrimPrefix(e.Message, e.Field+": ")
	switch key {
	case "":
		return err
	case "jwt_issuer":
		return eureka.FieldError(key, "the keys of tokens come from %d sources, and each needs an issuer of its own: write ISSUER=ADDRESS in jwt_jwks, and set jwt_issuer for the one that has none", len(issuers))
	default:
		return &eureka.Error{Code: e.Code, Field: key, Message: key + ": " + text, Err: e.Err}
	}
}

// SyncInterval reads the setting sync: always, or an interval.
func (s Settings) SyncInterval() (always bool, interval time.Duration, err error) {
	if s.Sync == "always" {
		return true, 0, nil
	}
	interval, err = time.ParseDuration(s.Sync)
	if err != nil || interval < 10*time.Millisecond || interval > time.Hour {
		return false, 0, eureka.FieldError("sync", "must be always, or an interval of 10ms to 1h")
	}
	return false, interval, nil
}
