package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"eureka"
)

// maxFile is the largest settings file, in bytes.
const maxFile = 64 << 10

// File is the settings of a file as text, by key.
type File struct {
	Path   string
	values map[string]string
}

// ReadFile reads and checks a settings file. CodeInvalid names the file and the line of what is wrong with it, CodeNotFound a missing file.
func ReadFile(path string) (File, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return File{}, eureka.WrapError(eureka.CodeNotFound, err, "there is no settings file %s", path)
	case err != nil:
		return File{}, eureka.WrapError(eureka.CodeForbidden, err, "the settings file %s cannot be read", path)
	case info.IsDir() || info.Size() > maxFile:
		return File{}, eureka.Errorf(eureka.CodeInvalid, "%s is not a settings file of at most %d bytes", path, maxFile)
	}
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return File{}, eureka.WrapError(eureka.CodeForbidden, err, "the settings file %s cannot be read", path)
	}
	return parseFile(path, text)
}

func parseFile(path string, text []byte) (File, error) {
	f := File{Path: path, values: map[string]string{}}
	var raw map[string]any
	if err := yaml.Unmarshal(text, &raw); err != nil {
		line := ""
		var located yaml.Error
		if errors.As(err, &located) && located.GetToken() != nil {
			line = ":" + strconv.Itoa(located.GetToken().Position.Line)
		}
		// The parser's own text quotes the file, which may hold a password.
		return f, eureka.Errorf(eureka.CodeInvalid, "%s%s: is not YAML of the form key: value", path, line)
	}
	for _, d := range slices.Sorted(maps.Keys(raw)) {
		where := fmt.Sprintf("%s:%d", path, lineOf(text, d))
		if !declared(d) {
			return f, unknown(where+": unknown key", d, keys())
		}
		value, err := scalar(raw[d])
		if err == nil {
			err = Check(d, value)
		}
		if err != nil {
			return f, eureka.WrapError(eureka.CodeInvalid, err, "%s: %s: %s", where, d, err.Error())
		}
		f.values[d] = value
	}
	return f, nil
}

// Value is the file's text for a key.
func (f File) Value(key string) (string, bool) {
	v, ok := f.values[key]
	return v, ok
}

// orchestrated are the variables that Kubernetes gives every container of a namespace with a service named eureka.
var orchestrated = regexp.MustCompile(`^EUREKA(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_[0-9].*)?)$`)

// CheckEnvironment refuses variables that look like settings and are none. An empty variable counts as not set.
func CheckEnvironment(environ []string) error {
	known := slices.Clone(otherEnv)
	for _, d := range Declarations() {
		known = append(known, d.Env)
	}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, EnvPrefix) || value == "" || orchestrated.MatchString(name) {
			continue
		}
		if !slices.Contains(known, name) {
			return unknown("unknown environment variable", name, known)
		}
		key := strings.ToLower(strings.TrimPrefix(name, EnvPrefix))
		if !declared(key) {
			continue
		}
		if err := Check(key, value); err != nil {
			return eureka.WrapError(eureka.CodeInvalid, err, "%s: %s", name, err.Error())
		}
	}
	return nil
}

// Check reports whether a text is a value of the setting, apart from its bounds, which Verify knows.
func Check(key, value string) error {
	for _, d := range Declarations() {
		if d.Key == key {
			return d.check(value)
		}
	}
	return fmt.Errorf("is no setting")
}

func (d Setting) check(value string) error {
	if d.Enum != nil && !slices.Contains(d.Enum, value) {
		return fmt.Errorf("%q is none of %s", value, strings.Join(d.Enum, ", "))
	}
	switch reflect.TypeFor[Settings]().Field(d.field).Type {
	case reflect.TypeFor[time.Duration]():
		if _, err := time.ParseDuration(value); err != nil {
			return fmt.Errorf("%q is no duration; write 500ms, 25s or 2h", value)
		}
	case reflect.TypeFor[Size]():
		return new(Size).UnmarshalText([]byte(value))
	case reflect.TypeFor[int]():
		if _, err := strconv.Atoi(value); err != nil {
			return fmt.Errorf("%q is no number", value)
		}
	case reflect.TypeFor[bool]():
		if !slices.Contains([]string{"true", "false", "yes", "no", "1", "0"}, value) {
			return fmt.Errorf("%q is neither true nor false", value)
		}
	}
	return nil
}

// scalar writes a YAML value as the text that a flag would take.
func scalar(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case map[string]any:
		return "", errors.New("takes one value, not a section")
	case []any:
		parts := make([]string, 0, len(v))
		for _, item := range v {
			text, err := scalar(item)
			if err != nil {
				return "", err
			}
			parts = append(parts, text)
		}
		return strings.Join(parts, ","), nil
	default:
		return fmt.Sprint(v), nil
	}
}

func unknown(what, name string, candidates []string) error {
	hint := ""
	if near := nearest(name, candidates); near != "" {
		hint = fmt.Sprintf(", did you mean %q?", near)
	}
	return eureka.Errorf(eureka.CodeInvalid, "%s %q%s", what, name, hint)
}

// lineOf finds the line of a top-level key.
func lineOf(text []byte, key string) int {
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		rest, ok := strings.CutPrefix(strings.TrimLeft(line, `"'`), key)
		if ok && strings.HasPrefix(strings.TrimLeft(rest, "\"' \t"), ":") {
			return number
		}
	}
	return 1
}
