package dynamo

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"eureka"
)

// Attributes of a socket, of its entry in lists and of its subscriptions.
const (
	attrNode     = "n"
	attrRemote   = "r"
	attrOrigin   = "o"
	attrAgent    = "a"
	attrIdentity = "w"
	attrNonce    = "k"  // of the call that added it
	attrEnded    = "e"  // by which call it is being removed
	attrEndedAt  = "ea" // epoch milliseconds
	attrName     = "n"  // of a subscription: where it differs from the channel's id
	attrShard    = "d"
	attrVersion  = "v" // of a subscription: grows each time that it is replaced
	attrReplay   = "p" // of a subscriber: offset up to which its replay has come; it is not live while it is there
	attrReplayID = "q"
	attrMoved    = "pm" // epoch milliseconds when its replay last moved
)

// How long items of a socket stay behind its end for whoever cleans up, and how long a remover may take.
const (
	socketMargin = 10 * time.Minute
	removeLease  = 10 * time.Second
)

func socketKey(id string) key { return key{"s#" + id, "s"} }

func mirrorKey(id, channelID string) key { return key{"s#" + id, "c#" + channelID} }

func replayKey(id, channelID string) key { return key{"s#" + id, "r#" + channelID} }

// listBuckets is how many partitions the entries of lists are spread over; a power of 16.
const listBuckets = 16

func bucketKey(n int) string { return "l#" + strconv.FormatInt(int64(n), 16) }

// entryKey is a socket's entry in lists: sockets of a user stand together, ordered by their time.
func entryKey(user, id string, connectedAt int64) key {
	spread := user
	if user == "" {
		spread = id
	}
	n, err := strconv.ParseInt(strings.Map(hexDigit, hash(spread)[:1]), 16, 64)
	if err != nil {
		n = 0 // cannot be: hexDigit makes one digit
	}
	return key{bucketKey(int(n) % listBuckets), entriesOf(user) + stamp(connectedAt) + "#" + id}
}

// hexDigit makes a hexadecimal digit of a base32 one.
func hexDigit(r rune) rune { return rune("0123456789abcdef"[int(r)%listBuckets]) }

func entriesOf(user string) string { return hash(user) + "#" }

// stampDigits is the length of a time as part of a key: it lasts for eight centuries.
const stampDigits = 9

// stamp is a time in milliseconds as text in its order. Times before 1970 count as 1970.
func stamp(ms int64) string {
	s := strconv.FormatInt(max(ms, 0), 36)
	return strings.Repeat("0", max(0, stampDigits-len(s))) + s
}

func parseStamp(s string) int64 {
	ms, err := strconv.ParseInt(s, 36, 64)
	if err != nil {
		return 0 // of an item that this package did not write
	}
	return ms
}

// describe adds what lists show of a socket.
func describe(it item, s eureka.Socket) item {
	for name, value := range map[string]string{attrUser: s.User, attrNode: s.Node, attrRemote: s.Remote, attrOrigin: s.Origin, attrAgent: s.Agent} {
		if value != "" {
			it[name] = text(value)
		}
	}
	it[attrAt] = number(s.ConnectedAt)
	if s.ExpiresAt != 0 {
		it[attrExpires] = number(s.ExpiresAt)
		it[KeyTTL] = number(time.UnixMilli(s.ExpiresAt).Add(socketMargin).Unix())
	}
	return it
}

func socketOf(id string, it item) eureka.Socket {
	return eureka.Socket{
		ID: id, User: it.text(attrUser), Node: it.text(attrNode), Remote: it.text(attrRemote), Origin: it.text(attrOrigin), Agent: it.text(attrAgent),
		ConnectedAt: it.number(attrAt), ExpiresAt: it.number(attrExpires),
	}
}

// alive reports whether a socket's item stands for one that has not ended.
func alive(it item, now int64) bool {
	return it != nil && !it.has(attrEnded) && (!it.has(attrExpires) || it.number(attrExpires) > now)
}

// subscriptionOf is without a filter, whose text may have to be read.
func subscriptionOf(id string, it item) eureka.Subscription {
	channelID := strings.TrimPrefix(it.text(KeySort), "c#")
	sub := eureka.Subscription{SocketID: id, ChannelID: channelID, Name: it.text(attrName), SubscribedAt: it.number(attrAt)}
	if sub.Name == "" {
		sub.Name = channelID
	}
	return sub
}

func encodeIdentity(id eureka.Identity) ([]byte, error) { return json.Marshal(id) }

func decodeIdentity(it item) (eureka.Identity, error) {
	var id eureka.Identity
	if !it.has(attrIdentity) {
		return id, nil
	}
	if err := json.Unmarshal(it.blob(attrIdentity), &id); err != nil {
		return id, eureka.WrapError(eureka.CodeInternal, err, "a socket's identity cannot be read")
	}
	return id, nil
}
