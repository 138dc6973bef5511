package dynamo

import (
	"context"
	"log/slog"

	"eureka"
)

// maxChannelTries bounds how often a write of a channel starts again because another one came between its reading and its transaction.
const maxChannelTries = 20

// channels is eureka.Channels. A channel, its alias and its entries in lists change in one transaction; the entries of its words are written before
// it and removed after it, so that at any time there are too many of them rather than too few, and readers check what they find.
type channels Engine

// errUnknownChannel is what Get answers for an undeclared name. Publishes to undeclared channels ask on every message, so it is made once.
var errUnknownChannel = eureka.Errorf(eureka.CodeNotFound, "there is no such channel")

// errRaced says that a transaction's conditions did not hold; what stands in the table now decides what that means.
var errRaced = eureka.Errorf(eureka.CodeUnavailable, "others change the same channels all the time; try again")

// taken says that a name belongs to a channel already.
func taken(field, name string) *eureka.Error {
	return &eureka.Error{Code: eureka.CodeConflict, Field: field, Message: field + ": \"" + name + "\" is the id or alias of another channel"}
}

// Create implements eureka.Channels.
func (c *channels) Create(ctx context.Context, ch eureka.Channel) (eureka.Channel, error) {
	if err := ch.Validate(); err != nil {
		return eureka.Channel{}, err
	}
	ch.DeletedAt, ch.Revision = 0, 0
	if ch.ID == "" || ch.ID == eureka.NewID {
		return c.createNumbered(ctx, ch)
	}
	return c.create(ctx, ch)
}

// create stores a channel with an id.
func (c *channels) create(ctx context.Context, ch eureka.Channel) (eureka.Channel, error) {
	explicit := ch.Alias != ""
	if !explicit {
		if ch.Alias = eureka.ModelName(ch.Service, ch.ModelType, ch.ModelID); ch.Alias == ch.ID {
			ch.Alias = ""
		}
	}
	for range maxChannelTries {
		there, err := c.names(ctx, ch.ID, ch.Alias)
		if err != nil {
			return eureka.Channel{}, err
		}
		if living(there[ch.ID]) {
			return eureka.Channel{}, taken("id", ch.ID)
		}
		made := ch
		if made.Alias != "" && living(there[made.Alias]) {
			if explicit {
				return eureka.Channel{}, taken("alias", made.Alias)
			}
			made.Alias = ""
		}
		// Revisions begin at the time, so that none comes again when the id does.
		made.Revision = max(c.nowMicros(), revisionOf(there[made.ID])+1)
		if err = (*Engine)(c).following(ctx, made.Alias, func() error { return c.storeNew(ctx, made, there) }); refused(err) == nil {
			return orNone(made, err)
		}
	}
	return eureka.Channel{}, errRaced
}

func (c *channels) storeNew(ctx context.Context, made eureka.Channel, there map[string]item) error {
	if err := c.addWords(ctx, made.ID, wordsOf(made), made.Revision); err != nil {
		return err
	}
	steps := []step{
		{put: channelItem(made, nameKey(made.ID)), only: unchanged(there[made.ID])},
		{put: channelItem(made, timeKey(made.CreatedAt, made.ID))},
		{key: countKey(made.ID), change: countChange(1)},
	}
	if made.Alias != "" {
		steps = append(steps, step{put: channelItem(made, nameKey(made.Alias)), only: unchanged(there[made.Alias])})
	}
	if k, ok := modelKey(made); ok {
		steps = append(steps, step{put: channelItem(made, k)})
	}
	return c.table.transact(ctx, steps...)
}

// Get implements eureka.Channels: one consistent read of one item.
func (c *channels) Get(ctx context.Context, name string) (eureka.Channel, error) {
	if err := eureka.CheckName("channel", name); err != nil {
		return eureka.Channel{}, err
	}
	there, err := c.table.get(ctx, nameKey(name), true)
	if err != nil {
		return eureka.Channel{}, err
	}
	if !living(there) {
		return eureka.Channel{}, errUnknownChannel
	}
	return channelOf(there), nil
}

// Update implements eureka.Channels.
func (c *channels) Update(ctx context.Context, ch eureka.Channel) (eureka.Channel, error) {
	if err := ch.Validate(); err != nil {
		return eureka.Channel{}, err
	}
	if err := checkOwnID(ch.ID); err != nil {
		return eureka.Channel{}, err
	}
	ch.DeletedAt = 0
	for range maxChannelTries {
		there, err := c.names(ctx, ch.ID, ch.Alias)
		if err != nil {
			return eureka.Channel{}, err
		}
		own := there[ch.ID]
		if !living(own) || own.text(attrID) != ch.ID {
			return eureka.Channel{}, errNoChannel(ch.ID)
		}
		before := channelOf(own)
		if before.Revision != ch.Revision {
			return eureka.Channel{}, eureka.Errorf(eureka.CodeConflict, "channel %q was changed by another writer; read it again", ch.ID)
		}
		if ch.Alias != "" && ch.Alias != before.Alias && living(there[ch.Alias]) {
			return eureka.Channel{}, taken("alias", ch.Alias)
		}
		after := ch
		after.Revision++
		gained := after.Alias
		if gained == before.Alias {
			gained = ""
		}
		if err = (*Engine)(c).following(ctx, gained, func() error { return c.storeChanged(ctx, before, after, there) }); refused(err) == nil {
			return orNone(after, err)
		}
	}
	return eureka.Channel{}, errRaced
}

