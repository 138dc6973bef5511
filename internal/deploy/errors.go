package deploy

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/smithy-go"

	"eureka"
)

// codeOf is the code of an error of AWS.
func codeOf(err error) eureka.Code {
	if errors.Is(err, context.DeadlineExceeded) {
		return eureka.CodeTimeout
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		return eureka.CodeUnavailable
	}
	switch code := api.ErrorCode(); {
	case strings.Contains(code, "AccessDenied"), strings.Contains(code, "Unauthorized"):
		return eureka.CodeForbidden
	case strings.Contains(code, "Token"), strings.Contains(code, "Signature"), strings.Contains(code, "AccessKey"):
		return eureka.CodeUnauthenticated
	case strings.Contains(code, "Throttl"), strings.Contains(code, "SlowDown"):
		return eureka.CodeRateLimited
	case strings.Contains(code, "AlreadyExists"), strings.Contains(code, "InProgress"):
		return eureka.CodeConflict
	case strings.Contains(code, "Validation"):
		return eureka.CodeInvalid
	default:
		return eureka.CodeUnavailable
	}
}

// reason is what AWS says, for the person who deploys: nobody else sees it.
func reason(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorMessage() != "" {
		return api.ErrorCode() + ": " + api.ErrorMessage()
	}
	return err.Error()
}

// isCode reports whether err is an error of AWS with this code.
func isCode(err error, codes ...string) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return false
	}
	for _, code := range codes {
		if api.ErrorCode() == code {
			return true
		}
	}
	return false
}
