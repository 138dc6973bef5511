package dynamo

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"

	"eureka"
)

// position is a place in a sorted list: behind the channel with this sort value and id.
type position struct {
	value sortValue
	id    string
}

// sortValue is what a list is sorted by: a text or a number, of which the other is zero.
type sortValue struct {
	text   string
	number int64
}

// positionSeparator cannot occur in a field: control characters are refused.
const positionSeparator = "\x00"

func isNumber(field string) bool { return field == "createdAt" || field == "updatedAt" }

// nextPosition encodes the place behind ch.
func nextPosition(sort eureka.Sort, ch eureka.Channel) string {
	v := valueOf(sort.Field, ch)
	value := v.text
	if isNumber(sort.Field) {
		value = strconv.FormatInt(v.number, 10)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(sortName(sort) + positionSeparator + value + positionSeparator + ch.ID))
}

// parsePosition decodes a place in a list with this sort; "" is nil, the start. Anything that nextPosition does not write for this sort is
// CodeInvalid.
func parsePosition(sort eureka.Sort, s string) (*position, error) {
	if s == "" {
		return nil, nil //nolint:nilnil // the start of a list is no position
	}
	wrong := eureka.FieldError("after", "is not a position of this list")
	data, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || !utf8.Valid(data) {
		return nil, wrong
	}
	parts := strings.Split(string(data), positionSeparator)
	if len(parts) != 3 || !eureka.ValidName(parts[2]) {
		return nil, wrong
	}
	if parts[0] != sortName(sort) {
		return nil, eureka.FieldError("after", "belongs to another sort than %s", sortName(sort))
	}
	p := &position{id: parts[2]}
	if !isNumber(sort.Field) {
		p.value.text = parts[1]
		return p, nil
	}
	p.value.number, err = strconv.ParseInt(parts[1], 10, 64)
	if err != nil || strconv.FormatInt(p.value.number, 10) != parts[1] {
		return nil, wrong
	}
	return p, nil
}

func sortName(sort eureka.Sort) string {
	if sort.Desc {
		return sort.Field + ":desc"
	}
	return sort.Field + ":asc"
}

// valueOf is what a list is sorted by first; for the id nothing, since it decides in any case.
func valueOf(field string, ch eureka.Channel) sortValue {
	switch field {
	case "alias":
		return sortValue{text: ch.Alias}
	case "service":
		return sortValue{text: ch.Service}
	case "modelType":
		return sortValue{text: ch.ModelType}
	case "modelId":
		return sortValue{text: ch.ModelID}
	case "name":
		return sortValue{text: ch.Name}
	case "createdAt":
		return sortValue{number: ch.CreatedAt}
	case "updatedAt":
		return sortValue{number: ch.UpdatedAt}
	default:
		return sortValue{}
	}
}
