package auth_test

import (
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"eureka"
	"eureka/internal/auth"
)

const adminKey = "an admin key of 32 characters or more"

// memory is the keys of a node without an engine.
type memory struct {
	keys    map[string]eureka.APIKey
	revoked func(eureka.Identity) bool
}

func (m *memory) Key(id string) (eureka.APIKey, bool) {
	k, ok := m.keys[id]
	return k, ok
}

func (m *memory) Revoked(id eureka.Identity) bool { return m.revoked != nil && m.revoked(id) }

// newAuthenticator is one with every kind of credential; key is one of its API keys.
func newAuthenticator(t testing.TB) (a *auth.Authenticator, m *memory, key string) {
	t.Helper()
	stored, key := auth.NewKey(eureka.APIKey{
		Name: "test", User: "bot", Scopes: eureka.ScopePublish, Channels: []string{"order:*"}, CreatedAt: start * 1000, ExpiresAt: (start + 60) * 1000,
	})
	m = &memory{keys: map[string]eureka.APIKey{stored.ID: stored}}
	a, err := auth.NewAuthenticator(auth.AuthenticatorOptions{
		Tokens: secretTokens(t), AdminKey: adminKey, Keys: m, Now: func() time.Time { return time.Unix(start, 0) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return a, m, key
}

func TestNewKey(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		k, credential := auth.NewKey(eureka.APIKey{Name: "x", Scopes: eureka.ScopePublish})
		parts := strings.Split(credential, "_")
		if len(parts) != 3 || parts[0] != "ek" || parts[1] != k.ID || len(k.ID) != eureka.KeyIDLength || len(parts[2]) != 43 {
			t.Fatalf("%s of %+v", credential, k)
		}
		sum := sha256.Sum256([]byte(parts[2]))
		if string(k.Hash) != string(sum[:]) || k.Name != "x" || seen[k.ID] || seen[parts[2]] || k.Validate() != nil {
			t.Fatalf("%s of %+v", credential, k)
		}
		seen[k.ID], seen[parts[2]] = true, true
	}
}

// TestWays: where a credential may be, in a handshake and in a request.
func TestWays(t *testing.T) {
	a, _, key := newAuthenticator(t)
	token := hmacSigner().token("", claims(nil))
	const none, twice = "a credential is needed", "more than one credential"
	for name, tt := range map[string]struct {
		header             []string // name, value, …
		query              string
		handshake, request string // start of the error's message, "" for none
	}{
		"nothing":                    {nil, "", none, none},
		"bearer":                     {[]string{"Authorization", "Bearer " + token}, "", "", ""},
		"bearer in other letters":    {[]string{"Authorization", "bEARER  " + token + " "}, "", "", ""},
		"bearer with an API key":     {[]string{"Authorization", "Bearer " + key}, "", "", ""},
		"bearer with the admin key":  {[]string{"Authorization", "Bearer " + adminKey}, "", "", ""},
		"bearer without a token":     {[]string{"Authorization", "Bearer "}, "", "Authorization: the only scheme", "Authorization: the only scheme"},
		"basic":                      {[]string{"Authorization", "Basic YTpi"}, "", "Authorization: the only scheme", "Authorization: the only scheme"},
		"a token without a scheme":   {[]string{"Authorization", token}, "", "Authorization: the only scheme", "Authorization: the only scheme"},
		"X-Api-Key":                  {[]string{"X-Api-Key", key}, "", "", ""},
		"X-Api-Key with a token":     {[]string{"X-Api-Key", token}, "", "", ""},
		"X-Lemon-Identity":           {[]string{"X-Lemon-Identity", token}, "", "", ""},
		"empty headers":              {[]string{"X-Api-Key", "", "X-Lemon-Identity", ""}, "?x-api-key=&access_token=", none, none + ": Authorization: Bearer <credential>, or"},
		"subprotocol":                {[]string{"Sec-Websocket-Protocol", "eureka.v1, bearer." + token}, "", "", none},
		"subprotocol, two lines":     {[]string{"Sec-Websocket-Protocol", "eureka.v1", "Sec-Websocket-Protocol", "bearer." + key}, "", "", none},
		"subprotocol without one":    {[]string{"Sec-Websocket-Protocol", "eureka.v1, bearer."}, "", none, none},
		"access_token":               {nil, "?access_token=" + token, "", "a credential in the query"},
		"x-lemon-identity in query":  {nil, "?x-lemon-identity=" + token, "", "a credential in the query"},
		"x-api-key in query":         {nil, "?x-api-key=" + key, "", "a credential in the query"},
		"other letters in query":     {nil, "?X-Api-Key=" + key, none, none},
		"header and query":           {[]string{"X-Api-Key", key}, "?access_token=" + token, twice, "a credential in the query"},
		"key and bearer":             {[]string{"X-Api-Key", key, "Authorization", "Bearer " + token}, "", twice, twice},
		"the same one twice":         {[]string{"X-Api-Key", key, "Authorization", "Bearer " + key}, "", twice, twice},
		"two lines of bearer":        {[]string{"Authorization", "Bearer " + key, "Authorization", "Bearer " + key}, "", twice, twice},
		"two in the query":           {nil, "?access_token=" + token + "&access_token=" + token, twice, "a credential in the query"},
		"subprotocol and bearer":     {[]string{"Sec-Websocket-Protocol", "bearer." + key, "Authorization", "Bearer " + key}, "", twice, ""},
		"key beside a proxy's basic": {[]string{"X-Api-Key", key, "Authorization", "Basic YTpi"}, "", "", ""},
		"key beside a signature":     {[]string{"X-Api-Key", key, "Authorization", "AWS4-HMAC-SHA256 Credential=x"}, "", "", ""},
		"a cookie is none":           {[]string{"Cookie", "access_token=" + token}, "", none, none},
		"a wrong one":                {[]string{"X-Api-Key", key + "x"}, "", "the API key is not known", "the API key is not known"},
	} {
		for kind, want := range map[string]string{"handshake": tt.handshake, "request": tt.request} {
			r := httptest.NewRequest(http.MethodGet, "/"+tt.query, http.NoBody)
			for i := 0; i < len(tt.header); i += 2 {
				r.Header.Add(tt.header[i], tt.header[i+1])
			}
			identify := a.Handshake
			if kind == "request" {
				identify = a.Request
			}
			id, err := identify(r)
			if want == "" {
				if err != nil || id.Scopes == 0 {
					t.Errorf("%s, %s: %+v, %v", name, kind, id, err)
				}
				continue
			}
			code := eureka.CodeUnauthenticated
			if strings.HasPrefix(want, twice) || strings.HasPrefix(want, "a credential in") {
				code = eureka.CodeInvalid
			}
			if eureka.CodeOf(err) != code || !strings.Contains(eureka.MessageOf(err), want) {
				t.Errorf("%s, %s: %v, want %s …%s…", name, kind, err, code, want)
			}
			if err != nil && (strings.Contains(err.Error(), key) || strings.Contains(err.Error(), token)) {
				t.Errorf("%s, %s: the credential is in: %v", name, kind, err)
			}
		}
	}
}

func TestVerifyCredentials(t *testing.T) {
	a, m, key := newAuthenticator(t)
	parts := strings.Split(key, "_")
	for name, tt := range map[string]struct {
		credential string
		want       string // start of the error's message; "" when it is taken
	}{
		"API key":            {key, ""},
		"admin key":          {adminKey, ""},
		"token":              {hmacSigner().token("", claims(nil)), ""},
		"empty":              {"", "the token"},
		"admin key, shorter": {adminKey[:len(adminKey)-1], "the token"},
		"admin key, longer":  {adminKey + " ", "the token"},
		"another secret":     {"ek_" + parts[1] + "_" + strings.Repeat("x", 43), "the API key is not known"},
		"a longer secret":    {key + "x", "the API key is not known"},
		"a huge secret":      {key + strings.Repeat("x", 1<<20), "the API key is not known"},
		"no secret":          {"ek_" + parts[1] + "_", "the API key is not known"},
		"another id":         {"ek_aaaaaaaaaaaa_" + parts[2], "the API key is not known"},
		"no id":              {"ek__" + parts[2], "the API key is not known"},
		"half":               {"ek_" + parts[1], "the API key is not known"},
		"start alone":        {"ek_", "the API key is not known"},
		"other letters":      {strings.ToUpper(key), "the token"},
	} {
		_, err := a.Verify(t.Context(), tt.credential)
		if (err == nil) != (tt.want == "") || (err != nil && (eureka.CodeOf(err) != eureka.CodeUnauthenticated || !strings.HasPrefix(eureka.MessageOf(err), tt.want))) {
			t.Errorf("%s: %v, want %s…", name, err, tt.want)
		}
	}
	// A key whose hash is damaged is no key with an empty secret.
	for _, hash := range [][]byte{nil, {}, make([]byte, 31), make([]byte, 64)} {
		m.keys["damaged00000"] = eureka.APIKey{ID: "damaged00000", Hash: hash, Scopes: eureka.ScopeAll}
		for _, secret := range []string{"", "x", parts[2]} {
			if _, err := a.Verify(t.Context(), "ek_damaged00000_"+secret); eureka.CodeOf(err) != eureka.CodeUnauthenticated {
				t.Errorf("damaged key, secret %q: %v", secret, err)
			}
		}
	}
	id, err := a.Verify(t.Context(), key)
	if err != nil || id.User != "bot" || id.KeyID != parts[1] || id.Scopes != eureka.ScopePublish || len(id.Channels) != 1 || id.IssuedAt != start*1000 {
		t.Errorf("%+v, %v", id, err)
	}
	m.revoked = func(id eureka.Identity) bool { return id.User == "bot" }
	if _, err := a.Verify(t.Context(), key); eureka.MessageOf(err) != "the credential was revoked" {
		t.Errorf("revoked: %v", err)
	}
	delete(m.keys, id.KeyID)
	if _, err := a.Verify(t.Context(), key); eureka.MessageOf(err) != "the API key is not known" {
		t.Errorf("removed: %v", err)
	}
}

func TestCredentialsExpire(t *testing.T) {
	for _, after := range []time.Duration{0, 59 * time.Second, 60 * time.Second, time.Hour} {
		stored, key := auth.NewKey(eureka.APIKey{Scopes: eureka.ScopePublish, ExpiresAt: (start + 60) * 1000})
		a, err := auth.NewAuthenticator(auth.AuthenticatorOptions{
			Keys: &memory{keys: map[string]eureka.APIKey{stored.ID: stored}}, Now: func() time.Time { return time.Unix(start, 0).Add(after) },
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Verify(t.Context(), key); (err == nil) != (after < time.Minute) || (err != nil && eureka.MessageOf(err) != "the credential has expired") {
			t.Errorf("after %v: %v", after, err)
		}
	}
}

func TestWhatIsNotSetIsNotTaken(t *testing.T) {
	a, err := auth.NewAuthenticator(auth.AuthenticatorOptions{Keys: &memory{}})
	if err != nil {
		t.Fatal(err)
	}
	empty := sha256.Sum256(nil) // what an unset admin key would hash to
	for _, credential := range []string{"", string(empty[:]), hmacSigner().token("", claims(nil)), "ek_aaaaaaaaaaaa_x"} {
		if _, err := a.Verify(t.Context(), credential); eureka.CodeOf(err) != eureka.CodeUnauthenticated {
			t.Errorf("%q: %v", credential, err)
		}
	}
	if _, err := auth.NewAuthenticator(auth.AuthenticatorOptions{AdminKey: strings.Repeat("k", auth.MinAdminKey-1), Keys: &memory{}}); eureka.CodeOf(err) != eureka.CodeInvalid || strings.Contains(err.Error(), "kkk") {
		t.Errorf("a short admin key: %v", err)
	}
}

func TestHosts(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:8832": true, "LOCALHOST:1": true, "localhost.": true, "app.localhost:1": true, "127.0.0.1:8832": true, "127.9.9.9": true,
		"[::1]:8832": true, "[::1]": true, "sockets.example.com": true, "sockets.example.com:443": true, "SOCKETS.example.com.": true, "10.0.0.7:80": true,
		"": false, "evil.example": false, "evil.example:8832": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false, "xsockets.example.com": false,
		"10.0.0.8": false, "localhost:8832.evil.example": false, "localhost:": true, "[::2]:1": false, "0.0.0.0:8832": false, "2130706433": false,
	} {
		h, err := auth.NewHosts([]string{"Sockets.example.com", "10.0.0.7:80"}, false)
		if err != nil {
			t.Fatal(err)
		}
		r := &http.Request{Host: host}
		if err := h.Allowed(r); (err == nil) != want || (err != nil && eureka.CodeOf(err) != eureka.CodeForbidden) {
			t.Errorf("%q: %v", host, err)
		}
		all, err := auth.NewHosts(nil, true)
		if err != nil || all.Allowed(r) != nil {
			t.Errorf("%q with all: %v", host, err)
		}
	}
	for _, bad := range []string{"", " ", "https://x", "a/b", "a b", "u@x", "*", "*.example.com", "x:port", "a,b"} {
		if _, err := auth.NewHosts([]string{bad}, false); eureka.CodeOf(err) != eureka.CodeInvalid {
			t.Errorf("%q was taken as a host: %v", bad, err)
		}
	}
}

// FuzzHandshake: whatever a handshake carries, only a credential that was given out gets in, and no error repeats what was sent.
func FuzzHandshake(f *testing.F) {
	a, _, key := newAuthenticator(f)
	token := hmacSigner().token("", claims(nil))
	f.Add("Bearer "+token, key, "eureka.v1, bearer."+key, "access_token="+url.QueryEscape(token))
	f.Add("Basic YTpi", "", "bearer.", "x-api-key=%zz;access_token")
	f.Add("", "ek_"+key[3:15]+"_", ",,bearer.,", "x-lemon-identity=&x-lemon-identity=x")
	f.Fuzz(func(t *testing.T, authorization, apiKey, protocols, query string) {
		r := &http.Request{URL: &url.URL{RawQuery: query}, Header: http.Header{
			"Authorization": {authorization}, "X-Api-Key": {apiKey}, "Sec-Websocket-Protocol": {protocols},
		}}
		for _, identify := range []func(*http.Request) (eureka.Identity, error){a.Handshake, a.Request} {
			id, err := identify(r)
			sent := authorization + " " + apiKey + " " + protocols + " " + strings.Join(r.URL.Query()["access_token"], " ") +
				strings.Join(r.URL.Query()["x-api-key"], " ") + strings.Join(r.URL.Query()["x-lemon-identity"], " ")
			if err == nil && !strings.Contains(sent, key) && !strings.Contains(sent, token) && !strings.Contains(sent, adminKey) {
				t.Fatalf("%+v got in", id)
			}
			if err != nil && len(apiKey) > 20 && strings.Contains(err.Error(), apiKey) {
				t.Fatalf("the error repeats it: %v", err)
			}
		}
	})
}

// BenchmarkAPIKey is the cost of an API key; those of tokens are those of BenchmarkVerify.
func BenchmarkAPIKey(b *testing.B) {
	a, _, key := newAuthenticator(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Verify(b.Context(), key); err != nil {
			b.Fatal(err)
		}
	}
}
