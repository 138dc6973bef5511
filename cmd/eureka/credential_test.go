package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

const (
	adminKey  = "an-admin-key-for-tests-of-enough-characters"
	jwtSecret = "a-secret-for-tests-of-enough-characters-too"
)

// TestCredentialCommands: keys and tokens are made, shown, used and taken back, each with its words and exit codes.
func TestCredentialCommands(t *testing.T) {
	address, _ := service(t, "--admin-key", adminKey, "--jwt-secret", jwtSecret)
	environ := func(token string) []string {
		return []string{"EUREKA_URL=http://" + address, "EUREKA_TOKEN=" + token, "EUREKA_JWT_SECRET=" + jwtSecret}
	}
	admin := environ(adminKey)
	if r := run(t, admin, "channels", "create", "orders", "--history"); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	r := run(t, admin, "keys", "create", "orders-api", "--scope", "publish", "--channels", "ord*", "--user", "svc", "--for", "1h")
	shown := regexp.MustCompile(`^key +(ek_([a-z2-7]{12})_\w+)\nid +(\S+)\nname +orders-api\nscopes +publish\nchannels +ord\*\nuser +svc\nexpires +20\S+Z\n$`).FindStringSubmatch(r.stdout)
	if r.code != 0 || shown == nil || shown[2] != shown[3] || r.stderr != "eureka: the key is shown this once; the service keeps its hash alone\n" {
		t.Fatalf("%+v", r)
	}
	key, id := shown[1], shown[2]
	var made struct{ Token, ID, User string }
	r = run(t, admin, "--json", "token", "--user", "ann", "--scope", "subscribe", "--channels", "orders")
	if err := json.Unmarshal([]byte(r.stdout), &made); err != nil || made.ID == "" || made.User != "ann" {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, tt := range []struct {
		token string
		args  string
		code  int
		want  string // what the output begins with
	}{
		{key, "publish orders 1", 0, "published to orders as "},
		{key, "history orders", 5, `eureka: the credential lacks the scope "subscribe"`},
		{key, "publish users 1", 5, "eureka: the credential does not cover this channel"},
		{key, "keys list", 5, `eureka: the credential lacks the scope "manage"`},
		{made.Token, "history orders", 0, ""},
		{made.Token, "publish orders 1", 5, `eureka: the credential lacks the scope "publish"`},
		{"", "channels list", 4, "eureka: a credential is needed"},
		{"", "--json channels list", 4, `{"error":{"code":"unauthenticated","message":"a credential is needed`},
		{"ek_nonsense", "channels list", 4, "eureka: the API key is not known"},
		{key + "x", "publish orders 1", 4, "eureka: the API key is not known"},
		{"a.b.c", "channels list", 4, "eureka: the token"},
		{adminKey, "keys create x --scope dance", 3, "eureka: scopes: must be of subscribe, publish, manage"},
		{adminKey, "keys create x --channels a,/", 3, `eureka: channels: "/" is no channel pattern`},
		{adminKey, "keys create x --for=-1h", 3, "eureka: expiresAt: is in the past"},
		{adminKey, "keys create", 2, "eureka: expected \"<name>\""},
		{adminKey, "keys revoke nobody", 6, `eureka: there is no API key "nobody"`},
		{adminKey, "token --scope dance", 3, "eureka: scope: must be of subscribe, publish, manage"},
		{adminKey, "token --for 0s", 3, "eureka: for: must be at least a second"},
		{adminKey, "token --jwt-secret short", 3, "eureka: jwt_secret: has 5 bytes"},
		{adminKey, "revoke token " + made.ID, 0, "revoked " + made.ID},
		{made.Token, "history orders", 4, "eureka: the credential was revoked"},
		{adminKey, "keys revoke " + id, 0, "revoked " + id},
		{key, "publish orders 1", 4, "eureka: the API key is not known"},
		{adminKey, "revoke user svc", 0, "revoked svc"},
		{adminKey, "--json revoke list", 0, `{"list":[{"user":"svc","at":`},
		{adminKey, "--json keys list", 0, `{"list":[]}`},
	} {
		r := run(t, environ(tt.token), strings.Fields(tt.args)...)
		if all := r.stdout + r.stderr; r.code != tt.code || !strings.HasPrefix(all, tt.want) || strings.Contains(all, tt.token) && tt.token != "" {
			t.Errorf("%s: code %d: %s", tt.args, r.code, all)
		}
	}
}

// TestCredentialsOfAnOpenService: there are none to keep, and it says how to have some.
func TestCredentialsOfAnOpenService(t *testing.T) {
	address, _ := service(t)
	environ := []string{"EUREKA_URL=http://" + address}
	for _, args := range []string{"keys list", "keys create x", "revoke user ann", "revoke list"} {
		if r := run(t, environ, strings.Fields(args)...); r.code != 5 || !strings.Contains(r.stderr, "start it with the setting admin_key") {
			t.Errorf("%s: %+v", args, r)
		}
	}
	if r := run(t, environ, "token"); r.code != 3 || !strings.Contains(r.stderr, "jwt_secret: is not set") {
		t.Errorf("%+v", r)
	}
}

// TestWithoutACredential: who shows none hears how a command is given one.
func TestWithoutACredential(t *testing.T) {
	address, _ := service(t, "--admin-key", adminKey)
	environ := []string{"EUREKA_URL=http://" + address}
	for _, args := range []string{"channels list", "listen orders"} {
		if r := run(t, environ, strings.Fields(args)...); r.code != 4 || !strings.HasSuffix(r.stderr, "; give this command one with --token or EUREKA_TOKEN\n") {
			t.Errorf("%s: %+v", args, r)
		}
	}
	if r := run(t, append(environ, "EUREKA_TOKEN=x"), "channels", "list"); r.code != 4 || strings.Contains(r.stderr, "give this command") {
		t.Errorf("%+v", r)
	}
}

// TestServeWithCredentials: the hints at the start work as they stand, and no secret is among them.
func TestServeWithCredentials(t *testing.T) {
	_, stop := service(t, "--admin-key", adminKey, "--jwt-secret", jwtSecret)
	r := stop()
	for _, want := range []string{"access      with credentials alone\n", `curl -H "X-Api-Key: $EUREKA_ADMIN_KEY" -d '{"name":"my-service","scopes":["publish"]}' http://localhost:`, `"Authorization: Bearer $EUREKA_TOKEN"`} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("no %s in\n%s", want, r.stderr)
		}
	}
	if strings.Contains(r.stderr, adminKey) || strings.Contains(r.stderr, jwtSecret) {
		t.Errorf("a secret is in\n%s", r.stderr)
	}
}

func TestHelpNamesVariables(t *testing.T) {
	for args, want := range map[string][]string{
		"listen --help": {"($EUREKA_URL)", "($EUREKA_TOKEN)", "http://localhost:8832 by default"},
		"token --help":  {"($EUREKA_JWT_SECRET)"},
		"serve --help":  {"($EUREKA_LISTEN)", "($EUREKA_SYNC)", "--allowed-origins=ORIGIN,..."},
	} {
		r := run(t, nil, strings.Fields(args)...)
		text := regexp.MustCompile(`\s+`).ReplaceAllString(r.stdout, " ")
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: no %s in\n%s", args, w, r.stdout)
			}
		}
	}
}
