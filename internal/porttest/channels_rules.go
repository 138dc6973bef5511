package porttest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"eureka"
)

// channelsRules: a channel's rules are shown wherever the channel is, since events are routed by lists; and where the engine finds the channels of a model
// otherwise, it finds the same.
func channelsRules(t *testing.T, h ChannelsHarness) {
	c := h.Nodes[0]
	ch := create(t, c, eureka.Channel{
		Service: "rules", ModelType: "m", Filter: `data.name == "é"`, Transform: "data.id", Access: &eureka.Access{Subscribe: "true", Publish: "false"},
	})
	one := create(t, c, eureka.Channel{Service: "rules", ModelType: "m", ModelID: "1"})
	create(t, c, eureka.Channel{Service: "rules", ModelType: "m", ModelID: "2"})
	check := func(want eureka.Channel) {
		t.Helper()
		got, err := c.Get(t.Context(), want.ID)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Get: %v\n%s", err, diff)
		}
		page, err := c.List(t.Context(), eureka.ChannelQuery{Where: []eureka.Condition{{Field: "id", Values: []string{want.ID}}}})
		if err != nil || len(page.Items) != 1 {
			t.Fatalf("%+v, %v", page, err)
		}
		if diff := cmp.Diff(want, page.Items[0]); diff != "" {
			t.Error(diff)
		}
		index, ok := c.(eureka.ModelChannels)
		if !ok {
			return
		}
		for id, others := range map[string][]eureka.Channel{"": nil, "1": {one}, "3": nil} {
			got, err := index.ChannelsOf(t.Context(), eureka.Origin{Service: "rules", ModelType: "m", ModelID: id})
			if diff := cmp.Diff(append([]eureka.Channel{want}, others...), got); err != nil || diff != "" {
				t.Errorf("model %q: %v\n%s", id, err, diff)
			}
		}
	}
	check(ch)
	for _, change := range []func(*eureka.Channel){
		func(ch *eureka.Channel) { ch.Filter = "" },
		func(ch *eureka.Channel) { ch.Access = &eureka.Access{Publish: "true"} },
		func(ch *eureka.Channel) { ch.Transform, ch.Access = "", nil },
	} {
		change(&ch)
		updated, err := c.Update(t.Context(), ch)
		if err != nil {
			t.Fatal(err)
		}
		ch = updated
		check(ch)
	}
	if _, err := c.Delete(t.Context(), ch.ID, firstTime); err != nil {
		t.Fatal(err)
	}
	if index, ok := c.(eureka.ModelChannels); ok {
		if got, err := index.ChannelsOf(t.Context(), eureka.Origin{Service: "rules", ModelType: "m"}); err != nil || len(got) != 0 {
			t.Errorf("after the channel was deleted: %+v, %v", got, err)
		}
	}
}
