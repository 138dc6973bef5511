package dynamo

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"eureka"
)

// maxBatchWrite is DynamoDB's limit.
const maxBatchWrite = 25

// condition is what must hold of the item as it stands for a write to be carried out; the zero condition always holds. A write whose answer was
// lost is tried again, so its own effect may be what refuses it then: see conditionError.
type condition struct {
	expression string
	names      map[string]string // #name to attribute, for reserved words
	values     item              // :value
}

// absent holds when there is no item with the key.
var absent = condition{expression: "attribute_not_exists(" + KeyPartition + ")"}

// put stores an item in place of any other with its key.
func (t *table) put(ctx context.Context, it item, only condition) error {
	in := &dynamodb.PutItemInput{
		TableName: aws.String(t.name), Item: it, ReturnConsumedCapacity: t.report(), ExpressionAttributeNames: only.names,
		ExpressionAttributeValues: only.values,
	}
	if only.expression != "" {
		in.ConditionExpression = aws.String(only.expression)
		in.ReturnValuesOnConditionCheckFailure = types.ReturnValuesOnConditionCheckFailureAllOld
	}
	return t.write(ctx, func(ctx context.Context) (*types.ConsumedCapacity, error) {
		out, err := t.client.PutItem(ctx, in)
		if err != nil {
			return nil, err
		}
		return out.ConsumedCapacity, nil
	})
}

// change is an update of one item, which is created when it is not there and only allows it.
type change struct {
	expression string // SET, ADD, REMOVE
	only       string // condition; "" for none
	names      map[string]string
	values     item
	returns    types.ReturnValue // zero for nothing
}

// update changes an item and returns what c.returns asks for. An update that adds to a number may add twice when an answer was lost.
func (t *table) update(ctx context.Context, k key, c change) (item, error) {
	in := &dynamodb.UpdateItemInput{
		TableName: aws.String(t.name), Key: k.item(), UpdateExpression: aws.String(c.expression), ExpressionAttributeNames: c.names,
		ExpressionAttributeValues: c.values, ReturnValues: c.returns, ReturnConsumedCapacity: t.report(),
	}
	if c.only != "" {
		in.ConditionExpression = aws.String(c.only)
		in.ReturnValuesOnConditionCheckFailure = types.ReturnValuesOnConditionCheckFailureAllOld
	}
	var returned item
	err := t.write(ctx, func(ctx context.Context) (*types.ConsumedCapacity, error) {
		out, err := t.client.UpdateItem(ctx, in)
		if err != nil {
			return nil, err
		}
		returned = out.Attributes
		return out.ConsumedCapacity, nil
	})
	return returned, err
}

// remove deletes an item and returns it as it was, nil when there was none. When an answer was lost it may return nil although this call
// deleted it.
func (t *table) remove(ctx context.Context, k key, only condition) (item, error) {
	in := &dynamodb.DeleteItemInput{
		TableName: aws.String(t.name), Key: k.item(), ReturnValues: types.ReturnValueAllOld, ReturnConsumedCapacity: t.report(),
		ExpressionAttributeNames: only.names, ExpressionAttributeValues: only.values,
	}
	if only.expression != "" {
		in.ConditionExpression = aws.String(only.expression)
		in.ReturnValuesOnConditionCheckFailure = types.ReturnValuesOnConditionCheckFailureAllOld
	}
	var old item
	err := t.write(ctx, func(ctx context.Context) (*types.ConsumedCapacity, error) {
		out, err := t.client.DeleteItem(ctx, in)
		if err != nil {
			return nil, err
		}
		old = out.Attributes
		return out.ConsumedCapacity, nil
	})
	return old, err
}

func (t *table) write(ctx context.Context, do func(ctx context.Context) (*types.ConsumedCapacity, error)) error {
	err := t.repeat(ctx, func(ctx context.Context) error {
		consumed, err := do(ctx)
		if err != nil {
			return err
		}
		t.meteredOne(false, consumed)
		return nil
	})
	if refused(err) != nil && t.meter != nil {
		t.meter(0, 1) // it is billed as well, and the answer does not say so
	}
	return err
}

// batchWrite stores and deletes items without conditions, each key at most once. It is no transaction: after an error some of it may be done.
func (t *table) batchWrite(ctx context.Context, puts []item, removes []key) error {
	requests := make([]types.WriteRequest, 0, len(puts)+len(removes))
	for _, it := range puts {
		requests = append(requests, types.WriteRequest{PutRequest: &types.PutRequest{Item: it}})
	}
	for _, k := range removes {
		requests = append(requests, types.WriteRequest{DeleteRequest: &types.DeleteRequest{Key: k.item()}})
	}
	for len(requests) > 0 {
		n := min(len(requests), maxBatchWrite)
		if err := t.writeChunk(ctx, requests[:n]); err != nil {
			return err
		}
		requests = requests[n:]
	}
	return nil
}

func (t *table) writeChunk(ctx context.Context, requests []types.WriteRequest) error {
	for b := (backoff{}); ; {
		var out *dynamodb.BatchWriteItemOutput
		err := t.repeat(ctx, func(ctx context.Context) error {
			var err error
			out, err = t.client.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{
				RequestItems: map[string][]types.WriteRequest{t.name: requests}, ReturnConsumedCapacity: t.report(),
			})
			return err
		})
		if err != nil {
			return err
		}
		t.metered(false, out.ConsumedCapacity...)
		left := out.UnprocessedItems[t.name]
		if len(left) == 0 {
			return nil
		}
		if len(left) < len(requests) {
			b = backoff{} // as long as some are written there is an end
		}
		if requests = left; !b.next(ctx) {
			return errUnprocessed(ctx)
		}
	}
}

func errUnprocessed(ctx context.Context) error {
	if err := storeError(ctx, ctx.Err()); err != nil {
		return err
	}
	return eureka.Errorf(eureka.CodeUnavailable, "the store is busy; try again")
}
