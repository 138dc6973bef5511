package deploytest

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// template is as much of a template as the fake reads.
type template struct {
	Parameters map[string]parameter
	Conditions map[string]json.RawMessage
	Resources  map[string]json.RawMessage
	Outputs    map[string]struct{ Value json.RawMessage }
}

type parameter struct {
	Type           string
	Default        any
	AllowedValues  []any
	AllowedPattern string
	MinValue       *float64
	MaxValue       *float64
}

// maxBody is what CloudFormation takes in a request.
const maxBody = 51_200

func parseTemplate(body string) (*template, error) {
	if len(body) > maxBody {
		return nil, fmt.Errorf("the template has %d bytes, the limit is %d", len(body), maxBody)
	}
	var t template
	if err := json.Unmarshal([]byte(body), &t); err != nil {
		return nil, fmt.Errorf("Template format error: %w", err) //nolint:staticcheck // the words of AWS
	}
	compact := map[string]json.RawMessage{}
	for name, text := range t.Resources {
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			return nil, err
		}
		if err := t.checkReferences(name, v); err != nil {
			return nil, err
		}
		out, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		compact[name] = out
	}
	t.Resources = compact
	for name, o := range t.Outputs {
		var v any
		if err := json.Unmarshal(o.Value, &v); err != nil {
			return nil, err
		}
		if err := t.checkReferences("output "+name, v); err != nil {
			return nil, err
		}
	}
	return &t, nil
}

var substitution = regexp.MustCompile(`\$\{([^}!]+)\}`)

// checkReferences finds references to what is not in the template.
func (t *template) checkReferences(where string, v any) error {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			if err := t.checkReferences(where, item); err != nil {
				return err
			}
		}
	case map[string]any:
		for key, value := range v {
			if err := t.checkReference(where, key, value); err != nil {
				return err
			}
			if err := t.checkReferences(where, value); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *template) checkReference(where, key string, value any) error {
	items, _ := value.([]any)
	if condition := conditionOf(key, value, items); condition != "" {
		if _, there := t.Conditions[condition]; !there {
			return fmt.Errorf("%s uses the unknown condition %s", where, condition)
		}
	}
	for _, name := range referred(key, value, items) {
		_, parameter := t.Parameters[name]
		_, resource := t.Resources[name]
		if !parameter && !resource && !strings.HasPrefix(name, "AWS::") {
			return fmt.Errorf("Template format error: Unresolved resource dependencies [%s] in %s", name, where) //nolint:staticcheck // likewise
		}
	}
	return nil
}

// conditionOf is the condition that an intrinsic function or an attribute names, "" for none.
func conditionOf(key string, value any, items []any) string {
	switch {
	case key == "Fn::If" && len(items) == 3:
		return fmt.Sprint(items[0])
	case key == "Condition":
		text, _ := value.(string)
		return text
	default:
		return ""
	}
}

// referred is what an intrinsic function or an attribute names.
func referred(key string, value any, items []any) []string {
	var names []string
	switch {
	case key == "Ref":
		names = append(names, fmt.Sprint(value))
	case key == "Fn::Sub":
		for _, m := range substitution.FindAllStringSubmatch(fmt.Sprint(value), -1) {
			name, _, _ := strings.Cut(m[1], ".")
			names = append(names, name)
		}
	case key == "Fn::GetAtt" && len(items) == 2:
		names = append(names, fmt.Sprint(items[0]))
	case key == "DependsOn":
		for _, item := range items {
			names = append(names, fmt.Sprint(item))
		}
	}
	return names
}

func (t *template) kind(name string) string {
	var r struct{ Type string }
	_ = json.Unmarshal(t.Resources[name], &r) // parseTemplate has read it
	return r.Type
}

func (t *template) has(kind string) bool {
	for name := range t.Resources {
		if t.kind(name) == kind {
			return true
		}
	}
	return false
}

func members(in url.Values, list string) []string {
	var out []string
	for i := 1; in.Has(fmt.Sprintf("%s.member.%d", list, i)); i++ {
		out = append(out, in.Get(fmt.Sprintf("%s.member.%d", list, i)))
	}
	return out
}

// values are the parameters' values of a request, over those of before.
func (t *template) values(in url.Values, before map[string]string) (map[string]string, error) {
	given := map[string]string{}
	for i := 1; ; i++ {
		prefix := fmt.Sprintf("Parameters.member.%d.", i)
		name := in.Get(prefix + "ParameterKey")
		if name == "" {
			break
		}
		if _, known := t.Parameters[name]; !known {
			return nil, fmt.Errorf("Parameters: [%s] do not exist in the template", name) //nolint:staticcheck // likewise
		}
		if in.Get(prefix+"UsePreviousValue") == "true" {
			value, there := before[name]
			if !there {
				return nil, fmt.Errorf("Invalid input for parameter key %s. Cannot specify usePreviousValue as true for a parameter key not in the previous template", name) //nolint:staticcheck // likewise
			}
			given[name] = value
			continue
		}
		given[name] = in.Get(prefix + "ParameterValue")
	}
	for name, p := range t.Parameters {
		value, there := given[name]
		if !there {
			if p.Default == nil {
				return nil, fmt.Errorf("Parameters: [%s] must have values", name) //nolint:staticcheck // likewise
			}
			value = fmt.Sprint(p.Default)
			given[name] = value
		}
		if err := p.check(name, value); err != nil {
			return nil, err
		}
	}
	return given, nil
}

func (p parameter) check(name, value string) error {
	if len(p.AllowedValues) > 0 && !slices.ContainsFunc(p.AllowedValues, func(v any) bool { return fmt.Sprint(v) == value }) {
		return fmt.Errorf("Parameter '%s' must be one of AllowedValues", name)
	}
	if p.AllowedPattern != "" && !regexp.MustCompile("^(?:"+p.AllowedPattern+")$").MatchString(value) {
		return fmt.Errorf("Parameter '%s' must match pattern %s", name, p.AllowedPattern)
	}
	if p.Type == "Number" {
		n, err := strconv.ParseFloat(value, 64)
		if err != nil || (p.MinValue != nil && n < *p.MinValue) || (p.MaxValue != nil && n > *p.MaxValue) {
			return fmt.Errorf("Parameter '%s' must be a number within its bounds", name)
		}
	}
	return nil
}
