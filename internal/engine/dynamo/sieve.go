package dynamo

import (
	"log/slog"

	"eureka"
	"eureka/internal/protocol"
)

// sieve says who gets one message, by the filters of subscriptions; each distinct one is evaluated once. It is not safe for concurrent use.
type sieve struct {
	e       *Engine
	body    []byte // what protocol.MessageBody made
	origin  eureka.Origin
	begun   bool
	open    bool           // everybody gets it: it is no message of a publisher
	run     eureka.RuleRun // nil: it cannot be evaluated, and passes no filter
	results map[string]bool
}

// sieve makes one; the body is read when there is a filter to evaluate.
func (e *Engine) sieve(body []byte, origin eureka.Origin) *sieve {
	return &sieve{e: e, body: body, origin: origin}
}

// passes reports whether the message passes a filter whose text is read.
func (s *sieve) passes(f filter) bool {
	if f == (filter{}) {
		return true
	}
	if !s.begun {
		s.begin()
	}
	if s.open || s.run == nil {
		return s.open
	}
	passed, known := s.results[f.text]
	if !known {
		ok, err := s.run.Passes(eureka.RuleSubscription, f.text)
		passed = ok && err == nil // the rules report what fails
		s.results[f.text] = passed
	}
	return passed
}

func (s *sieve) begin() {
	s.begun = true
	m, err := protocol.ParseBody(s.body)
	switch {
	case err != nil:
		s.e.options.Log.Error("a message cannot be read; it passes no filter", slog.Any("error", err))
	case m.Action != eureka.ActionMessage:
		s.open = true
	case s.e.options.Rules == nil:
		s.e.options.Log.Error("a subscription has a filter and there are no rules to evaluate it; it gets nothing")
	default:
		m.Origin = s.origin
		s.run, s.results = s.e.options.Rules.On(eureka.RuleSubject{Facts: m.Facts()}), map[string]bool{}
	}
}
