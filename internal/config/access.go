package config

import (
	"errors"
	"os"
	"regexp"
	"strconv"
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

// access checks who may come in.
func (s Settings) access() error {
	if _, err := auth.NewOrigins(s.AllowedOrigins); err != nil {
		return err
	}
	if _, err := auth.NewHosts(s.AllowedHosts, s.Insecure); err != nil {
		return err
	}
	if s.AdminKey != "" && len(s.AdminKey) < auth.MinAdminKey {
		return eureka.FieldError("admin_key", "must have at least %d characters", auth.MinAdminKey)
	}
	_, err := s.Tokens(auth.TokenOptions{})
	return err
}

// AllowUndeclared reports whether channels that nobody created may be used.
func (s Settings) AllowUndeclared() bool {
	return s.UndeclaredChannels == UndeclaredAllow || (s.UndeclaredChannels != UndeclaredDeny && !s.Authenticated())
}

// AllowMocks reports whether sample events can be kept and played.
func (s Settings) AllowMocks() bool {
	return s.Mocks == MocksAllow || (s.Mocks != MocksDeny && !s.Authenticated())
}

// Tokens makes the verifier of the tokens that the settings ask for, nil when the service takes none. It reads the file of a public key and
// fetches nothing. CodeInvalid names the setting at fault. The options' issuers are those of the settings.
func (s Settings) Tokens(o auth.TokenOptions) (*auth.Tokens, error) {
	sources, err := s.sources()
	if err != nil || len(sources) == 0 {
		return nil, err
	}
	names := map[string]string{}
	o.Issuers = nil
	for _, source := range sources {
		if other, twice := names[source.Name]; twice && source.setting != "jwt_jwks" {
			return nil, eureka.FieldError(source.setting, "cannot be set beside %s: they would speak for the same issuer; the keys of others belong in jwt_jwks, each with its name", other)
		}
		names[source.Name] = source.setting
		o.Issuers = append(o.Issuers, source.Issuer)
	}
	tokens, err := auth.NewTokens(o)
	if err != nil {
		return nil, named(err, sources)
	}
	return tokens, nil
}

// source is an issuer with the setting that its key comes from.
type source struct {
	auth.Issuer

	setting string
}

func (s Settings) sources() ([]source, error) {
	var sources []source
	if s.JWTSecret != "" {
		sources = append(sources, source{auth.Issuer{Name: s.JWTIssuer, Secret: []byte(s.JWTSecret)}, "jwt_secret"})
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
		sources = append(sources, source{auth.Issuer{Name: s.JWTIssuer, PEM: text}, "jwt_public_key"})
	}
	for _, entry := range s.JWTJWKS {
		sources = append(sources, source{auth.JWKSIssuer(entry, s.JWTIssuer), "jwt_jwks"})
	}
	for i := range sources {
		sources[i].Audience = s.JWTAudience
	}
	return sources, nil
}

// issuerField is the place of an error in the list of issuers.
var issuerField = regexp.MustCompile(`^issuers\[(\d+)\](\.\w+)?$`)

// named is an error about issuers in the words of the settings.
func named(err error, sources []source) error {
	var e *eureka.Error
	if !errors.As(err, &e) {
		return err
	}
	setting := "jwt_jwks"
	if at := issuerField.FindStringSubmatch(e.Field); at != nil {
		i, _ := strconv.Atoi(at[1]) // digits
		setting = sources[i].setting
		switch {
		case at[2] == ".audience":
			setting = "jwt_audience"
		case at[2] == ".name" && sources[i].Name == "":
			return eureka.FieldError("jwt_issuer", "is needed: with several sources of keys each must have an issuer's name, here or as ISSUER=ADDRESS in jwt_jwks")
		case at[2] == ".name":
			return eureka.FieldError(setting, "names the issuer %q twice", sources[i].Name)
		}
	}
	_, text, _ := strings.Cut(e.Message, ": ")
	translated := eureka.FieldError(setting, "%s", text)
	translated.Err = e.Err
	return translated
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
