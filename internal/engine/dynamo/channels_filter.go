package dynamo

import (
	"slices"
	"strconv"

	"eureka"
)

// channelFilter is a query's conditions, ready to be held against a channel.
type channelFilter struct {
	where   []eureka.Condition // values without repetition
	phrases phrases
	nothing bool // a text without a word selects nothing
}

// newChannelFilter checks what ChannelQuery.Validate leaves to the engine: the values of numbers and flags.
func newChannelFilter(q eureka.ChannelQuery) (channelFilter, error) {
	f := channelFilter{where: make([]eureka.Condition, len(q.Where)), phrases: parsePhrases(q.Text)}
	f.nothing = q.Text != "" && len(f.phrases) == 0
	for i, c := range q.Where {
		switch c.Match {
		case eureka.Missing, eureka.Exists:
		case eureka.AnyOf:
			values := make([]string, 0, len(c.Values))
			for _, v := range c.Values {
				v, err := canonical(c.Field, v)
				if err != nil {
					return channelFilter{}, err
				}
				if !slices.Contains(values, v) {
					values = append(values, v)
				}
			}
			c.Values = values
		default:
			return channelFilter{}, eureka.FieldError(c.Field, "cannot be compared in that way")
		}
		f.where[i] = c
	}
	return f, nil
}

// canonical is a value as fieldText writes it.
func canonical(field, value string) (string, error) {
	switch {
	case field == "presence":
		if value != "true" && value != "false" {
			return "", eureka.FieldError(field, "must be true or false")
		}
	case isNumber(field):
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return "", eureka.FieldError(field, "must be a whole number")
		}
		return strconv.FormatInt(n, 10), nil
	}
	return value, nil
}

// fieldText is a field as text, and whether it is missing: empty, zero or false.
func fieldText(field string, ch eureka.Channel) (value string, missing bool) {
	switch field {
	case "id":
		value = ch.ID
	case "desc":
		value = ch.Desc
	case "presence":
		return strconv.FormatBool(ch.Presence), !ch.Presence
	default:
		v := valueOf(field, ch)
		if isNumber(field) {
			return strconv.FormatInt(v.number, 10), v.number == 0
		}
		value = v.text
	}
	return value, value == ""
}

// all reports whether the filter lets everything pass.
func (f channelFilter) all() bool { return len(f.where) == 0 && len(f.phrases) == 0 && !f.nothing }

func (f channelFilter) match(ch eureka.Channel) bool {
	for _, c := range f.where {
		value, missing := fieldText(c.Field, ch)
		var holds bool
		switch c.Match {
		case eureka.Missing:
			holds = missing
		case eureka.Exists:
			holds = !missing
		default:
			holds = slices.Contains(c.Values, value)
		}
		if !holds {
			return false
		}
	}
	return f.phrases.match(ch)
}

// values returns the values one of which a field must have, when the query says so; of several conditions the one with the fewest. Not where
// one of them is empty: no index has the missing.
func (f channelFilter) values(field string) []string {
	var least []string
	for _, c := range f.where {
		if c.Field == field && c.Match == eureka.AnyOf && !slices.Contains(c.Values, "") && (least == nil || len(c.Values) < len(least)) {
			least = c.Values
		}
	}
	return least
}

// valuesOrMissing is values for a field that an index has in any case: "" stands for missing.
func (f channelFilter) valuesOrMissing(field string) []string {
	var least []string
	for _, c := range f.where {
		var values []string
		switch {
		case c.Field != field || c.Match == eureka.Exists:
			continue
		case c.Match == eureka.Missing:
			values = []string{""}
		default:
			values = c.Values
		}
		if least == nil || len(values) < len(least) {
			least = values
		}
	}
	return least
}
