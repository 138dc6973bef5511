package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// EnvPrefix starts the name of every environment variable of the service.
const EnvPrefix = "EUREKA_"

// ConfigEnv names the file, as the flag --config does.
const ConfigEnv = "EUREKA_CONFIG"

// otherEnv are variables of the command that are no settings.
var otherEnv = []string{ConfigEnv, "EUREKA_URL", "EUREKA_TOKEN"}

// Setting is the declaration of one setting.
type Setting struct {
	Key     string // in the file
	Flag    string // without dashes
	Env     string
	Default string
	Help    string
	Enum    []string // allowed values; nil for any
	Type    string   // text, list, number, size, duration, yes/no
	secret  string   // "url": credentials in URLs are left out; "all": the value is
	field   int
}

// Declarations returns the declarations of all settings in their order.
func Declarations() []Setting {
	t := reflect.TypeFor[Settings]()
	list := make([]Setting, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		env := f.Tag.Get("env")
		key := strings.ToLower(strings.TrimPrefix(env, EnvPrefix))
		s := Setting{
			Key: key, Flag: strings.ReplaceAll(key, "_", "-"), Env: env, Default: f.Tag.Get("default"), Help: f.Tag.Get("help"),
			Type: typeName(f.Type), secret: f.Tag.Get("secret"), field: i,
		}
		if enum := f.Tag.Get("enum"); enum != "" {
			s.Enum = strings.Split(enum, ",")
		}
		list = append(list, s)
	}
	return list
}

func typeName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[Size]():
		return "size"
	case t == reflect.TypeFor[time.Duration]():
		return "duration"
	case t.Kind() == reflect.Slice:
		return "list"
	case t.Kind() == reflect.Bool:
		return "yes/no"
	case t.Kind() == reflect.Int:
		return "number"
	default:
		return "text"
	}
}

// Value is the setting's value in s as text; secret parts are left out.
func (d Setting) Value(s Settings) string {
	v := reflect.ValueOf(s).Field(d.field).Interface()
	text := fmt.Sprint(v)
	if list, ok := v.([]string); ok {
		text = strings.Join(list, ",")
	}
	switch {
	case d.secret == "all" && text != "":
		text = "xxxxx"
	case d.secret == "url":
		text = redact(text)
	}
	return text
}

// schemeStart finds where each URL of a list begins.
var schemeStart = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://`)

// redact hides what may be a credential in a comma list of URLs: all between the scheme and the last @, and everything behind ? or #.
// It hides rather too much: passwords may hold commas and #.
func redact(list string) string {
	starts := schemeStart.FindAllStringIndex(list, -1)
	if len(starts) == 0 {
		return hidden("", list)
	}
	var b strings.Builder
	b.WriteString(list[:starts[0][0]])
	for i, at := range starts {
		end := len(list)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		b.WriteString(hidden(list[at[0]:at[1]], list[at[1]:end]))
	}
	return b.String()
}

func hidden(scheme, rest string) string {
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = "xxxxx" + rest[at:]
	}
	if at := strings.IndexAny(rest, "?#"); at >= 0 {
		rest = rest[:at+1] + "xxxxx"
	}
	return scheme + rest
}

// Markdown documents all settings; docs/configuration.md is what it returns.
func Markdown() string {
	var b strings.Builder
	b.WriteString(`# Configuration

This page is generated from the declarations in internal/config (` + "`make gen`" + `).

A setting's value comes from its flag, else from its environment variable, else from the file (` + "`--config FILE` or `" + ConfigEnv + "`" + `), else
from its default. Unknown keys and variables are errors. ` + "`eureka config`" + ` prints the settings in force and where each comes
from; ` + "`eureka config check FILE`" + ` checks a file.

The file is YAML, one key a line:

` + "```yaml\nlisten: 127.0.0.1:8832\ndata_dir: /var/lib/eureka\nallowed_origins: [https://app.example.com]\n```" + `

Durations are written like 500ms, 25s, 2h; sizes like 128KB, 1MiB or plain bytes; lists with commas, in the file also as YAML lists.

| key | flag | variable | default | meaning |
|---|---|---|---|---|
`)
	for _, d := range Declarations() {
		def := "–"
		if d.Default != "" {
			def = "`" + d.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s` | `--%s` | `%s` | %s | %s |\n", d.Key, d.Flag, d.Env, def, strings.ReplaceAll(d.Help, "|", `\|`))
	}
	return b.String()
}

// nearest returns the candidate that s most likely means, "" when none is near.
func nearest(s string, candidates []string) string {
	best, distance := "", max(len(s)/3, 2)+1
	for _, c := range candidates {
		if d := editDistance(s, c); d < distance {
			best, distance = c, d
		}
	}
	return best
}

func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

func keys() []string {
	var all []string
	for _, d := range Declarations() {
		all = append(all, d.Key)
	}
	return all
}

func declared(key string) bool { return slices.Contains(keys(), key) }
