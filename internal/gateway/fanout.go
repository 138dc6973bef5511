package gateway

import (
	"slices"

	"eureka/internal/protocol"
	"eureka/internal/wire"
)

// Broadcast is what one fan-out delivers.
type Broadcast = protocol.Broadcast

// Deliver hands the broadcast to every subscriber but those excepted, and those with a filter that it does not pass. It makes one frame per name
// that subscribers know the channel by; all sockets share its bytes. matched counts those that should get it, sent those whose connection
// took it, or whose lane did. It waits for no client; but when frames of the channel are pushed faster than a lane sends them it waits for the lane.
func (h *Hub) Deliver(channelID string, b Broadcast) (matched, sent int) {
	t := h.topic(channelID)
	if t == nil {
		return 0, 0
	}
	d := delivery{Broadcast: b, items: h.excepted(channelID, b.Except)}
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, g := range t.groups {
		d.to(g)
	}
	if t.picky != nil {
		t.picky.selected(b.Facts, d.to)
	}
	h.deliveries.Add(float64(d.sent))
	return d.matched, d.sent
}

// excepted returns the subscriptions of those sockets that do not get a broadcast, each once.
func (h *Hub) excepted(channelID string, except []string) []*item {
	var items []*item
	for i, id := range except {
		e := h.entry(id)
		if e == nil || slices.Contains(except[:i], id) {
			continue
		}
		e.mu.Lock()
		if at := e.find(channelID); at >= 0 {
			items = append(items, e.items[at])
		}
		e.mu.Unlock()
	}
	return items
}

// delivery is one broadcast under way.
type delivery struct {
	Broadcast
	items         []*item // who is excepted; their topic's lock guards what is in them
	frames        frames
	matched, sent int
}

// to delivers to one group. The caller holds the topic's mu.
func (d *delivery) to(g *group) {
	if g.paused {
		return
	}
	n := g.size
	for _, it := range d.items {
		if it.group == g {
			n--
		}
	}
	if n == 0 {
		return
	}
	d.matched += n
	b := d.frames.of(g.name, d.Body)
	d.sent += n - len(g.direct)
	for _, it := range g.direct {
		switch {
		case slices.Contains(d.items, it):
			d.sent++ // it was in neither number
		case it.entry.conn != nil && it.entry.conn.queue(b, 1):
			d.sent++
		}
	}
	for _, p := range g.parts {
		p.push(pushed{bytes: b, except: d.Except})
	}
}

// frames is the frames of one broadcast, by name. A channel has few names.
type frames struct {
	names []string
	bytes [][]byte
}

func (f *frames) of(name string, body []byte) []byte {
	if at := slices.Index(f.names, name); at >= 0 {
		return f.bytes[at]
	}
	frame := messageFrame(name, body)
	f.names, f.bytes = append(f.names, name), append(f.bytes, frame)
	return frame
}

// messageFrame encodes the WebSocket frame that subscribers under one name receive.
func messageFrame(name string, body []byte) []byte {
	const room = 160 // braces, the channel key, the longest name, the header
	text := protocol.AppendMessage(make([]byte, 0, len(body)+room), name, body)
	return wire.TextFrame(text)
}
