package eureka

import (
	"cmp"
	"encoding/base64"
	"strconv"
	"strings"
	"unicode"
)

// Limits of a socket's fields, in bytes. Longer values of Remote, Origin and Agent are cut by the edge, not refused.
const (
	MaxSocketIDLength = 128
	MaxUserLength     = 128
	MaxAgentLength    = 256
)

// Socket is one live client connection. Times are epoch milliseconds.
type Socket struct {
	ID            string
	User          string // who it belongs to, "" when anonymous
	Node          string // the node that holds it
	Remote        string // the client's address
	Origin        string // the browser page's origin
	Agent         string // the client's user agent
	ConnectedAt   int64
	ExpiresAt     int64          // when the service will close it because of its age; 0 for never. Readers ignore an expired socket
	Subscriptions []Subscription // ordered by ChannelID
	// Identity is who is behind it, for Add alone: engines that keep it are SocketIdentities, and no method of Sockets returns it.
	Identity Identity `json:"-"`
}

// Validate checks the fields that come from outside and returns a CodeInvalid error that names the first at fault.
func (s Socket) Validate() error {
	if s.ID == "" {
		return FieldError("id", "is empty")
	}
	for _, f := range []struct {
		field, value string
		maximum      int
	}{
		{"id", s.ID, MaxSocketIDLength},
		{"user", s.User, MaxUserLength},
		{"remote", s.Remote, MaxAgentLength},
		{"origin", s.Origin, MaxAgentLength},
		{"agent", s.Agent, MaxAgentLength},
	} {
		if err := checkText(f.field, f.value, f.maximum); err != nil {
			return err
		}
	}
	return nil
}

// CutAgent makes what a client says of itself fit Remote, Origin and Agent: at most MaxAgentLength bytes, without control characters.
func CutAgent(s string) string {
	if len(s) > MaxAgentLength {
		s = s[:MaxAgentLength]
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
}

// Subscription is one socket's interest in one channel. A socket has at most one per channel; subscribing again
// replaces it.
type Subscription struct {
	SocketID     string
	ChannelID    string // the channel's id, or the undeclared name
	Name         string // what the client calls the channel (id or alias); its frames carry this name
	SubscribedAt int64
	// Filter is the rule that messages must pass to reach the socket, in the canonical text that package rule makes of the client's
	// and the credential's; "" for none. Join and leave frames are not filtered.
	Filter string `json:",omitempty"`
	// Since is where a resume goes on: messages behind it come before live ones. The zero cursor starts with live messages.
	Since Cursor `json:"-"`
}

// Subscribed says how a subscription began.
type Subscribed struct {
	Cursor    Cursor // the position of the channel at that time, or the one resumed from; zero on a channel without history
	Recovered bool   // all messages behind Subscription.Since follow; false when that cannot be shown, or nothing was asked for
}

// Validate checks the names and returns a CodeInvalid error that names the first at fault.
func (s Subscription) Validate() error {
	if s.SocketID == "" {
		return FieldError("socket", "is empty")
	}
	if err := CheckName("channel", s.ChannelID); err != nil {
		return err
	}
	if err := CheckName("channel", s.Name); err != nil {
		return err
	}
	return checkText("filter", s.Filter, MaxFilterLength)
}

// SocketQuery selects sockets, ordered by ConnectedAt and then ID. The zero query is the first page of all, newest first.
type SocketQuery struct {
	ID      string // this socket alone
	User    string // this user's
	Channel string // subscribers of this channel id
	Asc     bool   // oldest first
	Paging
}

// Validate checks the query's limits and returns a CodeInvalid error that names the fault.
func (q SocketQuery) Validate() error {
	if err := checkText("user", q.User, MaxUserLength); err != nil {
		return err
	}
	if err := checkText("id", q.ID, MaxSocketIDLength); err != nil {
		return err
	}
	if q.Channel != "" {
		if err := CheckName("channel", q.Channel); err != nil {
			return err
		}
	}
	return q.validate()
}

// SocketPosition is where a socket stands in a list: engines page by it.
type SocketPosition struct {
	ConnectedAt int64
	ID          string
}

// Position returns where the socket stands in a list.
func (s Socket) Position() SocketPosition { return SocketPosition{s.ConnectedAt, s.ID} }

// Compare orders positions by ConnectedAt and then ID.
func (p SocketPosition) Compare(o SocketPosition) int {
	return cmp.Or(cmp.Compare(p.ConnectedAt, o.ConnectedAt), strings.Compare(p.ID, o.ID))
}

// String is the position as clients see it: opaque.
func (p SocketPosition) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(p.ConnectedAt, 10) + " " + p.ID))
}

// ParseSocketPosition reads what String made; "" is the zero position. Anything else is CodeInvalid.
func ParseSocketPosition(s string) (SocketPosition, error) {
	if s == "" {
		return SocketPosition{}, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(s)
	at, id, ok := strings.Cut(string(text), " ")
	connectedAt, numberErr := strconv.ParseInt(at, 10, 64)
	if err != nil || numberErr != nil || !ok {
		return SocketPosition{}, FieldError("after", "is not a position of this list")
	}
	return SocketPosition{connectedAt, id}, nil
}
