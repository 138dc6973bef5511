package dynamo

import (
	"strings"
	"testing"
	"unicode/utf8"

	"eureka"
)

func FuzzParsePosition(f *testing.F) {
	for _, field := range eureka.ChannelSortFields {
		f.Add(field, true, nextPosition(eureka.Sort{Field: field, Desc: true}, eureka.Channel{ID: "a", Name: "한글", CreatedAt: -5}))
	}
	f.Add("name", false, "AAAA")
	f.Fuzz(func(t *testing.T, field string, desc bool, s string) {
		sort := eureka.Sort{Field: field, Desc: desc}
		p, err := parsePosition(sort, s)
		if err != nil {
			if eureka.CodeOf(err) != eureka.CodeInvalid {
				t.Errorf("%v", err)
			}
			return
		}
		if p == nil {
			return
		}
		if again := nextPosition(sort, p.channel(field)); again != s && field != "id" {
			if q, err := parsePosition(sort, again); err != nil || *q != *p {
				t.Errorf("%q is read as %+v, which is written %q", s, p, again)
			}
		}
	})
}

// FuzzWords: every word that a channel is indexed by finds it, and fits a key.
func FuzzWords(f *testing.F) {
	for _, s := range []string{"Purchase Orders", "한글 채널", "Cafe\u0301", "ΣΊΣΥΦΟΣ", "İIıi ß ſ", "👩\u200d👧", "a#b#c", strings.Repeat("ö", 150), "\xff\ufffd", "a\u0300\u0301b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) || len(s) > eureka.MaxDescLength {
			return
		}
		ch := eureka.Channel{ID: "id", Desc: s}
		for _, word := range wordsOf(ch) {
			k := wordKey(word, ch.ID)
			if got, id := wordEntryID(k); got != word || id != ch.ID || len(k.sk) > 1024 || strings.Contains(word, "#") || !utf8.ValidString(word) {
				t.Errorf("%q has the key %v", word, k)
			}
			p := parsePhrases(word)
			if !p.match(ch) {
				t.Errorf("%q is not found by its word %q", s, word)
			}
		}
		for _, phrase := range parsePhrases(s) {
			if !(phrases{phrase}).match(ch) {
				t.Errorf("%q is not found by its part %q", s, phrase)
			}
		}
	})
}
