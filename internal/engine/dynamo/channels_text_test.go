package dynamo

import (
	"slices"
	"testing"

	"eureka"
)

func TestFold(t *testing.T) {
	for text, want := range map[string][]string{
		"Purchase ORDERS, of-the shop.": {"purchase", "orders", "of", "the", "shop"},
		"Café CRE\u0300ME":              {"cafe", "creme"},
		"한글 채널":                         {"한글", "채널"}, // whole syllables, not their letters
		"ΣΊΣΥΦΟΣ σίσυφος":               {"σισυφοσ", "σισυφοσ"},
		"Öl ſauer K":                    {"ol", "sauer", "k"},
		"हिन्दी ガ":                      {"हिन्दी", "ガ"}, // marks that are no accents stay
		"👩\u200d👧 50% a_b":              {"👩", "👧", "50", "a", "b"},
		"\u200b … \u00a0":               nil,
	} {
		if got := splitWords(text); !slices.Equal(got, want) {
			t.Errorf("%q has the words %q, want %q", text, got, want)
		}
	}
}

func TestPhrases(t *testing.T) {
	ch := eureka.Channel{ID: "orders-api.v2", Name: "한글 채널", Desc: "every order of the shop"}
	for query, want := range map[string]bool{
		"orders-api": true, "api-orders": false, "orders-api.v": true, "orders.v2": false, "ORDER": true, "rder": false, "shop every": true,
		"the-shop": true, "shop-the": false, "of-the-sh": true, "하": false, "한": true, "채널 orders": true, "order nobody": false, "v2-한글": false,
	} {
		if got := parsePhrases(query).match(ch); got != want {
			t.Errorf("%q: %t, want %t", query, got, want)
		}
	}
}
