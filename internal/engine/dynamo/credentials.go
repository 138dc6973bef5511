package dynamo

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"eureka"
)

// revocationTTL is how long a revocation is kept.
const revocationTTL = 366 * 24 * time.Hour

// Credentials are in one partition, so that one query reads all: k#<id> an API key, t#<token id> and u#<user> a revocation, n the number of keys.
const (
	credentialPartition = "a"
	apiKeyPrefix        = "k#"
	tokenPrefix         = "t#"
	userPrefix          = "u#"
)

var apiKeyCount = key{credentialPartition, "n"}

// Attributes of an API key and of a revocation.
const (
	attrKeyName  = "n"
	attrHash     = "h"
	attrUser     = "u"
	attrScopes   = "s"
	attrChannels = "c"
	attrEnds     = "e" // when the key expires; its item stays
)

// credentials is eureka.Credentials.
type credentials Engine

// AddKey implements eureka.Credentials.
func (c *credentials) AddKey(ctx context.Context, k eureka.APIKey) error {
	if err := k.Validate(); err != nil {
		return err
	}
	err := c.table.transact(ctx,
		step{put: apiKeyItem(k), only: absent},
		step{key: apiKeyCount, change: &change{
			expression: "ADD n :one", only: "attribute_not_exists(n) OR n < :max",
			values: item{":one": number(1), ":max": number(eureka.MaxKeys)},
		}})
	switch refusal := refused(err); {
	case refusal == nil:
		c.keys.outdate()
		return err
	case refusal.step == 0:
		return eureka.Errorf(eureka.CodeConflict, "there is an API key %q already", k.ID)
	default:
		return eureka.Errorf(eureka.CodeConflict, "there are %d API keys already; revoke some", eureka.MaxKeys)
	}
}

// DeleteKey implements eureka.Credentials.
func (c *credentials) DeleteKey(ctx context.Context, id string) error {
	if len(id) > eureka.MaxTokenIDLength {
		return eureka.Errorf(eureka.CodeNotFound, "there is no such API key") // nor room for one
	}
	err := c.table.transact(ctx,
		step{remove: true, key: key{credentialPartition, apiKeyPrefix + id}, only: condition{expression: "attribute_exists(" + KeyPartition + ")"}},
		step{key: apiKeyCount, change: &change{expression: "ADD n :one", values: item{":one": number(-1)}}})
	if refused(err) != nil {
		return eureka.Errorf(eureka.CodeNotFound, "there is no API key %q", id)
	}
	c.keys.outdate()
	return err
}

// Keys implements eureka.Credentials.
func (c *credentials) Keys(ctx context.Context) ([]eureka.APIKey, error) {
	keys := []eureka.APIKey{}
	for it, err := range c.table.items(ctx, query{partition: credentialPartition, prefix: apiKeyPrefix, consistent: true}) {
		if err != nil {
			return nil, err
		}
		keys = append(keys, apiKeyOf(it))
	}
	slices.SortFunc(keys, func(a, b eureka.APIKey) int {
		return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	return keys, nil
}

// Revoke implements eureka.Credentials. A revocation of the same user for an earlier time is covered by the later one, which stays.
func (c *credentials) Revoke(ctx context.Context, r eureka.Revocation) error {
	if err := r.Validate(); err != nil {
		return err
	}
	k := key{credentialPartition, tokenPrefix + r.TokenID}
	if r.User != "" {
		k.sk = userPrefix + r.User
	}
	it := k.item()
	it[attrAt] = number(r.At)
	now := c.options.Now()
	err := c.table.put(ctx, expiring(it, now.Add(revocationTTL)), condition{
		expression: "attribute_not_exists(" + KeyPartition + ") OR #at <= :at OR x <= :now",
		names:      map[string]string{"#at": attrAt}, values: item{":at": it[attrAt], ":now": number(now.UnixMilli())},
	})
	c.keys.outdate()
	return unlessRefused(err)
}

// Revocations implements eureka.Credentials.
func (c *credentials) Revocations(ctx context.Context) ([]eureka.Revocation, error) {
	all := []eureka.Revocation{}
	now := c.options.Now().UnixMilli()
	for it, err := range c.table.items(ctx, query{partition: credentialPartition, from: tokenPrefix, consistent: true}) {
		if err != nil {
			return nil, err
		}
		if r, ok := revocationOf(it, now); ok {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b eureka.Revocation) int {
		return cmp.Or(cmp.Compare(b.At, a.At), strings.Compare(a.TokenID+a.User, b.TokenID+b.User))
	})
	return all, nil
}

func apiKeyItem(k eureka.APIKey) item {
	it := key{credentialPartition, apiKeyPrefix + k.ID}.item()
	it[attrKeyName], it[attrHash], it[attrScopes], it[attrChannels] = text(k.Name), blob(k.Hash), number(int64(k.Scopes)), texts(k.Channels)
	it[attrCreated] = number(k.CreatedAt)
	if k.User != "" {
		it[attrUser] = text(k.User)
	}
	if k.ExpiresAt != 0 {
		it[attrEnds] = number(k.ExpiresAt)
	}
	return it
}

func apiKeyOf(it item) eureka.APIKey {
	return eureka.APIKey{
		ID: strings.TrimPrefix(it.text(KeySort), apiKeyPrefix), Name: it.text(attrKeyName), Hash: it.blob(attrHash), User: it.text(attrUser),
		Scopes: eureka.Scope(it.number(attrScopes) & 0xff), Channels: it.texts(attrChannels), CreatedAt: it.number(attrCreated), ExpiresAt: it.number(attrEnds),
	}
}

// revocationOf decodes an item; it is none when its kind is another or its time is over.
func revocationOf(it item, nowMillis int64) (eureka.Revocation, bool) {
	r := eureka.Revocation{At: it.number(attrAt)}
	name := it.text(KeySort)
	switch {
	case it.number(attrExpires) <= nowMillis:
		return r, false
	case strings.HasPrefix(name, tokenPrefix):
		r.TokenID = strings.TrimPrefix(name, tokenPrefix)
	case strings.HasPrefix(name, userPrefix):
		r.User = strings.TrimPrefix(name, userPrefix)
	default:
		return r, false
	}
	return r, true
}
