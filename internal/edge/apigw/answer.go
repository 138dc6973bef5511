package apigw

import "fmt"

// answer is a refusal of @connections, for the log.
type answer struct {
	status int
	kind   string
	text   string
	err    error // of reading the text
}

// Error implements error.
func (a *answer) Error() string {
	return fmt.Sprintf("@connections answered %d %s: %.200s", a.status, a.kind, a.text)
}

// Unwrap returns why the text may be incomplete.
func (a *answer) Unwrap() error { return a.err }
