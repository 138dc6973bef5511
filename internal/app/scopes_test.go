package app_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi"

	"eureka"
)

// TestScopes: what each scope is for, by the real service, and what it is not for.
func TestScopes(t *testing.T) {
	n := guarded(t)
	n.admin(t, "POST", "/channels/news", `{"history":{"size":10,"ttl":"1m"},"presence":true}`)
	admin := n.dial(t, "?info", bearer(adminKey))
	socket := strings.Split(strings.Split(admin.next(), `"id":"`)[1], `"`)[0]
	type call struct{ method, path, body string }
	for scope, calls := range map[string][]call{
		"subscribe": {{"GET", "/channels/news", ""}, {"GET", "/channels/news/messages", ""}},
		"publish": {
			{"POST", "/channels/news/broadcast", `{"data":1}`}, {"POST", "/sockets/news/broadcast", `{"data":1}`}, {"POST", "/events", `{"channelId":"news","data":1}`},
			{"POST", "/channels/0/broadcast", `{"service":"shop","modelType":"order","data":1}`},
		},
		"manage": {
			{"GET", "/channels", ""}, {"GET", "/channels/news", ""}, {"GET", "/search?q=x", ""}, {"PUT", "/channels/news", `{"name":"News"}`}, {"POST", "/channels/0", `{}`},
			{"GET", "/sockets", ""}, {"GET", "/channels/news/sockets", ""}, {"GET", "/sockets/" + socket, ""}, {"POST", "/sockets/" + socket + "/send", `{"data":1}`},
			{"POST", "/users/ann/send", `{"data":1}`}, {"GET", "/@connections/" + socket, ""}, {"POST", "/dev/@connections/" + socket, "1"},
			{"GET", "/keys", ""}, {"GET", "/revocations", ""}, {"POST", "/revocations", `{"tokenId":"x"}`}, {"GET", "/metrics", ""},
		},
	} {
		for _, c := range calls {
			for _, held := range []string{"subscribe", "publish", "manage"} {
				a := n.call(t, c.method, c.path, c.body, bearer(token(claims{"scope": held, "sub": "caller"})))
				reads := c.method == "GET" && c.path == "/channels/news" // two scopes let their holder
				may := held == scope || (reads && held != "publish")
				if may != (a.status < 300) || (!may && a.status != http.StatusForbidden) {
					t.Errorf("%s %s with the scope %s: %d %s", c.method, c.path, held, a.status, a.text)
				}
			}
		}
	}
	for frame, scope := range map[string]string{
		`{"action":"subscribe","channel":"news"}`: "subscribe", `{"action":"history","channel":"news"}`: "subscribe", `{"action":"presence","channel":"news"}`: "subscribe",
		`{"action":"publish","channel":"news","data":1}`: "publish", `{"action":"message","channel":"news","data":1}`: "publish",
	} {
		for _, held := range []string{"subscribe", "publish", "manage", ""} {
			s := n.dial(t, "", bearer(token(claims{"scope": held})))
			if held == scope {
				if got := s.ask(frame, ""); strings.Contains(got, `"error"`) {
					t.Errorf("%s with the scope %q: %s", frame, held, got)
				}
				continue
			}
			s.ask(frame, fmt.Sprintf(`"code":"forbidden","message":"the credential lacks the scope \"%s\""`, scope))
		}
	}
	// A socket is let in with any valid credential; what it asks for at connect is refused one by one.
	n.dial(t, "?channels=news", bearer(token(claims{"scope": "publish"}))).await(`"channel":"news","error":{"code":"forbidden"`)
}

