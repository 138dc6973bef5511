package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"

	"eureka/internal/edge/apigw"
)

// behindEvents puts API Gateway's HTTP API between the world's clients and its API. It is a fake: it makes events as the HTTP API documents them, and
// hands them to the real edge.
func (w *world) behindEvents() {
	w.t.Helper()
	function, err := apigw.NewHTTP(w.api)
	if err != nil {
		w.t.Fatal(err)
	}
	w.api = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		payload, err := json.Marshal(eventOf(r))
		if err != nil {
			w.t.Error(err)
		}
		text, err := function.Invoke(r.Context(), payload)
		var answer events.APIGatewayV2HTTPResponse
		if err == nil {
			err = json.Unmarshal(text, &answer)
		}
		body := []byte(answer.Body)
		if err == nil && answer.IsBase64Encoded {
			body, err = base64.StdEncoding.DecodeString(answer.Body)
		}
		if err != nil {
			w.t.Error(err)
			return
		}
		for name, value := range answer.Headers {
			rw.Header().Set(name, value)
		}
		rw.WriteHeader(answer.StatusCode)
		_, _ = rw.Write(body) // the client of a failed test may be gone
	})
}

func eventOf(r *http.Request) events.APIGatewayV2HTTPRequest {
	body, _ := io.ReadAll(r.Body) // what is missing shows in the answer
	ev := events.APIGatewayV2HTTPRequest{
		Version: "2.0", RouteKey: "$default", RawPath: r.URL.Path, RawQueryString: r.URL.RawQuery, Headers: map[string]string{"host": r.Host},
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			Stage: "$default", DomainName: "api.example.com",
			HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{Method: r.Method, Path: r.URL.Path, SourceIP: "127.0.0.1"},
		},
		Body: string(body),
	}
	if !utf8.Valid(body) {
		ev.Body, ev.IsBase64Encoded = base64.StdEncoding.EncodeToString(body), true
	}
	for name, values := range r.Header {
		ev.Headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	return ev
}
