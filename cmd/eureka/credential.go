package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"eureka"
	"eureka/client"
	"eureka/internal/auth"
)

type keysCmd struct {
	Create createKeyCmd `cmd:"" help:"Create an API key and print it, this once."`
	List   listKeysCmd  `cmd:"" help:"List the API keys, without their secrets."`
	Revoke revokeKeyCmd `cmd:"" help:"Revoke an API key and close its sockets."`
}

// grant is what a credential lets its holder do.
type grant struct {
	Scope    []string `help:"What the holder may do, of subscribe, publish and manage; the first two by default." default:"subscribe,publish" placeholder:"SCOPE"`
	Channels []string `help:"Channels it may listen to and publish on, with * for any characters; all by default." default:"*" placeholder:"PATTERN"`
	User     string   `help:"The user that its sockets belong to." placeholder:"NAME"`
}

type createKeyCmd struct {
	grant

	Name string        `arg:"" help:"What the key is for, such as orders-api."`
	For  time.Duration `help:"How long it is valid; for ever without it." placeholder:"DURATION"`
}

// Run creates an API key.
func (c *createKeyCmd) Run(s *session) error {
	service, err := s.client()
	if err != nil {
		return err
	}
	k := client.Key{Name: c.Name, Scopes: c.Scope, Channels: c.Channels, User: c.User}
	if c.For != 0 {
		k.ExpiresAt = time.Now().Add(c.For).UnixMilli()
	}
	k, err = service.CreateKey(s.ctx, k)
	if err != nil {
		return s.interrupted(err)
	}
	if s.json {
		return s.printJSON(k)
	}
	err = s.table([][]string{
		{"key", k.Key},
		{"id", k.ID},
		{"name", k.Name},
		{"scopes", strings.Join(k.Scopes, " ")},
		{"channels", strings.Join(k.Channels, " ")},
		{"user", k.User},
		{"expires", moment(k.ExpiresAt)},
	})
	_, _ = fmt.Fprintln(s.stderr, "eureka: the key is shown this once; the service keeps its hash alone")
	return err
}

type listKeysCmd struct{}

// Run lists the API keys.
func (*listKeysCmd) Run(s *session) error {
	service, err := s.client()
	if err != nil {
		return err
	}
	keys, err := service.Keys(s.ctx)
	if err != nil {
		return s.interrupted(err)
	}
	if s.json {
		return s.printJSON(map[string]any{"list": keys})
	}
	rows := [][]string{{"ID", "NAME", "SCOPES", "CHANNELS", "USER", "CREATED", "EXPIRES"}}
	for _, k := range keys {
		rows = append(rows, []string{
			k.ID, k.Name, strings.Join(k.Scopes, " "), strings.Join(k.Channels, " "), k.User, moment(k.CreatedAt), moment(k.ExpiresAt),
		})
	}
	return s.table(rows)
}

type revokeKeyCmd struct {
	ID string `arg:"" help:"The key's id, as keys list shows it."`
}

// Run revokes an API key.
func (c *revokeKeyCmd) Run(s *session) error {
	service, err := s.client()
	if err != nil {
		return err
	}
	if err := service.RevokeKey(s.ctx, c.ID); err != nil {
		return s.interrupted(err)
	}
	if s.json {
		return s.printJSON(map[string]string{"revoked": c.ID})
	}
	return s.printf("revoked %s\n", c.ID)
}

type revokeCmd struct {
	Token revokeTokenCmd     `cmd:"" help:"Revoke one token by its id, the claim jti."`
	User  revokeUserCmd      `cmd:"" help:"Revoke all tokens and keys that a user was given until now."`
	List  listRevocationsCmd `cmd:"" help:"List what is revoked."`
}

type revokeTokenCmd struct {
	ID string `arg:"" help:"The token's id, its claim jti."`
}

// Run revokes a token.
func (c *revokeTokenCmd) Run(s *session) error {
	return s.revoke(eureka.Revocation{TokenID: c.ID}, c.ID)
}

type revokeUserCmd struct {
	User string `arg:"" help:"The user."`
}

// Run revokes what a user was given.
func (c *revokeUserCmd) Run(s *session) error {
	return s.revoke(eureka.Revocation{User: c.User}, c.User)
}

func (s *session) revoke(r eureka.Revocation, name string) error {
	service, err := s.client()
	if err != nil {
		return err
	}
	r, err = service.Revoke(s.ctx, r)
	if err != nil {
		return s.interrupted(err)
	}
	if s.json {
		return s.printJSON(r)
	}
	return s.printf("revoked %s\n", name)
}

type listRevocationsCmd struct{}

// Run lists what is revoked.
func (*listRevocationsCmd) Run(s *session) error {
	service, err := s.client()
	if err != nil {
		return err
	}
	list, err := service.Revocations(s.ctx)
	if err != nil {
		return s.interrupted(err)
	}
	if s.json {
		return s.printJSON(map[string]any{"list": list})
	}
	rows := [][]string{{"TOKEN", "USER", "REVOKED"}}
	for _, r := range list {
		rows = append(rows, []string{r.TokenID, r.User, moment(r.At)})
	}
	return s.table(rows)
}

type tokenCmd struct {
	grant

	For         time.Duration `help:"How long it is valid." default:"1h"`
	Config      string        `help:"YAML file of settings." env:"EUREKA_CONFIG" placeholder:"FILE"`
	JWTSecret   string        `name:"jwt-secret" help:"The setting jwt_secret of the service." env:"EUREKA_JWT_SECRET" placeholder:"SECRET"`
	JWTIssuer   string        `name:"jwt-issuer" help:"Its setting jwt_issuer." env:"EUREKA_JWT_ISSUER" placeholder:"ISSUER"`
	JWTAudience []string      `name:"jwt-audience" help:"Its setting jwt_audience." env:"EUREKA_JWT_AUDIENCE" placeholder:"AUDIENCE"`
}

// Run mints a token and prints it, and nothing else, for use in a command substitution.
func (c *tokenCmd) Run(s *session) error {
	if c.JWTSecret == "" {
		return eureka.FieldError("jwt_secret", "is not set; give the secret that the service was started with, as EUREKA_JWT_SECRET or in the file of --config")
	}
	scopes, known := eureka.ParseScopes(strings.Join(c.Scope, " "))
	if !known || scopes == 0 {
		return eureka.FieldError("scope", "must be of %s", strings.Join(eureka.ScopeNames(), ", "))
	}
	now := time.Now()
	id := eureka.Identity{
		User: c.User, Scopes: scopes, Channels: c.Channels, IssuedAt: now.UnixMilli(), ExpiresAt: now.Add(c.For).UnixMilli(), TokenID: rand.Text(),
	}
	token, err := auth.MintHS256([]byte(c.JWTSecret), id, c.JWTIssuer, c.JWTAudience)
	if err != nil {
		return inFlags(err)
	}
	if s.json {
		return s.printJSON(map[string]any{"token": token, "id": id.TokenID, "user": c.User, "expiresAt": id.ExpiresAt / 1000 * 1000})
	}
	return s.printf("%s\n", token)
}

// inFlags names what is wrong with a token as the command line does.
func inFlags(err error) error {
	e, ok := errors.AsType[*eureka.Error](err)
	if !ok {
		return err
	}
	flag := map[string]string{"secret": "jwt_secret", "expires_at": "for"}[e.Field]
	if flag == "" {
		return err
	}
	return eureka.FieldError(flag, "%s", strings.TrimPrefix(e.Message, e.Field+": "))
}
