package natsengine

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"

	"eureka"
)

// cursor is a position in a sorted list: behind the channel with this sort value and id.
type cursor struct {
	value any // string or int64, as the column
	id    string
}

// cursorSeparator cannot occur in a field: control characters are refused.
const cursorSeparator = "\x00"

// nextCursor encodes the position behind ch: base64url of sort, value and id.
func nextCursor(sort eureka.Sort, ch eureka.Channel) string {
	return base64.RawURLEncoding.EncodeToString([]byte(
		sortName(sort) + cursorSeparator + sortValue(sort.Field, ch) + cursorSeparator + ch.ID))
}

// parseCursor decodes a position of a list with this sort; "" is nil, the start. Anything that nextCursor does not write for this
// sort is a CodeInvalid error.
func parseCursor(sort eureka.Sort, s string) (*cursor, error) {
	if s == "" {
		return nil, nil //nolint:nilnil // the start of a list is no position
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || !utf8.Valid(data) {
		return nil, errCursor()
	}
	parts := strings.Split(string(data), cursorSeparator)
	if len(parts) != 3 || !eureka.ValidName(parts[2]) {
		return nil, errCursor()
	}
	if parts[0] != sortName(sort) {
		return nil, eureka.FieldError("after", "belongs to another sort than %s", sortName(sort))
	}
	c := &cursor{value: parts[1], id: parts[2]}
	if columns[sort.Field].kind == numberColumn {
		n, err := strconv.ParseInt(parts[1], 10, 64)
		if err != nil || strconv.FormatInt(n, 10) != parts[1] {
			return nil, errCursor()
		}
		c.value = n
	}
	return c, nil
}

func errCursor() error { return eureka.FieldError("after", "is not a position of this list") }

func sortName(sort eureka.Sort) string {
	if sort.Desc {
		return sort.Field + ":desc"
	}
	return sort.Field + ":asc"
}

func sortValue(field string, ch eureka.Channel) string {
	switch field {
	case "alias":
		return ch.Alias
	case "service":
		return ch.Service
	case "modelType":
		return ch.ModelType
	case "modelId":
		return ch.ModelID
	case "name":
		return ch.Name
	case "createdAt":
		return strconv.FormatInt(ch.CreatedAt, 10)
	case "updatedAt":
		return strconv.FormatInt(ch.UpdatedAt, 10)
	default: // id: the second part of every position says it
		return ""
	}
}
