// Package fault decides when the simulator breaks something on purpose: which faults there are, how often each happens and what happened so far.
//
// It does nothing itself: whoever could fail asks [Set.Hit] at each opportunity and does the damage.
package fault

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Kind is what goes wrong.
type Kind string

// The faults that there are.
const (
	// LostDisconnect: API Gateway never reports the end of a socket.
	LostDisconnect Kind = "lost-disconnect"
	// Gone: a socket breaks just before a post to it, which is answered 410; its $disconnect comes as for any other end.
	Gone Kind = "gone"
	// Throttle: a post is answered 429.
	Throttle Kind = "throttle"
	// SlowPost: a post takes Delay.
	SlowPost Kind = "slow-post"
	// Kill: a function's process is killed once an invocation of it has made Posts posts; with 0 posts, in its first moment.
	Kill Kind = "kill"
	// ColdStart: an invocation begins in a new process.
	ColdStart Kind = "cold-start"
	// SlowInvoke: an invocation begins Delay later.
	SlowInvoke Kind = "slow-invoke"
	// Redeliver: a batch of queue messages is handled and then delivered again.
	Redeliver Kind = "redeliver"
	// DuplicateID: a new connection gets the id of the newest one that lives, whose TCP connection breaks unreported.
	DuplicateID Kind = "duplicate-id"
	// DoubleConnect: the $connect of one connection is sent twice.
	DoubleConnect Kind = "double-connect"
	// DynamoThrottle: DynamoDB refuses a request for its throughput. Of this and the next only the share can be set.
	DynamoThrottle Kind = "dynamodb-throttle"
	// DynamoUnprocessed: DynamoDB leaves a part of a batch undone.
	DynamoUnprocessed Kind = "dynamodb-unprocessed"
)

// Kinds are all kinds, in the order of the documentation.
func Kinds() []Kind {
	return []Kind{
		LostDisconnect, Gone, Throttle, SlowPost, Kill, ColdStart, SlowInvoke, Redeliver, DuplicateID, DoubleConnect,
		DynamoThrottle, DynamoUnprocessed,
	}
}

// Rule says how often a fault happens.
type Rule struct {
	Kind  Kind
	Share float64       // of the opportunities, from 0 (never) to 1 (always)
	Count int           // at most so often; 0 means no limit
	Skip  int           // the first opportunities that pass unharmed
	Role  string        // of functions alone that have this role; of Kill, ColdStart, SlowInvoke and Redeliver
	Posts int           // of Kill
	Delay time.Duration // of SlowPost and SlowInvoke
}

// Parse reads a rule as it is written on a command line: kind=share followed by settings, such as "kill=1,count=1,posts=50,role=fanout".
func Parse(text string) (Rule, error) {
	kind, rest, ok := strings.Cut(text, "=")
	r := Rule{Kind: Kind(kind)}
	if !ok || !slices.Contains(Kinds(), r.Kind) {
		return Rule{}, fmt.Errorf("fault %q: must be kind=share, with one of the kinds %s", text, names())
	}
	for i, part := range strings.Split(rest, ",") {
		name, value, named := strings.Cut(part, "=")
		if i == 0 && !named {
			name, value = "share", part
		}
		if err := r.set(name, value); err != nil {
			return Rule{}, fmt.Errorf("fault %q: %w", text, err)
		}
	}
	return r, r.Check()
}

func (r *Rule) set(name, value string) error {
	var err error
	switch name {
	case "share":
		r.Share, err = strconv.ParseFloat(value, 64)
	case "count":
		r.Count, err = strconv.Atoi(value)
	case "skip":
		r.Skip, err = strconv.Atoi(value)
	case "posts":
		r.Posts, err = strconv.Atoi(value)
	case "role":
		r.Role = value
	case "delay":
		r.Delay, err = time.ParseDuration(value)
	default:
		return fmt.Errorf("%q is none of share, count, skip, posts, role and delay", name)
	}
	if err != nil {
		return fmt.Errorf("%s is %q, which is no such value", name, value)
	}
	return nil
}

