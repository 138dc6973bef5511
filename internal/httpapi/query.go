package httpapi

import (
	"net/url"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"eureka"
)

// ListQuery is the paging that every list takes. It is exported because huma reads exported parts of an input alone.
type ListQuery struct {
	Page  int    `query:"page" doc:"Page number, from 0."`
	Limit int    `query:"limit" doc:"Items of a page: 1 to 1000, 10 by default; -1 for as many as allowed."`
	After string `query:"after" doc:"The next of an earlier page: go on behind it. Stays right while others write, which page numbers cannot."`
}

func (q ListQuery) paging() eureka.Paging {
	p := eureka.Paging{Page: q.Page, Limit: q.Limit, After: q.After}
	if p.Limit == -1 {
		p.Limit = eureka.MaxLimit
	} else if p.Limit < -1 {
		p.Limit = eureka.MaxLimit + 1 // refused by the query's own check, with its words
	}
	return p
}

// List is the answer of every list.
type List[T any] struct {
	Total int    `json:"total" doc:"Items of the whole list."`
	Page  int    `json:"page" doc:"Page number, from 0."`
	Limit int    `json:"limit" doc:"Items of a page at the most."`
	List  []T    `json:"list" doc:"The items of this page."`
	Next  string `json:"next,omitempty" doc:"What after takes to go on; absent at the end."`
}

func listOf[F, T any](p eureka.Paging, page eureka.Page[F], view func(F) T) List[T] {
	l := List[T]{Total: page.Total, Page: p.Page, Limit: p.Size(), List: make([]T, 0, len(page.Items)), Next: page.Next}
	for _, item := range page.Items {
		l.List = append(l.List, view(item))
	}
	return l
}

// RawQuery gives an operation the query as it was sent: an empty value differs from none.
type RawQuery struct{ values url.Values }

// Resolve implements huma.Resolver.
func (q *RawQuery) Resolve(ctx huma.Context) []error {
	u := ctx.URL()
	q.values = u.Query()
	return nil
}

// conditions reads the filters among the query's parameters: "" means that the field is missing, "!" that it is there,
// several values any of them.
func conditions(values url.Values, fields []string) []eureka.Condition {
	var where []eureka.Condition
	for _, field := range fields {
		given, ok := values[field]
		switch {
		case !ok:
		case slices.Contains(given, "!"):
			where = append(where, eureka.Condition{Field: field, Match: eureka.Exists})
		case slices.Contains(given, ""):
			where = append(where, eureka.Condition{Field: field, Match: eureka.Missing})
		default:
			where = append(where, eureka.Condition{Field: field, Values: given})
		}
	}
	return where
}

// sorting reads "field", "field:asc" or "field:desc".
func sorting(s string) (eureka.Sort, error) {
	field, direction, _ := strings.Cut(s, ":")
	switch direction {
	case "", "asc":
		return eureka.Sort{Field: field}, nil
	case "desc":
		return eureka.Sort{Field: field, Desc: true}, nil
	default:
		return eureka.Sort{}, eureka.FieldError("sort", "has direction %q; write field:asc or field:desc", direction)
	}
}
