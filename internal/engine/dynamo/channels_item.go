package dynamo

import (
	"strconv"
	"time"

	"eureka"
)

// Attributes of a channel's items.
const (
	attrID        = "i"
	attrAlias     = "a"
	attrService   = "s"
	attrModelType = "t"
	attrModelID   = "m"
	attrLabel     = "n"
	attrDesc      = "e"
	attrPresence  = "p"
	attrFilter    = "f"
	attrTransform = "tr"
	attrListen    = "as" // rule on who may subscribe
	attrPublish   = "ap" // rule on who may publish
	attrSize      = "hs" // of the history, in messages
	attrAge       = "ht" // of the history, in nanoseconds
	attrCreated   = "ca"
	attrUpdated   = "ua"
	attrRevision  = "r"
	attrDeleted   = "d"  // there on a deleted channel alone
	attrDeletedAt = "dm" // epoch milliseconds of the deletion by this package's clock, which versions of subscriptions are taken from
)

// tombstoneTTL is how long the last revision of a deleted channel is remembered: for longer than clocks can differ, which new revisions
// are taken from.
const tombstoneTTL = 24 * time.Hour

// channelItem is a copy of the channel under one of its keys.
func channelItem(ch eureka.Channel, k key) item {
	it := k.item()
	access := eureka.Access{}
	if ch.Access != nil {
		access = *ch.Access
	}
	for name, value := range map[string]string{
		attrID: ch.ID, attrAlias: ch.Alias, attrService: ch.Service, attrModelType: ch.ModelType, attrModelID: ch.ModelID, attrLabel: ch.Name, attrDesc: ch.Desc,
		attrFilter: ch.Filter, attrTransform: ch.Transform, attrListen: access.Subscribe, attrPublish: access.Publish,
	} {
		if value != "" {
			it[name] = text(value)
		}
	}
	if ch.Presence {
		it[attrPresence] = boolean(true)
	}
	if ch.History != nil {
		it[attrSize], it[attrAge] = number(int64(ch.History.Size)), number(int64(ch.History.TTL))
	}
	it[attrCreated], it[attrUpdated] = number(ch.CreatedAt), number(ch.UpdatedAt)
	it[attrRevision] = unsigned(ch.Revision)
	return it
}

func channelOf(it item) eureka.Channel {
	ch := eureka.Channel{
		ID: it.text(attrID), Alias: it.text(attrAlias), Service: it.text(attrService), ModelType: it.text(attrModelType), ModelID: it.text(attrModelID),
		Name: it.text(attrLabel), Desc: it.text(attrDesc), Presence: it.boolean(attrPresence),
		CreatedAt: it.number(attrCreated), UpdatedAt: it.number(attrUpdated), Revision: revisionOf(it),
	}
	ch.Filter, ch.Transform = it.text(attrFilter), it.text(attrTransform)
	if access := (eureka.Access{Subscribe: it.text(attrListen), Publish: it.text(attrPublish)}); access != (eureka.Access{}) {
		ch.Access = &access
	}
	if it.has(attrSize) {
		ch.History = &eureka.Retention{Size: int(it.number(attrSize)), TTL: eureka.Duration(it.number(attrAge))}
	}
	return ch
}

// tombstone stands at a deleted channel's id for a while, so that the id's revisions go on where they ended.
func tombstone(ch eureka.Channel, now time.Time) item {
	it := nameKey(ch.ID).item()
	it[attrID], it[attrDeleted], it[attrRevision] = text(ch.ID), number(ch.DeletedAt), unsigned(ch.Revision)
	it[attrDeletedAt], it[KeyTTL] = number(now.UnixMilli()), number(now.Add(tombstoneTTL).Unix())
	return it
}

// living reports whether a name's item stands for a channel, under its id or its alias.
func living(it item) bool { return it != nil && !it.has(attrDeleted) }

func revisionOf(it item) uint64 { return uint64(max(it.number(attrRevision), 0)) }

// unchanged is the condition that a name's item still is the one that was read; nil for none.
func unchanged(read item) condition {
	if read == nil {
		return absent
	}
	only := condition{expression: "i = :i AND r = :r AND ", values: item{":i": read[attrID], ":r": read[attrRevision]}}
	if living(read) {
		only.expression += "attribute_not_exists(d)"
	} else {
		only.expression += "attribute_exists(d)"
	}
	return only
}

func (c *channels) now() time.Time { return c.options.Now() }

// nowMicros is where revisions begin; the largest is beyond the year 2200 and still a whole number to JavaScript.
func (c *channels) nowMicros() uint64 { return uint64(max(c.now().UnixMicro(), 1)) }

// timeKey orders all channels by their time of creation, then by id.
func timeKey(createdAt int64, id string) key { return key{"i#t", sortableTime(createdAt) + "#" + id} }

// sortableTime is 16 hex digits whose order is that of the numbers.
func sortableTime(n int64) string {
	digits := strconv.FormatUint(uint64(n)^1<<63, 16) //nolint:gosec // its bits
	const zeros = "0000000000000000"
	return zeros[len(digits):] + digits
}
