package porttest

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"eureka"
)

// writers is how many callers write at the same time.
const writers = 100

// together calls run once per writer, all at the same time, spread over the nodes, and waits for them.
func together(h ChannelsHarness, run func(i int, c eureka.Channels)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range writers {
		wg.Go(func() {
			<-start
			run(i, h.Nodes[i%len(h.Nodes)])
		})
	}
	close(start)
	wg.Wait()
}

// waitGet polls until a node shows exactly this channel under a name.
func waitGet(t *testing.T, c eureka.Channels, name string, want eureka.Channel) {
	t.Helper()
	eventually(t, fmt.Sprintf("%q is %+v", name, want), func() bool {
		got, err := c.Get(t.Context(), name)
		return err == nil && got == want
	})
}

// waitNoChannel polls until a node does not know a name any more.
func waitNoChannel(t *testing.T, c eureka.Channels, name string) {
	t.Helper()
	eventually(t, "there is no "+name, func() bool {
		_, err := c.Get(t.Context(), name)
		return eureka.CodeOf(err) == eureka.CodeNotFound
	})
}

func channelsConcurrentCreates(t *testing.T, h ChannelsHarness) {
	const each = 3
	var mu sync.Mutex
	seen := map[string]int{}
	together(h, func(i int, c eureka.Channels) {
		for n := range each {
			ch, err := c.Create(t.Context(), eureka.Channel{Name: fmt.Sprintf("%d.%d", i, n), CreatedAt: firstTime})
			if err != nil {
				t.Errorf("writer %d: %v", i, err)
				return
			}
			if got, err := c.Get(t.Context(), ch.ID); err != nil || got != ch {
				t.Errorf("writer %d reads %+v, %v right after it wrote %+v", i, got, err, ch)
			}
			mu.Lock()
			seen[ch.ID]++
			mu.Unlock()
		}
	})
	for n := range writers * each {
		if id := strconv.Itoa(eureka.FirstChannelNumber + n); seen[id] != 1 {
			t.Errorf("number %s was given %d times", id, seen[id])
		}
	}
	for i, node := range h.Nodes {
		eventually(t, fmt.Sprintf("node %d lists all channels", i), func() bool {
			return len(pages(t, node, eureka.ChannelQuery{Paging: eureka.Paging{Limit: 100}})) == writers*each
		})
	}
}

// channelsConcurrentUpdates counts: every update that succeeded added one, every other one was told of the conflict.
func channelsConcurrentUpdates(t *testing.T, h ChannelsHarness) {
	create(t, h.first(), eureka.Channel{ID: "counter", Name: "0"})
	for _, node := range h.Nodes {
		eventually(t, "the channel is there", func() bool {
			_, err := node.Get(t.Context(), "counter")
			return err == nil
		})
	}
	var done, lost atomic.Int64
	together(h, func(i int, c eureka.Channels) {
		for range 3 {
			ch, err := c.Get(t.Context(), "counter")
			if err != nil {
				t.Errorf("writer %d: %v", i, err)
				return
			}
			n, _ := strconv.Atoi(ch.Name)
			ch.Name = strconv.Itoa(n + 1)
			switch _, err := c.Update(t.Context(), ch); eureka.CodeOf(err) {
			case "":
				done.Add(1)
			case eureka.CodeConflict:
				lost.Add(1)
			default:
				t.Errorf("writer %d: %v", i, err)
			}
		}
	})
	if done.Load()+lost.Load() != writers*3 || done.Load() == 0 {
		t.Errorf("%d updates succeeded and %d were refused, of %d", done.Load(), lost.Load(), writers*3)
	}
	want := strconv.FormatInt(done.Load(), 10)
	for _, node := range h.Nodes {
		eventually(t, "the counter is "+want, func() bool {
			ch, err := node.Get(t.Context(), "counter")
			return err == nil && ch.Name == want
		})
	}
}

