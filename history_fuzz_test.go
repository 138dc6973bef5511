package eureka_test

import (
	"math"
	"testing"

	"eureka"
)

func FuzzParseCursor(f *testing.F) {
	for _, text := range []string{
		"", ".", "abcdefgh.1", "abcdefgh.", "abcdefgh.0", "abcdefgh.01", "abcdefgh.+1", "abcdefgh.-1", "abcdefgh.9223372036854775807", "ABCDEFGH.1",
		"abcdefgh.9223372036854775808", "abcdefgh.18446744073709551616", "abcdefg1.1", "abcdefghi.1", "abcdefgh.1.1", "ábcdefg.1", "abcdefgh.1 ",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := eureka.ParseCursor("since", text)
		if err != nil {
			if eureka.CodeOf(err) != eureka.CodeInvalid || c != (eureka.Cursor{}) {
				t.Errorf("%q: %+v, %v", text, c, err)
			}
			return
		}
		if c.String() != text || c.Offset > math.MaxInt64 {
			t.Errorf("%q was read as %q", text, c)
		}
	})
}
