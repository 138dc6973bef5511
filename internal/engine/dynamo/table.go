package dynamo

import (
	"crypto/sha256"
	"encoding/base32"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Names of the table's key attributes and of its TTL attribute.
const (
	KeyPartition = "pk"
	KeySort      = "sk"
	KeyTTL       = "ttl"
)

// table is the one table. Its methods translate DynamoDB's errors and repeat what was throttled, not answered or left unprocessed, within the
// caller's deadline. Their errors are eureka.Errors: CodeUnavailable when that did not help, a conditionError (see refused) for a condition that
// did not hold, CodeTooLarge for an item over 400 KB, CodeInternal for anything else.
type table struct {
	client *dynamodb.Client
	name   string
	meter  func(read, write float64) // nil for none
	// tryTime is how long one try of a request may take.
	tryTime time.Duration
}

func newTable(client *dynamodb.Client, name string, meter func(read, write float64)) table {
	once := dynamodb.New(client.Options(), func(o *dynamodb.Options) {
		o.Retryer = aws.NopRetryer{}
		o.RetryMaxAttempts = 1
	})
	return table{client: once, name: name, meter: meter, tryTime: defaultTryTime}
}

// report asks for the consumed units when somebody wants to know them.
func (t *table) report() types.ReturnConsumedCapacity {
	if t.meter == nil {
		return types.ReturnConsumedCapacityNone
	}
	return types.ReturnConsumedCapacityTotal
}

func (t *table) metered(read bool, consumed ...types.ConsumedCapacity) {
	if t.meter == nil {
		return
	}
	var units float64
	for _, c := range consumed {
		units += aws.ToFloat64(c.CapacityUnits)
	}
	if read {
		t.meter(units, 0)
	} else {
		t.meter(0, units)
	}
}

// meteredOne is metered for answers that have one figure or none.
func (t *table) meteredOne(read bool, consumed *types.ConsumedCapacity) {
	if consumed != nil {
		t.metered(read, *consumed)
	}
}

// Definition is the table as the engine needs it, for tests and the simulator; the CloudFormation template says the same, which a test checks.
// Point-in-time recovery and TTL are switched on by calls of their own.
func Definition(name string) *dynamodb.CreateTableInput {
	return &dynamodb.CreateTableInput{
		TableName: aws.String(name), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String(KeyPartition), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String(KeySort), AttributeType: types.ScalarAttributeTypeS},
		},
		KeySchema: []types.KeySchemaElement{
			{AttributeName: aws.String(KeyPartition), KeyType: types.KeyTypeHash},
			{AttributeName: aws.String(KeySort), KeyType: types.KeyTypeRange},
		},
	}
}

var hashEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// hash shortens what clients choose to 16 characters: 80 bits, so that nobody finds two names with one hash.
func hash(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		h.Write([]byte{byte(len(part) >> 8 & 0xff), byte(len(part) & 0xff)}) // parts are shorter than 64 KiB
		h.Write([]byte(part))
	}
	return hashEncoding.EncodeToString(h.Sum(nil)[:10])
}
