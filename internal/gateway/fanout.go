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
// took it.
func (h *Hub) Deliver(channelID string, b Broadcast) (matched, sent int) {
	t := h.topic(channelID)
	if t == nil {
		return 0, 0
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	var frames frames
	hand := func(g *group) {
		if g.paused {
			return
		}
		m, s := g.hand(b, &frames)
		matched += m
		sent += s
	}
	for _, g := range t.groups {
		hand(g)
	}
	if t.picky != nil {
		t.picky.selected(b.Facts, hand)
	}
	h.deliveries.Add(float64(sent))
	return matched, sent
}

// hand queues the broadcast's frame on each connection of a group.
func (g *group) hand(b Broadcast, frames *frames) (matched, sent int) {
	var frame []byte
	for _, it := range g.items {
		if len(b.Except) > 0 && slices.Contains(b.Except, it.entry.socket.ID) {
			continue
		}
		matched++
		if it.entry.conn == nil {
			continue
		}
		if frame == nil {
			frame = frames.of(g.name, b.Body)
		}
		if it.entry.conn.queue(frame) {
			sent++
		}
	}
	return matched, sent
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
