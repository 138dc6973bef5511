package rule

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"unicode"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"eureka"
)

// errMissing says that the subject lacks a field that a rule asks for.
var errMissing = errors.New("a field is missing")

// errClaims says that the claims of a credential were too many to be kept.
var errClaims = errors.New("the credential's claims are over the limit of 4096 bytes")

// compiled is one rule, ready to evaluate. It is safe for concurrent use.
type compiled struct {
	kind   eureka.RuleKind
	text   string
	where  *where // how an index finds it; nil when it cannot
	data   bool   // it asks for data
	claims bool   // it asks for claims

	once    sync.Once
	env     *cel.Env
	checked *cel.Ast // until the program is made
	program cel.Program
	err     error
}

// compile checks a rule and returns it; the error is CodeInvalid and has the position of the fault.
func compile(kind eureka.RuleKind, text string, limit int) (*compiled, *cel.Ast, error) {
	field := kind.Field()
	switch {
	case len(text) > limit:
		return nil, nil, eureka.FieldError(field, "is %d bytes long, the limit is %d", len(text), limit)
	case strings.TrimSpace(text) == "":
		return nil, nil, eureka.FieldError(field, "is empty")
	}
	l, err := theLanguage()
	if err != nil {
		return nil, nil, err
	}
	env := l.env(kind)
	parsed, issues := env.Parse(text)
	if issues.Err() != nil {
		return nil, nil, positioned(field, issues)
	}
	// Counted before types are found: those of loops that nest their results take much longer than they are.
	if loops(parsed.NativeRep().Expr()) > maxLoops {
		return nil, nil, eureka.FieldError(field, "line 1:1: has over %d of the macros that go through a list", maxLoops)
	}
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		return nil, nil, positioned(field, issues)
	}
	if out := checked.OutputType(); kind != eureka.RuleTransform && !out.IsExactType(cel.BoolType) && !out.IsExactType(cel.DynType) {
		return nil, nil, eureka.FieldError(field, "line 1:1: must be a bool and is of type %s", clip(cel.FormatCELType(out)))
	}
	estimate, err := env.EstimateCost(checked, guess{})
	if err != nil {
		return nil, nil, eureka.FieldError(field, "line 1:1: its cost cannot be estimated: %s", clip(err.Error()))
	}
	if estimate.Max > maxEstimate {
		return nil, nil, eureka.FieldError(field, "line 1:1: may cost too much: loops within loops are the usual cause")
	}
	c := &compiled{kind: kind, text: text, env: env, checked: checked}
	celast.PreOrderVisit(checked.NativeRep().Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if e.Kind() == celast.IdentKind {
			c.data = c.data || e.AsIdent() == "data"
			c.claims = c.claims || e.AsIdent() == "claims"
		}
	}))
	if kind == eureka.RuleSubscription {
		c.where = find(checked.NativeRep().Expr())
	}
	return c, checked, nil
}

// positioned is what the compiler says first, with its line and column, both from 1.
func positioned(field string, issues *cel.Issues) error {
	found := issues.Errors()
	if len(found) == 0 {
		return eureka.FieldError(field, "line 1:1: %s", clip(issues.Err().Error()))
	}
	first := found[0]
	return eureka.FieldError(field, "line %d:%d: %s", max(first.Location.Line(), 1), max(first.Location.Column(), 0)+1, clip(first.Message))
}

// clip makes what the library says of somebody's rule one short line.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxMessage {
		s = s[:maxMessage] + "…"
	}
	return strings.ToValidUTF8(s, "")
}

// prepare makes the program: most filters of subscriptions are found by an index and never need theirs.
func (c *compiled) prepare() (cel.Program, error) {
	c.once.Do(func() {
		options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost)}
		// Nothing else makes more of what it is given than its own length.
		if loops(c.checked.NativeRep().Expr()) > 0 {
			options = append(options, cel.MemoryLimit(maxMemory))
		}
		c.program, c.err = c.env.Program(c.checked, options...)
		c.checked = nil
	})
	return c.program, c.err
}

// loops counts the macros of an expression that go through a list or map.
func loops(e celast.Expr) int {
	n := 0
	celast.PreOrderVisit(e, celast.NewExprVisitor(func(e celast.Expr) {
		if e.Kind() == celast.ComprehensionKind {
			n++
		}
	}))
	return n
}

// eval evaluates the rule. errMissing when the subject lacks a field.
func (c *compiled) eval(in *input) (ref.Val, error) {
	program, err := c.prepare()
	if err != nil {
		return nil, err
	}
	if c.data {
		if _, err := in.decodedData(); err != nil {
			return nil, err
		}
	}
	if c.claims {
		if v, err := in.claims.decode(in.subject.Claims); err != nil {
			return nil, err
		} else if _, ok := v.(map[string]any); !ok {
			return nil, errClaims
		}
	}
	out, _, err := program.Eval(in)
	switch {
	case err == nil:
		return out, nil
	case strings.Contains(err.Error(), "no such key"), strings.Contains(err.Error(), "index out of bounds"):
		return nil, errors.Join(errMissing, err)
	default:
		return nil, err
	}
}

// passes evaluates a rule that returns a bool. missing says which field the subject lacks; the rule does not pass then, and that is no error.
func (c *compiled) passes(in *input) (passed bool, missing string, err error) {
	out, err := c.eval(in)
	if errors.Is(err, errMissing) {
		return false, missingField(err), nil
	}
	if err != nil {
		return false, "", c.failed(err)
	}
	b, ok := out.(types.Bool)
	if !ok {
		return false, "", c.failed(errors.New("the result is a " + out.Type().TypeName() + " and no bool"))
	}
	return bool(b), "", nil
}

// transform evaluates a rule that returns a JSON value.
func (c *compiled) transform(in *input) (json.RawMessage, error) {
	out, err := c.eval(in)
	if errors.Is(err, errMissing) {
		return nil, c.failed(errors.New("a field is missing: " + missingField(err)))
	}
	if err != nil {
		return nil, c.failed(err)
	}
	text, err := encode(out)
	if err != nil {
		return nil, c.failed(err)
	}
	return text, nil
}

// failed is an evaluation's error as people see it.
func (c *compiled) failed(err error) error {
	text := clip(err.Error())
	if strings.Contains(text, "no such overload") {
		text += ": values of types that do not go together, such as a text and a number; convert one, as in double(data.n) or string(data.n)"
	}
	return eureka.FieldError(c.kind.Field(), "%s", text)
}

func missingField(err error) string {
	return strings.TrimSpace(strings.TrimPrefix(clip(err.Error()), errMissing.Error()))
}
