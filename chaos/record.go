package chaos

import (
	"fmt"
	"time"
)

// Position is a cursor that was read: a place in one life of a channel's history. The zero position is none.
type Position struct {
	Epoch  string
	Offset uint64
}

// String is the cursor as the service writes it.
func (p Position) String() string {
	if p == (Position{}) {
		return "-"
	}
	return fmt.Sprintf("%s.%d", p.Epoch, p.Offset)
}

// Content is what a message says: who published it, his number for it on this channel, and a sum over all of the message.
type Content struct {
	Publisher string
	N         int
	Sum       uint64
}

// Attempt is one request to publish. Times are since the start of the run.
type Attempt struct {
	Node   string
	Sent   time.Duration
	Done   time.Duration
	Acked  bool     // answered with success; else it may have been taken or not
	ID     Position // of the answer
	Answer string   // all of it
}

// Publish is one message that a publisher wanted on a channel.
type Publish struct {
	Channel  string
	Content  Content
	Key      string // "" without an idempotency key
	Blind    bool   // it was reported as an event: its answers tell no cursor
	Attempts []Attempt
}

// Kind is what happened to a client.
type Kind uint8

// The kinds of events.
const (
	Connected    Kind = iota + 1 // a new socket; Note is its node
	Subscribed                   // the answer to a subscription: Since was asked, Position and Recovered answered
	Received                     // a message
	Gap                          // the service said that messages may be missing on the channel
	Unsubscribed                 // the answer to the end of a subscription
	Closed                       // the socket ended
	Settled                      // the run is over, and the client had all the time it needs to receive what there is on Channel up to Position; without a channel, on all
)

// Event is one thing that happened to a client.
type Event struct {
	At        time.Duration
	Kind      Kind
	Channel   string
	Position  Position
	Since     Position
	Recovered bool
	Content   Content
	Note      string
}

// String is the event as an excerpt tells it.
func (e *Event) String() string {
	at := e.At.Round(time.Microsecond)
	switch e.Kind {
	case Connected:
		return fmt.Sprintf("%s connected %s", at, e.Note)
	case Subscribed:
		return fmt.Sprintf("%s subscribed %s since %s: at %s recovered=%t", at, e.Channel, e.Since, e.Position, e.Recovered)
	case Received:
		return fmt.Sprintf("%s received %s %s %s/%d", at, e.Channel, e.Position, e.Content.Publisher, e.Content.N)
	case Gap:
		return fmt.Sprintf("%s gap %s %s", at, e.Channel, e.Note)
	case Unsubscribed:
		return fmt.Sprintf("%s unsubscribed %s", at, e.Channel)
	case Closed:
		return fmt.Sprintf("%s closed %s", at, e.Note)
	case Settled:
		return fmt.Sprintf("%s settled %s up to %s", at, e.Channel, e.Position)
	default:
		return fmt.Sprintf("%s ? %d", at, e.Kind)
	}
}

// Client is what one client saw, in its order.
type Client struct {
	Name   string
	Events []Event
}

// Channel is a channel of the run. Without history Size is 0.
type Channel struct {
	Name string
	Size int
	TTL  time.Duration
}

// Stored is one message as a read of history showed it.
type Stored struct {
	Position Position
	Content  Content
}

// Read is one answer to a client that asked for a part of a channel's history.
type Read struct {
	Client   string
	At       time.Duration
	Channel  string
	Since    Position // zero: the newest messages were asked for
	Cursor   Position // of the answer
	Messages []Stored
}

// History is all that a channel retained at the end of the run, oldest first.
type History struct {
	Channel  string
	Began    time.Duration // when the read began
	Read     time.Duration // when it was over
	Messages []Stored
}

// Outage is a time in which a node was killed or lost its connection to NATS: what it accepted for channels without history may be lost.
type Outage struct {
	Node string // "" when NATS itself was away, for all nodes
	From time.Duration
	To   time.Duration
}

// Transcript is everything that was seen in a run.
type Transcript struct {
	Channels  []Channel
	Publishes []*Publish
	Clients   []Client
	Reads     []Read
	Histories []History
	Outages   []Outage
	External  bool // NATS is outside the nodes: it may be away when an answer is to be kept for its key
}

// Violation is a promise that was not kept.
type Violation struct {
	Rule    string // one of the rules
	Channel string
	Client  string // "" when no client is concerned
	Event   int    // the index of the client's event, with a client
	Text    string
}

// String is the violation as a report tells it.
func (v Violation) String() string {
	return fmt.Sprintf("%s on %s %s: %s", v.Rule, v.Channel, v.Client, v.Text)
}

// The rules.
const (
	Hole      = "hole"      // a client missed a message and was not told
	Double    = "double"    // a message came again, as another one or without being asked for
	Order     = "order"     // a message came behind one that was published after it, or before its subscription was answered
	Missing   = "missing"   // an acknowledged message is not where it must be
	Invented  = "invented"  // a message came that nobody sent so
	Repeat    = "repeat"    // a request with a key was answered differently when it was repeated
	Conflict  = "conflict"  // one cursor stands for two messages, or a channel began another life
	Expired   = "expired"   // a message was shown after its time
	Avoidable = "avoidable" // a resume was refused although everything missed was young enough and not too much
)

// Report is the judgement of a run.
type Report struct {
	Violations   []Violation
	Acked        int // publishes
	Unknown      int // publishes that were never acknowledged
	Repeated     int // publishes with a key that were acknowledged more than once
	Received     int // messages
	Compared     int // messages of channels with history that a client had to receive, whether or not it did
	Live         int // and of channels without
	Recovered    int // resumes
	NotRecovered int // resumes
	Gaps         int // told on channels with history
	LiveGaps     int // and on channels without
	Reads        int // answers to clients that asked for a part of history, with at least one message
	Retained     int // messages in the histories at the end
}
