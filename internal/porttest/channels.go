package porttest

import (
	"testing"

	"eureka"
)

// ChannelsHarness is one fresh store as a suite sees it.
type ChannelsHarness struct {
	// Nodes are views of the same store, as several nodes or functions have; at least one.
	Nodes []eureka.Channels
	// Cannot names the capabilities that the engine does not have, each with the reason. Tests that need one are skipped, and say why.
	Cannot map[ChannelsCapability]string
}

// ChannelsCapability is something that an engine may do without.
type ChannelsCapability string

// What an engine may do without. All else is required.
const (
	ChannelsFreeText    ChannelsCapability = "free text"           // ChannelQuery.Text
	ChannelsAnySort     ChannelsCapability = "sort by any field"   // without it: by createdAt alone
	ChannelsPageNumbers ChannelsCapability = "page numbers"        // without it: Paging.After alone
	ChannelsTotals      ChannelsCapability = "totals"              // Page.Total
	ChannelsEmoji       ChannelsCapability = "symbols in the text" // free text finds emoji
)

func (h ChannelsHarness) needs(t *testing.T, capabilities ...ChannelsCapability) {
	t.Helper()
	for _, c := range capabilities {
		if reason, missing := h.Cannot[c]; missing {
			t.Skipf("the engine cannot do %s: %s", c, reason)
		}
	}
}

func (h ChannelsHarness) first() eureka.Channels { return h.Nodes[0] }

// Channels is the conformance suite of eureka.Channels. Every sub-test asks newHarness for a fresh store and ends its use of it when it
// returns; newHarness registers what is to be cleaned up.
func Channels(t *testing.T, newHarness func(t *testing.T) ChannelsHarness) {
	t.Helper()
	tests := []struct {
		name string
		run  func(t *testing.T, h ChannelsHarness)
	}{
		{"LifeCycle", channelsLifeCycle},
		{"DeletedIsGone", channelsDeletedIsGone},
		{"Numbers", channelsNumbers},
		{"OwnID", channelsOwnID},
		{"UnknownAndMalformedNames", channelsBadNames},
		{"StaleRevision", channelsStaleRevision},
		{"CancelledContext", channelsCancelledContext},
		{"DefaultAlias", channelsDefaultAlias},
		{"ExplicitAlias", channelsExplicitAlias},
		{"ChangedAlias", channelsChangedAlias},
		{"IDAgainstAlias", channelsIDAgainstAlias},
		{"FieldLimits", channelsFieldLimits},
		{"Unicode", channelsUnicode},
		{"History", channelsHistory},
		{"Rules", channelsRules},
		{"ConcurrentCreates", channelsConcurrentCreates},
		{"ConcurrentUpdates", channelsConcurrentUpdates},
		{"ConcurrentAlias", channelsConcurrentAlias},
		{"ConcurrentOwnID", channelsConcurrentOwnID},
		{"ConcurrentDelete", channelsConcurrentDelete},
		{"OtherNodesSee", channelsOtherNodesSee},
		{"NewestFirst", channelsNewestFirst},
		{"SortEachField", channelsSortEachField},
		{"PageNumbers", channelsPageNumbers},
		{"PageAfter", channelsPageAfter},
		{"PageAfterRefused", channelsPageAfterRefused},
		{"PageAfterWhileOthersWrite", channelsPageWhileWriting},
		{"Filters", channelsFilters},
		{"FiltersRefused", channelsFiltersRefused},
		{"Text", channelsText},
		{"TextUnicode", channelsTextUnicode},
		{"TextEmoji", channelsTextEmoji},
		{"TextHostile", channelsTextHostile},
		{"TextFollowsWrites", channelsTextFollowsWrites},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t)
			if len(h.Nodes) == 0 {
				t.Fatal("the harness has no node")
			}
			tt.run(t, h)
		})
	}
}
