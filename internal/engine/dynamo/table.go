package dynamo

import (
	"crypto/sha256"
	"encoding/base32"

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

// table is the one table. Its methods translate DynamoDB's errors and repeat what was throttled or left unprocessed.
type table struct {
	client *dynamodb.Client
	name   string
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
		h.Write([]byte{byte(len(part) >> 8), byte(len(part))}) // parts are shorter than 64 KiB
		h.Write([]byte(part))
	}
	return hashEncoding.EncodeToString(h.Sum(nil)[:10])
}
