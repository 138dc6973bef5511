package eureka

import (
	"slices"
	"strings"
)

// Limits of a query.
const (
	DefaultLimit   = 10    // items of a page when the query names no limit
	MaxLimit       = 1000  // items of a page at the most
	MaxOffset      = 10000 // how deep page numbers reach; beyond it a query goes on with After
	MaxConditions  = 20    // conditions of one query
	MaxQueryText   = 256   // bytes of free text
	MaxQueryValues = 100   // values of one condition
)

// Match is how a [Condition] compares.
type Match int

// The ways a condition compares. The zero value is AnyOf.
const (
	AnyOf   Match = iota // the field equals one of Values; "true"/"false" for booleans, decimal digits for numbers
	Missing              // the field is empty, zero or false
	Exists               // the field is not
)

// Condition is one filter of a list.
type Condition struct {
	Field  string
	Match  Match
	Values []string
}

// Sort orders a list by one field.
type Sort struct {
	Field string
	Desc  bool
}

// Paging selects a part of a list: either page Page (0-based) of Limit items, or, when After is set, the Limit items behind that
// position. After is the opaque Next of an earlier page of the same query; it stays right while others write, which
// page numbers cannot.
type Paging struct {
	Page  int
	Limit int // 0 means DefaultLimit; -1 means no items, only the total
	After string
}

// Size returns how many items the page has at the most: 0 when only the total is wanted.
func (p Paging) Size() int {
	switch {
	case p.Limit < 0:
		return 0
	case p.Limit == 0:
		return DefaultLimit
	default:
		return p.Limit
	}
}

// Offset returns how many items come before the page when it is chosen by number.
func (p Paging) Offset() int {
	if p.After != "" {
		return 0
	}
	return p.Page * p.Size()
}

func (p Paging) validate() error {
	switch {
	case p.Page < 0:
		return FieldError("page", "must not be negative")
	case p.Limit < -1 || p.Limit > MaxLimit:
		return FieldError("limit", "must be between 1 and %d", MaxLimit)
	case p.After != "" && p.Page != 0:
		return FieldError("after", "cannot be combined with page")
	case p.Page > MaxOffset || p.Offset() > MaxOffset:
		return FieldError("page", "reaches %d items deep at the most; go on with after=<next>", MaxOffset)
	case len(p.After) > 1024:
		return FieldError("after", "is not a position of this list")
	default:
		return nil
	}
}

// Page is one part of a list.
type Page[T any] struct {
	Total int    // items of the whole list, at the time of the query
	Items []T    // at most the asked limit
	Next  string // what After takes to go on; "" at the end
}

func (s Sort) validate(fields []string) error {
	if s.Field == "" || slices.Contains(fields, s.Field) {
		return nil
	}
	return FieldError("sort", "cannot sort by %q; choose one of %s", s.Field, strings.Join(fields, ", "))
}

func validateWhere(where []Condition, fields []string) error {
	if len(where) > MaxConditions {
		return Errorf(CodeInvalid, "the query has %d conditions, the limit is %d", len(where), MaxConditions)
	}
	for _, c := range where {
		switch {
		case !slices.Contains(fields, c.Field):
			return FieldError(c.Field, "cannot be filtered on; choose one of %s", strings.Join(fields, ", "))
		case len(c.Values) > MaxQueryValues:
			return FieldError(c.Field, "has %d values, the limit is %d", len(c.Values), MaxQueryValues)
		case c.Match == AnyOf && len(c.Values) == 0:
			return FieldError(c.Field, "needs a value")
		}
		for _, v := range c.Values {
			if err := checkText(c.Field, v, MaxDescLength); err != nil {
				return err
			}
		}
	}
	return nil
}
