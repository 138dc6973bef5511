package apigateway

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"

	"eureka/internal/edge/simulator/fault"
	"eureka/internal/edge/simulator/meter"
)

func quiet() *Gateway {
	return New(Options{Stage: "dev", Limits: AWSLimits(), Meter: meter.New(nil), Faults: fault.NewSet(1)})
}

// FuzzEvents: whatever a request says, both kinds of event are valid, and nothing of the query or the body is lost.
func FuzzEvents(f *testing.F) {
	f.Add("/a%2Fb?x=1&x=%zz&=&y", "X-A", "v", "application/json", []byte(`{"a":1}`))
	f.Add("/%ff?%ff=%c3", "Cookie", "a=1;; b", "", []byte{0xff})
	f.Add("/?a=b;c", "X-Forwarded-For", "1, 2", "text/plain", []byte("\u2028"))
	g := quiet()
	f.Fuzz(func(t *testing.T, target, name, value, kind string, body []byte) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r := &http.Request{Method: http.MethodPost, URL: u, Host: "h:1", RemoteAddr: "127.0.0.1:5", Header: http.Header{}}
		r.Header.Set(name, strings.ToValidUTF8(value, ""))
		r.Header.Set("Content-Type", kind)
		text, err := json.Marshal(g.httpEvent(r, body, "id", nil))
		if err != nil {
			t.Fatal(err)
		}
		var e events.APIGatewayV2HTTPRequest
		if err := json.Unmarshal(text, &e); err != nil {
			t.Fatal(err)
		}
		got := []byte(e.Body)
		if e.IsBase64Encoded {
			if got, err = base64.StdEncoding.DecodeString(e.Body); err != nil {
				t.Fatal(err)
			}
		}
		if string(got) != string(body) {
			t.Errorf("body %q arrives as %q", body, got)
		}
		if utf8.ValidString(u.RawQuery) && e.RawQueryString != u.RawQuery {
			t.Errorf("query %q arrives as %q", u.RawQuery, e.RawQueryString)
		}
		c := &connection{id: newID(), connectedAt: time.Now(), host: r.Host}
		if text, err = json.Marshal(g.connectEvent(c, r)); err != nil {
			t.Fatal(err)
		}
		var ws events.APIGatewayWebsocketProxyRequest
		if err := json.Unmarshal(text, &ws); err != nil {
			t.Fatal(err)
		}
		for name, values := range ws.MultiValueQueryStringParameters {
			if ws.QueryStringParameters[name] != values[len(values)-1] {
				t.Errorf("%q is %q and %q", name, values, ws.QueryStringParameters[name])
			}
		}
		if values, err := url.ParseQuery(u.RawQuery); err == nil && utf8.ValidString(u.RawQuery) {
			for name, list := range values {
				if utf8.ValidString(name) && utf8.ValidString(strings.Join(list, "")) && len(ws.MultiValueQueryStringParameters[name]) != len(list) {
					t.Errorf("%q: %q is %q", u.RawQuery, list, ws.MultiValueQueryStringParameters[name])
				}
			}
		}
	})
}

// FuzzAnswer: whatever a function answers, it is read or refused.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"statusCode":200,"headers":{"a":1},"body":"x"}`))
	f.Add([]byte(`"text"`))
	f.Add([]byte(`{"statusCode":"200","isBase64Encoded":true,"body":"!"}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		a, err := readHTTPAnswer(payload)
		if err == nil && (a.status < 200 || a.status > 599) {
			t.Errorf("%q is answered with %d", payload, a.status)
		}
		if err == nil && !json.Valid(payload) {
			t.Errorf("%q is taken", payload)
		}
	})
}
