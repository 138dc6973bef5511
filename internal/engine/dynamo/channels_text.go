package dynamo

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"eureka"
)

// Free text is compared by words: runs of letters, digits, symbols and marks, without case and without accents. Each part of a query
// between white space must occur as words that follow each other in one field, the last of which may go on. This is what the self-hosted
// mode's full-text index does.

// wordRunes are the categories that words are made of.
var wordRunes = []*unicode.RangeTable{unicode.L, unicode.N, unicode.Co, unicode.So, unicode.Mn, unicode.Mc}

func inWord(r rune) bool { return r != unicode.ReplacementChar && unicode.In(r, wordRunes...) }

// Accents are combining marks that Latin, Greek and Cyrillic letters carry; those of other scripts make other letters.
const firstAccent, lastAccent = '\u0300', '\u036f'

// fold returns the text without case and accents.
func fold(s string) string {
	ascii := true
	for i := range len(s) {
		ascii = ascii && s[i] < 0x80
	}
	if ascii {
		return strings.ToLower(s)
	}
	plain := strings.Map(func(r rune) rune {
		if r >= firstAccent && r <= lastAccent {
			return -1
		}
		return r
	}, norm.NFD.String(s))
	return strings.Map(foldRune, norm.NFC.String(plain))
}

// foldRune maps all runes that are one letter in different cases, such as s, S and ſ, to one rune.
func foldRune(r rune) rune {
	least := r
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		if other < least && unicode.IsLetter(other) { // the iota subscript is a case of iota, and a mark
			least = other
		}
	}
	return unicode.ToLower(least)
}

// splitWords returns the words of a text, folded, in their order.
func splitWords(s string) []string {
	return strings.FieldsFunc(fold(s), func(r rune) bool { return !inWord(r) })
}

func textFields(ch eureka.Channel) []string {
	return []string{ch.ID, ch.Alias, ch.Service, ch.ModelType, ch.ModelID, ch.Name, ch.Desc}
}

// wordsOf returns the words that a channel is found by, each once. Words with the same beginning of maxWordKey bytes have one entry, so
// they count as one.
func wordsOf(ch eureka.Channel) []string {
	var all []string
	seen := map[string]bool{}
	for _, field := range textFields(ch) {
		for _, word := range splitWords(field) {
			if word = shortened(word); !seen[word] {
				seen[word] = true
				all = append(all, word)
			}
		}
	}
	return all
}

// phrases are the parts of a text query, each a list of words.
type phrases [][]string

func parsePhrases(s string) phrases {
	var parts phrases
	for _, part := range strings.FieldsFunc(s, unicode.IsSpace) {
		if words := splitWords(part); len(words) > 0 {
			parts = append(parts, words)
		}
	}
	return parts
}

// match reports whether each phrase occurs in a field of the channel.
func (p phrases) match(ch eureka.Channel) bool {
	var fields [][]string
	for _, field := range textFields(ch) {
		fields = append(fields, splitWords(field))
	}
	for _, phrase := range p {
		if !slices.ContainsFunc(fields, func(words []string) bool { return occurs(phrase, words) }) {
			return false
		}
	}
	return true
}

// occurs reports whether the phrase's words follow each other among the words, the last one as a prefix.
func occurs(phrase, words []string) bool {
	last := len(phrase) - 1
	for i := 0; i+last < len(words); i++ {
		if slices.Equal(phrase[:last], words[i:i+last]) && strings.HasPrefix(words[i+last], phrase[last]) {
			return true
		}
	}
	return false
}

// term is a word to look up: whole, or the beginning of others.
type term struct {
	word  string
	whole bool
}

// terms are the words of a query, long before short: those are expected to select less.
func (p phrases) terms() []term {
	var all []term
	for _, phrase := range p {
		for i, word := range phrase {
			t := term{shortened(word), i < len(phrase)-1 && len(word) <= maxWordKey}
			if !slices.Contains(all, t) {
				all = append(all, t)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b term) int { return len(b.word) - len(a.word) })
	return all
}
