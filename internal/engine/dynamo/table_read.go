package dynamo

import (
	"context"
	"iter"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// maxBatchGet is DynamoDB's limit.
const maxBatchGet = 100

// get returns an item, nil without one. An eventually consistent read costs half.
func (t *table) get(ctx context.Context, k key, consistent bool) (item, error) {
	var found item
	err := t.repeat(ctx, func(ctx context.Context) error {
		out, err := t.client.GetItem(ctx, &dynamodb.GetItemInput{
			TableName: aws.String(t.name), Key: k.item(), ConsistentRead: aws.Bool(consistent), ReturnConsumedCapacity: t.report(),
		})
		if err != nil {
			return err
		}
		t.meteredOne(true, out.ConsumedCapacity)
		found = out.Item
		return nil
	})
	return found, err
}

// query selects items of one partition in the order of their sort keys. With neither prefix nor from and to: all.
type query struct {
	partition string
	prefix    string // of the sort key; not together with from and to
	from, to  string // of the sort key, both included; one may be empty
	after     string // behind this sort key in the direction of the query; it must lie within prefix, or from and to; it need not exist
	reverse   bool
	// consistent sees every write that was finished before. Otherwise the read costs half and may miss the last second's writes.
	consistent bool
	limit      int // items of the whole answer, 0 for all; with a filter, items looked at per page
	// filter is an expression over the items read; those that it drops cost as much as the others. names and values are its own.
	filter string
	names  map[string]string
	values item
	// attributes are the only ones wanted; nil for all. The units are the same.
	attributes []string
}

func (t *table) queryInput(q query) *dynamodb.QueryInput {
	in := &dynamodb.QueryInput{
		TableName: aws.String(t.name), ConsistentRead: aws.Bool(q.consistent), ScanIndexForward: aws.Bool(!q.reverse),
		ReturnConsumedCapacity: t.report(), ExpressionAttributeValues: map[string]types.AttributeValue{":qp": text(q.partition)},
	}
	expression := KeyPartition + " = :qp"
	switch {
	case q.prefix != "":
		expression += " AND begins_with(" + KeySort + ", :qs)"
		in.ExpressionAttributeValues[":qs"] = text(q.prefix)
	case q.from != "" && q.to != "":
		expression += " AND " + KeySort + " BETWEEN :qs AND :qt"
		in.ExpressionAttributeValues[":qs"], in.ExpressionAttributeValues[":qt"] = text(q.from), text(q.to)
	case q.from != "":
		expression += " AND " + KeySort + " >= :qs"
		in.ExpressionAttributeValues[":qs"] = text(q.from)
	case q.to != "":
		expression += " AND " + KeySort + " <= :qs"
		in.ExpressionAttributeValues[":qs"] = text(q.to)
	}
	in.KeyConditionExpression = aws.String(expression)
	if q.after != "" {
		in.ExclusiveStartKey = key{q.partition, q.after}.item()
	}
	if q.filter != "" {
		in.FilterExpression = aws.String(q.filter)
		for name, v := range q.values {
			in.ExpressionAttributeValues[name] = v
		}
	}
	names := map[string]string{}
	for name, attribute := range q.names {
		names[name] = attribute
	}
	if len(q.attributes) > 0 {
		projected := make([]string, len(q.attributes))
		for i, attribute := range q.attributes {
			projected[i] = "#q_" + attribute
			names["#q_"+attribute] = attribute
		}
		in.ProjectionExpression = aws.String(strings.Join(projected, ", "))
	}
	if len(names) > 0 {
		in.ExpressionAttributeNames = names
	}
	return in
}

// pages gives the answer page by page, each up to 1 MB as DynamoDB reads them; a page may be empty. It ends after an error.
func (t *table) pages(ctx context.Context, q query) iter.Seq2[[]item, error] {
	return func(yield func([]item, error) bool) {
		in := t.queryInput(q)
		left := q.limit
		for {
			if q.limit > 0 {
				in.Limit = aws.Int32(int32(min(left, 1<<20)))
			}
			out, err := t.page(ctx, in)
			if err != nil {
				yield(nil, err)
				return
			}
			page := make([]item, len(out.Items))
			for i, it := range out.Items {
				page[i] = it
			}
			if q.limit > 0 && q.filter == "" {
				left -= len(page)
			}
			if !yield(page, nil) || len(out.LastEvaluatedKey) == 0 || (q.limit > 0 && left <= 0) {
				return
			}
			in.ExclusiveStartKey = out.LastEvaluatedKey
		}
	}
}

// items is pages item by item.
func (t *table) items(ctx context.Context, q query) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		for page, err := range t.pages(ctx, q) {
			if err != nil {
				yield(nil, err)
				return
			}
			for _, it := range page {
				if !yield(it, nil) {
					return
				}
			}
		}
	}
}

// count returns the number of items without fetching them; it costs what reading them costs.
func (t *table) count(ctx context.Context, q query) (int, error) {
	in := t.queryInput(q)
	in.Select = types.SelectCount
	in.ProjectionExpression = nil
	total := 0
	for {
		out, err := t.page(ctx, in)
		if err != nil {
			return 0, err
		}
		total += int(out.Count)
		if len(out.LastEvaluatedKey) == 0 {
			return total, nil
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey
	}
}

func (t *table) page(ctx context.Context, in *dynamodb.QueryInput) (*dynamodb.QueryOutput, error) {
	var out *dynamodb.QueryOutput
	err := t.repeat(ctx, func(ctx context.Context) error {
		var err error
		if out, err = t.client.Query(ctx, in); err != nil {
			return err
		}
		t.meteredOne(true, out.ConsumedCapacity)
		return nil
	})
	return out, err
}

// batchGet returns the items that exist, by their keys; keys may repeat.
func (t *table) batchGet(ctx context.Context, keys []key, consistent bool) (map[key]item, error) {
	found := make(map[key]item, len(keys))
	seen := make(map[key]bool, len(keys))
	var chunk []map[string]types.AttributeValue
	for i, k := range keys {
		if !seen[k] {
			seen[k] = true
			chunk = append(chunk, k.item())
		}
		if len(chunk) == maxBatchGet || (i == len(keys)-1 && len(chunk) > 0) {
			if err := t.getChunk(ctx, chunk, consistent, found); err != nil {
				return nil, err
			}
			chunk = nil
		}
	}
	return found, nil
}

func (t *table) getChunk(ctx context.Context, keys []map[string]types.AttributeValue, consistent bool, found map[key]item) error {
	for b := (backoff{}); ; {
		var out *dynamodb.BatchGetItemOutput
		err := t.repeat(ctx, func(ctx context.Context) error {
			var err error
			out, err = t.client.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{
				ReturnConsumedCapacity: t.report(),
				RequestItems:           map[string]types.KeysAndAttributes{t.name: {Keys: keys, ConsistentRead: aws.Bool(consistent)}},
			})
			return err
		})
		if err != nil {
			return err
		}
		t.metered(true, out.ConsumedCapacity...)
		for _, it := range out.Responses[t.name] {
			found[item(it).key()] = it
		}
		left := out.UnprocessedKeys[t.name].Keys
		if len(left) == 0 {
			return nil
		}
		if len(left) < len(keys) {
			b = backoff{} // as long as some are read there is an end
		}
		if keys = left; !b.next(ctx) {
			return errUnprocessed(ctx)
		}
	}
}
