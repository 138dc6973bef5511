package httpapi

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// scenario is a list of requests on one world; testdata/<name>.golden has what they answered.
type scenario struct {
	name    string
	options func(*Options)
	deny    bool   // undeclared channels are refused
	dial    string // query of a socket that is opened first; "" for none
	steps   []step
}

// TestGoldenScenarios runs each scenario behind net/http and behind API Gateway's events: the answers are the same.
func TestGoldenScenarios(t *testing.T) {
	for _, sc := range scenarios() {
		for _, edge := range []string{"server", "functions"} {
			t.Run(sc.name+"/"+edge, func(t *testing.T) {
				w := newWorld(t, sc.deny, sc.options)
				if edge == "functions" {
					w.behindEvents()
				}
				if sc.dial != "" {
					w.dial(sc.dial)
				}
				var got strings.Builder
				for _, s := range sc.steps {
					got.WriteString(w.run(s))
				}
				golden(t, sc.name, got.String())
			})
		}
	}
}

func scenarios() []scenario {
	return []scenario{
		{name: "channel-updates", steps: updateSteps()},
		{name: "lists", steps: listSteps()},
		{name: "sockets", dial: "?channels=1000001&channels=room&user=ada", steps: socketSteps()},
		{name: "socket-faults", steps: socketFaults()},
		{name: "events", dial: "?channels=1000001&channels=room", steps: eventSteps()},
		{name: "denied", deny: true, dial: "?channels=hall", steps: deniedSteps()},
		{name: "event-faults", steps: eventFaults()},
		{name: "bodies", steps: bodySteps()},
		{name: "connections", dial: "?channels=room", steps: connectionSteps()},
		{name: "foreign-error", options: func(o *Options) {
			o.Ready = func(context.Context) error { return errors.New("dial tcp 10.0.0.1: a secret") }
		}, steps: []step{
			{name: "its text stays inside", method: "GET", path: "/readyz", status: 500},
		}},
		{name: "panic", options: func(o *Options) { o.Hello = func() Hello { panic("a secret") } }, steps: []step{
			{name: "in a plain handler", method: "GET", path: "/", status: 500},
			{name: "the service goes on", method: "GET", path: "/healthz", status: 200},
		}},
	}
}

func updateSteps() []step {
	return []step{
		{name: "create", method: "POST", path: "/channels/c1", status: 200,
			body: `{"alias":"one","service":"shop","modelType":"order","modelId":"7","name":"Orders","desc":"All","presence":true}`},
		{name: "one field, the others stay", method: "PUT", path: "/channels/c1", body: `{"name":"Renamed"}`, status: 200},
		{name: "no field", method: "PUT", path: "/channels/c1", body: `{}`, status: 200},
		{name: "null clears", method: "PUT", path: "/channels/c1", body: `{"desc":null,"name":null}`, status: 200},
		{name: "null clears presence and the model", method: "PUT", path: "/channels/c1", body: `{"presence":null,"modelId":null}`, status: 200},
		{name: "null clears the rest", method: "PUT", path: "/channels/c1", body: `{"alias":null,"modelType":null,"service":null}`, status: 200},
		{name: "the revision that was read", method: "PUT", path: "/channels/c1", body: `{"name":"A","revision":{rev}}`, status: 200},
		{name: "a stale revision", method: "PUT", path: "/channels/c1", body: `{"name":"B","revision":{stale}}`, status: 409},
		{name: "it changed nothing", method: "GET", path: "/channels/c1", status: 200},
		{name: "its own id", method: "PUT", path: "/channels/c1", body: `{"id":"c1","alias":"two"}`, status: 200},
		{name: "by alias", method: "PUT", path: "/channels/two", body: `{"name":"C"}`, status: 200},
		{name: "another id", method: "PUT", path: "/channels/c1", body: `{"id":"c2"}`, status: 400},
		{name: "a taken alias", method: "POST", path: "/channels/c3", body: `{"alias":"two"}`, status: 409},
		{name: "an alias that is an id", method: "POST", path: "/channels/c4", body: `{"alias":"c1"}`, status: 409},
		{name: "a taken id", method: "POST", path: "/channels/c1", status: 409},
		{name: "an id that is an alias", method: "POST", path: "/channels/two", status: 409},
		{name: "a negative revision", method: "PUT", path: "/channels/c1", body: `{"revision":-1}`, status: 400},
		{name: "no body", method: "PUT", path: "/channels/c1", status: 400},
		{name: "null body", method: "PUT", path: "/channels/c1", body: `null`, status: 400},
		{name: "array body", method: "PUT", path: "/channels/c1", body: `[]`, status: 400},
	}
}

