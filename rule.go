package eureka

import "encoding/json"

// RuleKind is what a rule is for. It decides which variables the rule sees and what it must return.
type RuleKind string

// The kinds of rules.
const (
	RuleFilter       RuleKind = "filter"       // of a channel: a bool, whether a message comes to the channel
	RuleTransform    RuleKind = "transform"    // of a channel: any JSON value, which takes the place of the message's data
	RuleSubscription RuleKind = "subscription" // of a subscription: a bool, whether a message comes to the socket
	RuleSubscribe    RuleKind = "subscribe"    // of a channel: a bool, whether somebody may listen; sees user, claims and channel as well
	RulePublish      RuleKind = "publish"      // of a channel: a bool, whether somebody may publish; likewise
)

// RuleKinds lists every kind in the order of the documentation.
func RuleKinds() []RuleKind {
	return []RuleKind{RuleFilter, RuleTransform, RuleSubscription, RuleSubscribe, RulePublish}
}

// Access are the rules of who may use a channel, beside what credentials allow; an empty rule allows everybody.
type Access struct {
	Subscribe string `json:"subscribe,omitempty"`
	Publish   string `json:"publish,omitempty"`
}

// RuleSubject is what rules are evaluated on: a message and, for access rules, who asks for what.
type RuleSubject struct {
	Facts
	User    string          // who asks, "" when anonymous
	Claims  json.RawMessage // the claims of the credential, a JSON object; nil for none
	Channel string          // id of the channel that is asked for
}

// RuleRun evaluates rules on one subject. It is not safe for concurrent use. A field that the subject does not have is no error: the rule
// does not pass then.
type RuleRun interface {
	// Passes reports whether a rule that returns a bool passes. The error is what is wrong with the rule on this subject; it does not pass then.
	Passes(kind RuleKind, text string) (bool, error)
	// Transform returns the result of a transform: one compact JSON value of at most MaxFrameBytes. A missing field is an error here.
	Transform(text string) (json.RawMessage, error)
}

// Rules compiles and evaluates rules. It is safe for concurrent use.
type Rules interface {
	// Check returns a CodeInvalid error with the position of the fault for a rule that does not compile, has another type than its kind
	// asks for, or may cost too much.
	Check(kind RuleKind, text string) error
	// Join returns the canonical text of the filter that passes what all of them pass; "" among them is none. CodeInvalid for one that does
	// not compile, and when the result is over MaxFilterLength.
	Join(filters ...string) (string, error)
	// Try evaluates a rule for somebody who writes it; failures are neither counted nor logged. The result is JSON. missing says which field the sample
	// lacks, on account of which a rule that returns a bool does not pass.
	Try(kind RuleKind, text string, sample RuleSubject) (result json.RawMessage, missing string, err error)
	// On evaluates rules on a subject, whose data is decoded once.
	On(s RuleSubject) RuleRun
}

// Field is the name of the field that rules of the kind stand in.
func (k RuleKind) Field() string {
	switch k {
	case RuleSubscription:
		return "filter"
	case RuleSubscribe, RulePublish:
		return "access." + string(k)
	default:
		return string(k)
	}
}

// checkRule checks what can be known of a rule's text without compiling it.
func checkRule(field, text string) error { return checkText(field, text, MaxRuleLength) }
