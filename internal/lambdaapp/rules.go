package lambdaapp

import (
	"context"
	"log/slog"
	"sync"

	"eureka"
)

// RulesFailed is the message of the line in which a call logs how many evaluations of rules failed in it, with their kind and count. The stack's metric
// RuleErrors is made of these lines.
const RulesFailed = "rules failed"

// failures counts failing evaluations of rules.
type failures struct {
	mu     sync.Mutex
	counts map[eureka.RuleKind]int
}

// add counts one more. It is the Failed of rule.Options.
func (f *failures) add(kind eureka.RuleKind) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counts == nil {
		f.counts = map[eureka.RuleKind]int{}
	}
	f.counts[kind]++
}

// take returns what was counted since it was called last.
func (f *failures) take() map[eureka.RuleKind]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	counts := f.counts
	f.counts = nil
	return counts
}

// counting logs behind each call what has failed in it.
type counting struct {
	Handler

	failures *failures
	log      *slog.Logger
}

// Invoke implements Handler.
func (c counting) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	answer, err := c.Handler.Invoke(ctx, payload)
	for kind, count := range c.failures.take() {
		c.log.WarnContext(ctx, RulesFailed, slog.String("kind", string(kind)), slog.Int("count", count))
	}
	return answer, err
}
