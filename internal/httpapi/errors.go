package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"eureka"
	"eureka/internal/problem"
)

// laterFields are, of a broadcast, fields of a later version: a client that sends one hears that, instead of that the field is unknown.
var laterFields = []string{"filter"}

// details makes the answer of a failed operation and leaves the cause for the request's log line.
func details(ctx context.Context, err error) error {
	noteError(ctx, err)
	return problem.Of(err)
}

var errorsOnce sync.Once

// useOurErrors makes huma's own errors look like all others. huma keeps its error constructor and this default
// in variables of its package, so it cannot be done per API.
func useOurErrors() {
	errorsOnce.Do(func() {
		// Lists are never null here, so their schemas should not say so.
		huma.DefaultArrayNullable = false
		// A key in another case would pass the check and then be read by some of the code and not by the rest.
		huma.ValidateStrictCasing = true
		huma.NewErrorWithContext = func(ctx huma.Context, status int, message string, errs ...error) huma.StatusError {
			err := translate(status, message, errs)
			if ctx != nil {
				noteError(ctx.Context(), err)
			}
			return problem.Of(err)
		}
		huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
			return problem.Of(translate(status, message, errs))
		}
	})
}

// translate turns an error that huma found in a request into ours. Its texts are about the request's own values, but
// only those known to be readable are passed on.
func translate(status int, message string, errs []error) error {
	var detail *huma.ErrorDetail
	for _, err := range errs {
		if errors.As(err, &detail) {
			break
		}
	}
	switch {
	case status == http.StatusRequestEntityTooLarge:
		return eureka.Errorf(eureka.CodeTooLarge, "the body is too large")
	case status == http.StatusUnprocessableEntity && detail != nil:
		return invalid(detail)
	case status >= 400 && status < 500 && detail != nil && strings.HasPrefix(detail.Location, "body"):
		return eureka.FieldError("body", "is not valid JSON")
	case status >= 400 && status < 500:
		return eureka.Errorf(eureka.CodeInvalid, "the request cannot be read: %s", strings.ToLower(message))
	default:
		return eureka.WrapError(eureka.CodeInternal, errors.Join(errs...), "internal error")
	}
}

// invalid words one finding of huma's validation.
func invalid(d *huma.ErrorDetail) error {
	_, field, inside := strings.Cut(d.Location, ".")
	if !inside {
		field = d.Location
	}
	switch {
	case d.Message == "unexpected property" && slices.Contains(laterFields, field):
		return eureka.FieldError(field, "is not available in this version")
	case d.Message == "unexpected property":
		return eureka.FieldError(field, "is no field of this request")
	case strings.Contains(d.Message, "unknown query parameter"):
		return eureka.FieldError(field, "is no parameter of this request")
	case strings.HasPrefix(d.Message, "expected required property "):
		return eureka.FieldError(strings.Fields(d.Message)[3], "is missing")
	default:
		return eureka.FieldError(field, "%s", d.Message)
	}
}

// recovered makes an error of a panic.
func recovered(fault any) error {
	return eureka.WrapError(eureka.CodeInternal, fmt.Errorf("panic: %v", fault), "internal error")
}
