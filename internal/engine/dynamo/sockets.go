package dynamo

import (
	"context"
	"crypto/rand"
	"log/slog"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"eureka"
)

// sockets is eureka.Sockets. A socket is one item, one entry in lists, and two items for each subscription: one under the socket, by which its
// end finds them, and one under the channel, which deliveries read.
type sockets Engine

// The capabilities beside the port.
var _ eureka.SocketIdentities = (*sockets)(nil)

// Add implements eureka.Sockets: two writes.
func (s *sockets) Add(ctx context.Context, socket eureka.Socket) error {
	if err := socket.Validate(); err != nil {
		return err
	}
	nonce := rand.Text()[:12]
	it := describe(socketKey(socket.ID).item(), socket)
	it[attrNonce] = text(nonce)
	who, err := encodeIdentity(socket.Identity)
	if err != nil {
		return err
	}
	it[attrIdentity] = blob(who)
	err = s.table.put(ctx, it, absent)
	// The refusal may be of our own write, whose answer was lost.
	if refusal := refused(err); refusal != nil && (!refusal.unsure || refusal.item.text(attrNonce) != nonce) {
		return eureka.Errorf(eureka.CodeConflict, "there is a socket %q already", socket.ID)
	} else if refusal == nil && err != nil {
		return err
	}
	return s.table.put(ctx, describe(entryKey(socket.User, socket.ID, socket.ConnectedAt).item(), socket), condition{})
}

// Remove implements eureka.Sockets. Whoever marks the socket's item as ended gets the socket; the item and the entry in lists go last, so that whoever
// comes after a remover that was cut off finds what is left. A mark that is older than removeLease is of such a one.
func (s *sockets) Remove(ctx context.Context, id string) (eureka.Socket, error) {
	if id == "" || len(id) > eureka.MaxSocketIDLength {
		return eureka.Socket{}, errNoSocket(id)
	}
	now, token := s.options.Now(), rand.Text()
	before, err := s.table.update(ctx, socketKey(id), change{
		expression: "SET e = :token, ea = :now", only: "attribute_exists(" + KeyPartition + ") AND (attribute_not_exists(e) OR ea < :late)",
		values:  item{":token": text(token), ":now": number(now.UnixMilli()), ":late": number(now.Add(-removeLease).UnixMilli())},
		returns: types.ReturnValueAllOld,
	})
	if refusal := refused(err); refusal != nil {
		if !refusal.unsure || refusal.item.text(attrEnded) != token {
			return eureka.Socket{}, errNoSocket(id)
		}
		before = refusal.item
	} else if err != nil {
		return eureka.Socket{}, err
	}
	socket := socketOf(id, before)
	mirrors, err := s.clean(ctx, socket, token)
	if err != nil {
		return eureka.Socket{}, err
	}
	if socket.Subscriptions, err = (*Engine)(s).subscriptions(ctx, id, mirrors); err != nil {
		// Its end is reported all the same.
		s.options.Log.Warn("the filters of an ended socket could not be read", slog.String("socket", id), slog.Any("error", err))
		for _, m := range mirrors {
			socket.Subscriptions = append(socket.Subscriptions, subscriptionOf(id, m))
		}
	}
	return socket, nil
}

// clean removes all items of a socket that is marked as ended by token, and returns its subscriptions' own items.
func (s *sockets) clean(ctx context.Context, socket eureka.Socket, token string) ([]item, error) {
	var mirrors []item
	var first, last []key
	for it, err := range s.table.items(ctx, query{partition: socketKey(socket.ID).pk, consistent: true}) {
		if err != nil {
			return nil, err
		}
		switch sk := it.text(KeySort); {
		case len(sk) > 2 && sk[:2] == "c#":
			mirrors = append(mirrors, it)
			first = append(first, subscriberKey(sk[2:], int(it.number(attrShard)), socket.ID, socket.ConnectedAt))
			last = append(last, it.key())
		case len(sk) > 2 && sk[:2] == "r#":
			last = append(last, it.key())
		}
	}
	if err := s.table.batchWrite(ctx, nil, first); err != nil {
		return nil, err
	}
	if err := s.table.batchWrite(ctx, nil, last); err != nil {
		return nil, err
	}
	err := s.table.transact(ctx,
		step{key: socketKey(socket.ID), remove: true, only: condition{expression: "e = :token", values: item{":token": text(token)}}},
		step{key: entryKey(socket.User, socket.ID, socket.ConnectedAt), remove: true},
	)
	if isRefused(err) {
		return nil, errNoSocket(socket.ID) // it took so long that another remover took over
	}
	return mirrors, err
}

// Identities implements eureka.SocketIdentities.
func (s *sockets) Identities(ctx context.Context, ids ...string) (map[string]eureka.Identity, error) {
	if len(ids) > eureka.MaxLimit {
		return nil, eureka.FieldError("id", "are %d sockets, the limit is %d", len(ids), eureka.MaxLimit)
	}
	found, err := s.read(ctx, ids)
	if err != nil {
		return nil, err
	}
	who := make(map[string]eureka.Identity, len(found))
	for id, it := range found {
		if who[id], err = decodeIdentity(it); err != nil {
			return nil, err
		}
	}
	return who, nil
}

// SetIdentity implements eureka.SocketIdentities.
func (s *sockets) SetIdentity(ctx context.Context, id string, who eureka.Identity) error {
	if id == "" || len(id) > eureka.MaxSocketIDLength {
		return errNoSocket(id)
	}
	value, err := encodeIdentity(who)
	if err != nil {
		return err
	}
	_, err = s.table.update(ctx, socketKey(id), change{
		expression: "SET w = :who",
		only:       "attribute_exists(" + KeyPartition + ") AND attribute_not_exists(e) AND (attribute_not_exists(x) OR x > :now)",
		values:     item{":who": blob(value), ":now": number((*Engine)(s).nowMillis())},
	})
	if isRefused(err) {
		return errNoSocket(id)
	}
	return err
}

// read returns the items of those sockets that live.
func (s *sockets) read(ctx context.Context, ids []string) (map[string]item, error) {
	keys := make([]key, 0, len(ids))
	for _, id := range ids {
		if id != "" && len(id) <= eureka.MaxSocketIDLength {
			keys = append(keys, socketKey(id))
		}
	}
	found, err := s.table.batchGet(ctx, keys, true)
	if err != nil {
		return nil, err
	}
	now, living := (*Engine)(s).nowMillis(), make(map[string]item, len(found))
	for k, it := range found {
		if alive(it, now) {
			living[k.pk[len("s#"):]] = it
		}
	}
	return living, nil
}

func errNoSocket(id string) error {
	return eureka.Errorf(eureka.CodeNotFound, "there is no socket %q", id)
}
