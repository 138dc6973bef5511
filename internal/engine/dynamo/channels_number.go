package dynamo

import (
	"context"
	"errors"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"eureka"
)

// How numbers are looked for where many are in use as ids or aliases already, as after an import: one by one first, then in larger and larger
// parts of which the first free one is taken and the others are lost.
const (
	singleNumbers    = 4
	maxNumberTries   = 100
	maxNumbersAtOnce = maxBatchGet
)

// createNumbered creates a channel with the next number as its id.
func (c *channels) createNumbered(ctx context.Context, ch eureka.Channel) (eureka.Channel, error) {
	for try := range maxNumberTries {
		size := 1
		if try >= singleNumbers {
			size = min(1<<(try-singleNumbers+1), maxNumbersAtOnce)
		}
		id, err := c.nextNumber(ctx, size)
		if err != nil {
			return eureka.Channel{}, err
		}
		if id == "" || id == ch.Alias {
			continue
		}
		numbered := ch
		numbered.ID = id
		created, err := c.create(ctx, numbered)
		var conflict *eureka.Error
		if errors.As(err, &conflict) && conflict.Code == eureka.CodeConflict && conflict.Field == "id" {
			continue
		}
		return created, err
	}
	return eureka.Channel{}, eureka.Errorf(eureka.CodeUnavailable, "the next numbers are all in use as ids or aliases; try again, and the search goes on behind them")
}

// nextNumber takes size numbers that nobody had before and returns the first that is no name, "" when all are.
func (c *channels) nextNumber(ctx context.Context, size int) (string, error) {
	// When an answer is lost, the numbers taken are lost with it: none is given twice.
	it, err := c.table.update(ctx, key{countPartition, numberSort}, change{
		expression: "ADD " + attrNumber + " :by", values: item{":by": number(int64(size))}, returns: types.ReturnValueUpdatedNew,
	})
	if err != nil {
		return "", err
	}
	last := eureka.FirstChannelNumber - 1 + it.number(attrNumber)
	if size == 1 {
		return strconv.FormatInt(last, 10), nil
	}
	keys := make([]key, size)
	ids := make([]string, size)
	for i := range size {
		ids[i] = strconv.FormatInt(last-int64(size-1-i), 10)
		keys[i] = nameKey(ids[i])
	}
	found, err := c.table.batchGet(ctx, keys, true)
	if err != nil {
		return "", err
	}
	for i, k := range keys {
		if !living(found[k]) {
			return ids[i], nil
		}
	}
	return "", nil
}
