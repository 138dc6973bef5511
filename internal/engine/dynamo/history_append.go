package dynamo

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"eureka"
)

const (
	dedupWindow    = 5 * time.Minute // how long one key stores a message once
	maxAppendTries = 10
	attrOffset     = "of" // of a key
)

// append stores a message behind all others and returns the channel as it was then, and the offset: with a key that stored one before, that one's. Two
// writes, and one more with a key.
func (e *Engine) append(ctx context.Context, m eureka.Message, body []byte) (runtime, uint64, error) {
	for range maxAppendTries {
		r, it, err := e.take(ctx, m, body)
		if err != nil {
			return r, 0, err
		}
		if m.Key == "" {
			if stored, err := e.store(ctx, it); err != nil || stored {
				return r, r.head, err
			}
			continue // it took so long that a reader sealed the offset
		}
		offset, err := e.storeOnce(ctx, m, r, it)
		if err != nil || offset != 0 {
			return r, offset, err
		}
	}
	return runtime{}, 0, eureka.Errorf(eureka.CodeUnavailable, "the channel is too busy")
}

// take takes the next offset, and makes the message's item for it. Nobody else is given the same one; where an answer was lost one is given to nobody,
// and stays a hole until a reader seals it.
func (e *Engine) take(ctx context.Context, m eureka.Message, body []byte) (runtime, item, error) {
	now, limit := e.options.Now(), time.Duration(m.Retention.TTL)
	before, err := e.table.update(ctx, runtimeKey(m.ChannelID), change{
		expression: "SET ep = if_not_exists(ep, :epoch), hd = if_not_exists(hd, :first) + :one, bt = if_not_exists(bt, :now), sz = :size, tt = :limit, la = :now",
		values: item{
			":epoch": text(newEpoch()), ":first": number(firstHead), ":one": number(1), ":size": number(int64(m.Retention.Size)),
			":limit": number(limit.Milliseconds()), ":now": number(now.UnixMilli()),
		},
		returns: types.ReturnValueAllOld,
	})
	if err != nil {
		return runtime{}, nil, err
	}
	r := runtimeOf(before)
	r.head = max(r.head, firstHead) + 1
	if r.epoch == "" {
		// The first message of all: its epoch is only in the item now.
		first, err := e.runtime(ctx, m.ChannelID)
		if err != nil {
			return r, nil, err
		}
		r.epoch, r.began = first.epoch, first.began
	}
	r.size, r.limit = m.Retention.Size, limit.Milliseconds()
	it := messageKey(m.ChannelID, r.epoch, r.head).item()
	it[attrBody], it[attrStored] = blob(body), number(now.UnixMilli())
	if len(m.Except) > 0 {
		it[attrExcept] = texts(m.Except)
	}
	for name, value := range map[string]string{attrFrom: m.Service, attrOfType: m.ModelType, attrOfID: m.ModelID} {
		if value != "" {
			it[name] = text(value)
		}
	}
	if last := before.number(attrLast); last != 0 {
		it[attrBefore] = number(last)
	}
	over := now.Add(limit)
	it[attrExpires], it[KeyTTL] = number(over.UnixMilli()), number(over.Add(keptOver).Unix())
	return r, it, nil
}

// store puts a message at its offset; false when that was sealed. A message that is there already is this one: nobody else was given the offset, and
// whoever comes with its key brings the same message.
func (e *Engine) store(ctx context.Context, it item) (bool, error) {
	err := e.table.put(ctx, it, absent)
	if isRefused(err) {
		return refused(err).item.has(attrBody), nil
	}
	return err == nil, err
}

// storeOnce stores a message with a key. The key notes the offset before the message is there; whoever comes with the same key stores its message, which
// is the same one, at the noted offset if nothing is there. It returns 0 when the offset cannot be used.
func (e *Engine) storeOnce(ctx context.Context, m eureka.Message, r runtime, it item) (uint64, error) {
	now := e.options.Now()
	note := key{"k#" + hash(m.ChannelID, m.Key), "k"}.item()
	note[attrOffset], note[attrEpoch] = unsigned(r.head), text(r.epoch)
	err := e.table.put(ctx, expiring(note, now.Add(dedupWindow)), condition{
		expression: "attribute_not_exists(" + KeyPartition + ") OR x <= :now OR ep <> :epoch",
		values:     item{":now": number(now.UnixMilli()), ":epoch": text(r.epoch)},
	})
	noted := r.head
	if refusal := refused(err); refusal != nil {
		note, noted = refusal.item, refusal.item.offset(attrOffset)
	} else if err != nil {
		return 0, err
	}
	if noted != r.head { // else the note is this call's own
		// Somebody was here before: what this call took is not needed.
		if err := e.seal(ctx, m.ChannelID, r, r.head); err != nil {
			return 0, err
		}
		it[KeySort] = text(offsetText(noted))
		delete(it, attrBefore)
	}
	if stored, err := e.store(ctx, it); err != nil || stored {
		return noted, err
	}
	return 0, e.forgetKey(ctx, note)
}

// forgetKey removes a key whose offset was sealed before its message came.
func (e *Engine) forgetKey(ctx context.Context, note item) error {
	_, err := e.table.remove(ctx, note.key(), condition{
		expression: "#of = :offset AND ep = :epoch", names: map[string]string{"#of": attrOffset},
		values: item{":offset": note[attrOffset], ":epoch": note[attrEpoch]},
	})
	return unlessRefused(err)
}

// seal says that an offset has no message and never will, unless it has one. Like messages it outlives every key that notes its offset.
func (e *Engine) seal(ctx context.Context, channelID string, r runtime, offset uint64) error {
	now := e.options.Now()
	it := messageKey(channelID, r.epoch, offset).item()
	over := now.Add(time.Duration(r.limit) * time.Millisecond)
	it[attrStored], it[attrExpires], it[KeyTTL] = number(now.UnixMilli()), number(over.UnixMilli()), number(over.Add(keptOver).Unix())
	err := e.table.put(ctx, it, absent)
	return unlessRefused(err)
}
