package mock_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"eureka"
	"eureka/internal/mock"
)

func sample(data string) eureka.Mock {
	return eureka.Mock{ID: "m", Service: "s", ModelType: "t", Data: json.RawMessage(data), Rate: 1}
}

func TestMake(t *testing.T) {
	for _, tt := range []struct{ data, want string }{
		{`{"a": 1,  "a": [true, null, "x"], "big": 12345678901234567890}`, `{"a":1,"a":\[true,null,"x"\],"big":12345678901234567890}`},
		{`"{{seq}}"`, `7`},
		{`" {{seq}}"`, `" 7"`},
		{`{"{{seq}}": "{{seq}}"}`, `{"{{seq}}":7}`},
		{`["{{int 5 5}}", "{{int -3 -3}}", "{{mod seq 4}}", "{{float 1 1}}", "{{float 0.004 0.004}}"]`, `\[5,-3,3,1,0\]`},
		{`["{{pick 1 2.5 \"a\" true}}"]`, `\[(1|2\.5|"a"|true)\]`},
		{"\"{{pick `\\\"`}}\"", `"\\""`},
		{"\"<{{pick `\\\"`}}>\\n\"", `"\\u003c\\"\\u003e\\n"`},
		{`"{{uuid}}"`, `"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"`},
		{`["{{now}}", "{{time}}"]`, `\[\d{13},"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ"\]`},
		{`"{{if gt seq 5}}many{{else}}few{{end}}"`, `"many"`},
		{`"{{$x := int 3 3}}{{$x}}{{$x}}"`, `"33"`},
		{`"{{/* nothing */}}"`, `""`},
		{`"\"{{\"a\\\\b\"}}"`, `"\\"a\\\\b"`},
		{`"{{int -9223372036854775808 9223372036854775807}}"`, `-?\d+`},
	} {
		m, err := mock.Compile(sample(tt.data), 0)
		if err != nil {
			t.Errorf("%s: %v", tt.data, err)
			continue
		}
		ev, err := m.Make(7)
		if err != nil || !regexp.MustCompile(`^`+tt.want+`$`).Match(ev.Data) || ev.Service != "s" || ev.ModelType != "t" {
			t.Errorf("%s: made %s, %v, want %s", tt.data, ev.Data, err, tt.want)
		}
	}
	m := sample(`1`)
	m.ModelID, m.Event = "{{mod seq 3}}", "{{if eq (mod seq 2) 1}}odd{{end}}"
	templates, err := mock.Compile(m, 0)
	if err != nil {
		t.Fatal(err)
	}
	if ev, err := templates.Make(7); err != nil || ev.ModelID != "1" || ev.Event != "odd" {
		t.Errorf("%+v, %v", ev, err)
	}
}

// TestSeed: a seed makes the same values again.
func TestSeed(t *testing.T) {
	made := func(seed uint64) string {
		m, err := mock.Compile(sample(`["{{uuid}}", "{{int 1 1000000}}", "{{float 0 1000}}"]`), seed)
		if err != nil {
			t.Fatal(err)
		}
		ev, err := m.Make(1)
		if err != nil {
			t.Fatal(err)
		}
		return string(ev.Data)
	}
	if a, b, c := made(1), made(1), made(2); a != b || a == c {
		t.Errorf("made %s, %s, and of another seed %s", a, b, c)
	}
}

