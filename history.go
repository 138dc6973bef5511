package eureka

import (
	"context"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
)

// Limits and defaults of a channel's history.
const (
	MaxHistorySize     = 100_000            // messages
	MaxHistoryTTL      = 7 * 24 * time.Hour // also how long a quiet channel's last position is remembered
	MinHistoryTTL      = time.Second
	DefaultHistorySize = 1000
	DefaultHistoryTTL  = 10 * time.Minute
	MaxHistoryPage     = 1000 // messages of one read
)

// Retention says how much history a channel keeps: the newest Size messages, and none older than TTL.
type Retention struct {
	Size int      `json:"size"` // 1 to MaxHistorySize
	TTL  Duration `json:"ttl"`  // MinHistoryTTL to MaxHistoryTTL
}

// WithDefaults returns the retention with DefaultHistorySize and DefaultHistoryTTL for what is zero.
func (r Retention) WithDefaults() Retention {
	if r.Size == 0 {
		r.Size = DefaultHistorySize
	}
	if r.TTL == 0 {
		r.TTL = Duration(DefaultHistoryTTL)
	}
	return r
}

// Validate checks the limits and returns a CodeInvalid error that names the field at fault.
func (r Retention) Validate() error {
	if r.Size < 1 || r.Size > MaxHistorySize {
		return FieldError("history.size", "must be 1 to %d messages", MaxHistorySize)
	}
	if ttl := time.Duration(r.TTL); ttl < MinHistoryTTL || ttl > MaxHistoryTTL {
		return FieldError("history.ttl", "must be %s to %s", MinHistoryTTL, Duration(MaxHistoryTTL))
	}
	return nil
}

// Duration is a time.Duration that is written as Go writes it, such as "10m".
type Duration time.Duration

// String is the duration without trailing zero units: "10m" rather than "10m0s".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. The error is CodeInvalid.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return Errorf(CodeInvalid, "a duration is written as 10m, 1h30m or 45s")
	}
	*d = Duration(v)
	return nil
}

// cursorEpochLength is the length of a cursor's epoch.
const cursorEpochLength = 8

// Cursor is the position of a message in one channel's history. Clients get it as text, keep it, and give it back; what it consists of is no
// part of the protocol. The zero cursor is none.
type Cursor struct {
	Epoch  string // 8 characters of a-z and 2-7 that stand for one life of one channel's history
	Offset uint64 // grows with every message of the channel, not always by one; at most 2^63-1
}

// String is the cursor as clients see it; "" for the zero cursor.
func (c Cursor) String() string {
	if c == (Cursor{}) {
		return ""
	}
	return c.Epoch + "." + strconv.FormatUint(c.Offset, 10)
}

// ParseCursor reads what String made. Anything else is CodeInvalid for the field.
func ParseCursor(field, text string) (Cursor, error) {
	epoch, digits, ok := strings.Cut(text, ".")
	wellFormed := ok && len(epoch) == cursorEpochLength && len(digits) <= len("9223372036854775807") &&
		strings.IndexFunc(epoch, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '2' || r > '7') }) < 0
	offset, err := strconv.ParseUint(digits, 10, 64)
	if !wellFormed || err != nil || offset > math.MaxInt64 || (digits[0] == '0' && len(digits) > 1) || digits[0] == '+' {
		return Cursor{}, FieldError(field, "is not a cursor; give back the id of a message, or the cursor of a reply, as it came")
	}
	return Cursor{Epoch: epoch, Offset: offset}, nil
}

// Retained is one message as a channel's history has it.
type Retained struct {
	Cursor Cursor
	Action string
	Event  string
	Data   json.RawMessage
	TS     int64 // epoch milliseconds
	Origin
}

// Facts returns what filters see of the message.
func (r Retained) Facts() Facts {
	return Message{Event: r.Event, Data: r.Data, TS: r.TS, Origin: r.Origin}.Facts()
}

// HistoryPage is one read of a channel's history.
type HistoryPage struct {
	Messages []Retained // in the order of their cursors
	Cursor   Cursor     // where the next read goes on
	More     bool       // there are messages behind Cursor already
}

// History reads the messages that channels retain; appending is Fanout's part, through Message.Retention. Messages past their channel's TTL
// are never returned, whether or not they have been removed yet.
//
// Errors: CodeGap when messages behind the given position are no longer there, or when it is no position of this channel's present history;
// CodeUnavailable.
type History interface {
	// After returns up to limit messages behind a position, oldest first.
	After(ctx context.Context, channelID string, since Cursor, limit int) (HistoryPage, error)
	// Newest returns the newest messages, at most limit of them, oldest first.
	Newest(ctx context.Context, channelID string, limit int) (HistoryPage, error)
	// Forget removes all that a channel retains; cursors of before are answered with CodeGap from then on.
	Forget(ctx context.Context, channelID string) error
}
