package eureka_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"eureka"
)

var update = flag.Bool("update", false, "rewrite the generated parts of docs/protocol.md")

// TestTablesOfTheProtocol: the tables of codes in docs/protocol.md are what the code says.
func TestTablesOfTheProtocol(t *testing.T) {
	const path = "docs/protocol.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := section(t, string(text), "codes", codeTable())
	want = section(t, want, "closes", closeTable())
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(text), want); diff != "" {
		t.Errorf("%s is not what the code says (-file +code); run `make gen`:\n%s", path, diff)
	}
}

// section replaces what stands between the two marks of a generated part.
func section(t *testing.T, text, name, content string) string {
	t.Helper()
	begin, end := "<!-- "+name+":begin -->\n", "<!-- "+name+":end -->"
	before, rest, ok := strings.Cut(text, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("there are no marks for %s", name)
	}
	return before + begin + content + end + after
}

func codeTable() string {
	var b strings.Builder
	b.WriteString("| code | HTTP status | close code | exit code | retry |\n|---|---|---|---|---|\n")
	for _, code := range eureka.Codes() {
		o := code.Outcome()
		retry := "no"
		if o.Retry {
			retry = "yes"
		}
		fmt.Fprintf(&b, "| `%s` | %d | %d | %d | %s |\n", code, o.HTTPStatus, o.Close, o.Exit, retry)
	}
	return b.String()
}

func closeTable() string {
	var b strings.Builder
	b.WriteString("| code | means | reconnect |\n|---|---|---|\n")
	for _, c := range []struct {
		code  eureka.CloseCode
		means string
	}{
		{eureka.CloseNormal, "the client asked for it"},
		{eureka.CloseProtocol, "a frame that breaks RFC 6455"},
		{eureka.CloseUnsupported, "a binary message"},
		{eureka.CloseInvalidUTF8, "text that is not UTF-8"},
		{eureka.CloseTooBig, "a message over 131,072 bytes"},
		{eureka.CloseInternal, "a defect of the service"},
		{eureka.CloseUnauthenticated, "the credential has expired or was revoked: come back with another"},
		{eureka.CloseRateLimited, "the client floods the service with frames"},
		{eureka.CloseKicked, "disconnected by an operator"},
		{eureka.CloseRestart, "the node is shutting down"},
		{eureka.CloseSlowConsumer, "the client reads too slowly"},
		{eureka.CloseIdle, "nothing was heard, not even a pong"},
		{eureka.CloseMaxAge, "the socket reached its maximum age"},
	} {
		reconnect := "no"
		if c.code.Reconnect() {
			reconnect = "yes"
		}
		fmt.Fprintf(&b, "| %d | %s | %s |\n", c.code, c.means, reconnect)
	}
	return b.String()
}
