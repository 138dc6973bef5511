package httpapi

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"eureka"
)

// ask makes a request and returns its answer.
func (w *world) ask(method, path, key, body string) (status int, text string) {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := w.server.Client().Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

func (w *world) must(method, path, key, body string) string {
	w.t.Helper()
	status, text := w.ask(method, path, key, body)
	if status/100 != 2 {
		w.t.Fatalf("%s %s %s: %d %s", method, path, body, status, text)
	}
	return text
}

// page is an answer, or a reply, of a read of history.
type page struct {
	List []struct {
		ID    string
		Event string
		Data  json.RawMessage
	}
	Cursor string
	More   bool
}

func (p page) data() (all []string) {
	for _, m := range p.List {
		all = append(all, string(m.Data))
	}
	return all
}

func (w *world) history(channel, query string) page {
	w.t.Helper()
	var p page
	if err := json.Unmarshal([]byte(w.must("GET", "/channels/"+channel+"/messages?"+query, "", "")), &p); err != nil {
		w.t.Fatal(err)
	}
	return p
}

// readHistory asks for history over a socket.
func (w *world) readHistory(c *websocket.Conn, request map[string]any) (p page, frame string) {
	w.t.Helper()
	request["action"] = "history"
	w.write(c, request)
	frame = w.read(c)
	var reply struct {
		Action string
		Data   page
	}
	if err := json.Unmarshal([]byte(frame), &reply); err != nil || reply.Action != "history" {
		w.t.Fatalf("%v: %.300s", err, frame)
	}
	return reply.Data, frame
}

func (w *world) write(c *websocket.Conn, frame any) {
	w.t.Helper()
	text, err := json.Marshal(frame)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := c.Write(w.t.Context(), websocket.MessageText, text); err != nil {
		w.t.Fatal(err)
	}
}

// TestSameKey: each call that publishes is accepted once with a key, and answers the same.
func TestSameKey(t *testing.T) {
	w := newWorld(t, false, nil)
	for i, id := range []string{"a", "b", "c"} {
		w.must("POST", "/channels/"+id, "", fmt.Sprintf(`{"service":"shop","modelType":"m%d","history":{"size":100,"ttl":"10m"}}`, min(i, 1)))
	}
	stored := func() (n int) {
		for _, id := range []string{"a", "b", "c"} {
			n += len(w.history(id, "limit=1000").List)
		}
		return n
	}
	long := strings.Repeat("k", eureka.MaxKeyLength)
	for _, tt := range []struct {
		name, path, key string
		body, other     string // other is another request that cannot have the same key; "" where the key is an event's identity
		messages        int
	}{
		{"broadcast", "/channels/a/broadcast", "k1", `{"data":1}`, `{"data":2}`, 1},
		{"broadcast, the original's path", "/sockets/a/broadcast", "k2", `{"data":1}`, `{"data":1,"event":"e"}`, 1},
		{"broadcast with an id", "/channels/a/broadcast", "", `{"id":"i1","data":1}`, `{"id":"i1","data":2}`, 1},
		{"the longest key", "/channels/a/broadcast", long, `{"data":1}`, `{"data":2}`, 1},
		{"broadcast by service", "/channels/0/broadcast", "k3", `{"service":"shop","modelType":"m1","data":1}`, `{"service":"shop","modelType":"m1","data":2}`, 2},
		{"broadcast by service, the original's path", "/sockets/0/broadcast", long, `{"service":"shop","modelType":"m1","data":1}`, `{"service":"shop","modelType":"m0","data":1}`, 2},
		{"broadcast by service with an id", "/sockets/0/broadcast", "", `{"id":"i2","service":"shop","modelType":"m1","data":1}`, "", 2},
		{"event with an id", "/events", "", `{"id":"i3","service":"shop","modelType":"m1","data":1}`, "", 2},
		{"event with a key", "/events", "k4", `{"service":"shop","modelType":"m1","data":1}`, `{"service":"shop","modelType":"m1","data":2}`, 2},
		{"event for a channel", "/events", "", `{"id":"i4","channelId":"a","data":1}`, "", 1},
		{"events with ids", "/events", "", `[{"id":"i5","service":"shop","modelType":"m0","data":1},{"id":"i6","service":"shop","modelType":"m1","data":2}]`, "", 3},
		{"events with a key", "/events", "k5", `[{"service":"shop","modelType":"m0","data":1},{"service":"shop","modelType":"m1","data":2}]`, `[{"service":"shop","modelType":"m0","data":3}]`, 3},
	} {
		before := stored()
		answers := make([]string, 9)
		var together sync.WaitGroup
		for i := range answers[1:] {
			together.Go(func() { _, answers[i] = w.ask("POST", tt.path, tt.key, tt.body) })
		}
		together.Wait()
		answers[8] = w.must("POST", tt.path, tt.key, tt.body)
		for _, answer := range answers {
			if answer != answers[0] || strings.Contains(answer, `"status"`) {
				t.Errorf("%s: answered %s, and %s", tt.name, answers[0], answer)
			}
		}
		if got := stored() - before; got != tt.messages {
			t.Errorf("%s: %d messages are stored, want %d", tt.name, got, tt.messages)
		}
		if tt.other == "" {
			continue
		}
		if status, text := w.ask("POST", tt.path, tt.key, tt.other); status != http.StatusConflict || !strings.Contains(text, `"code":"conflict"`) {
			t.Errorf("%s: another request with the same key: %d %s", tt.name, status, text)
		}
		if got := stored() - before; got != tt.messages {
			t.Errorf("%s: another request with the same key was accepted", tt.name)
		}
	}
	for _, path := range []string{"/channels/a/broadcast", "/sockets/0/broadcast", "/events"} {
		if status, text := w.ask("POST", path, long+"k", `{"service":"shop","modelType":"m1","data":1}`); status != http.StatusBadRequest && status != http.StatusUnprocessableEntity {
			t.Errorf("%s: a key that is too long: %d %s", path, status, text)
		}
	}
}

// TestSameEventID: an id is one of its service, or of its channel.
func TestSameEventID(t *testing.T) {
	w := newWorld(t, false, nil)
	for _, id := range []string{"a", "b"} {
		w.must("POST", "/channels/"+id, "", `{"service":"`+id+`","modelType":"m","alias":"the-`+id+`","history":{}}`)
	}
	for _, body := range []string{
		`{"id":"1","channelId":"a","data":1}`, `{"id":"1","channelId":"b","data":1}`, `{"id":"1","channelId":"the-b","data":1}`,
		`{"id":"1","service":"a","modelType":"m","data":2}`, `{"id":"1","service":"b","modelType":"m","data":2}`,
	} {
		w.must("POST", "/events", "", body)
	}
	for _, id := range []string{"a", "b"} {
		if got := w.history(id, "").data(); !slices.Equal(got, []string{"1", "2"}) {
			t.Errorf("%s has %v", id, got)
		}
	}
}

// TestHistoryOfLargeMessages: each message that is accepted fits a reply, however its text is.
func TestHistoryOfLargeMessages(t *testing.T) {
	w := newWorld(t, false, nil)
	name := strings.Repeat("n", eureka.MaxNameLength)
	w.must("POST", "/channels/"+name, "", `{"history":{"size":100,"ttl":"10m"}}`)
	start := w.history(name, "limit=1").Cursor
	low, high := 100_000, eureka.MaxFrameBytes // what is accepted, and what is not
	for high-low > 1 {
		middle := (low + high) / 2
		if status, _ := w.ask("POST", "/channels/"+name+"/broadcast", "", `{"data":"`+strings.Repeat("<", middle)+`"}`); status == http.StatusOK {
			low = middle
		} else {
			high = middle
		}
	}
	for range 3 {
		w.must("POST", "/channels/"+name+"/broadcast", "", `{"data":"`+strings.Repeat("&", low)+`"}`)
		w.must("POST", "/channels/"+name+"/broadcast", "", `{"data":"small"}`)
	}
	want := w.history(name, "limit=1000")
	if size := len(want.List[len(want.List)-2].Data); size != low+2 || size < eureka.MaxFrameBytes-1000 {
		t.Fatalf("the largest message has %d bytes", size)
	}
	c := w.dial("")
	c.SetReadLimit(eureka.MaxFrameBytes)
	var got []string
	for since, more := start, true; more; {
		p, _ := w.readHistory(c, map[string]any{"channel": name, "since": since, "limit": 1000, "ref": strings.Repeat("r", 126)})
		if len(p.List) == 0 {
			t.Fatal("an empty page")
		}
		got = append(got, p.data()...)
		since, more = p.Cursor, p.More
	}
	if all := want.data(); !slices.Equal(got, all) {
		t.Errorf("over the socket there are %d messages, want %d", len(got), len(all))
	}
	newest, _ := w.readHistory(c, map[string]any{"channel": name, "limit": 1000})
	if !slices.Equal(newest.data(), []string{`"small"`}) || newest.Cursor != want.Cursor {
		t.Errorf("the newest that fit are %d, up to %s", len(newest.List), newest.Cursor)
	}
}

// TestHistoryAndResume: the same messages come by a read, by a socket's read, by a resume and at a connect; positions that are none are refused.
func TestHistoryAndResume(t *testing.T) {
	w := newWorld(t, false, nil)
	for _, id := range []string{"a", "b"} {
		w.must("POST", "/channels/"+id, "", `{"history":{"size":100,"ttl":"10m"}}`)
	}
	w.must("POST", "/channels/none", "", `{}`)
	start := w.history("a", "").Cursor
	for i := range 5 {
		w.must("POST", "/channels/a/broadcast", "", fmt.Sprintf(`{"data":%d}`, i+1))
		w.must("POST", "/channels/b/broadcast", "", `{"data":"b"}`)
	}
	all := w.history("a", "since="+start)
	if got := all.data(); !slices.Equal(got, []string{"1", "2", "3", "4", "5"}) || all.More || all.Cursor != all.List[4].ID {
		t.Fatalf("the history is %+v", all)
	}
	since, want := all.List[1].ID, []string{"3", "4", "5"}
	if got := w.history("a", "limit=2").data(); !slices.Equal(got, []string{"4", "5"}) {
		t.Errorf("the newest two are %v", got)
	}
	if p := w.history("a", "limit=2&since="+since); !slices.Equal(p.data(), want[:2]) || !p.More || p.Cursor != p.List[1].ID {
		t.Errorf("a page is %+v", p)
	}
	c := w.dial("")
	if p, _ := w.readHistory(c, map[string]any{"channel": "a", "since": since}); !slices.Equal(p.data(), want) || p.More {
		t.Errorf("a socket reads %+v", p)
	}
	w.write(c, map[string]any{"action": "subscribe", "channel": "a", "since": since})
	w.wantResumed("subscribe", c, since, want)
	w.wantResumed("connect", w.dial("?channels=a@"+since), since, want)

	other := w.history("b", "").Cursor
	for _, tt := range []struct{ name, since, code string }{
		{"nonsense", "nonsense", "invalid"},
		{"another channel", other, "gap"},
		{"another epoch", "aaaaaaaa." + since[strings.Index(since, ".")+1:], "gap"},
		{"the future", since + "000", "gap"},
		{"not written as it is", strings.Replace(since, ".", ".0", 1), "invalid"},
	} {
		status, text := w.ask("GET", "/channels/a/messages?since="+url.QueryEscape(tt.since), "", "")
		if want := map[string]int{"invalid": http.StatusBadRequest, "gap": http.StatusGone}[tt.code]; status != want || !strings.Contains(text, `"code":"`+tt.code+`"`) {
			t.Errorf("%s: %d %s", tt.name, status, text)
		}
		w.write(c, map[string]any{"action": "history", "channel": "a", "since": tt.since})
		if got := w.read(c); !strings.Contains(got, `"code":"`+tt.code+`"`) {
			t.Errorf("%s: the reply is %s", tt.name, got)
		}
		for how, c := range map[string]*websocket.Conn{"subscribe": w.dial(""), "connect": w.dial("?channels=a@" + url.QueryEscape(tt.since))} {
			if how == "subscribe" {
				w.write(c, map[string]any{"action": "subscribe", "channel": "a", "since": tt.since})
			}
			expected := `"recovered":false`
			if tt.code == "invalid" {
				expected = `"code":"invalid"`
			}
			if got := w.read(c); !strings.Contains(got, expected) {
				t.Errorf("%s, %s: %s", tt.name, how, got)
			}
		}
	}
	if got := w.read(w.dial("?channels=none@" + since)); !strings.Contains(got, `"recovered":false`) {
		t.Errorf("a channel without history: %s", got)
	}
	if status, text := w.ask("GET", "/channels/none/messages", "", ""); status != http.StatusForbidden {
		t.Errorf("a channel without history: %d %s", status, text)
	}
}

func (w *world) wantResumed(how string, c *websocket.Conn, since string, want []string) {
	w.t.Helper()
	if got := w.read(c); !strings.Contains(got, `"cursor":"`+since+`","recovered":true`) {
		w.t.Fatalf("%s: %s", how, got)
	}
	for _, data := range want {
		if got := w.read(c); !strings.Contains(got, `"data":`+data+`,`) {
			w.t.Errorf("%s: %s where %s should be", how, got, data)
		}
	}
}

// TestHistoryOfChannelsThatChange: a position holds for one life of one channel, whatever the channel is called.
func TestHistoryOfChannelsThatChange(t *testing.T) {
	w := newWorld(t, false, nil)
	w.must("POST", "/channels/a", "", `{"alias":"x","history":{}}`)
	w.must("POST", "/channels/b", "", `{"history":{}}`)
	for _, id := range []string{"a", "b"} {
		for i := range 3 {
			w.must("POST", "/channels/"+id+"/broadcast", "", fmt.Sprintf(`{"data":"%s%d"}`, id, i))
		}
	}
	since := w.history("x", "").List[0].ID
	refused := func(what, name string) {
		t.Helper()
		if status, text := w.ask("GET", "/channels/"+name+"/messages?since="+since, "", ""); status != http.StatusGone || !strings.Contains(text, `"code":"gap"`) {
			t.Errorf("%s: %d %s", what, status, text)
		}
		if got := w.read(w.dial("?channels=" + name + "@" + since)); !strings.Contains(got, `"recovered":false`) {
			t.Errorf("%s: %s", what, got)
		}
	}
	// The name goes to another channel; the first goes on under its id.
	w.must("PUT", "/channels/a", "", `{"alias":null}`)
	w.must("PUT", "/channels/b", "", `{"alias":"x"}`)
	refused("the alias of another channel", "x")
	w.wantResumed("under its id", w.dial("?channels=a@"+since), since, []string{`"a1"`, `"a2"`})

	// Less is retained.
	w.must("PUT", "/channels/a", "", `{"history":{"size":1,"ttl":"10m"}}`)
	if got := w.history("a", "").data(); !slices.Equal(got, []string{`"a2"`}) {
		t.Errorf("of a history of one message there are %v", got)
	}

	// Another channel of the same id.
	w.must("DELETE", "/channels/a", "", "")
	w.must("POST", "/channels/a", "", `{"history":{}}`)
	refused("another life", "a")
	if got := w.history("a", ""); len(got.List) != 0 || got.More {
		t.Errorf("another channel of the same id begins with %+v", got)
	}
	w.must("POST", "/channels/a/broadcast", "", `{"data":"new"}`)
	refused("another life, with a message", "a")
	if got := w.history("a", "").data(); !slices.Equal(got, []string{`"new"`}) {
		t.Errorf("another channel of the same id has %v", got)
	}
}
