package natsengine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"eureka"
	"eureka/internal/pause"
)

// How names are claimed (docs/adr/0003 has the reasons)
//
// Ids and aliases share one key per name. Under an id lies the channel, under an alias a pointer with the id. A key is only
// ever written on condition of its last revision, so a name has one winner. A channel with an alias is two keys and there is no write of
// both, therefore:
//
//  1. the pointer is written first, then the channel; an alias that a channel no longer has is freed last;
//  2. a pointer counts only while the channel it points to names it as its alias, and a channel's alias counts only while the
//     pointer points to it. Every replica derives what it shows from both. So whatever crashes or comes late, no name ever
//     stands for two channels, and the channel itself is one key that is there or not;
//  3. a pointer that does not count (it dangles) is taken all the same while it is younger than claimGrace: its writer may be between the two
//     steps. An older one is left over from a crash and is overwritten on condition of its revision. No name is blocked for ever.
//
// A writer has given up long before claimGrace is over (writeTimeout), so that a taken-over pointer is one that nobody needs.

const (
	claimGrace = time.Minute
	// claimTries bounds how often a claim is tried again when the key changes between reading and writing.
	claimTries = 50
	// settleTimeout bounds how long a refused writer waits until this node sees what it lost against.
	settleTimeout = time.Second
)

// takenError marks a conflict about a name, so that numbering can go on with the next.
type takenError struct{ name string }

func (e *takenError) Error() string { return "the name " + e.name + " is in use" }

func errTaken(field, name string) error {
	return &eureka.Error{
		Code: eureka.CodeConflict, Field: field, Err: &takenError{name: name},
		Message: field + ": \"" + name + "\" is the id or alias of another channel",
	}
}

func isTaken(err error, name string) bool {
	var taken *takenError
	return errors.As(err, &taken) && taken.name == name
}

func errStale(id string) error {
	return eureka.Errorf(eureka.CodeConflict, "channel %q was changed by another writer; read it again", id)
}

// create stores a channel with an id, and with its alias when it can have one.
func (s *channelStore) create(ctx context.Context, ch eureka.Channel) (eureka.Channel, error) {
	if s.replica.has(ch.ID) { // most likely taken: ask before an alias is claimed in vain
		if err := s.checkFree(ctx, "id", ch.ID); err != nil {
			return eureka.Channel{}, err
		}
	}
	var pointer uint64
	if ch.Alias != "" {
		var err error
		if pointer, err = s.claim(ctx, "alias", ch.Alias, record{AliasOf: ch.ID}); err != nil {
			return eureka.Channel{}, err
		}
	} else if alias := eureka.ModelName(ch.Service, ch.ModelType, ch.ModelID); alias != "" && alias != ch.ID {
		var err error
		pointer, err = s.claim(ctx, "alias", alias, record{AliasOf: ch.ID})
		switch {
		case err == nil:
			ch.Alias = alias
		case !isTaken(err, alias):
			return eureka.Channel{}, err
		}
	}
	revision, err := s.claim(ctx, "id", ch.ID, record{Channel: &ch})
	if err != nil {
		if isTaken(err, ch.ID) && pointer != 0 {
			s.free(ctx, ch.Alias, pointer)
		}
		return eureka.Channel{}, err
	}
	ch.Revision = revision
	return ch, s.settle(ctx, revision)
}

// claim writes a record under a name that nobody has. The conflict error names the field.
func (s *channelStore) claim(ctx context.Context, field, name string, r record) (uint64, error) {
	var last uint64
	for try := range claimTries {
		revision, err := s.bucket.write(ctx, name, r, last)
		if err == nil {
			return revision, nil
		}
		if !isWrongSequence(err) {
			return 0, channelError(err)
		}
		current, err := s.bucket.read(ctx, name)
		if err != nil {
			return 0, err
		}
		if err := s.checkHeld(ctx, field, name, current); err != nil {
			return 0, err
		}
		if current.revision == last { // another write to the key is on its way
			if err := pause.For(ctx, time.Duration(try+1)*time.Millisecond); err != nil {
				return 0, channelError(err)
			}
		}
		last = current.revision
	}
	return 0, errTaken(field, name)
}

func (s *channelStore) checkFree(ctx context.Context, field, name string) error {
	current, err := s.bucket.read(ctx, name)
	if err != nil {
		return err
	}
	return s.checkHeld(ctx, field, name, current)
}

// checkHeld returns a conflict error when what a name's key holds keeps others from taking the name.
func (s *channelStore) checkHeld(ctx context.Context, field, name string, h held) error {
	switch {
	case h.Channel != nil:
		return errTaken(field, name)
	case h.corrupt:
		s.log.Error("a key of the channel bucket has no valid record", slog.String("name", name), slog.Uint64("revision", h.revision))
		return errTaken(field, name)
	case h.AliasOf == "":
		return nil
	case s.now().Sub(h.at) < claimGrace:
		return errTaken(field, name)
	}
	target, err := s.bucket.read(ctx, h.AliasOf)
	if err != nil {
		return err
	}
	if target.Channel != nil && target.Channel.Alias == name {
		return errTaken(field, name)
	}
	return nil
}

