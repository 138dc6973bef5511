package lambdaapp

import (
	"log/slog"
	"strconv"
	"strings"

	"eureka"
	"eureka/internal/auth"
	"eureka/internal/core"
)

// Role is what a function does.
type Role string

// The roles of docs/adr/0012.
const (
	RoleWS       Role = "ws"
	RoleHTTP     Role = "http"
	RoleEvents   Role = "events"
	RoleFanout   Role = "fanout"
	RoleSchedule Role = "schedule"
)

// Authentication says how clients prove who they are.
type Authentication string

// The kinds of authentication.
const (
	AuthService Authentication = "service" // tokens and API keys of the service's own
	AuthIAM     Authentication = "iam"     // AWS credentials, checked by API Gateway
	AuthNone    Authentication = "none"    // everybody may do everything
)

// Settings are what a function is told by its environment.
type Settings struct {
	Role          Role
	Stage         string
	Table         string
	TasksQueueURL string
	ManagementURL string
	Auth          Authentication

	AdminKey        string
	JWTSecret       string
	JWTPublicKeyPEM string
	JWTJWKS         []string
	JWTIssuer       string
	JWTAudience     []string

	AllowedOrigins   []string
	AllowUndeclared  bool
	MaxSubscriptions int
	LogLevel         slog.Level
	Version          string // of what was deployed; "" when nobody said

	AWS AWS
}

// AWS is what Lambda and the AWS SDKs tell by the environment.
type AWS struct {
	Region, AccessKeyID, SecretAccessKey, SessionToken string
	DynamoDBEndpoint, SQSEndpoint                      string // "" for the region's own
}

// maxSubscriptions is the upper bound of the setting, as self-hosted.
const maxSubscriptions = 100_000

// FromEnv reads the settings by a function such as os.Getenv. CodeInvalid names what is missing or wrong.
func FromEnv(get func(name string) string) (Settings, error) {
	s := Settings{
		Role: Role(get("EUREKA_ROLE")), Stage: get("EUREKA_STAGE"), Table: get("EUREKA_TABLE"), TasksQueueURL: get("EUREKA_TASKS_QUEUE_URL"),
		ManagementURL: get("EUREKA_MANAGEMENT_URL"), Auth: Authentication(get("EUREKA_AUTH")),
		AdminKey: get("EUREKA_ADMIN_KEY"), JWTSecret: get("EUREKA_JWT_SECRET"), JWTPublicKeyPEM: get("EUREKA_JWT_PUBLIC_KEY_PEM"),
		JWTJWKS: list(get("EUREKA_JWT_JWKS")), JWTIssuer: get("EUREKA_JWT_ISSUER"), JWTAudience: list(get("EUREKA_JWT_AUDIENCE")),
		AllowedOrigins: list(get("EUREKA_ALLOWED_ORIGINS")), Version: get("EUREKA_VERSION"),
		AWS: AWS{
			Region: get("AWS_REGION"), AccessKeyID: get("AWS_ACCESS_KEY_ID"), SecretAccessKey: get("AWS_SECRET_ACCESS_KEY"),
			SessionToken: get("AWS_SESSION_TOKEN"), DynamoDBEndpoint: get("AWS_ENDPOINT_URL_DYNAMODB"), SQSEndpoint: get("AWS_ENDPOINT_URL_SQS"),
		},
	}
	var missing []string
	for _, name := range []string{
		"EUREKA_ROLE", "EUREKA_STAGE", "EUREKA_TABLE", "EUREKA_TASKS_QUEUE_URL", "EUREKA_MANAGEMENT_URL", "EUREKA_AUTH",
		"AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
	} {
		if get(name) == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return s, eureka.Errorf(eureka.CodeInvalid, "not set in the environment: %s", strings.Join(missing, ", "))
	}
	return s, s.read(get)
}

// read reads what is more than a text, and checks the texts.
func (s *Settings) read(get func(name string) string) error {
	switch s.Role {
	case RoleWS, RoleHTTP, RoleEvents, RoleFanout, RoleSchedule:
	default:
		return eureka.FieldError("EUREKA_ROLE", "must be ws, http, events, fanout or schedule")
	}
	switch s.Auth {
	case AuthService, AuthIAM, AuthNone:
	default:
		return eureka.FieldError("EUREKA_AUTH", "must be service, iam or none")
	}
	if s.checksCredentials() && s.AdminKey == "" && len(s.issuers()) == 0 {
		return eureka.FieldError("EUREKA_AUTH", "is service, which needs EUREKA_ADMIN_KEY or the key of tokens (EUREKA_JWT_SECRET, EUREKA_JWT_PUBLIC_KEY_PEM, EUREKA_JWT_JWKS)")
	}
	if err := s.readChannels(get); err != nil {
		return err
	}
	if text := get("EUREKA_LOG_LEVEL"); text != "" {
		if err := s.LogLevel.UnmarshalText([]byte(text)); err != nil {
			return eureka.FieldError("EUREKA_LOG_LEVEL", "must be debug, info, warn or error")
		}
	}
	return nil
}

// readChannels reads what clients may do with channels.
func (s *Settings) readChannels(get func(name string) string) error {
	switch get("EUREKA_UNDECLARED_CHANNELS") {
	case "", "auto":
		s.AllowUndeclared = s.Auth == AuthNone
	case "allow":
		s.AllowUndeclared = true
	case "deny":
	default:
		return eureka.FieldError("EUREKA_UNDECLARED_CHANNELS", "must be auto, allow or deny")
	}
	s.MaxSubscriptions = core.DefaultMaxSubscriptions
	if text := get("EUREKA_MAX_SUBSCRIPTIONS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxSubscriptions {
			return eureka.FieldError("EUREKA_MAX_SUBSCRIPTIONS", "must be a number from 1 to %d", maxSubscriptions)
		}
		s.MaxSubscriptions = n
	}
	return nil
}

// checksCredentials reports whether the function is shown tokens and API keys.
func (s *Settings) checksCredentials() bool {
	return s.Auth == AuthService && (s.Role == RoleWS || s.Role == RoleHTTP)
}

// issuers are the sources of tokens; none when the service takes no tokens.
func (s *Settings) issuers() []auth.Issuer {
	var issuers []auth.Issuer
	if s.JWTSecret != "" {
		issuers = append(issuers, auth.Issuer{Name: s.JWTIssuer, Secret: []byte(s.JWTSecret)})
	}
	if s.JWTPublicKeyPEM != "" {
		issuers = append(issuers, auth.Issuer{Name: s.JWTIssuer, PEM: []byte(s.JWTPublicKeyPEM)})
	}
	for _, entry := range s.JWTJWKS {
		issuers = append(issuers, auth.JWKSIssuer(entry, s.JWTIssuer))
	}
	for i := range issuers {
		issuers[i].Audience = s.JWTAudience
	}
	return issuers
}

// list reads a list separated by commas.
func list(text string) []string {
	var entries []string
	for entry := range strings.SplitSeq(text, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			entries = append(entries, entry)
		}
	}
	return entries
}
