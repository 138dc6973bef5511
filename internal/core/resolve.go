package core

import (
	"context"
	"unicode/utf8"

	"eureka"
)

// target is a channel that a name stands for.
type target struct {
	id       string
	alias    string
	declared bool
	presence bool
	history  *eureka.Retention // nil for none

	filter, transform string // rules; "" for none
	access            eureka.Access
	model             eureka.Origin // service and model of a declared channel
}

// resolve finds what a name that a client gave stands for: a declared channel by id or alias, or, where allowed, the undeclared
// channel of that name. CodeInvalid for a malformed name, CodeNotFound otherwise.
func (c *Core) resolve(ctx context.Context, name string) (target, error) {
	if err := checkChannelName(name); err != nil {
		return target{}, err
	}
	ch, err := c.ports.Channels.Get(ctx, name)
	switch {
	case err == nil:
		return targetOf(ch), nil
	case eureka.CodeOf(err) != eureka.CodeNotFound:
		return target{}, err
	case c.allowUndeclared:
		return target{id: name}, nil
	default:
		return target{}, eureka.Errorf(eureka.CodeNotFound, "there is no channel %q; create it first (POST /channels/%s)", name, name)
	}
}

func targetOf(ch eureka.Channel) target {
	return target{
		id: ch.ID, alias: ch.Alias, declared: true, presence: ch.Presence, history: ch.History,
		filter: ch.Filter, transform: ch.Transform, access: accessOf(ch),
		model: eureka.Origin{Service: ch.Service, ModelType: ch.ModelType, ModelID: ch.ModelID},
	}
}

func checkChannelName(name string) error {
	switch name {
	case "":
		return eureka.FieldError("channel", "is missing")
	case eureka.NewID:
		return eureka.FieldError("channel", "%q asks for a new channel's number and names no channel", name)
	default:
		return eureka.CheckName("channel", name)
	}
}

func checkExcept(ids []string) error {
	if len(ids) > eureka.MaxExcept {
		return eureka.FieldError("except", "has %d sockets, the limit is %d", len(ids), eureka.MaxExcept)
	}
	for _, id := range ids {
		if id == "" || len(id) > eureka.MaxSocketIDLength {
			return eureka.FieldError("except", "has an entry that is not a socket id")
		}
	}
	return nil
}

func checkText(text []byte) error {
	switch {
	case len(text) > eureka.MaxFrameBytes:
		return eureka.Errorf(eureka.CodeTooLarge, "the frame is %d bytes long, the limit is %d", len(text), eureka.MaxFrameBytes)
	case !utf8.Valid(text):
		return eureka.Errorf(eureka.CodeInvalid, "the frame is not valid UTF-8")
	default:
		return nil
	}
}

// maxReason is what fits a close frame beside its code (RFC 6455 section 5.5).
const maxReason = 123

func checkReason(reason string) error {
	if len(reason) > maxReason || !utf8.ValidString(reason) {
		return eureka.FieldError("reason", "must be at most %d bytes of UTF-8", maxReason)
	}
	return nil
}