// TestBadTemplates: what could run long, or make texts longer and longer, is refused like what is wrong.
func TestBadTemplates(t *testing.T) {
	for _, tt := range []struct{ data, want string }{
		{`"{{range 1000000000}}x{{end}}"`, "actions such as {{range"},
		{`"{{with 1}}x{{end}}"`, "actions such as {{with"},
		{`"{{define \"a\"}}{{template \"a\"}}{{end}}{{template \"a\"}}"`, "must not define others"},
		{`"{{block \"a\" 1}}{{end}}"`, "must not define others"},
		{`"{{template \"x\"}}"`, "actions such as {{template"},
		{`"{{printf \"%1000000000d\" 1}}"`, "there is no function printf"},
		{`"{{$x := \"a\"}}{{$x = print $x $x}}"`, "there is no function print"},
		{`"{{\"\\\"\" | toJSON | toJSON}}"`, "there is no function toJSON"},
		{`"{{html 1}}"`, "there is no function html"},
		{`"{{call 1}}"`, "there is no function call"},
		{`"{{.}}"`, "there are no fields"},
		{`"{{.Data}}"`, "there are no fields"},
		{`"{{$.Data}}"`, "there are no fields"},
		{`"{{$}}"`, "there are no fields"},
		{`"{{seq.X}}"`, "template cannot be used"},
		{`"{{(seq).X}}"`, "there are no fields"},
		{`"{{nonsense 1}}"`, `function "nonsense" not defined`},
		{`"{{seq"`, "unclosed action"},
		{`"{{int 1}}"`, "wrong number of args for int"},
		{`"{{int 2 1}}"`, "must not be greater"},
		{`"{{int 1 \"a\"}}"`, "expected integer"},
		{`"{{float 2 1}}"`, "not greater"},
		{`"{{mod seq 0}}"`, "greater than 0"},
		{`"{{pick}}"`, "pick needs a value"},
		{`"{{nil}}"`, "nil"},
		{`{`, "not valid JSON"},
		{strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "nested"},
		{`"` + strings.Repeat("x", eureka.MaxMockData) + `"`, "the limit is 16384"},
		{"\"\xff\"", "UTF-8"},
	} {
		m, err := mock.Compile(sample(tt.data), 0)
		if err == nil {
			_, err = m.Make(1)
		}
		if eureka.CodeOf(err) != eureka.CodeInvalid || !strings.Contains(eureka.MessageOf(err), tt.want) {
			t.Errorf("%.60s: %v, want …%s…", tt.data, err, tt.want)
		}
	}
	for field, m := range map[string]eureka.Mock{
		"modelId": {ModelID: "{{range 5}}{{end}}"}, "event": {Event: "{{.}}"}, "rate": {Rate: 1001}, "id": {ID: "a b"},
	} {
		whole := sample("1")
		whole.ModelID, whole.Event = m.ModelID, m.Event
		if m.Rate != 0 {
			whole.Rate = m.Rate
		}
		if m.ID != "" {
			whole.ID = m.ID
		}
		if _, err := mock.Compile(whole, 0); eureka.CodeOf(err) != eureka.CodeInvalid || !strings.HasPrefix(eureka.MessageOf(err), field+": ") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// TestLongEvents: templates may print more than stands in them, up to what a frame takes.
func TestLongEvents(t *testing.T) {
	long := "{{$x := `" + strings.Repeat("x", 4000) + "`}}" + strings.Repeat("{{$x}}", 60)
	m, err := mock.Compile(sample(`["`+long+`"]`), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Make(1); eureka.CodeOf(err) != eureka.CodeTooLarge {
		t.Errorf("made an event of 240,000 bytes: %v", err)
	}
}

// FuzzTemplate: whatever somebody writes as a mock is refused with a code, or makes events that are JSON and no longer than a frame.
func FuzzTemplate(f *testing.F) {
	for _, data := range []string{
		`{"id":"{{seq}}","total":"{{float 1 500}}","status":"{{pick 1 2}}"}`, "\"{{$x := `a`}}{{$x}}\"", `"{{if and seq (eq 1 1)}}{{uuid}}{{else if 1}}{{now}}{{end}}"`,
		`"{{- /* a */ -}}"`, `["{{1 | int 0}}", "\"{{time}}\\"]`, `"{{range 9}}{{end}}"`, `"{{nil | not}}"`, `"{{1i}} {{'a'}} {{1e400}}"`, "\"{{pick `\\u2028`}}\"", `"{{break}}"`,
	} {
		f.Add(data, "{{seq}}", "e")
	}
	f.Fuzz(func(t *testing.T, data, modelID, event string) {
		m := sample(data)
		m.ModelID, m.Event = modelID, event
		templates, err := mock.Compile(m, 1)
		for n := 1; n <= 3 && err == nil; n++ {
			var ev eureka.Event
			if ev, err = templates.Make(n); err != nil {
				break
			}
			if !json.Valid(ev.Data) || len(ev.Data) > eureka.MaxFrameBytes {
				t.Errorf("%q made %d bytes, %.200q", data, len(ev.Data), ev.Data)
			}
		}
		if code := eureka.CodeOf(err); err != nil && code != eureka.CodeInvalid && code != eureka.CodeTooLarge {
			t.Errorf("%q: %v", data, err)
		}
	})
}
