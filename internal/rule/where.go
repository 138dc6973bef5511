package rule

import (
	"math"
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// where is how an index finds a filter: it can pass only a message that has, at one of its alternatives' paths, one of the values. Each term is
// necessary by itself; an index uses one of them.
type where struct {
	terms []term
	// exact: the filter is the one term and nothing else, so that a message found by it passes without an evaluation.
	exact bool
}

// term is "the value at this path is one of these".
type term struct {
	path   path
	values []value
}

// path is a variable, or a field within data.
type path struct {
	variable string
	fields   []string
}

func (p path) key() string {
	key := p.variable
	for _, field := range p.fields {
		key += "\x00" + field
	}
	return key
}

// value is a scalar that is equal to another exactly when the language holds the two to be equal, but for integers beyond maxExact.
type value struct {
	kind   byte // s, n, b or z
	text   string
	number float64
}

// maxExact is up to where a double stands for one integer alone.
const maxExact = 1 << 53

func (v value) exact() bool { return v.kind != 'n' || math.Abs(v.number) < maxExact }

// valueOf is the value of a message's scalar, or of a literal's; ok is false for lists, maps and what else there is.
func valueOf(v any) (value, bool) {
	switch v := v.(type) {
	case nil, types.Null:
		return value{kind: 'z'}, true
	case bool:
		return truth(v), true
	case types.Bool:
		return truth(bool(v)), true
	case string:
		return value{kind: 's', text: v}, true
	case types.String:
		return value{kind: 's', text: string(v)}, true
	case int64:
		return numeric(float64(v)), true
	case types.Int:
		return numeric(float64(v)), true
	case uint64:
		return numeric(float64(v)), true
	case types.Uint:
		return numeric(float64(v)), true
	case float64:
		return numeric(v), true
	case types.Double:
		return numeric(float64(v)), !math.IsNaN(float64(v))
	default:
		return value{}, false
	}
}

func truth(b bool) value {
	if b {
		return value{kind: 'b', number: 1}
	}
	return value{kind: 'b'}
}

func numeric(f float64) value {
	return value{kind: 'n', number: f + 0} // minus zero is zero
}

// find takes a filter apart. It passes when all parts of its conjunction are true, whatever their order: so each equality is a condition that a
// message must meet.
func find(e ast.Expr) *where {
	w := &where{}
	parts := conjuncts(e, nil)
	for _, part := range parts {
		if t, ok := termOf(part); ok {
			w.terms = append(w.terms, t)
		}
	}
	if len(w.terms) == 0 {
		return nil
	}
	exact := func(t term) bool { return !slices.ContainsFunc(t.values, func(v value) bool { return !v.exact() }) }
	w.exact = len(parts) == 1 && exact(w.terms[0])
	return w
}

func conjuncts(e ast.Expr, parts []ast.Expr) []ast.Expr {
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.LogicalAnd {
		for _, arg := range e.AsCall().Args() {
			parts = conjuncts(arg, parts)
		}
		return parts
	}
	return append(parts, e)
}

// termOf reads path == literal, literal == path, path in [literals], and alternatives of these on one path.
func termOf(e ast.Expr) (term, bool) {
	if e.Kind() != ast.CallKind {
		return term{}, false
	}
	args := e.AsCall().Args()
	if len(args) != 2 {
		return term{}, false
	}
	switch e.AsCall().FunctionName() {
	case operators.Equals:
		if t, ok := equality(args[0], args[1]); ok {
			return t, true
		}
		return equality(args[1], args[0])
	case operators.In:
		p, ok := pathOf(args[0])
		if !ok || args[1].Kind() != ast.ListKind {
			return term{}, false
		}
		t := term{path: p}
		for _, element := range args[1].AsList().Elements() {
			v, ok := literal(element)
			if !ok {
				return term{}, false
			}
			t.add(v)
		}
		return t, true
	case operators.LogicalOr:
		// On one path both sides fail together when it is missing; were there two, the one that is there could pass alone.
		left, ok1 := termOf(args[0])
		right, ok2 := termOf(args[1])
		if !ok1 || !ok2 || left.path.key() != right.path.key() {
			return term{}, false
		}
		for _, v := range right.values {
			left.add(v)
		}
		return left, true
	default:
		return term{}, false
	}
}

func (t *term) add(v value) {
	if !slices.Contains(t.values, v) {
		t.values = append(t.values, v)
	}
}

func equality(left, right ast.Expr) (term, bool) {
	p, ok1 := pathOf(left)
	v, ok2 := literal(right)
	return term{path: p, values: []value{v}}, ok1 && ok2
}

func literal(e ast.Expr) (value, bool) {
	if e.Kind() != ast.LiteralKind {
		return value{}, false
	}
	return valueOf(e.AsLiteral())
}

// pathOf reads event, service, modelType, modelId, and data.a.b or data["a"].b.
func pathOf(e ast.Expr) (path, bool) {
	switch e.Kind() {
	case ast.IdentKind:
		switch name := e.AsIdent(); name {
		case "event", "service", "modelType", "modelId", "data":
			return path{variable: name}, true
		}
	case ast.SelectKind:
		if s := e.AsSelect(); !s.IsTestOnly() {
			return within(s.Operand(), s.FieldName())
		}
	case ast.CallKind:
		args := e.AsCall().Args()
		if e.AsCall().FunctionName() == operators.Index && len(args) == 2 && args[1].Kind() == ast.LiteralKind {
			if name, ok := args[1].AsLiteral().(types.String); ok {
				return within(args[0], string(name))
			}
		}
	default:
	}
	return path{}, false
}

func within(operand ast.Expr, field string) (path, bool) {
	p, ok := pathOf(operand)
	if !ok || p.variable != "data" {
		return path{}, false
	}
	p.fields = append(p.fields, field)
	return p, true
}

// at returns the scalar at a path of the subject; ok is false when there is none.
func (in *input) at(p path) (value, bool) {
	if p.variable != "data" {
		return value{kind: 's', text: in.text(p.variable)}, true
	}
	v, err := in.decodedData()
	if err != nil {
		return value{}, false
	}
	for _, field := range p.fields {
		m, ok := v.(map[string]any)
		if !ok {
			return value{}, false
		}
		if v, ok = m[field]; !ok {
			return value{}, false
		}
	}
	return valueOf(v)
}
