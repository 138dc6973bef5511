package eureka

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// Code is the machine-readable kind of an [Error]. It is part of the protocol: clients and scripts switch on it, so a
// code's meaning never changes.
type Code string

// The error codes of the protocol. [Code.Outcome] says what each means outside the service.
const (
	CodeInvalid         Code = "invalid"         // the request is malformed or breaks a limit; the same request never succeeds
	CodeUnauthenticated Code = "unauthenticated" // no valid credential
	CodeForbidden       Code = "forbidden"       // a valid credential that may not do this
	CodeNotFound        Code = "not_found"       // the named thing does not exist, or was deleted
	CodeConflict        Code = "conflict"        // the id is taken, or the revision is stale
	CodeGone            Code = "gone"            // the socket has ended, or the channel was deleted under a subscriber
	CodeGap             Code = "gap"             // messages may have been missed; fetch the state again
	CodeTooLarge        Code = "too_large"       // over a size limit
	CodeRateLimited     Code = "rate_limited"    // too many requests; retry later
	CodeUnavailable     Code = "unavailable"     // the service or its engine cannot answer now; retry later
	CodeTimeout         Code = "timeout"         // the answer did not come in time; retry later
	CodeUnknownAction   Code = "unknown_action"  // the frame's action is not known here
	CodeInternal        Code = "internal"        // a defect of the service; its log has the cause
)

// Outcome is what one error code means to each kind of caller.
type Outcome struct {
	HTTPStatus int       // status of the HTTP answer
	Close      CloseCode // close code when the error ends a socket
	Exit       int       // exit code of the command line
	Retry      bool      // the same request may succeed later
}

// outcomes is the one table from code to consequence. Exit codes 0–2 are the shell's (success, failure, usage).
var outcomes = map[Code]Outcome{
	CodeInvalid:         {http.StatusBadRequest, CloseInvalid, 3, false},
	CodeUnauthenticated: {http.StatusUnauthorized, CloseUnauthenticated, 4, false},
	CodeForbidden:       {http.StatusForbidden, CloseForbidden, 5, false},
	CodeNotFound:        {http.StatusNotFound, CloseNotFound, 6, false},
	CodeConflict:        {http.StatusConflict, CloseConflict, 7, false},
	CodeGone:            {http.StatusGone, CloseGone, 8, false},
	CodeGap:             {http.StatusGone, CloseGap, 9, false},
	CodeTooLarge:        {http.StatusRequestEntityTooLarge, CloseTooBig, 10, false},
	CodeRateLimited:     {http.StatusTooManyRequests, CloseRateLimited, 11, true},
	CodeUnavailable:     {http.StatusServiceUnavailable, CloseUnavailable, 12, true},
	CodeTimeout:         {http.StatusGatewayTimeout, CloseTimeout, 13, true},
	CodeUnknownAction:   {http.StatusBadRequest, CloseInvalid, 14, false},
	CodeInternal:        {http.StatusInternalServerError, CloseInternal, 1, false},
}

// Codes lists every code in the order of the documentation.
func Codes() []Code {
	return []Code{
		CodeInvalid, CodeUnauthenticated, CodeForbidden, CodeNotFound, CodeConflict, CodeGone, CodeGap, CodeTooLarge,
		CodeRateLimited, CodeUnavailable, CodeTimeout, CodeUnknownAction, CodeInternal,
	}
}

// Outcome returns what the code means to HTTP, WebSocket and shell callers; an unknown code counts as internal.
func (c Code) Outcome() Outcome {
	if o, ok := outcomes[c]; ok {
		return o
	}
	return outcomes[CodeInternal]
}

// Error is the one error type that crosses package boundaries. Message is written for the client: adapters translate
// foreign errors into it and keep the foreign text in Err, which is for the log alone.
type Error struct {
	Code    Code
	Message string // safe to show to a client
	Field   string // the request field at fault, "" when none is
	Err     error  // cause for the log, never shown to a client
}

// Error returns the code, the message and the cause; it is meant for logs. Clients get [MessageOf].
func (e *Error) Error() string {
	s := string(e.Code) + ": " + e.Message
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, &Error{Code: c}) true for every error of that code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && (t.Message == "" || t.Message == e.Message)
}

// Errorf makes an Error with a message for the client.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// FieldError makes a CodeInvalid error that names the field at fault.
func FieldError(field, format string, args ...any) *Error {
	return &Error{Code: CodeInvalid, Field: field, Message: field + ": " + fmt.Sprintf(format, args...)}
}

// WrapError makes an Error whose cause is kept for the log and never shown to a client.
func WrapError(code Code, cause error, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Err: cause}
}

// CodeOf returns the code of err: that of the first Error in its chain, timeout or unavailable for an ended context, and internal
// for anything foreign. A nil err has the code "".
func CodeOf(err error) Code {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, context.DeadlineExceeded):
		return CodeTimeout
	case errors.Is(err, context.Canceled):
		return CodeUnavailable
	default:
		return CodeInternal
	}
}

// MessageOf returns the text a client may see: the message of the first Error in the chain, and a fixed sentence for
// anything foreign, so that foreign text never leaves the service.
func MessageOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Message
	}
	switch CodeOf(err) {
	case "":
		return ""
	case CodeTimeout:
		return "the answer did not come in time"
	case CodeUnavailable:
		return "the request was cancelled"
	default:
		return "internal error"
	}
}
