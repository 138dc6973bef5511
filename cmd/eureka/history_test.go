package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// published runs a publish and returns the id that the message got.
func published(t *testing.T, environ []string, args ...string) string {
	t.Helper()
	r := run(t, environ, append([]string{"publish", "--json"}, args...)...)
	var out struct{ ID string }
	if err := json.Unmarshal([]byte(r.stdout), &out); err != nil || out.ID == "" {
		t.Fatalf("%v: %+v, %v", args, r, err)
	}
	return out.ID
}

// TestHistoryCommand reads a channel's history as people and programs do, with the exit codes of what goes wrong.
func TestHistoryCommand(t *testing.T) {
	address, _ := service(t)
	environ := []string{"EUREKA_URL=http://" + address}
	for _, args := range [][]string{{"orders", "--history-size", "50"}, {"users", "--history"}, {"plain"}} {
		if r := run(t, environ, append([]string{"channels", "create"}, args...)...); r.code != 0 {
			t.Fatalf("%+v", r)
		}
	}
	if r := run(t, environ, "history", "orders"); r.code != 0 || r.stdout != "" || !regexp.MustCompile(`^eureka: 0 messages; what comes next is behind --since \S+\n$`).MatchString(r.stderr) {
		t.Errorf("before the first message: %+v", r)
	}
	first := published(t, environ, "orders", `{"n":1}`, "--event", "create")
	second := published(t, environ, "orders", `{"n":2}`, "--key", "once")
	if again := published(t, environ, "orders", `{"n":2}`, "--key", "once"); again != second {
		t.Errorf("published again as %s, not %s", again, second)
	}
	third := published(t, environ, "orders", `"a\u001b[2Jb"`)
	if r := run(t, environ, "publish", "users", "1"); !regexp.MustCompile(`^published to users as [a-z2-7]{8}\.\d+, delivered to 0\n$`).MatchString(r.stdout) {
		t.Errorf("%+v", r)
	}
	line := func(id, rest string) string { return `\d\d:\d\d:\d\d  ` + regexp.QuoteMeta(id+"  "+rest) + `\n` }
	one, two, three := line(first, `create  {"n":1}`), line(second, `message  {"n":2}`), line(third, `message  "a\u001b[2Jb"`)
	for _, tt := range []struct {
		args           []string
		code           int
		stdout, stderr string // patterns of all there is
	}{
		{[]string{"orders"}, 0, one + two + three, `eureka: 3 messages; what comes next is behind --since ` + third + `\n`},
		{[]string{"orders", "-n", "1"}, 0, three, `eureka: 1 message; what comes next is behind --since ` + third + `\n`},
		{[]string{"orders", "--since", first, "--limit", "1"}, 0, two, `eureka: 1 message, and there are more: go on with --since ` + second + `\n`},
		{[]string{"orders", "--since", second}, 0, three, `eureka: 1 message; .*\n`},
		{[]string{"orders", "--since", third}, 0, ``, `eureka: 0 messages; .*\n`},
		{[]string{"--json", "orders", "--since", first}, 0, `\{"channel":"orders","list":\[\{"id":"` + second + `","event":"message","data":\{"n":2\},"ts":\d+\},\{"id":"` + third + `".*\}\],"cursor":"` + third + `","more":false\}\n`, ``},
		{[]string{"orders", "--since", "yesterday"}, 3, ``, `eureka: since: is not a cursor; .*\n`},
		{[]string{"orders", "--limit", "1001"}, 3, ``, `eureka: limit: .*\n`},
		{[]string{"orders", "--limit", "many"}, 2, ``, `eureka: --limit: .*\nRun .*\n`},
		{[]string{"plain"}, 5, ``, `eureka: channel "plain" keeps no history; .*\n`},
		{[]string{"users", "--since", first}, 9, ``, `eureka: the position belongs to no present history of this channel; .*\n`},
		{[]string{"--json", "users", "--since", first}, 9, ``, `\{"error":\{"code":"gap","message":".*"\}\}\n`},
	} {
		r := run(t, environ, append([]string{"history"}, tt.args...)...)
		if r.code != tt.code || !regexp.MustCompile(`^`+tt.stdout+`$`).MatchString(r.stdout) || !regexp.MustCompile(`^`+tt.stderr+`$`).MatchString(r.stderr) {
			t.Errorf("%v: code %d\n%s%s", tt.args, r.code, r.stdout, r.stderr)
		}
	}
}

// TestListenSince: a listener begins behind the message that it is given, says how to go on, and tells of a gap in both of its forms.
func TestListenSince(t *testing.T) {
	address, _ := service(t)
	environ := []string{"EUREKA_URL=http://" + address}
	for _, name := range []string{"orders", "users"} {
		if r := run(t, environ, "channels", "create", name, "--history"); r.code != 0 {
			t.Fatalf("%+v", r)
		}
	}
	first := published(t, environ, "orders", "1")
	published(t, environ, "orders", "2")
	third := published(t, environ, "orders", "3")
	user := published(t, environ, "users", `"u1"`)
	last := published(t, environ, "users", `"u2"`)

	r := run(t, environ, "listen", "orders", "--since", first, "--count", "2")
	if r.code != 0 || !regexp.MustCompile(`^\S+  orders  message  2\n\S+  orders  message  3\n$`).MatchString(r.stdout) ||
		!strings.HasSuffix(r.stderr, "eureka: go on from here with: eureka listen orders@"+third+"\n") {
		t.Errorf("%+v", r)
	}
	r = run(t, environ, "listen", "orders@"+first, "users@"+user, "--count", "3")
	if r.code != 0 || strings.Count(r.stdout, "  orders  message  ") != 2 || !strings.Contains(r.stdout, `  users  message  "u2"`) ||
		!strings.HasSuffix(r.stderr, "eureka listen orders@"+third+" users@"+last+"\n") {
		t.Errorf("several channels: %+v", r)
	}
	r = run(t, environ, "--json", "listen", "orders", "--since", first, "--count", "1")
	if r.code != 0 || !regexp.MustCompile(`^\{"channel":"orders","action":"message","event":"message","data":2,"ts":\d+,"id":"\S+"\}\n$`).MatchString(r.stdout) || r.stderr != "" {
		t.Errorf("for programs: %+v", r)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"listen", "users", "--since", first}, "  users  error gap: messages may have been missed; fetch the state again\n"},
		{[]string{"--json", "listen", "users", "--since", first}, `{"action":"error","channel":"users","error":{"code":"gap","message":"messages may have been missed; fetch the state again"}}` + "\n"},
	} {
		b := start(environ, append(tt.args, "--count", "1")...)
		b.await(t, &b.stdout, tt.want)
		published(t, environ, "users", `"live"`)
		if code := b.end(t); code != 0 || !strings.Contains(b.stdout.String(), "live") {
			t.Errorf("%v: ended with %d: %s", tt.args, code, b.stdout.String())
		}
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"orders", "--since", "yesterday"}, "since: is not a cursor"},
		{[]string{"orders@yesterday"}, "since: is not a cursor"},
		{[]string{"orders", "users", "--since", first}, "since: is for one channel"},
	} {
		if r := run(t, environ, append([]string{"listen"}, tt.args...)...); r.code != 3 || !strings.Contains(r.stderr, tt.want) {
			t.Errorf("%v: %+v", tt.args, r)
		}
	}
}