func channelsConcurrentAlias(t *testing.T, h ChannelsHarness) {
	var winners atomic.Int64
	var winner atomic.Pointer[eureka.Channel]
	together(h, func(i int, c eureka.Channels) {
		ch, err := c.Create(t.Context(), eureka.Channel{ID: fmt.Sprintf("own-%d", i), Alias: "wanted"})
		switch eureka.CodeOf(err) {
		case "":
			winners.Add(1)
			winner.Store(&ch)
		case eureka.CodeConflict:
		default:
			t.Errorf("creator %d: %v", i, err)
		}
	})
	if winners.Load() != 1 {
		t.Fatalf("%d creators got the same alias", winners.Load())
	}
	for _, node := range h.Nodes {
		waitGet(t, node, "wanted", *winner.Load())
	}
	wantIDs(t, "List", list(t, h.first(), eureka.ChannelQuery{}), winner.Load().ID)

	for i := range writers { // they take the alias from each other by update
		create(t, h.first(), eureka.Channel{ID: fmt.Sprintf("other-%d", i)})
	}
	remove(t, h.first(), winner.Load().ID)
	winners.Store(0)
	together(h, func(i int, _ eureka.Channels) {
		c := h.first()
		ch, err := c.Get(t.Context(), fmt.Sprintf("other-%d", i))
		if err != nil {
			t.Errorf("updater %d: %v", i, err)
			return
		}
		ch.Alias = "wanted"
		switch updated, err := c.Update(t.Context(), ch); eureka.CodeOf(err) {
		case "":
			winners.Add(1)
			winner.Store(&updated)
		case eureka.CodeConflict:
		default:
			t.Errorf("updater %d: %v", i, err)
		}
	})
	if winners.Load() != 1 {
		t.Fatalf("%d updaters got the same alias", winners.Load())
	}
	for _, node := range h.Nodes {
		waitGet(t, node, "wanted", *winner.Load())
	}
}

func channelsConcurrentOwnID(t *testing.T, h ChannelsHarness) {
	var winners atomic.Int64
	together(h, func(i int, c eureka.Channels) {
		_, err := c.Create(t.Context(), eureka.Channel{ID: "wanted", Alias: fmt.Sprintf("alias-%d", i)})
		switch eureka.CodeOf(err) {
		case "":
			winners.Add(1)
		case eureka.CodeConflict:
		default:
			t.Errorf("creator %d: %v", i, err)
		}
	})
	if winners.Load() != 1 {
		t.Fatalf("%d creators got the same id", winners.Load())
	}
	var free int
	for i := range writers { // the losers' aliases are free
		_, err := h.first().Create(t.Context(), eureka.Channel{Alias: fmt.Sprintf("alias-%d", i)})
		if err == nil {
			free++
		} else {
			wantCode(t, "Create", err, eureka.CodeConflict)
		}
	}
	if free != writers-1 {
		t.Errorf("%d of the %d losers' aliases are free", free, writers-1)
	}
}

func channelsConcurrentDelete(t *testing.T, h ChannelsHarness) {
	create(t, h.first(), eureka.Channel{ID: "a", Alias: "b"})
	var winners atomic.Int64
	together(h, func(i int, c eureka.Channels) {
		_, err := c.Delete(t.Context(), "a", firstTime+int64(i))
		switch eureka.CodeOf(err) {
		case "":
			winners.Add(1)
		case eureka.CodeNotFound:
		default:
			t.Errorf("deleter %d: %v", i, err)
		}
	})
	if winners.Load() != 1 {
		t.Errorf("%d callers deleted the same channel", winners.Load())
	}
	for _, node := range h.Nodes {
		waitNoChannel(t, node, "a")
		waitNoChannel(t, node, "b")
	}
}

func channelsOtherNodesSee(t *testing.T, h ChannelsHarness) {
	for i, writer := range h.Nodes {
		id := fmt.Sprintf("from-%d", i)
		ch := create(t, writer, eureka.Channel{ID: id, Alias: "alias-" + id, Name: "quick brown"})
		for _, node := range h.Nodes {
			waitGet(t, node, id, ch)
			waitGet(t, node, "alias-"+id, ch)
			eventually(t, "the list has it", func() bool {
				page := list(t, node, eureka.ChannelQuery{Where: []eureka.Condition{{Field: "alias", Values: []string{ch.Alias}}}})
				return len(page.Items) == 1 && page.Items[0] == ch
			})
		}
		ch.Alias = "changed-" + id
		ch = update(t, h.Nodes[(i+1)%len(h.Nodes)], ch)
		for _, node := range h.Nodes {
			waitGet(t, node, ch.Alias, ch)
			waitNoChannel(t, node, "alias-"+id)
		}
		remove(t, h.Nodes[(i+2)%len(h.Nodes)], id)
		for _, node := range h.Nodes {
			waitNoChannel(t, node, id)
			waitNoChannel(t, node, ch.Alias)
			eventually(t, "the list is empty", func() bool { return len(list(t, node, eureka.ChannelQuery{}).Items) == 0 })
		}
	}
}
