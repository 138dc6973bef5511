package gateway

import "eureka"

// Frame encodes the WebSocket frame that subscribers under one name get of a body. Sockets may share it.
func (h *Hub) Frame(name string, body []byte) []byte { return messageFrame(name, body) }

// Replay queues frames for a subscription that is in this pause, and with last lets it have live messages from then on. Nothing is done when
// the frames would fill more than half of the socket's queue: taken is false then. CodeGone when the socket or the subscription has
// ended, or was replaced.
func (h *Hub) Replay(socketID, channelID string, pause uint64, frames [][]byte, last bool) (taken bool, err error) {
	gone := eureka.Errorf(eureka.CodeGone, "socket %q has ended", socketID)
	e := h.entry(socketID)
	if e == nil || e.conn == nil {
		return false, gone
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	at := e.find(channelID)
	if at < 0 || e.items[at].pause != pause {
		return false, gone
	}
	taken, open := e.conn.offer(frames)
	if !open {
		return false, gone
	}
	if !taken {
		return false, nil
	}
	h.deliveries.Add(float64(len(frames)))
	if last {
		it := e.items[at]
		it.pause = 0
		it.topic.mu.Lock()
		err = it.topic.regroup(it, it.group.name, it.group.filter, h.selector) // fails for a new filter only
		it.topic.mu.Unlock()
	}
	return true, err
}

// WhenDrained calls f once, in a goroutine of its own, when nothing waits to be written to the socket, or when it has ended.
func (h *Hub) WhenDrained(socketID string, f func()) {
	e := h.entry(socketID)
	if e == nil || e.conn == nil {
		go f()
		return
	}
	e.conn.drained(f)
}
