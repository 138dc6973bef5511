package rule

import (
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"

	"eureka"
)

// Bounds of a rule's evaluation. A unit of cost is about one operation, or ten characters of a string that is gone through; a data of the longest
// frame can be gone through once.
const (
	maxCost     = 50_000
	maxMemory   = 200_000   // values that an evaluation holds at once
	maxEstimate = 1_000_000 // cost in the worst case of data as below
	guessList   = 256       // entries of a list or map in the data
	guessText   = 4096      // bytes of a string in the data
	maxRegex    = 1000      // instructions of a compiled regular expression
	maxNesting  = 64        // operators and calls within each other
	maxLoops    = 16        // macros that go through a list
	maxNodes    = 4000      // of an expression, macros expanded
	maxMessage  = 300       // bytes of an error's text
)

// language is the variables of the rules about messages, and of those about access.
type language struct{ message, access *cel.Env }

// theLanguage is made when the first rule is compiled: a function that has no rules starts without it.
var theLanguage = sync.OnceValues(func() (*language, error) {
	message, err := cel.NewEnv(
		cel.Variable("event", cel.StringType),
		cel.Variable("data", cel.DynType),
		cel.Variable("service", cel.StringType),
		cel.Variable("modelType", cel.StringType),
		cel.Variable("modelId", cel.StringType),
		cel.Variable("ts", cel.IntType),
		cel.CrossTypeNumericComparisons(true),
		cel.EnableMacroCallTracking(), // without it a macro cannot be written again
		cel.ParserExpressionSizeLimit(eureka.MaxFilterLength),
		cel.ParserRecursionLimit(maxNesting),
		cel.ExpressionNodeLimit(maxNodes),
		cel.RegexProgramSizeLimit(maxRegex),
		cel.ASTValidators(cel.ValidateRegexLiterals()),
	)
	if err != nil {
		return nil, err
	}
	access, err := message.Extend(
		cel.Variable("user", cel.StringType),
		cel.Variable("claims", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("channel", cel.StringType),
	)
	if err != nil {
		return nil, err
	}
	return &language{message, access}, nil
})

func (l *language) env(kind eureka.RuleKind) *cel.Env {
	if kind == eureka.RuleSubscribe || kind == eureka.RulePublish {
		return l.access
	}
	return l.message
}

// guess estimates sizes of what is not known before there is data.
type guess struct{}

// EstimateCallCost leaves calls to the library.
func (guess) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}

// EstimateSize is of the values within data and claims, and of the strings.
func (guess) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	if n.ComputedSize() != nil {
		return nil
	}
	switch n.Type().Kind() {
	case cel.StringKind, cel.BytesKind:
		return &cost.SizeEstimate{Max: guessText}
	default:
		return &cost.SizeEstimate{Max: guessList}
	}
}
