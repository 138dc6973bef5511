package porttest

import (
	"fmt"
	"strings"
	"testing"

	"eureka"
)

func channelsText(t *testing.T, h ChannelsHarness) {
	h.needs(t, ChannelsFreeText)
	c := h.first()
	create(t, c, eureka.Channel{ID: "a", Alias: "alias-one", Service: "orders-api", ModelType: "Order", ModelID: "A7", Name: "Purchase Orders", Desc: "every order of the shop"})
	create(t, c, eureka.Channel{ID: "b.two", Service: "users-api", ModelType: "User", Name: "People", Desc: "who orders and who NOT"})
	create(t, c, eureka.Channel{ID: "1000042", Name: "numbered", Desc: "AND OR NEAR"})
	tests := []struct {
		text string
		want []string
	}{
		{"order", []string{"a", "b.two"}},
		{"ORDERS", []string{"a", "b.two"}},
		{"purchase ord", []string{"a"}},
		{"ord\tPUR\n", []string{"a"}},
		{"rders", nil},
		{"orders nobody", nil},
		{"alias", []string{"a"}},
		{"alias-one", []string{"a"}},
		{"orders-api", []string{"a"}},
		{"user", []string{"b.two"}},
		{"a7", []string{"a"}},
		{"b.two", []string{"b.two"}},
		{"b.t", []string{"b.two"}},
		{"10000", []string{"1000042"}},
		{"NOT", []string{"b.two"}},
		{"and or near", []string{"1000042"}},
		{"orders shop", []string{"a"}},
		{"api", []string{"a", "b.two"}},
	}
	for _, tt := range tests {
		page := list(t, c, eureka.ChannelQuery{Text: tt.text})
		wantSet(t, fmt.Sprintf("text %q", tt.text), page, tt.want...)
		if _, cannot := h.Cannot[ChannelsTotals]; !cannot && page.Total != len(tt.want) {
			t.Errorf("text %q: total %d, want %d", tt.text, page.Total, len(tt.want))
		}
	}
	page := list(t, c, eureka.ChannelQuery{Text: "order", Where: []eureka.Condition{{Field: "modelType", Values: []string{"User"}}}})
	wantSet(t, "text and filter", page, "b.two")
	if got := pages(t, c, eureka.ChannelQuery{Text: "order", Paging: eureka.Paging{Limit: 1}}); len(got) != 2 {
		t.Errorf("text in pages finds %q", ids(got))
	}
}

func channelsTextUnicode(t *testing.T, h ChannelsHarness) {
	h.needs(t, ChannelsFreeText)
	c := h.first()
	create(t, c, eureka.Channel{ID: "korean", Name: "한글 채널", Desc: "주문이 들어오면"})
	create(t, c, eureka.Channel{ID: "composed", Name: "Caf\u00e9 cr\u00e8me"})
	create(t, c, eureka.Channel{ID: "combining", Name: "Cafe\u0301 cre\u0300me"})
	create(t, c, eureka.Channel{ID: "greek", Name: "ΣΊΣΥΦΟΣ"})
	create(t, c, eureka.Channel{ID: "russian", Name: "Заказы"})
	tests := []struct {
		text string
		want []string
	}{
		{"한글", []string{"korean"}},
		{"한", []string{"korean"}},
		{"채널 주문", []string{"korean"}},
		{"글", nil},
		{"caf\u00e9", []string{"composed", "combining"}},
		{"cafe\u0301", []string{"composed", "combining"}},
		{"CAFE CREME", []string{"composed", "combining"}},
		{"Σίσυφο", []string{"greek"}},
		{"ЗАКАЗ", []string{"russian"}},
	}
	for _, tt := range tests {
		wantSet(t, fmt.Sprintf("text %q", tt.text), list(t, c, eureka.ChannelQuery{Text: tt.text}), tt.want...)
	}
}