// update replaces a channel that is still at ch.Revision.
func (s *channelStore) update(ctx context.Context, ch eureka.Channel) (eureka.Channel, error) {
	expected := ch.Revision
	old, err := s.current(ctx, ch.ID, expected)
	if err != nil {
		return eureka.Channel{}, err
	}
	var pointer uint64
	if ch.Alias != "" && ch.Alias != old.Alias {
		if pointer, err = s.claim(ctx, "alias", ch.Alias, record{AliasOf: ch.ID}); err != nil {
			return eureka.Channel{}, err
		}
	}
	ch.Revision = 0
	revision, err := s.replace(ctx, ch, expected)
	if err != nil {
		if eureka.CodeOf(err) == eureka.CodeConflict && pointer != 0 {
			s.free(ctx, ch.Alias, pointer)
		}
		return eureka.Channel{}, err
	}
	if old.Alias != "" && old.Alias != ch.Alias {
		s.freePointer(ctx, old.Alias, ch.ID)
	}
	ch.Revision = revision
	return ch, s.settle(ctx, revision)
}

// current returns the channel as this node shows it when it is at the expected revision, and an error otherwise.
func (s *channelStore) current(ctx context.Context, id string, expected uint64) (eureka.Channel, error) {
	if ch := s.replica.channel(id); ch != nil && ch.Revision == expected {
		return *ch, nil
	}
	h, err := s.bucket.read(ctx, id)
	switch {
	case err != nil:
		return eureka.Channel{}, err
	case h.Channel == nil:
		return eureka.Channel{}, errNoChannel(id)
	}
	// This node is behind, or the caller is: either way it should see the revision before it goes on.
	if err := s.settle(ctx, h.revision); err != nil {
		return eureka.Channel{}, err
	}
	if ch := s.replica.channel(id); ch != nil && ch.Revision == expected {
		return *ch, nil
	}
	return eureka.Channel{}, errStale(id)
}

// replace writes a channel on condition of its revision.
func (s *channelStore) replace(ctx context.Context, ch eureka.Channel, expected uint64) (uint64, error) {
	for try := 0; ; try++ {
		revision, err := s.bucket.write(ctx, ch.ID, record{Channel: &ch}, expected)
		if err == nil {
			return revision, nil
		}
		if !isWrongSequence(err) {
			return 0, channelError(err)
		}
		h, err := s.bucket.read(ctx, ch.ID)
		if err != nil {
			return 0, err
		}
		if h.revision != expected {
			// The caller is going to read again: it should see what it lost against.
			wait, stop := context.WithTimeout(ctx, settleTimeout)
			_ = s.settle(wait, h.revision)
			stop()
			return 0, errStale(ch.ID)
		}
		// Another write was on its way, and it may still fail.
		if err := pause.For(ctx, time.Duration(try+1)*time.Millisecond); err != nil {
			return 0, channelError(err)
		}
	}
}

// delete removes the channel, whatever its revision, and then frees its alias.
func (s *channelStore) delete(ctx context.Context, id string, deletedAt int64) (eureka.Channel, error) {
	for try := 0; ; try++ {
		h, err := s.bucket.read(ctx, id)
		switch {
		case err != nil:
			return eureka.Channel{}, err
		case h.Channel == nil:
			return eureka.Channel{}, errNoChannel(id)
		}
		revision, err := s.bucket.purge(ctx, id, h.revision)
		if err == nil {
			ch := *h.Channel
			ch.Revision, ch.DeletedAt = h.revision, deletedAt
			if ch.Alias != "" {
				s.freePointer(ctx, ch.Alias, id)
			}
			return ch, s.settle(ctx, revision)
		}
		if !isWrongSequence(err) {
			return eureka.Channel{}, channelError(err)
		}
		if err := pause.For(ctx, time.Duration(try)*time.Millisecond); err != nil {
			return eureka.Channel{}, channelError(err)
		}
	}
}

// freePointer frees an alias that still points to the channel.
func (s *channelStore) freePointer(ctx context.Context, alias, id string) {
	h, err := s.bucket.read(ctx, alias)
	if err != nil {
		s.log.Warn("an alias could not be freed; it can be taken again in a minute", slog.String("alias", alias), slog.Any("error", err))
		return
	}
	if h.AliasOf == id {
		s.free(ctx, alias, h.revision)
	}
}

// free gives up a claim made at a revision. When that fails the pointer dangles and is free after claimGrace.
func (s *channelStore) free(ctx context.Context, alias string, revision uint64) {
	if _, err := s.bucket.purge(ctx, alias, revision); err != nil && !isWrongSequence(err) {
		s.log.Warn("an alias could not be freed; it can be taken again in a minute", slog.String("alias", alias), slog.Any("error", err))
	}
}

// settle waits until this node's reads include a revision.
func (s *channelStore) settle(ctx context.Context, revision uint64) error {
	if err := s.progress.wait(ctx, func(p position) bool { return p.applied >= revision }); err != nil {
		return eureka.WrapError(eureka.CodeUnavailable, err, "the change is stored, but this node does not see it yet")
	}
	return nil
}
