package dynamo

import (
	"context"
	"strings"
	"unicode/utf8"

	"eureka"
)

// The keys of a channel. Each item but those of words and of the count is a whole copy of the channel, and all copies change in one transaction:
//
//	c#<id or alias>             c                                            what Get reads
//	i#t                         <time of creation>#<id>                      the list of all
//	i#m#<hash of service>       <hash of modelType>#<hash of modelId>#<id>   routing, and filters on the service
//	i#w#<first rune of a word>  <word>#<id>                                  free text: no copy, the revision that it was written for
//	g                           n#<0 … f>                                    the number of channels, in parts
//	g                           channel                                      the number that was given last
const (
	namePartition  = "c#"
	timePartition  = "i#t"
	modelPartition = "i#m#"
	wordPartition  = "i#w#"
	countPartition = "g"
	countPrefix    = "n#"
	numberSort     = "channel"
	attrNumber     = "n"
)

// maxWordKey is how much of a word is in its key, in bytes; what is found is compared in full.
const maxWordKey = 200

// wordWriters is how many entries of words are written at the same time.
const wordWriters = 8

func nameKey(name string) key { return key{namePartition + name, "c"} }

// modelKey is where routing finds a channel; a channel without a service is not routed to.
func modelKey(ch eureka.Channel) (key, bool) {
	if ch.Service == "" {
		return key{}, false
	}
	return key{modelPartition + hash(ch.Service), hash(ch.ModelType) + "#" + hash(ch.ModelID) + "#" + ch.ID}, true
}

// countKey is the part of the count that a channel is in. Parts keep transactions that are made at the same time out of each other's way.
func countKey(id string) key {
	return key{countPartition, countPrefix + hash(id)[:1]}
}

func countChange(by int64) *change {
	return &change{expression: "ADD " + attrNumber + " :by", values: item{":by": number(by)}}
}

// count returns the number of living channels: one query of at most 32 small items, one read unit.
func (c *channels) count(ctx context.Context) (int, error) {
	total := int64(0)
	for it, err := range c.table.items(ctx, query{partition: countPartition, prefix: countPrefix, consistent: true}) {
		if err != nil {
			return 0, err
		}
		total += it.number(attrNumber)
	}
	return int(total), nil
}

// wordEntry is where searches look for words that begin with this one.
func wordEntry(word string) (partition, prefix string) {
	_, size := utf8.DecodeRuneInString(word)
	return wordPartition + word[:size], shortened(word)
}

func wordKey(word, id string) key {
	partition, prefix := wordEntry(word)
	return key{partition, prefix + "#" + id}
}

func shortened(word string) string {
	if len(word) <= maxWordKey {
		return word
	}
	cut := maxWordKey
	for !utf8.RuneStart(word[cut]) {
		cut--
	}
	return word[:cut]
}

// wordEntryID returns the channel id of a word's entry, and the word or its beginning.
func wordEntryID(k key) (word, id string) {
	i := strings.LastIndexByte(k.sk, '#')
	return k.sk[:max(i, 0)], k.sk[i+1:]
}

// addWords writes the entries of words that a channel is about to have. An entry never goes back to an older revision.
func (c *channels) addWords(ctx context.Context, id string, words []string, revision uint64) error {
	return each(ctx, wordWriters, words, func(ctx context.Context, word string) error {
		it := wordKey(word, id).item()
		it[attrRevision] = unsigned(revision)
		err := c.table.put(ctx, it, condition{
			expression: "attribute_not_exists(" + KeyPartition + ") OR r < :r", values: item{":r": it[attrRevision]},
		})
		return unlessRefused(err) // by one for a later revision, or by our own whose answer was lost
	})
}

// removeWords removes the entries of words that a channel has not had since a revision, unless they were written for a later one.
func (c *channels) removeWords(ctx context.Context, id string, words []string, revision uint64) error {
	return each(ctx, wordWriters, words, func(ctx context.Context, word string) error {
		_, err := c.table.remove(ctx, wordKey(word, id), condition{
			expression: "attribute_not_exists(" + KeyPartition + ") OR r < :r", values: item{":r": unsigned(revision)},
		})
		return unlessRefused(err)
	})
}

// without returns the words of one list that are not in the other.
func without(words, other []string) []string {
	in := make(map[string]bool, len(other))
	for _, word := range other {
		in[word] = true
	}
	var rest []string
	for _, word := range words {
		if !in[word] {
			rest = append(rest, word)
		}
	}
	return rest
}
