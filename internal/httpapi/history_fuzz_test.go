package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coder/websocket"

	"eureka"
)

// FuzzLiveCursor throws cursors at a live service: a read, a socket's read and a resume answer each with invalid, with gap, or with the messages that are
// behind it, and the socket lives on. {A} and {B} in the text stand for the epochs of two channels, {1} for the place of a message of the first.
func FuzzLiveCursor(f *testing.F) {
	for _, text := range []string{
		"", "{A}.1", "{A}.{1}", "{B}.{1}", "{B}.2", "{A}.0", "{A}.3", "{A}.4", "{A}.40", "{A}.9223372036854775807", "{A}.9223372036854775808", "aaaaaaaa.1", "{A}", ".", "{A}.",
		"{A}.{1} ", "{A}.0{1}", "{A}.+{1}", "{A}.-{1}", "{A}.{1}.{1}", "{A}\x00.{1}", "{A}.{1}\n", "{A}.{1}\"", "{A}.{1},B", "\xff\xfe", "{A}.{1}e1", "{A}.1_0", "{A}@{1}",
	} {
		f.Add(text)
	}
	w := newWorld(f, false, nil)
	for _, id := range []string{"A", "B"} {
		w.must("POST", "/channels/"+id, "", `{"history":{"size":1000,"ttl":"24h"}}`)
	}
	for i := range 10 {
		w.must("POST", "/channels/A/broadcast", "", fmt.Sprintf(`{"data":%d}`, i))
		w.must("POST", "/channels/B/broadcast", "", `{"data":"of another channel"}`)
	}
	var all []eureka.Cursor
	for _, m := range w.history("A", "limit=1000").List {
		c, err := eureka.ParseCursor("id", m.ID)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, c)
	}
	other, _, _ := strings.Cut(w.history("B", "").Cursor, ".")
	fill := strings.NewReplacer("{A}", all[0].Epoch, "{B}", other, "{1}", fmt.Sprint(all[4].Offset))
	socket := w.dial("")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 10_000 {
			return // a URL that is too long is another fault
		}
		since := fill.Replace(text)
		w.t = t
		code, want := expected(since, all)
		// Over HTTP.
		status, body := w.ask("GET", "/channels/A/messages?limit=1000&since="+url.QueryEscape(since), "", "")
		var p page
		if status == http.StatusOK && json.Unmarshal([]byte(body), &p) != nil {
			t.Errorf("%q: %s", since, body)
		}
		if got := ids(p); !slices.Equal(got, want) || (code == "") != (status == http.StatusOK) || !strings.Contains(body, `"code":"`+code+`"`) && code != "" {
			t.Errorf("%q: answered %d %s, want %q", since, status, body, code)
		}
		if utf8.ValidString(since) {
			overSocket(t, w, socket, since, code, want)
		}
	})
}

// expected is the code of the refusal, or the ids of the messages, that a cursor must be answered with.
func expected(since string, all []eureka.Cursor) (code string, ids []string) {
	c, err := eureka.ParseCursor("since", since)
	last := all[len(all)-1]
	switch {
	case since == "": // the newest
	case err != nil:
		return "invalid", nil
	case c.Epoch != last.Epoch || c.Offset > last.Offset || c.Offset < all[0].Offset:
		return "gap", nil
	}
	for _, m := range all {
		if m.Offset > c.Offset {
			ids = append(ids, m.String())
		}
	}
	return "", ids
}

func ids(p page) (all []string) {
	for _, m := range p.List {
		all = append(all, m.ID)
	}
	return all
}

// overSocket reads history and resumes. What is asked for behind them shows that nothing else came and that the socket lives.
func overSocket(t *testing.T, w *world, c *websocket.Conn, since, code string, want []string) {
	t.Helper()
	w.write(c, map[string]any{"action": "history", "channel": "A", "since": since, "limit": 1000})
	var reply struct {
		Action string
		Data   json.RawMessage
		Error  struct{ Code string }
		ID     string
	}
	next := func() string {
		text := w.read(c)
		reply.Action, reply.Data, reply.Error.Code, reply.ID = "", nil, "", ""
		if err := json.Unmarshal([]byte(text), &reply); err != nil {
			t.Fatalf("%q: %v: %s", since, err, text)
		}
		return text
	}
	text := next()
	var p page
	if reply.Action == "history" && json.Unmarshal(reply.Data, &p) != nil {
		t.Errorf("%q: %s", since, text)
	}
	if reply.Error.Code != code || !slices.Equal(ids(p), want) {
		t.Errorf("%q: the reply is %s, want %q", since, text, code)
	}
	w.write(c, map[string]any{"action": "subscribe", "channel": "A", "since": since})
	w.write(c, map[string]any{"action": "unsubscribe", "channel": "A"})
	text = next()
	var began struct{ Recovered *bool }
	switch {
	case code == "invalid":
		if reply.Error.Code != code {
			t.Errorf("%q: subscribed with %s", since, text)
		}
	case reply.Action != "subscribed" || json.Unmarshal(reply.Data, &began) != nil || (began.Recovered == nil) != (since == "") ||
		began.Recovered != nil && *began.Recovered != (code == ""):
		t.Errorf("%q: subscribed with %s, want %q", since, text, code)
	}
	if code != "" || since == "" {
		want = nil
	}
	for _, id := range want {
		if text := next(); reply.ID != id {
			t.Errorf("%q: %s where %s should be", since, text, id)
		}
	}
	if text := next(); reply.Action != "unsubscribed" && (code != "invalid" || reply.Error.Code != "not_found") {
		t.Errorf("%q: %s where the end of the subscription should be", since, text)
	}
}
