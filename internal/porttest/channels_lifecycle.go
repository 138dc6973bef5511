package porttest

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"eureka"
)

func channelsLifeCycle(t *testing.T, h ChannelsHarness) {
	c := h.first()
	want := eureka.Channel{
		ID: "a", Alias: "b", Service: "orders", ModelType: "order", ModelID: "7", Name: "Orders", Desc: "All of\n\tthem",
		Presence: true, CreatedAt: firstTime, UpdatedAt: firstTime + 1,
	}
	created, err := c.Create(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	if created.Revision == 0 {
		t.Error("the created channel has no revision")
	}
	want.Revision = created.Revision
	if diff := cmp.Diff(want, created); diff != "" {
		t.Errorf("Create (-want +got):\n%s", diff)
	}
	wantGet(t, c, "a", want)
	wantGet(t, c, "b", want)
	if diff := cmp.Diff([]eureka.Channel{want}, list(t, c, eureka.ChannelQuery{}).Items); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}

	want.Service, want.ModelType, want.ModelID, want.Name, want.Desc = "", "", "", "Others", ""
	want.Presence, want.UpdatedAt = false, firstTime+2
	updated := update(t, c, want)
	if updated.Revision == want.Revision {
		t.Error("the update did not change the revision")
	}
	want.Revision = updated.Revision
	if diff := cmp.Diff(want, updated); diff != "" {
		t.Errorf("Update (-want +got):\n%s", diff)
	}
	wantGet(t, c, "b", want)
	if diff := cmp.Diff([]eureka.Channel{want}, list(t, c, eureka.ChannelQuery{}).Items); diff != "" {
		t.Errorf("List after Update (-want +got):\n%s", diff)
	}

	deleted, err := c.Delete(t.Context(), "a", firstTime+3)
	if err != nil {
		t.Fatal(err)
	}
	want.DeletedAt, want.Revision = firstTime+3, deleted.Revision // the revision is the engine's choice here
	if diff := cmp.Diff(want, deleted); diff != "" {
		t.Errorf("Delete (-want +got):\n%s", diff)
	}
}

func channelsDeletedIsGone(t *testing.T, h ChannelsHarness) {
	c := h.first()
	old := create(t, c, eureka.Channel{ID: "a", Alias: "b", Name: "first"})
	remove(t, c, "a")
	wantNoChannel(t, c, "a", "b")
	if page := list(t, c, eureka.ChannelQuery{}); len(page.Items) != 0 || page.Next != "" {
		t.Errorf("a deleted channel is listed: %+v", page)
	}
	_, err := c.Delete(t.Context(), "a", firstTime)
	wantCode(t, "Delete again", err, eureka.CodeNotFound)
	_, err = c.Update(t.Context(), old)
	wantCode(t, "Update of a deleted channel", err, eureka.CodeNotFound, eureka.CodeConflict)

	again := create(t, c, eureka.Channel{ID: "a", Alias: "b", Name: "second"})
	wantGet(t, c, "a", again)
	wantGet(t, c, "b", again)
	_, err = c.Update(t.Context(), old)
	wantCode(t, "Update with the revision of the deleted one", err, eureka.CodeConflict)
	wantGet(t, c, "a", again)
	remove(t, c, "a")
	wantNoChannel(t, c, "a", "b")
}

func channelsNumbers(t *testing.T, h ChannelsHarness) {
	c := h.first()
	number := func(n int) string { return strconv.Itoa(eureka.FirstChannelNumber + n) }
	create(t, c, eureka.Channel{ID: number(2)})
	create(t, c, eureka.Channel{ID: "a", Alias: number(3)})
	for i, want := range []int{0, 1, 4} {
		id := []string{"", eureka.NewID, ""}[i]
		if got := create(t, c, eureka.Channel{ID: id}); got.ID != number(want) {
			t.Errorf("number %d is %q, want %q: ids and aliases in use are left out", i, got.ID, number(want))
		}
	}
	remove(t, c, number(4))
	if got := create(t, c, eureka.Channel{}); got.ID != number(5) {
		t.Errorf("the number after a deleted one is %q, want %q", got.ID, number(5))
	}
	for i, node := range h.Nodes {
		if got := create(t, node, eureka.Channel{}); got.ID != number(6+i) {
			t.Errorf("node %d gives number %q, want %q", i, got.ID, number(6+i))
		}
	}
}

