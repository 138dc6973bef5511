package porttest

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"eureka"
)

// patience is how long a suite polls for what should happen soon. It only decides how late a failure is noticed.
const patience = 30 * time.Second

// firstTime is the time of the first channel of a list, in epoch milliseconds; the next ones are a second apart.
const firstTime = int64(1_700_000_000_000)

func create(t *testing.T, c eureka.Channels, ch eureka.Channel) eureka.Channel {
	t.Helper()
	if ch.CreatedAt == 0 {
		ch.CreatedAt, ch.UpdatedAt = firstTime, firstTime
	}
	created, err := c.Create(t.Context(), ch)
	if err != nil {
		t.Fatalf("Create(%+v): %v", ch, err)
	}
	return created
}

func update(t *testing.T, c eureka.Channels, ch eureka.Channel) eureka.Channel {
	t.Helper()
	updated, err := c.Update(t.Context(), ch)
	if err != nil {
		t.Fatalf("Update(%+v): %v", ch, err)
	}
	return updated
}

func remove(t *testing.T, c eureka.Channels, id string) eureka.Channel {
	t.Helper()
	deleted, err := c.Delete(t.Context(), id, firstTime+9)
	if err != nil {
		t.Fatalf("Delete(%q): %v", id, err)
	}
	return deleted
}

func list(t *testing.T, c eureka.Channels, q eureka.ChannelQuery) eureka.Page[eureka.Channel] {
	t.Helper()
	page, err := c.List(t.Context(), q)
	if err != nil {
		t.Fatalf("List(%+v): %v", q, err)
	}
	return page
}

// wantGet checks that a name stands for exactly this channel.
func wantGet(t *testing.T, c eureka.Channels, name string, want eureka.Channel) {
	t.Helper()
	got, err := c.Get(t.Context(), name)
	if err != nil {
		t.Errorf("Get(%q): %v", name, err)
	} else if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Get(%q) (-want +got):\n%s", name, diff)
	}
}

func wantNoChannel(t *testing.T, c eureka.Channels, names ...string) {
	t.Helper()
	for _, name := range names {
		got, err := c.Get(t.Context(), name)
		wantCode(t, "Get("+name+")", err, eureka.CodeNotFound)
		if got != (eureka.Channel{}) {
			t.Errorf("Get(%q) gives %+v beside the error", name, got)
		}
	}
}

func wantCode(t *testing.T, what string, err error, codes ...eureka.Code) {
	t.Helper()
	if !slices.Contains(codes, eureka.CodeOf(err)) {
		t.Errorf("%s: code %q (%v), want one of %q", what, eureka.CodeOf(err), err, codes)
	}
}

// wantIDs checks which channels a page has, and in which order.
func wantIDs(t *testing.T, what string, page eureka.Page[eureka.Channel], want ...string) {
	t.Helper()
	got := ids(page.Items)
	if !slices.Equal(got, want) {
		t.Errorf("%s: channels %q, want %q", what, got, want)
	}
}

// wantSet is wantIDs without the order.
func wantSet(t *testing.T, what string, page eureka.Page[eureka.Channel], want ...string) {
	t.Helper()
	got := slices.Sorted(slices.Values(ids(page.Items)))
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("%s: channels %q, want %q", what, got, want)
	}
}

func ids(channels []eureka.Channel) []string {
	got := make([]string, 0, len(channels))
	for _, ch := range channels {
		got = append(got, ch.ID)
	}
	return got
}

// pages goes through a whole list by After and returns its channels.
func pages(t *testing.T, c eureka.Channels, q eureka.ChannelQuery) []eureka.Channel {
	t.Helper()
	var all []eureka.Channel
	for {
		page := list(t, c, q)
		if len(page.Items) > q.Size() {
			t.Fatalf("a page of %d channels, the limit is %d", len(page.Items), q.Size())
		}
		all = append(all, page.Items...)
		if page.Next == "" {
			return all
		}
		if len(page.Items) == 0 {
			t.Fatal("an empty page says that there are more")
		}
		if len(all) > 100_000 {
			t.Fatal("the list does not end")
		}
		q.After = page.Next
	}
}

// eventually polls until ok or patience is over.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}