// Check returns an error that says what is wrong with the rule.
func (r Rule) Check() error {
	switch {
	case !slices.Contains(Kinds(), r.Kind):
		return fmt.Errorf("fault %q is none of %s", r.Kind, names())
	case !(r.Share >= 0 && r.Share <= 1): // NaN too
		return fmt.Errorf("fault %s: share must be from 0 to 1", r.Kind)
	case r.Count < 0 || r.Skip < 0 || r.Posts < 0 || r.Delay < 0:
		return fmt.Errorf("fault %s: count, skip, posts and delay cannot be negative", r.Kind)
	case (r.Kind == DynamoThrottle || r.Kind == DynamoUnprocessed) && r != Rule{Kind: r.Kind, Share: r.Share}:
		return fmt.Errorf("fault %s: only the share can be set", r.Kind)
	}
	return nil
}

// String is the rule as Parse reads it.
func (r Rule) String() string {
	s := fmt.Sprintf("%s=%v", r.Kind, r.Share)
	for _, part := range []struct {
		name  string
		value any
		set   bool
	}{{"count", r.Count, r.Count != 0}, {"skip", r.Skip, r.Skip != 0}, {"posts", r.Posts, r.Posts != 0}, {"role", r.Role, r.Role != ""}, {"delay", r.Delay, r.Delay != 0}} {
		if part.set {
			s += fmt.Sprintf(",%s=%v", part.name, part.value)
		}
	}
	return s
}

// MarshalText implements encoding.TextMarshaler: rules travel as the text of String.
func (r Rule) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler by Parse.
func (r *Rule) UnmarshalText(text []byte) (err error) {
	*r, err = Parse(string(text))
	return err
}

func names() string {
	var all []string
	for _, k := range Kinds() {
		all = append(all, string(k))
	}
	return strings.Join(all, ", ")
}

// State is a rule and what it did.
type State struct {
	Rule     Rule `json:"rule"`
	Seen     int  `json:"seen"`     // opportunities
	Happened int  `json:"happened"` // faults
}

// Set is the rules in force. It is safe for concurrent use; with one seed, the decisions of each rule come in the same order.
type Set struct {
	mu     sync.Mutex
	seed   uint64
	active []*active
}

type active struct {
	state  State
	random *rand.Rand
}

// NewSet returns a Set without rules.
func NewSet(seed uint64) *Set { return &Set{seed: seed} }

// Put adds a rule. It replaces the one of the same kind and role.
func (s *Set) Put(r Rule) error {
	if err := r.Check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = slices.DeleteFunc(s.active, func(a *active) bool { return a.state.Rule.Kind == r.Kind && a.state.Rule.Role == r.Role })
	h := fnv.New64a()
	_, _ = h.Write([]byte(r.Kind + "/" + Kind(r.Role))) // a hash takes anything
	//nolint:gosec // faults need no secret randomness
	s.active = append(s.active, &active{State{Rule: r}, rand.New(rand.NewPCG(s.seed, h.Sum64()))})
	return nil
}

// Clear removes all rules.
func (s *Set) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = nil
}

// States are the rules in force, in the order in which they came.
func (s *Set) States() []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]State, len(s.active))
	for i, a := range s.active {
		out[i] = a.state
	}
	return out
}

// Hit tells that a fault could happen, to a function of the given role or to none, and reports whether it does and by which rule.
func (s *Set) Hit(kind Kind, role string) (Rule, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.active {
		r := a.state.Rule
		if r.Kind != kind || (r.Role != "" && r.Role != role) {
			continue
		}
		a.state.Seen++
		if a.state.Seen <= r.Skip || (r.Count > 0 && a.state.Happened >= r.Count) || a.random.Float64() >= r.Share {
			continue
		}
		a.state.Happened++
		return r, true
	}
	return Rule{}, false
}
