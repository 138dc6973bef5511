package dynamo

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"sync"
	"time"

	"eureka"
)

// attrPasses is the filter of a subscription: its text, or as bytes the name of a longer one that has an item of its own.
const attrPasses = "f"

// Where filters are kept. Deliveries read a subscriber's item for every message, so that a long text stands in an item of its own, once for all who have
// it, which an engine reads once.
const (
	ownFilter    = 64             // bytes, over which a text has an item of its own
	filterName   = 10             // bytes of SHA-256 that name it; two texts with one name are told apart when they are written
	filterSpare  = 24 * time.Hour // for which a text outlives the sockets that it was written for, so that the next ones need not write it again
	maxTextBytes = 4 << 20        // of texts that an engine remembers
)

// never is what stands for a filter whose text is lost: who must not see everything sees nothing.
const never = "false"

// filter is the filter of a subscription as its items have it; the zero value is none.
type filter struct {
	text string // "" when it is not read yet
	name string // of the item with the text; "" for a text that stands in the subscription's items
}

func filterOf(it item) filter {
	return filter{text: it.text(attrPasses), name: string(it.blob(attrPasses))}
}

// describe adds the filter to an item of its subscription.
func (f filter) describe(it item) {
	switch {
	case f.name != "":
		it[attrPasses] = blob([]byte(f.name))
	case f.text != "":
		it[attrPasses] = text(f.text)
	}
}

func nameOfFilter(text string) string {
	sum := sha256.Sum256([]byte(text))
	return string(sum[:filterName])
}

func filterKey(name string) key { return key{"f#" + hashEncoding.EncodeToString([]byte(name)), "f"} }

// keepFilter makes sure that a text outlives a socket's subscription, and returns what stands for it in the subscription's items. Only the first of the
// day writes it.
func (e *Engine) keepFilter(ctx context.Context, full string, socket item) (filter, error) {
	inPlace := filter{text: full}
	if len(full) <= ownFilter || !socket.has(KeyTTL) {
		return inPlace, nil
	}
	name, needed := nameOfFilter(full), socket.number(KeyTTL)
	if known, ok := e.texts.get(name); ok && known.text == full && known.until >= needed {
		return filter{full, name}, nil
	}
	it, err := e.table.get(ctx, filterKey(name), true)
	if err != nil {
		return filter{}, err
	}
	if it.text(attrPasses) != full || it.number(KeyTTL) < needed {
		it = filterKey(name).item()
		it[attrPasses], it[KeyTTL] = text(full), number(time.Unix(needed, 0).Add(filterSpare).Unix())
		err = e.table.put(ctx, it, condition{
			expression: "attribute_not_exists(" + KeyPartition + ") OR (f = :text AND #ttl < :ttl)", names: map[string]string{"#ttl": KeyTTL},
			values: item{":text": it[attrPasses], ":ttl": it[KeyTTL]},
		})
		if isRefused(err) {
			it = refused(err).item
		} else if err != nil {
			return filter{}, err
		}
	}
	if it.text(attrPasses) != full {
		return inPlace, nil // somebody was at pains to find another text with this name
	}
	e.texts.add(name, knownText{full, it.number(KeyTTL)})
	return filter{full, name}, nil
}

// readFilters reads those texts that are not known yet.
func (e *Engine) readFilters(ctx context.Context, filters []*filter) error {
	var unread []*filter
	var keys []key
	for _, f := range filters {
		if f.text != "" || f.name == "" {
			continue
		}
		if known, ok := e.texts.get(f.name); ok {
			f.text = known.text
			continue
		}
		unread, keys = append(unread, f), append(keys, filterKey(f.name))
	}
	if len(keys) == 0 {
		return nil
	}
	found, err := e.table.batchGet(ctx, keys, true)
	if err != nil {
		return err
	}
	for i, f := range unread {
		it := found[keys[i]]
		if f.text = it.text(attrPasses); f.text == "" {
			f.text = never
			e.options.Log.Error("a subscription's filter is lost; nothing passes it", slog.String("item", keys[i].pk))
			continue
		}
		e.texts.add(f.name, knownText{f.text, it.number(KeyTTL)})
	}
	return nil
}

// subscriptions are what a socket's own items say, with their filters.
func (e *Engine) subscriptions(ctx context.Context, socketID string, notes []item) ([]eureka.Subscription, error) {
	if len(notes) == 0 {
		return nil, nil
	}
	filters, unread := make([]filter, len(notes)), make([]*filter, len(notes))
	for i, note := range notes {
		filters[i] = filterOf(note)
		unread[i] = &filters[i]
	}
	if err := e.readFilters(ctx, unread); err != nil {
		return nil, err
	}
	subs := make([]eureka.Subscription, len(notes))
	for i, note := range notes {
		subs[i] = subscriptionOf(socketID, note)
		subs[i].Filter = filters[i].text
	}
	return subs, nil
}

// knownTexts are texts that an engine has read or written. A text never changes, so nothing of it is ever wrong.
type knownTexts struct {
	mu     sync.Mutex
	byName map[string]knownText
	bytes  int
}

type knownText struct {
	text  string
	until int64 // epoch seconds up to which its item is sure to be there
}

func (k *knownTexts) get(name string) (knownText, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known, ok := k.byName[name]
	return known, ok
}

func (k *knownTexts) add(name string, known knownText) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byName == nil || k.bytes+len(known.text) > maxTextBytes {
		k.byName, k.bytes = map[string]knownText{}, 0
	}
	k.bytes += len(known.text) - len(k.byName[name].text)
	k.byName[name] = known
}