// TestPatterns: a credential reaches the channels that it covers, by each of their names, and learns nothing of others.
func TestPatterns(t *testing.T) {
	n := guarded(t)
	n.admin(t, "POST", "/channels/order:1", `{"alias":"first"}`)
	n.admin(t, "POST", "/channels/order:2", `{}`)
	n.admin(t, "POST", "/channels/user.ann", `{}`)
	n.admin(t, "POST", "/channels/secret", `{}`)
	orders := bearer(token(claims{"channels": []string{"order:*", "user.{sub}"}}))
	for path, status := range map[string]int{
		"/channels/order:1": 200, "/channels/first": 200, "/channels/order:2": 200, "/channels/user.ann": 200, "/channels/order:3": 404,
		"/channels/secret": 403, "/channels/nothing": 403, "/channels/user.bob": 403, "/channels/order": 403,
	} {
		if a := n.call(t, "GET", path, "", orders); a.status != status {
			t.Errorf("GET %s: %d %s", path, a.status, a.text)
		}
		if a := n.call(t, "POST", path+"/broadcast", `{"data":1}`, orders); a.status != status {
			t.Errorf("broadcast to %s: %d %s", path, a.status, a.text)
		}
	}
	// What is there and what is not is refused with the same words.
	for _, frame := range []string{`{"action":"subscribe","channel":"%s"}`, `{"action":"publish","channel":"%s","data":1}`, `{"action":"presence","channel":"%s"}`, `{"action":"history","channel":"%s"}`, `{"action":"unsubscribe","channel":"%s"}`} {
		s := n.dial(t, "", orders)
		there, missing := s.ask(fmt.Sprintf(frame, "secret"), `"error"`), s.ask(fmt.Sprintf(frame, "nothing"), `"error"`)
		if strings.ReplaceAll(there, "secret", "nothing") != missing {
			t.Errorf("%s tells what is there: %s, %s", frame, there, missing)
		}
	}
	s := n.dial(t, "?channels=first,secret,order:2", orders)
	s.await(`"channel":"secret","error":{"code":"forbidden"`)
	n.admin(t, "POST", "/channels/order:1/broadcast", `{"data":"one"}`)
	s.await(`"data":"one"`)
	n.admin(t, "POST", "/channels/secret/broadcast", `{"data":"hidden"}`)
	n.admin(t, "POST", "/channels/order:2/broadcast", `{"data":"two"}`)
	s.await(`"data":"two"`)
	// Without the claim there is no channel.
	n.dial(t, "", bearer(token(claims{"channels": nil}))).ask(`{"action":"subscribe","channel":"order:1"}`, "does not cover this channel")
}

// TestEventsReachWhatTheCredentialCovers: an event goes to several channels, and each of them must be covered.
func TestEventsReachWhatTheCredentialCovers(t *testing.T) {
	n := guarded(t)
	n.admin(t, "POST", "/channels/0", `{"service":"shop","modelType":"order"}`) // 1000001, alias shop:order
	n.admin(t, "POST", "/channels/0", `{"service":"shop","modelType":"order","modelId":"7"}`)
	n.admin(t, "POST", "/channels/mine", `{}`)
	n.admin(t, "POST", "/channels/theirs", `{"alias":"other"}`)
	listener := n.dial(t, "?channels=shop:order,shop:order:7,mine,theirs", bearer(adminKey))
	for _, tt := range []struct {
		channels string
		event    string
		status   int
	}{
		{"shop:order*", `{"service":"shop","modelType":"order","modelId":"7"`, 200},
		{"shop:order shop:order:7", `{"service":"shop","modelType":"order","modelId":"7"`, 200},
		{"shop:order", `{"service":"shop","modelType":"order"`, 200},
		{"*", `{"service":"shop","modelType":"order","channelId":"theirs"`, 200},
		{"mine", `{"channelId":"mine"`, 200},
		{"other", `{"channelId":"theirs"`, 200},
		{"theirs", `{"channelId":"other"`, 200},
		{"shop:order", `{"service":"shop","modelType":"order","modelId":"7"`, 403},
		{"shop:order:7", `{"service":"shop","modelType":"order","modelId":"7"`, 403},
		{"mine", `{"channelId":"mine","service":"shop","modelType":"order"`, 403},
		{"shop:order", `{"channelId":"mine","service":"shop","modelType":"order"`, 403},
		{"mine", `{"channelId":"theirs"`, 403},
		{"mine", `{"channelId":"nothing"`, 403},
		{"mine", `{"service":"shop","modelType":"order"`, 403},
		{"shop", `{"service":"shop","modelType":"order"`, 403},
		{"shop:order", `{"service":"shop ","modelType":"order"`, 403},
		{"", `{"service":"shop","modelType":"order"`, 403},
	} {
		caller := bearer(token(claims{"scope": "publish", "channels": strings.Fields(tt.channels)}))
		name := strings.NewReplacer(`"`, "", " ", "").Replace(tt.channels + tt.event)
		a := n.call(t, "POST", "/events", tt.event+`,"data":"`+name+`"}`, caller)
		if a.status != tt.status {
			t.Errorf("%s with %s: %d %s", tt.event, tt.channels, a.status, a.text)
		}
		// The last message of each round comes behind those of the event: nothing refused is among them.
		n.admin(t, "POST", "/channels/mine/broadcast", `{"data":"round"}`)
		delivered := false
		for got := listener.next(); !strings.Contains(got, `"round"`); got = listener.next() {
			delivered = delivered || strings.Contains(got, name)
		}
		if tt.status != 200 && delivered {
			t.Errorf("%s with %s was delivered", tt.event, tt.channels)
		}
	}
}