func channelsTextEmoji(t *testing.T, h ChannelsHarness) {
	h.needs(t, ChannelsFreeText, ChannelsEmoji)
	c := h.first()
	create(t, c, eureka.Channel{ID: "rocket", Name: "launch 🚀 today"})
	create(t, c, eureka.Channel{ID: "family", Name: "👩\u200d👩\u200d👧 home"})
	for text, want := range map[string]string{"🚀": "rocket", "launch 🚀": "rocket", "👩": "family", "👩\u200d👩": "family"} {
		wantSet(t, "text "+text, list(t, c, eureka.ChannelQuery{Text: text}), want)
	}
	wantSet(t, "another emoji", list(t, c, eureka.ChannelQuery{Text: "🛑"}))
}

// channelsTextHostile searches for query syntax: it is text like any other, and never an error.
func channelsTextHostile(t *testing.T, h ChannelsHarness) {
	h.needs(t, ChannelsFreeText)
	c := h.first()
	create(t, c, eureka.Channel{ID: "a", Name: "plain words", Desc: `say "hi" (name: x) AND 50%`})
	create(t, c, eureka.Channel{ID: "b", Name: "other"})
	finds := map[string][]string{
		`"hi"`: {"a"}, `"hi`: {"a"}, `hi"`: {"a"}, `(name: x)`: {"a"}, `AND`: {"a"}, `50%`: {"a"}, `plain*`: {"a"}, `+plain`: {"a"},
		`-plain`: {"a"}, `^plain`: {"a"}, `name:plain`: nil, `name : plain`: {"a"}, `{name}: plain`: {"a"}, `plain OR other`: nil,
		`NOT other`: nil, `NEAR(plain words)`: nil, `plain"*"words`: {"a"}, `plain;--`: {"a"}, `'plain'`: {"a"}, `plain & words`: {"a"},
		"plain\u00a0words": {"a"}, "plain\u3000words": {"a"}, `\plain`: {"a"},
	}
	for text, want := range finds {
		wantSet(t, fmt.Sprintf("text %q", text), list(t, c, eureka.ChannelQuery{Text: text}), want...)
	}
	for _, text := range []string{`"`, `""`, `"""`, `*`, `**`, `'`, `( )`, `()`, `{}:`, `:`, `^`, `+ -`, `--`, `%`, `.`, "\n", " ", "\u200b", "\u00a0", `\`, "…", "。、", "&|!"} {
		page, err := c.List(t.Context(), eureka.ChannelQuery{Text: text})
		if err != nil {
			t.Errorf("text %q: %v", text, err)
		} else if n := len(page.Items); n != 0 && n != 2 {
			t.Errorf("text %q without a word finds %q, want nothing or everything", text, ids(page.Items))
		}
	}
	for _, text := range []string{strings.Repeat("a ", eureka.MaxQueryText/2), strings.Repeat(`"`, eureka.MaxQueryText), strings.Repeat("한", eureka.MaxQueryText/3)} {
		list(t, c, eureka.ChannelQuery{Text: text})
	}
	for _, text := range []string{strings.Repeat("a", eureka.MaxQueryText+1), "\xff", "a\x00b"} {
		_, err := c.List(t.Context(), eureka.ChannelQuery{Text: text})
		wantCode(t, fmt.Sprintf("text %.20q", text), err, eureka.CodeInvalid)
	}
}

func channelsTextFollowsWrites(t *testing.T, h ChannelsHarness) {
	h.needs(t, ChannelsFreeText)
	c := h.first()
	ch := create(t, c, eureka.Channel{ID: "a", Alias: "nick", Name: "before"})
	ch.Name = "after"
	ch = update(t, c, ch)
	wantSet(t, "old word", list(t, c, eureka.ChannelQuery{Text: "before"}))
	wantSet(t, "new word", list(t, c, eureka.ChannelQuery{Text: "after"}), "a")
	ch.Alias = "moniker"
	update(t, c, ch)
	wantSet(t, "old alias", list(t, c, eureka.ChannelQuery{Text: "nick"}))
	wantSet(t, "new alias", list(t, c, eureka.ChannelQuery{Text: "moniker"}), "a")
	remove(t, c, "a")
	wantSet(t, "deleted", list(t, c, eureka.ChannelQuery{Text: "after"}))
	create(t, c, eureka.Channel{ID: "a", Name: "again"})
	wantSet(t, "words of the deleted one", list(t, c, eureka.ChannelQuery{Text: "after"}))
	wantSet(t, "created again", list(t, c, eureka.ChannelQuery{Text: "again"}), "a")
}