func listSteps() []step {
	return []step{
		{name: "empty", method: "GET", path: "/channels", status: 200},
		{name: "create a", method: "POST", path: "/channels/a", body: `{"service":"shop","modelType":"order","name":"Alpha room"}`, status: 200},
		{name: "create b", method: "POST", path: "/channels/b", body: `{"service":"shop","modelType":"cart","presence":true}`, status: 200},
		{name: "create c", method: "POST", path: "/channels/c", body: `{"service":"mail","name":"Gamma room"}`, status: 200},
		{name: "newest first", method: "GET", path: "/channels", status: 200},
		{name: "sorted", method: "GET", path: "/channels?sort=id:asc", status: 200},
		{name: "sorted without a direction", method: "GET", path: "/channels?sort=service", status: 200},
		{name: "a page", method: "GET", path: "/channels?sort=id:desc&limit=2&page=1", status: 200},
		{name: "a cursor", method: "GET", path: "/channels?sort=id&limit=2", status: 200},
		{name: "behind the cursor", method: "GET", path: "/channels?sort=id&limit=2&after={next}", status: 200},
		{name: "as many as allowed", method: "GET", path: "/channels?limit=-1", status: 200},
		{name: "filter", method: "GET", path: "/channels?service=shop", status: 200},
		{name: "any of several", method: "GET", path: "/channels?id=a&id=c", status: 200},
		{name: "missing", method: "GET", path: "/channels?name=", status: 200},
		{name: "present", method: "GET", path: "/channels?modelType=!", status: 200},
		{name: "presence", method: "GET", path: "/channels?presence=true", status: 200},
		{name: "free text", method: "GET", path: "/channels?q=room+alp", status: 200},
		{name: "search", method: "GET", path: "/search?q=gamma", status: 200},
		{name: "search by type", method: "GET", path: "/search?q=room&type=channel&limit=1", status: 200},
		{name: "search without a text", method: "GET", path: "/search", status: 400},
		{name: "search for another type", method: "GET", path: "/search?q=a&type=socket", status: 400},
		{name: "limit 0 is the default", method: "GET", path: "/channels?limit=0&id=a", status: 200},
		{name: "limit too high", method: "GET", path: "/channels?limit=1001", status: 400},
		{name: "limit too low", method: "GET", path: "/channels?limit=-2", status: 400},
		{name: "limit no number", method: "GET", path: "/channels?limit=ten", status: 400},
		{name: "negative page", method: "GET", path: "/channels?page=-1", status: 400},
		{name: "deep page", method: "GET", path: "/channels?page=10001", status: 400},
		{name: "page and cursor", method: "GET", path: "/channels?page=1&after={next}", status: 400},
		{name: "foreign cursor", method: "GET", path: "/channels?after=xyz", status: 400},
		{name: "unknown parameter", method: "GET", path: "/channels?colour=red", status: 400},
		{name: "later parameter", method: "GET", path: "/channels?filter=x", status: 400},
		{name: "sort by an unknown field", method: "GET", path: "/channels?sort=colour", status: 400},
		{name: "sort in an unknown direction", method: "GET", path: "/channels?sort=id:up", status: 400},
		{name: "long text", method: "GET", path: "/channels?q=" + strings.Repeat("x", 257), status: 400},
	}
}
