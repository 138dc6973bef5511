package app_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"eureka/internal/mock"
)

// TestMocks: a sample event is kept, shown, played to a live socket, stopped, and survives a restart, by the real service.
func TestMocks(t *testing.T) {
	dir := "--data-dir=" + t.TempDir()
	n := serve(t, dir)
	s := n.dial(t, "?channels=shop:order&info")
	s.await(`"action":"info"`)
	made := n.call(t, "POST", "/mocks", "{\"id\":\"orders\",\"service\":\"shop\",\"modelType\":\"order\",\"modelId\":\"{{mod seq 2}}\",\"event\":\"{{pick `created`}}\",\"data\":{\"id\":\"{{seq}}\"},\"rate\":100}")
	if made.status != http.StatusOK || !strings.Contains(made.text, `"sample":{"modelId":"1","event":"created","data":{"id":1}},"runs":0`) {
		t.Fatalf("%+v", made)
	}
	var run mock.Run
	started := n.call(t, "POST", "/mocks/orders/run", `{"count":3,"rate":50,"for":"5m"}`)
	if err := json.Unmarshal([]byte(started.text), &run); err != nil || run.State != mock.Playing || run.Node != n.app.Node() || run.Count != 3 || run.Rate != 50 || run.EndsBy-run.StartedAt != 300_000 {
		t.Fatalf("%+v, %v", started, err)
	}
	for _, want := range []string{`"channel":"shop:order","action":"message","event":"created","data":{"id":1}`, `"event":"created","data":{"id":2}`, `"channel":"shop:order","action":"message","event":"created","data":{"id":3}`} {
		s.await(want)
	}
	eventually(t, "the run ends", func() bool {
		return strings.Contains(n.call(t, "GET", "/mocks/orders/runs", "").text, `"state":"done","rate":50,"count":3`)
	})
	var endless mock.Run
	if a := n.call(t, "POST", "/mocks/orders/run", ""); json.Unmarshal([]byte(a.text), &endless) != nil {
		t.Fatalf("%+v", a)
	}
	s.await(`"data":{"id":1}`)
	if a := n.call(t, "GET", "/mocks", ""); !strings.Contains(a.text, `"runs":1}]}`) {
		t.Errorf("%+v", a)
	}
	if a := n.call(t, "DELETE", "/mocks/orders/runs/"+endless.ID, ""); a.status != 200 || !strings.Contains(a.text, `"state":"stopped"`) {
		t.Errorf("%+v", a)
	}
	n.call(t, "POST", "/mocks/orders/run", "") // the end of the node must not wait for it
	n.stop()

	n = serve(t, dir)
	if a := n.call(t, "PUT", "/mocks/orders", `{"channelId":"room","data":"{{uuid}}"}`); a.status != 200 || !strings.Contains(a.text, `"channelId":"room","data":"{{uuid}}","rate":1,`) {
		t.Errorf("%+v", a)
	}
	if a := n.call(t, "GET", "/mocks/orders/runs", ""); a.text != "{\"list\":[]}\n" {
		t.Errorf("runs of an ended process: %+v", a)
	}
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/mocks", `{"id":"orders","service":"s","modelType":"t","data":1}`, 409, "the id of another mock"},
		{"POST", "/mocks", `{"service":"s","modelType":"t"}`, 400, "data: is missing"},
		{"POST", "/mocks", `{"data":1}`, 400, "needs service and modelType"},
		{"POST", "/mocks", `{"service":"s","modelType":"t","data":1,"rate":5000}`, 400, "rate: must be 0.01 to 1000"},
		{"POST", "/mocks", `{"service":"s","modelType":"t","data":"{{range 9}}{{end}}"}`, 400, "data: the template cannot be used: actions such as {{range 9}}"},
		{"POST", "/mocks", `{"service":"s","modelType":"t","data":1,"colour":1}`, 400, "colour: is no field"},
		{"POST", "/mocks/orders/run", `{"for":"soon"}`, 400, "for: must be a duration"},
		{"POST", "/mocks/orders/run", `{"for":"2h"}`, 400, "for: must be a duration of up to 1h"},
		{"POST", "/mocks/orders/run", `{"count":-1}`, 400, "count: must be 1 to"},
		{"POST", "/mocks/nothing/run", ``, 404, "there is no such mock"},
		{"GET", "/mocks/nothing", ``, 404, "there is no such mock"},
		{"PUT", "/mocks/nothing", `{"channelId":"room","data":1}`, 404, "there is no such mock"},
		{"DELETE", "/mocks/orders/runs/nothing", ``, 404, "no such run"},
		{"DELETE", "/mocks/orders", ``, 204, ""},
		{"DELETE", "/mocks/orders", ``, 404, "there is no such mock"},
	} {
		if a := n.call(t, tt.method, tt.path, tt.body); a.status != tt.status || !strings.Contains(a.text, tt.want) {
			t.Errorf("%s %s %s: %d %s", tt.method, tt.path, tt.body, a.status, a.text)
		}
	}
}

// TestMocksAreForDevelopment: a service with authentication has none, unless the settings say so, and then they need the scope manage.
func TestMocksAreForDevelopment(t *testing.T) {
	for _, n := range []*node{guarded(t), serve(t, "--mocks=deny")} {
		for _, c := range [][2]string{
			{"GET", "/mocks"}, {"POST", "/mocks"}, {"GET", "/mocks/a"}, {"PUT", "/mocks/a"}, {"DELETE", "/mocks/a"}, {"POST", "/mocks/a/run"}, {"GET", "/mocks/a/runs"}, {"DELETE", "/mocks/a/runs/b"},
		} {
			body := ""
			if c[0] == "PUT" || c[1] == "/mocks" && c[0] == "POST" {
				body = `{"channelId":"room","data":1}`
			}
			if a := n.call(t, c[0], c[1], body, bearer(adminKey)); a.status != 403 || !strings.Contains(a.text, "the setting mocks turns them on (--mocks allow)") {
				t.Errorf("%s %s: %d %s", c[0], c[1], a.status, a.text)
			}
		}
	}
	n := guarded(t, "--mocks=allow")
	n.admin(t, "POST", "/mocks", `{"id":"a","channelId":"room","data":1}`)
	n.admin(t, "POST", "/channels/room", `{}`)
	if a := n.call(t, "GET", "/mocks", "", bearer(token(claims{"scope": "publish subscribe", "channels": []string{"*"}}))); a.status != 403 {
		t.Errorf("without the scope manage: %+v", a)
	}
	// Who may manage but not publish may keep mocks, and their events are refused like all others.
	manage := bearer(token(claims{"scope": "manage"}))
	if a := n.call(t, "POST", "/mocks/a/run", "", manage); a.status != 200 {
		t.Errorf("%+v", a)
	}
	eventually(t, "the run fails", func() bool {
		a := n.call(t, "GET", "/mocks/a/runs", "", manage)
		return strings.Contains(a.text, `"state":"failed"`) && strings.Contains(a.text, `lacks the scope`)
	})
}
