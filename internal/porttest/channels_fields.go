package porttest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"eureka"
)

func channelsFieldLimits(t *testing.T, h ChannelsHarness) {
	c := h.first()
	tests := []struct {
		field   string
		maximum int
		set     func(*eureka.Channel, string)
	}{
		{"id", eureka.MaxNameLength, func(ch *eureka.Channel, s string) { ch.ID = s }},
		{"alias", eureka.MaxNameLength, func(ch *eureka.Channel, s string) { ch.Alias = s }},
		{"service", eureka.MaxServiceLength, func(ch *eureka.Channel, s string) { ch.Service = s }},
		{"modelType", eureka.MaxModelTypeLength, func(ch *eureka.Channel, s string) { ch.ModelType = s }},
		{"modelId", eureka.MaxModelIDLength, func(ch *eureka.Channel, s string) { ch.ModelID = s }},
		{"name", eureka.MaxLabelLength, func(ch *eureka.Channel, s string) { ch.Name = s }},
		{"desc", eureka.MaxDescLength, func(ch *eureka.Channel, s string) { ch.Desc = s }},
	}
	largest := eureka.Channel{ModelType: "m"}
	for i, tt := range tests {
		t.Run(tt.field, func(t *testing.T) {
			full := strings.Repeat("abcdefg"[i:i+1], tt.maximum)
			tt.set(&largest, full)
			ch := eureka.Channel{ModelType: "m"}
			tt.set(&ch, full)
			got := create(t, c, ch)
			wantGet(t, c, got.ID, got)
			remove(t, c, got.ID)

			over := eureka.Channel{ModelType: "m"}
			tt.set(&over, full+"x")
			_, err := c.Create(t.Context(), over)
			wantCode(t, "Create with one byte more", err, eureka.CodeInvalid)
			if tt.field == "id" {
				return
			}
			kept := create(t, c, eureka.Channel{ModelType: "m"})
			over = kept
			tt.set(&over, full+"x")
			_, err = c.Update(t.Context(), over)
			wantCode(t, "Update with one byte more", err, eureka.CodeInvalid)
			wantGet(t, c, kept.ID, kept)
			remove(t, c, kept.ID)
		})
	}
	got := create(t, c, largest)
	wantGet(t, c, largest.ID, got)
	wantGet(t, c, largest.Alias, got)
	wantSet(t, "all fields full", list(t, c, eureka.ChannelQuery{}), largest.ID)
	for _, bad := range []eureka.Channel{{Name: "a\x00b"}, {Desc: "\xff"}, {Service: "a\x1b"}, {ModelID: "7"}, {Alias: eureka.NewID}} {
		_, err := c.Create(t.Context(), bad)
		wantCode(t, "Create of a broken field", err, eureka.CodeInvalid)
	}
}

// channelsHistory: what a channel retains is shown wherever the channel is, since events are routed by lists.
func channelsHistory(t *testing.T, h ChannelsHarness) {
	c := h.first()
	retentions := []*eureka.Retention{
		{Size: eureka.MaxHistorySize, TTL: eureka.Duration(eureka.MaxHistoryTTL)}, {Size: 1, TTL: eureka.Duration(eureka.MinHistoryTTL)}, nil,
		{Size: eureka.DefaultHistorySize, TTL: eureka.Duration(eureka.DefaultHistoryTTL)},
	}
	ch := create(t, c, eureka.Channel{Service: "s", ModelType: "m", History: retentions[0]})
	for i, want := range retentions {
		if i > 0 {
			ch.History = want
			ch = update(t, c, ch)
		}
		if diff := cmp.Diff(want, ch.History); diff != "" {
			t.Errorf("stored as (-want +got) %s", diff)
		}
		query := eureka.ChannelQuery{Where: []eureka.Condition{{Field: "service", Values: []string{"s"}}}}
		if diff := cmp.Diff([]eureka.Channel{ch}, list(t, c, query).Items); diff != "" {
			t.Errorf("List (-want +got) %s", diff)
		}
		for _, node := range h.Nodes {
			eventually(t, "each node gets and lists it", func() bool {
				got, err := node.Get(t.Context(), ch.ID)
				return err == nil && cmp.Equal(ch, got) && cmp.Equal([]eureka.Channel{ch}, list(t, node, query).Items)
			})
		}
	}
	for _, wrong := range []eureka.Retention{{Size: 0, TTL: eureka.Duration(time.Minute)}, {Size: 1}, {Size: eureka.MaxHistorySize + 1, TTL: eureka.Duration(time.Minute)}} {
		_, err := c.Create(t.Context(), eureka.Channel{ModelType: "m", History: &wrong})
		wantCode(t, "Create with a broken history", err, eureka.CodeInvalid)
	}
}

func channelsUnicode(t *testing.T, h ChannelsHarness) {
	c := h.first()
	texts := []string{
		"한글 채널", "e\u0301 and é", "🚀👩‍👩‍👧‍👦🇰🇷", "\u202eright to left", "\ufeffmark", "𝔘𝔫𝔦", "line\nbreak\ttab",
		`"quoted" 'single' \back\ <tag> & % _ ;--`, "\u2028\u2029", "null", "a\u00a0b", "İIıi ß ſ",
	}
	for _, text := range texts {
		want := create(t, c, eureka.Channel{Service: text, ModelType: text, ModelID: text, Name: text, Desc: text})
		if want.Name != text || want.Desc != text || want.Service != text || want.ModelID != text {
			t.Errorf("%q came back as %+v", text, want)
		}
		for _, node := range h.Nodes {
			waitGet(t, node, want.ID, want)
		}
		for _, field := range []string{"service", "modelType", "modelId", "name", "desc"} {
			page := list(t, c, eureka.ChannelQuery{Where: []eureka.Condition{{Field: field, Values: []string{text}}}})
			wantIDs(t, field+" "+text, page, want.ID)
			if len(page.Items) == 1 && page.Items[0] != want {
				t.Errorf("List gives %+v, want %+v", page.Items[0], want)
			}
		}
	}
}