// doer carries the requests of the AWS SDK.
type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

// TestAWSClientWithAKey: the AWS SDK signs its requests, which is no credential here; the key beside the signature is.
func TestAWSClientWithAKey(t *testing.T) {
	n := guarded(t)
	_, key := n.key(t, `{"name":"backend","scopes":["manage"]}`)
	s := n.dial(t, "?info", bearer(token(nil)))
	id := strings.Split(strings.Split(s.next(), `"id":"`)[1], `"`)[0]
	for credential, want := range map[string]int{key: http.StatusOK, key + "x": http.StatusUnauthorized, "": http.StatusUnauthorized} {
		status := 0
		sdk := apigatewaymanagementapi.New(apigatewaymanagementapi.Options{
			BaseEndpoint: aws.String(n.url), Region: "eu-west-1", RetryMaxAttempts: 1,
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "example"}, nil
			}),
			HTTPClient: doer(func(r *http.Request) (*http.Response, error) {
				if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256") {
					t.Errorf("it does not sign: %v", r.Header)
				}
				r.Header.Set("X-Api-Key", credential)
				response, err := client.Do(r)
				if err == nil {
					status = response.StatusCode
				}
				return response, err
			}),
		})
		_, err := sdk.PostToConnection(t.Context(), &apigatewaymanagementapi.PostToConnectionInput{ConnectionId: aws.String(id), Data: []byte(`"from AWS"`)})
		if status != want || (err == nil) != (want == http.StatusOK) {
			t.Errorf("key %q: %d, %v", credential, status, err)
		}
	}
	s.await("from AWS")
}

// TestUndeclaredChannels follows the authentication unless the setting says otherwise.
func TestUndeclaredChannels(t *testing.T) {
	for _, tt := range []struct {
		start func(testing.TB, ...string) *node
		flags []string
		want  bool
	}{
		{serve, nil, true}, {serve, []string{"--undeclared-channels=deny"}, false}, {guarded, nil, false}, {guarded, []string{"--undeclared-channels=allow"}, true},
	} {
		n := tt.start(t, tt.flags...)
		a := n.call(t, "POST", "/channels/nobody:made/broadcast", `{"data":1}`, bearer(adminKey))
		if (a.status == http.StatusOK) != tt.want || (!tt.want && a.code() != eureka.CodeNotFound) {
			t.Errorf("%v: %d %s", tt.flags, a.status, a.text)
		}
		got := n.dial(t, "", bearer(token(nil))).ask(`{"action":"subscribe","channel":"nobody:made"}`, "")
		if strings.Contains(got, `"subscribed"`) != tt.want {
			t.Errorf("%v: %s", tt.flags, got)
		}
	}
}
