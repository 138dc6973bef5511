package natsengine

import (
	"strings"
	"unicode"
)

// matchWords turns free text into an FTS5 query: every word, split at white space, becomes a quoted phrase whose last part is a prefix,
// and all must occur. Quotes make operators, brackets and column names plain text. It reports false when the text has no
// word, which matches nothing.
func matchWords(text string) (string, bool) {
	var b strings.Builder
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return unicode.IsSpace(r) || r == 0 }) {
		if !strings.ContainsFunc(word, inWord) {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(" AND ")
		}
		b.WriteByte('"')
		b.WriteString(strings.ReplaceAll(strings.ToValidUTF8(word, ""), `"`, `""`))
		b.WriteString(`"*`)
	}
	return b.String(), b.Len() > 0
}

// inWord reports whether the table's tokenizer makes words of this character (its categories L* N* Co So Mn Mc).
func inWord(r rune) bool {
	return r != unicode.ReplacementChar && unicode.In(r, unicode.L, unicode.N, unicode.Co, unicode.So, unicode.Mn, unicode.Mc)
}
