package config

import (
	"os"
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
		issuers = append(issuers, auth.JWKSIssuer(entry, s.JWTIssuer))
	}
	for i := range issuers {
		issuers[i].Audience = s.JWTAudience
	}
	return issuers, nil
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
