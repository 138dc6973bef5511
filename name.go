package eureka

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxNameLength is the longest channel id or alias, in bytes.
const MaxNameLength = 128

// DefaultChannel is the channel that a client joins with the connect parameter "default".
const DefaultChannel = "0000"

// NewID is the placeholder id of the original's API that asks for the next number.
const NewID = "0"

// ValidName reports whether s is a well-formed channel id or alias: [A-Za-z0-9][A-Za-z0-9._:-]{0,127}.
func ValidName(s string) bool {
	if len(s) == 0 || len(s) > MaxNameLength {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == ':' || c == '-'):
		default:
			return false
		}
	}
	return true
}

// CheckName returns a CodeInvalid error that names the field when s is not a well-formed channel id or alias.
func CheckName(field, s string) error {
	if ValidName(s) {
		return nil
	}
	return FieldError(field, "must be 1 to %d characters of A-Z a-z 0-9 . _ : - and start with a letter or digit", MaxNameLength)
}

// ModelName is the undeclared channel id that events of a service and model are also routed to: "service:modelType" or,
// with a model id, "service:modelType:modelId". It returns "" when the parts do not make a well-formed id.
func ModelName(service, modelType, modelID string) string {
	name := service + ":" + modelType
	if modelID != "" {
		name += ":" + modelID
	}
	if service == "" || modelType == "" || !ValidName(name) {
		return ""
	}
	return name
}

// checkText checks a free text field: valid UTF-8, no control characters but newline and tab, at most maximum bytes.
func checkText(field, s string, maximum int) error {
	switch {
	case len(s) > maximum:
		return FieldError(field, "is %d bytes long, the limit is %d", len(s), maximum)
	case !utf8.ValidString(s):
		return FieldError(field, "is not valid UTF-8")
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }):
		return FieldError(field, "has a control character")
	default:
		return nil
	}
}
