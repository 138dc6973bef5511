package dynamo

import (
	"context"
	"log/slog"
	"time"

	"eureka"
	"eureka/internal/protocol"
)

// filterTime is how long the filters of a batch may take before it is made smaller. One message may take longer: a thousand of the dearest filters take
// some seconds.
const filterTime = 2 * time.Second

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

// evaluate evaluates the filters of a page of subscribers before anything is posted to them, message by message, and keeps the lease meanwhile. As long
// as nobody was posted to, messages that there was no time for are left to the next batch.
func (e *Engine) evaluate(ctx context.Context, b *batch, page []subscriber, first bool) error {
	began := e.options.Now()
	for i, who := range b.sieves {
		for _, s := range page {
			if s.replaying || s.filter == (filter{}) {
				continue
			}
			who.passes(s.filter)
			if e.holds(b.l) {
				continue
			}
			if err := e.save(ctx, b.l, true); err != nil {
				return err
			}
		}
		if first && e.options.Now().Sub(began) > filterTime {
			b.keep(i + 1)
			return nil
		}
	}
	return nil
}
