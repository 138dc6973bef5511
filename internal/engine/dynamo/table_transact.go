package dynamo

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// step is one write of a transaction; exactly one of put, change and remove is set.
type step struct {
	put    item
	change *change // of key
	remove bool    // key
	key    key
	only   condition // of put and remove; a change has its own
}

// transact carries out all steps or none, at twice the units of single writes. At most 100 steps, no two on one item. When a condition does not
// hold, the conditionError names the first step whose condition it was. A transaction whose answer was lost is not carried out twice, and its
// refusal is never unsure.
func (t *table) transact(ctx context.Context, steps ...step) error {
	in := &dynamodb.TransactWriteItemsInput{
		ClientRequestToken: aws.String(rand.Text()), ReturnConsumedCapacity: t.report(), TransactItems: make([]types.TransactWriteItem, len(steps)),
	}
	for i, s := range steps {
		in.TransactItems[i] = t.transactItem(s)
	}
	refusedAt := 0
	err := t.repeat(ctx, func(ctx context.Context) error {
		out, err := t.client.TransactWriteItems(ctx, in)
		if err == nil {
			t.metered(false, out.ConsumedCapacity...)
			return nil
		}
		var i int
		i, err = cancelled(err)
		refusedAt = i
		return err
	})
	if refusal := refused(err); refusal != nil {
		refusal.step, refusal.unsure = refusedAt, false
		if t.meter != nil {
			t.meter(0, float64(2*len(steps))) // it is billed as well, and the answer does not say so
		}
	}
	return err
}

func (t *table) transactItem(s step) types.TransactWriteItem {
	expression := func(text string) (*string, types.ReturnValuesOnConditionCheckFailure) {
		if text == "" {
			return nil, ""
		}
		return aws.String(text), types.ReturnValuesOnConditionCheckFailureAllOld
	}
	switch {
	case s.put != nil:
		put := &types.Put{TableName: aws.String(t.name), Item: s.put, ExpressionAttributeNames: s.only.names, ExpressionAttributeValues: s.only.values}
		put.ConditionExpression, put.ReturnValuesOnConditionCheckFailure = expression(s.only.expression)
		return types.TransactWriteItem{Put: put}
	case s.change != nil:
		update := &types.Update{
			TableName: aws.String(t.name), Key: s.key.item(), UpdateExpression: aws.String(s.change.expression),
			ExpressionAttributeNames: s.change.names, ExpressionAttributeValues: s.change.values,
		}
		update.ConditionExpression, update.ReturnValuesOnConditionCheckFailure = expression(s.change.only)
		return types.TransactWriteItem{Update: update}
	default:
		remove := &types.Delete{TableName: aws.String(t.name), Key: s.key.item(), ExpressionAttributeNames: s.only.names, ExpressionAttributeValues: s.only.values}
		remove.ConditionExpression, remove.ReturnValuesOnConditionCheckFailure = expression(s.only.expression)
		return types.TransactWriteItem{Delete: remove}
	}
}

// cancelled turns a cancelled transaction's error into that of its first step that failed for a reason of its own: its condition, or that
// it has to wait.
func cancelled(err error) (int, error) {
	var all *types.TransactionCanceledException
	if !errors.As(err, &all) {
		return 0, err
	}
	for i, reason := range all.CancellationReasons {
		if aws.ToString(reason.Code) == "ConditionalCheckFailed" {
			return i, &types.ConditionalCheckFailedException{Item: reason.Item}
		}
	}
	for _, reason := range all.CancellationReasons {
		switch aws.ToString(reason.Code) {
		case "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded":
			return 0, &types.ProvisionedThroughputExceededException{Message: reason.Message}
		}
	}
	return 0, err
}
