package eureka

import (
	"context"
	"time"
)

// Channels keeps channel definitions. Ids and aliases share one namespace: no two living channels have a name in common.
//
// Errors: CodeInvalid for a field over its limit, CodeNotFound, CodeConflict, CodeUnavailable when the engine cannot answer.
type Channels interface {
	// Create stores a new channel and returns it with its id and revision. An empty id or NewID takes the next number, from
	// FirstChannelNumber, never given twice even to concurrent callers. An id or explicit alias in use is CodeConflict; an id of a
	// deleted channel may be used again. With an empty Alias the channel takes ModelName(service, modelType, modelId)
	// when that is well-formed and free, and none otherwise.
	Create(ctx context.Context, ch Channel) (Channel, error)
	// Get returns the living channel with this id or alias, CodeNotFound without one.
	Get(ctx context.Context, name string) (Channel, error)
	// Update replaces the channel whose id and Revision are given; a stale revision is CodeConflict. An alias that changed is
	// claimed and the old one freed; one in use is CodeConflict.
	Update(ctx context.Context, ch Channel) (Channel, error)
	// Delete marks the channel with this id as deleted at the given time and frees its alias. It returns the channel as it was
	// with DeletedAt set. A deleted or unknown id is CodeNotFound.
	Delete(ctx context.Context, id string, deletedAt int64) (Channel, error)
	// List returns the living channels that the query selects. A caller sees its own finished writes.
	List(ctx context.Context, q ChannelQuery) (Page[Channel], error)
}

// ModelChannels is an optional capability of Channels: what routing asks for, at a cost that does not grow with other channels.
type ModelChannels interface {
	// ChannelsOf returns the living channels of a service and model type, those of every model id and, when there is one, those of the model's id; ordered
	// by id. A caller sees its own finished writes.
	ChannelsOf(ctx context.Context, model Origin) ([]Channel, error)
}

// Sockets knows who is connected and who listens to what, on every node. Writes concern sockets of the calling node or function.
//
// Errors: CodeInvalid, CodeNotFound, CodeConflict, CodeUnavailable.
type Sockets interface {
	// Add records a connected socket. The same id twice is CodeConflict.
	Add(ctx context.Context, s Socket) error
	// Remove forgets a socket with all its subscriptions. Exactly one caller gets it back, every other one CodeNotFound.
	Remove(ctx context.Context, id string) (Socket, error)
	// Subscribe records a subscription; doing so again replaces it. When it returns, messages published from then on reach the socket.
	// With sub.Since the messages behind that position reach it first, each once and in order; when they cannot all be had,
	// Recovered is false and live messages alone follow. CodeNotFound when the socket has ended.
	Subscribe(ctx context.Context, sub Subscription) (Subscribed, error)
	// Unsubscribe ends a subscription; CodeNotFound when there is none.
	Unsubscribe(ctx context.Context, socketID, channelID string) error
	// List returns the live sockets that the query selects, from all nodes. When a node that should answer does not, the
	// error is CodeUnavailable rather than a list with a hole.
	List(ctx context.Context, q SocketQuery) (Page[Socket], error)
}

// SubscriberCounter is an optional capability of Sockets: the number of subscribers of many channels in one call.
type SubscriberCounter interface {
	// CountSubscribers returns the live subscribers of each channel id; a channel without any may be absent.
	CountSubscribers(ctx context.Context, channelIDs []string) (map[string]int, error)
}

// MessageCounter is an optional capability of History: how many messages many channels retain, in one call and without reading them.
type MessageCounter interface {
	// CountMessages returns about how many messages each of the channels retains, by id; one without history is absent. At most MaxLimit
	// channels. An engine that cannot tell exactly for little says too many rather than too few, and never more than Retention.Size.
	CountMessages(ctx context.Context, channels []Channel) (map[string]int, error)
}

// SocketIdentities is an optional capability of Sockets: it keeps who is behind each socket, for edges that hold nothing between two frames. Add
// stores Socket.Identity.
type SocketIdentities interface {
	// Identities returns who is behind each of the sockets, at most MaxLimit of them; one that has ended is absent.
	Identities(ctx context.Context, socketIDs ...string) (map[string]Identity, error)
	// SetIdentity replaces who is behind a socket; CodeNotFound when it has ended.
	SetIdentity(ctx context.Context, socketID string, id Identity) error
}

// Fanout delivers a message to every subscriber of its channel, on whichever node it is.
type Fanout interface {
	// Deliver accepts a message for delivery. With m.Retention it is stored first: once accepted it is in the channel's history, and
	// the same m.Key within five minutes stores it no second time and returns the first one's cursor. Messages of one caller on one channel arrive in the order of its calls
	// (self-hosted). CodeUnavailable means it was not accepted; CodeTooLarge that a frame would be over MaxFrameBytes.
	Deliver(ctx context.Context, m Message) (Delivery, error)
}

// Sender reaches one socket, on whichever node it is.
type Sender interface {
	// Send queues one encoded text frame for a socket. CodeGone when it has ended, CodeTooLarge over MaxFrameBytes,
	// CodeUnavailable when its node does not answer.
	Send(ctx context.Context, socketID string, frame []byte) error
	// Close ends a socket: a bye frame, then the close code. CodeGone when it has ended already.
	Close(ctx context.Context, socketID string, code CloseCode, reason string) error
}

// RequestLease is how long a claim of Requests stands. Who holds one must be done before, since another caller may take it over then.
const RequestLease = 30 * time.Second

// Requests remembers for five minutes what was answered to requests that carry a key, on all nodes.
//
// Errors: CodeUnavailable, also when the request with that key is still being handled after a while.
type Requests interface {
	// Begin returns the answer kept for the key, or claims the key: answer is nil then, and the caller must call Finish or Abandon. While
	// another caller holds the claim it waits. A claim whose holder has ended can be taken over after RequestLease.
	Begin(ctx context.Context, key string) (answer []byte, err error)
	// Finish keeps the answer of a claimed key.
	Finish(ctx context.Context, key string, answer []byte) error
	// Abandon gives a claim up: the request was not accepted.
	Abandon(ctx context.Context, key string) error
}
