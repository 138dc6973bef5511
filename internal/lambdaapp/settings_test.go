package lambdaapp

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"eureka"
	"eureka/internal/auth"
)

func environment(change map[string]string) func(string) string {
	env := map[string]string{
		"EUREKA_ROLE": "ws", "EUREKA_STAGE": "dev", "EUREKA_TABLE": "eureka-dev", "EUREKA_TASKS_QUEUE_URL": "https://sqs/tasks",
		"EUREKA_MANAGEMENT_URL": "https://a1.execute-api.eu-west-1.amazonaws.com/dev", "EUREKA_AUTH": "service", "EUREKA_ADMIN_KEY": strings.Repeat("k", 32),
		"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
	}
	for name, value := range change {
		env[name] = value
	}
	return func(name string) string { return env[name] }
}

func TestFromEnv(t *testing.T) {
	base := Settings{
		Role: RoleWS, Stage: "dev", Table: "eureka-dev", TasksQueueURL: "https://sqs/tasks", ManagementURL: "https://a1.execute-api.eu-west-1.amazonaws.com/dev",
		Auth: AuthService, AdminKey: strings.Repeat("k", 32), MaxSubscriptions: 1000,
		AWS: AWS{Region: "eu-west-1", AccessKeyID: "key", SecretAccessKey: "secret"},
	}
	for name, tt := range map[string]struct {
		change map[string]string
		want   func(s *Settings)
	}{
		"the least": {nil, func(*Settings) {}},
		"all": {map[string]string{
			"EUREKA_JWT_SECRET": "s", "EUREKA_JWT_PUBLIC_KEY_PEM": "p", "EUREKA_JWT_JWKS": "https://a/keys, https://b=https://b/keys", "EUREKA_JWT_ISSUER": "i",
			"EUREKA_JWT_AUDIENCE": "x,y", "EUREKA_ALLOWED_ORIGINS": " https://app.example.com ,", "EUREKA_UNDECLARED_CHANNELS": "allow",
			"EUREKA_MAX_SUBSCRIPTIONS": "7", "EUREKA_LOG_LEVEL": "debug", "EUREKA_VERSION": "1.2", "AWS_SESSION_TOKEN": "t", "AWS_ENDPOINT_URL_DYNAMODB": "http://d", "AWS_ENDPOINT_URL_SQS": "http://q",
		}, func(s *Settings) {
			s.JWTSecret, s.JWTPublicKeyPEM, s.JWTJWKS, s.JWTIssuer, s.JWTAudience = "s", "p", []string{"https://a/keys", "https://b=https://b/keys"}, "i", []string{"x", "y"}
			s.AllowedOrigins, s.AllowUndeclared, s.MaxSubscriptions, s.LogLevel, s.Version = []string{"https://app.example.com"}, true, 7, slog.LevelDebug, "1.2"
			s.AWS.SessionToken, s.AWS.DynamoDBEndpoint, s.AWS.SQSEndpoint = "t", "http://d", "http://q"
		}},
		"open":                    {map[string]string{"EUREKA_AUTH": "none"}, func(s *Settings) { s.Auth, s.AllowUndeclared = AuthNone, true }},
		"open and closed":         {map[string]string{"EUREKA_AUTH": "none", "EUREKA_UNDECLARED_CHANNELS": "deny"}, func(s *Settings) { s.Auth = AuthNone }},
		"auto with IAM":           {map[string]string{"EUREKA_AUTH": "iam", "EUREKA_UNDECLARED_CHANNELS": "auto"}, func(s *Settings) { s.Auth = AuthIAM }},
		"a worker has no secrets": {map[string]string{"EUREKA_ROLE": "fanout", "EUREKA_ADMIN_KEY": ""}, func(s *Settings) { s.Role, s.AdminKey = RoleFanout, "" }},
	} {
		t.Run(name, func(t *testing.T) {
			want := base
			tt.want(&want)
			got, err := FromEnv(environment(tt.change))
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestFromEnvRefuses(t *testing.T) {
	for want, change := range map[string]map[string]string{
		"not set in the environment: EUREKA_TABLE, AWS_REGION":      {"EUREKA_TABLE": "", "AWS_REGION": ""},
		"EUREKA_ROLE: must be ws, http, events, fanout or schedule": {"EUREKA_ROLE": "web"},
		"EUREKA_AUTH: must be service, iam or none":                 {"EUREKA_AUTH": "jwt"},
		"EUREKA_AUTH: is service, which needs EUREKA_ADMIN_KEY or the key of tokens (EUREKA_JWT_SECRET, EUREKA_JWT_PUBLIC_KEY_PEM, EUREKA_JWT_JWKS)": {"EUREKA_ADMIN_KEY": ""},
		"EUREKA_UNDECLARED_CHANNELS: must be auto, allow or deny":                                                                                    {"EUREKA_UNDECLARED_CHANNELS": "yes"},
		"EUREKA_MAX_SUBSCRIPTIONS: must be a number from 1 to 100000":                                                                                {"EUREKA_MAX_SUBSCRIPTIONS": "0"},
		"EUREKA_LOG_LEVEL: must be debug, info, warn or error":                                                                                       {"EUREKA_LOG_LEVEL": "loud"},
	} {
		if _, err := FromEnv(environment(change)); eureka.CodeOf(err) != eureka.CodeInvalid || eureka.MessageOf(err) != want {
			t.Errorf("%v\n got %v\nwant %s", change, err, want)
		}
	}
}

func TestIssuers(t *testing.T) {
	s, err := FromEnv(environment(map[string]string{
		"EUREKA_JWT_JWKS": "https://a/keys,https://b=https://b/keys", "EUREKA_JWT_ISSUER": "i", "EUREKA_JWT_AUDIENCE": "x", "EUREKA_JWT_PUBLIC_KEY_PEM": "p",
	}))
	if err != nil {
		t.Fatal(err)
	}
	audience := []string{"x"}
	want := []auth.Issuer{{Name: "i", PEM: []byte("p"), Audience: audience}, {Name: "i", JWKS: "https://a/keys", Audience: audience}, {Name: "https://b", JWKS: "https://b/keys", Audience: audience}}
	if diff := cmp.Diff(want, s.issuers()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestNewRefuses: what is wrong with a setting shows at the start and not at the first event.
func TestNewRefuses(t *testing.T) {
	for want, change := range map[string]map[string]string{
		`is no URL`:              {"EUREKA_MANAGEMENT_URL": "a1.execute-api"},
		`is no origin`:           {"EUREKA_ALLOWED_ORIGINS": "app.example.com"},
		`at least 32 characters`: {"EUREKA_ADMIN_KEY": "short"},
		`secret`:                 {"EUREKA_JWT_SECRET": "short"},
	} {
		for _, role := range []Role{RoleWS, RoleHTTP} {
			s, err := FromEnv(environment(change))
			if err != nil {
				t.Fatal(err)
			}
			s.Role = role
			if _, err := New(Options{Settings: s, Log: slog.New(slog.DiscardHandler)}); eureka.CodeOf(err) != eureka.CodeInvalid || !strings.Contains(eureka.MessageOf(err), want) {
				t.Errorf("%s, %v: %v", role, change, err)
			}
		}
	}
}