func (c *channels) storeChanged(ctx context.Context, before, after eureka.Channel, there map[string]item) error {
	had, has := wordsOf(before), wordsOf(after)
	if err := c.addWords(ctx, after.ID, without(has, had), after.Revision); err != nil {
		return err
	}
	steps := []step{
		{put: channelItem(after, nameKey(after.ID)), only: unchanged(there[after.ID])},
		{put: channelItem(after, timeKey(after.CreatedAt, after.ID))},
	}
	if before.CreatedAt != after.CreatedAt {
		steps = append(steps, step{remove: true, key: timeKey(before.CreatedAt, before.ID)})
	}
	if after.Alias != "" {
		s := step{put: channelItem(after, nameKey(after.Alias))}
		if after.Alias != before.Alias {
			s.only = unchanged(there[after.Alias])
		}
		steps = append(steps, s)
	}
	if before.Alias != "" && before.Alias != after.Alias {
		steps = append(steps, step{remove: true, key: nameKey(before.Alias)})
	}
	oldKey, old := modelKey(before)
	newKey, now := modelKey(after)
	if now {
		steps = append(steps, step{put: channelItem(after, newKey)})
	}
	if old && oldKey != newKey {
		steps = append(steps, step{remove: true, key: oldKey})
	}
	if err := c.table.transact(ctx, steps...); err != nil {
		return err
	}
	c.dropWords(ctx, after.ID, without(had, has), after.Revision)
	return nil
}

// Delete implements eureka.Channels.
func (c *channels) Delete(ctx context.Context, id string, deletedAt int64) (eureka.Channel, error) {
	if err := checkOwnID(id); err != nil {
		return eureka.Channel{}, err
	}
	for range maxChannelTries {
		own, err := c.table.get(ctx, nameKey(id), true)
		if err != nil {
			return eureka.Channel{}, err
		}
		if !living(own) || own.text(attrID) != id {
			return eureka.Channel{}, errNoChannel(id)
		}
		ch := channelOf(own)
		ch.DeletedAt = deletedAt
		ch.Revision++
		if err = (*Engine)(c).following(ctx, id, func() error { return c.storeDeleted(ctx, ch, own) }); refused(err) == nil {
			return orNone(ch, err)
		}
	}
	return eureka.Channel{}, errRaced
}

func (c *channels) storeDeleted(ctx context.Context, ch eureka.Channel, own item) error {
	steps := []step{
		{put: tombstone(ch, c.now()), only: unchanged(own)},
		{remove: true, key: timeKey(ch.CreatedAt, ch.ID)},
		{key: countKey(ch.ID), change: countChange(-1)},
	}
	if ch.Alias != "" {
		steps = append(steps, step{remove: true, key: nameKey(ch.Alias)})
	}
	if k, ok := modelKey(ch); ok {
		steps = append(steps, step{remove: true, key: k})
	}
	if err := c.table.transact(ctx, steps...); err != nil {
		return err
	}
	c.dropWords(ctx, ch.ID, wordsOf(ch), ch.Revision)
	return nil
}

// names reads the items of up to two names, the second of which may be empty.
func (c *channels) names(ctx context.Context, id, alias string) (map[string]item, error) {
	keys := []key{nameKey(id)}
	if alias != "" {
		keys = append(keys, nameKey(alias))
	}
	found, err := c.table.batchGet(ctx, keys, true)
	if err != nil {
		return nil, err
	}
	return map[string]item{id: found[nameKey(id)], alias: found[nameKey(alias)]}, nil
}

// dropWords removes entries of words that a channel does not have any more. Those that stay when that fails are found and removed by readers.
func (c *channels) dropWords(ctx context.Context, id string, words []string, revision uint64) {
	if err := c.removeWords(ctx, id, words, revision); err != nil {
		c.options.Log.Warn("words that a channel no longer has could not be removed; searches pass them by", slog.String("channel", id), slog.Any("error", err))
	}
}

func orNone(ch eureka.Channel, err error) (eureka.Channel, error) {
	if err != nil {
		return eureka.Channel{}, err
	}
	return ch, nil
}

func checkOwnID(id string) error {
	if id == eureka.NewID {
		return errNoChannel(id)
	}
	return eureka.CheckName("id", id)
}

func errNoChannel(name string) error {
	return eureka.Errorf(eureka.CodeNotFound, "there is no channel %q", name)
}
