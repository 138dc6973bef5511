package chaos

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// markerName is who publishes the last messages.
const markerName = "marker"

// settle waits until everybody listens, publishes a last message on each channel, and waits until everybody has it.
func (w *world) settle(ctx context.Context, clients []*client, p *publisher) {
	if late := w.await(ctx, clients, (*client).steady); late != "" {
		w.wrong("not everybody listens at the end: %s", late)
	}
	marks := map[string]Position{}
	marking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, ch := range w.channels {
		if ch.Size == 0 {
			continue
		}
		at, err := p.marker(marking, ch.Name)
		if err != nil {
			w.wrong("%v", err)
		}
		marks[ch.Name] = at
	}
	// Who has to come back once more does not get what was published meanwhile on a channel without history, so there is always another one.
	again, enough := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for rest(again, time.Second) {
			_, _ = p.marker(again, liveChannel) // the next one will do
		}
	}()
	late := w.await(ctx, clients, func(c *client) string { return c.has(marks) })
	enough()
	<-ended
	if late != "" {
		w.wrong("not everybody has the last messages: %s", late)
	}
	for _, c := range clients {
		for channel, at := range marks {
			c.record(Event{Kind: Settled, Channel: channel, Position: at})
		}
		c.record(Event{Kind: Settled})
	}
}

// maxCatchUp bounds how long clients may take to receive what they missed; one that receives nothing has only patience.
const maxCatchUp = 6 * time.Minute

// await polls until all clients are as they should be. When one is not, and hears nothing more, or it takes too long, it returns what is wrong.
func (w *world) await(ctx context.Context, clients []*client, why func(*client) string) (late string) {
	ctx, cancel := context.WithTimeout(ctx, maxCatchUp)
	defer cancel()
	heard, since := make([]int, len(clients)), make([]time.Duration, len(clients))
	for i := range since {
		since[i] = w.now()
	}
	for {
		var all []string
		silent := false
		for i, c := range clients {
			text := why(c)
			if text == "" {
				since[i] = w.now()
				continue
			}
			all = append(all, c.name+": "+text)
			if n := c.heard(); n != heard[i] {
				heard[i], since[i] = n, w.now()
			}
			silent = silent || w.now()-since[i] > patience
		}
		late = strings.Join(all, "; ")
		if late == "" || silent || !rest(ctx, pollInterval) {
			return late
		}
	}
}

func (c *client) heard() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.events)
}

// steady tells what a client still waits for before it listens to all of its channels; "" for nothing.
func (c *client) steady() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.connected {
		return "not connected"
	}
	for _, name := range c.home {
		if !c.channels[name].subscribed {
			return "not subscribed to " + name
		}
	}
	for ref, a := range c.pending {
		return fmt.Sprintf("no answer to %s of %s (%s) since %s", a.action, a.channel, ref, a.at)
	}
	return ""
}

// has tells what a client still has to receive.
func (c *client) has(marks map[string]Position) string {
	if text := c.steady(); text != "" {
		return text
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range c.home {
		mark, f := marks[name], c.channels[name]
		switch {
		case !c.world.hasHistory(name) && !f.marked:
			return "nothing came on " + name
		case mark != (Position{}) && (f.last.Epoch != mark.Epoch || f.last.Offset < mark.Offset):
			return fmt.Sprintf("on %s it has %s, the last is %s", name, f.last, mark)
		}
	}
	return ""
}