func channelsOwnID(t *testing.T, h ChannelsHarness) {
	c := h.first()
	id := "Own.id_of:128-" + strings.Repeat("x", eureka.MaxNameLength-14)
	want := create(t, c, eureka.Channel{ID: id, Name: "mine"})
	for _, node := range h.Nodes {
		_, err := node.Create(t.Context(), eureka.Channel{ID: id, Name: "yours"})
		wantCode(t, "Create of a taken id", err, eureka.CodeConflict)
	}
	wantGet(t, c, id, want)
	wantNoChannel(t, c, strings.ToLower(id), id[:len(id)-1])
	lower := create(t, c, eureka.Channel{ID: strings.ToLower(id)})
	wantGet(t, c, id, want)
	wantGet(t, c, lower.ID, lower)
}

func channelsBadNames(t *testing.T, h ChannelsHarness) {
	c := h.first()
	create(t, c, eureka.Channel{ID: "a", Alias: "b"})
	wantNoChannel(t, c, "nobody", eureka.NewID, "a.b", "A", "name.a")
	for _, name := range []string{
		"", " ", "a b", "*", ">", "a.*", "a/b", "a\x00", "한글", "\xff", ".a", "-a", "' OR 1=1 --", strings.Repeat("a", 129), strings.Repeat("a", 1<<20),
	} {
		_, err := c.Get(t.Context(), name)
		wantCode(t, "Get of a malformed name", err, eureka.CodeInvalid, eureka.CodeNotFound)
		_, err = c.Delete(t.Context(), name, firstTime)
		wantCode(t, "Delete of a malformed id", err, eureka.CodeInvalid, eureka.CodeNotFound)
		if name != "" {
			_, err = c.Create(t.Context(), eureka.Channel{ID: name})
			wantCode(t, "Create of a malformed id", err, eureka.CodeInvalid)
			_, err = c.Create(t.Context(), eureka.Channel{Alias: name})
			wantCode(t, "Create of a malformed alias", err, eureka.CodeInvalid)
		}
		_, err = c.Update(t.Context(), eureka.Channel{ID: name, Revision: 1})
		wantCode(t, "Update of a malformed id", err, eureka.CodeInvalid, eureka.CodeNotFound)
	}
	for _, id := range []string{"nobody", "b", eureka.NewID} {
		_, err := c.Delete(t.Context(), id, firstTime)
		wantCode(t, "Delete("+id+")", err, eureka.CodeNotFound)
		_, err = c.Update(t.Context(), eureka.Channel{ID: id, Revision: 1})
		wantCode(t, "Update("+id+")", err, eureka.CodeNotFound)
	}
	if page := list(t, c, eureka.ChannelQuery{}); len(page.Items) != 1 {
		t.Errorf("the list has %q", ids(page.Items))
	}
}

func channelsStaleRevision(t *testing.T, h ChannelsHarness) {
	c := h.first()
	first := create(t, c, eureka.Channel{ID: "a", Alias: "b", Name: "0"})
	changed := first
	changed.Name = "1"
	second := update(t, c, changed)
	for _, revision := range []uint64{0, first.Revision, second.Revision + 1, 1 << 62} {
		stale := second
		stale.Revision, stale.Name, stale.Alias = revision, "stale", "c"
		_, err := c.Update(t.Context(), stale)
		wantCode(t, "Update at a stale revision", err, eureka.CodeConflict)
	}
	wantGet(t, c, "a", second)
	wantNoChannel(t, c, "c")
	create(t, c, eureka.Channel{ID: "d", Alias: "c"}) // a refused update claims nothing
}

func channelsCancelledContext(t *testing.T, h ChannelsHarness) {
	c := h.first()
	kept := create(t, c, eureka.Channel{ID: "a", Name: "kept"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ended := []eureka.Code{eureka.CodeUnavailable, eureka.CodeTimeout}
	_, err := c.Create(ctx, eureka.Channel{ID: "b", Alias: "c"})
	wantCode(t, "Create", err, ended...)
	changed := kept
	changed.Name = "changed"
	_, err = c.Update(ctx, changed)
	wantCode(t, "Update", err, ended...)
	_, err = c.Delete(ctx, "a", firstTime)
	wantCode(t, "Delete", err, ended...)
	wantGet(t, c, "a", kept)
	wantNoChannel(t, c, "b", "c")
	create(t, c, eureka.Channel{ID: "b", Alias: "c"})
}
