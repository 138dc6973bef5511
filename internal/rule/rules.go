package rule

import (
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"golang.org/x/time/rate"

	"eureka"
)

// DefaultCacheSize is how many compiled rules are kept by default.
const DefaultCacheSize = 20_000

// Lines of the log about failing rules.
const (
	logEvery = 10 * time.Second
	logBurst = 5
)

// Options configure Rules.
type Options struct {
	CacheSize int                        // compiled rules to keep; 0 means DefaultCacheSize
	Failed    func(kind eureka.RuleKind) // told of each evaluation that failed; nil for nobody
	Log       *slog.Logger               // gets some of them, with the rule's text
	Now       func() time.Time           // nil means time.Now
}

// Rules compiles and evaluates rules. It is safe for concurrent use, and the eureka.Rules of this service.
type Rules struct {
	cache  *cache
	failed func(kind eureka.RuleKind)
	log    *slog.Logger
	now    func() time.Time
	lines  *rate.Limiter
}

// New returns Rules without a rule in them.
func New(o Options) *Rules {
	r := &Rules{cache: newCache(o.CacheSize), failed: o.Failed, log: o.Log, now: o.Now, lines: rate.NewLimiter(rate.Every(logEvery), logBurst)}
	if o.CacheSize <= 0 {
		r.cache.size = DefaultCacheSize
	}
	if r.failed == nil {
		r.failed = func(eureka.RuleKind) {}
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.now == nil {
		r.now = time.Now
	}
	return r
}

// get returns a rule, compiled.
func (r *Rules) get(kind eureka.RuleKind, text string) (*compiled, error) {
	limit := eureka.MaxRuleLength
	if kind == eureka.RuleSubscription {
		limit = eureka.MaxFilterLength // it may be two in one
	}
	return r.cache.get(kind, text, func() (*compiled, error) {
		c, _, err := compile(kind, text, limit)
		return c, err
	})
}

// Check implements eureka.Rules.
func (r *Rules) Check(kind eureka.RuleKind, text string) error {
	_, err := r.get(kind, text)
	return err
}

// Join implements eureka.Rules. Each filter is compiled alone and written anew from what was understood, so that none can reach beyond itself by a
// comment, a quote or a parenthesis.
func (r *Rules) Join(filters ...string) (string, error) {
	var parts []string
	for _, filter := range filters {
		if filter == "" {
			continue
		}
		part, err := canonical(filter)
		if err != nil {
			return "", err
		}
		if !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	switch len(parts) {
	case 0:
		return "", nil
	case 1:
		return parts[0], nil
	}
	_, checked, err := compile(eureka.RuleSubscription, "("+strings.Join(parts, ") && (")+")", eureka.MaxFilterLength)
	if err != nil {
		return "", err
	}
	if e := checked.NativeRep().Expr(); e.Kind() != celast.CallKind || e.AsCall().FunctionName() != operators.LogicalAnd {
		return "", eureka.Errorf(eureka.CodeInternal, "filters could not be joined")
	}
	return unparse(checked)
}

// canonical is a filter as it is written when it is the same.
func canonical(filter string) (string, error) {
	_, checked, err := compile(eureka.RuleSubscription, filter, eureka.MaxRuleLength)
	if err != nil {
		return "", err
	}
	return unparse(checked)
}

// oneLine is a column that no rule reaches: texts are not wrapped.
const oneLine = 1 << 20

func unparse(checked *cel.Ast) (string, error) {
	text, err := cel.AstToString(checked, cel.FormatWrapOnColumn(oneLine))
	if err != nil {
		return "", eureka.WrapError(eureka.CodeInvalid, err, "filter: cannot be written in one form")
	}
	if len(text) > eureka.MaxFilterLength {
		return "", eureka.FieldError("filter", "is %d bytes long as it is kept, the limit is %d", len(text), eureka.MaxFilterLength)
	}
	return text, nil
}

// On implements eureka.Rules.
func (r *Rules) On(s eureka.RuleSubject) eureka.RuleRun { return &run{rules: r, in: input{subject: s}} }

// run evaluates rules on one subject.
type run struct {
	rules *Rules
	in    input
	memo  map[string]bool // results of filters of subscriptions, which many share
}

// Passes implements eureka.RuleRun.
func (r *run) Passes(kind eureka.RuleKind, text string) (bool, error) {
	if kind == eureka.RuleSubscription {
		if passed, known := r.memo[text]; known {
			return passed, nil
		}
	}
	c, err := r.rules.get(kind, text)
	if err != nil {
		r.rules.report(kind, text, err)
		return false, err
	}
	passed, _, err := c.passes(&r.in)
	if err != nil {
		r.rules.report(kind, text, err)
	}
	if kind == eureka.RuleSubscription {
		if r.memo == nil {
			r.memo = map[string]bool{}
		}
		r.memo[text] = passed
	}
	return passed, err
}

// Transform implements eureka.RuleRun.
func (r *run) Transform(text string) (json.RawMessage, error) {
	c, err := r.rules.get(eureka.RuleTransform, text)
	if err != nil {
		r.rules.report(eureka.RuleTransform, text, err)
		return nil, err
	}
	out, err := c.transform(&r.in)
	if err != nil {
		r.rules.report(eureka.RuleTransform, text, err)
	}
	return out, err
}

// Try implements eureka.Rules.
func (r *Rules) Try(kind eureka.RuleKind, text string, sample eureka.RuleSubject) (result json.RawMessage, missing string, err error) {
	c, err := r.get(kind, text)
	if err != nil {
		return nil, "", err
	}
	in := &input{subject: sample}
	if kind == eureka.RuleTransform {
		result, err = c.transform(in)
		return result, "", err
	}
	passed, missing, err := c.passes(in)
	if err != nil {
		return nil, "", err
	}
	result, err = json.Marshal(passed)
	return result, missing, err
}

func (r *Rules) passes(c *compiled, in *input) bool {
	passed, _, err := c.passes(in)
	if err != nil {
		r.report(c.kind, c.text, err)
	}
	return passed
}

// report makes a failing rule visible: each in the metric, some in the log.
func (r *Rules) report(kind eureka.RuleKind, text string, err error) {
	r.failed(kind)
	if r.lines.AllowN(r.now(), 1) {
		r.log.Warn("a rule failed", slog.String("kind", string(kind)), slog.String("rule", clip(text)), slog.String("error", clip(err.Error())))
	}
}
