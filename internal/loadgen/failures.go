package loadgen

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"eureka"
)

// Failure is something that went wrong, and how often.
type Failure struct {
	Code    eureka.Code `json:"code"`
	Message string      `json:"message"`
	Count   int         `json:"count"`
}

// maxFailures bounds the different failures that are told apart.
const maxFailures = 100

// failures counts failures by what they say.
type failures map[string]*Failure

func (f failures) add(code eureka.Code, message string) {
	known, ok := f[message]
	if !ok {
		if len(f) >= maxFailures {
			message = "others"
			if known, ok = f[message]; ok {
				known.Count++
				return
			}
		}
		known = &Failure{Code: code, Message: message}
		f[message] = known
	}
	known.Count++
}

// refused counts the answer to a handshake that is no upgrade.
func (f failures) refused(status int, body []byte) {
	var problem struct {
		Code   eureka.Code
		Detail string
	}
	if at := bytes.IndexByte(body, '{'); at >= 0 && json.Unmarshal(bytes.TrimSpace(body[at:]), &problem) == nil && problem.Code != "" {
		f.add(problem.Code, fmt.Sprintf("refused with %d: %s", status, problem.Detail))
		return
	}
	f.add(eureka.CodeOf(unexpected(status, nil)), fmt.Sprintf("refused with %d %s", status, http.StatusText(status)))
}

// list is all of them, the most frequent first.
func (f failures) list() []Failure {
	var list []Failure
	for _, one := range f {
		list = append(list, *one)
	}
	slices.SortFunc(list, func(a, b Failure) int { return cmp.Or(b.Count-a.Count, cmp.Compare(a.Message, b.Message)) })
	return list
}
