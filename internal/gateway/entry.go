package gateway

import (
	"slices"
	"strings"
	"sync"
	"unique"

	"eureka"
)

// entry is one socket as the hub knows it. There are very many of them, so what is the same for many is shared.
type entry struct {
	id          string
	user        string
	remote      string
	node        unique.Handle[string]
	origin      unique.Handle[string]
	agent       unique.Handle[string]
	connectedAt int64
	expiresAt   int64
	conn        conn // nil for a socket without a connection on this node's listener

	mu    sync.Mutex
	items []*item // few, so a slice beats a map in memory and time
	gone  bool
}

func newEntry(s *eureka.Socket) *entry {
	return &entry{
		id: s.ID, user: strings.Clone(s.User), remote: s.Remote, connectedAt: s.ConnectedAt, expiresAt: s.ExpiresAt,
		node: unique.Make(s.Node), origin: unique.Make(s.Origin), agent: unique.Make(s.Agent),
	}
}

func (e *entry) position() eureka.SocketPosition {
	return eureka.SocketPosition{ConnectedAt: e.connectedAt, ID: e.id}
}

func (e *entry) find(channelID string) int {
	return slices.IndexFunc(e.items, func(it *item) bool { return it.topic.id == channelID })
}

func (e *entry) listens(channelID string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.find(channelID) >= 0
}

func (e *entry) insert(it *item) {
	at, _ := slices.BinarySearchFunc(e.items, it, func(a, b *item) int { return strings.Compare(a.topic.id, b.topic.id) })
	e.items = slices.Insert(e.items, at, it)
}

// view is the socket with its subscriptions. The caller holds mu.
func (e *entry) view() eureka.Socket {
	s := eureka.Socket{
		ID: e.id, User: e.user, Node: e.node.Value(), Remote: e.remote, Origin: e.origin.Value(), Agent: e.agent.Value(),
		ConnectedAt: e.connectedAt, ExpiresAt: e.expiresAt, Subscriptions: make([]eureka.Subscription, 0, len(e.items)),
	}
	for _, it := range e.items {
		s.Subscriptions = append(s.Subscriptions, eureka.Subscription{
			SocketID: s.ID, ChannelID: it.topic.id, Name: it.group.name, Filter: it.group.filter, SubscribedAt: it.at,
		})
	}
	return s
}
