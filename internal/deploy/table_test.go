package deploy_test

import (
	"encoding/json"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"eureka/internal/engine/dynamo"
)

// TestTableIsTheEngines: the table of the template is the one the engine's tests run on.
func TestTableIsTheEngines(t *testing.T) {
	definition := dynamo.Definition("x")
	var table struct {
		BillingMode          string
		AttributeDefinitions []struct{ AttributeName, AttributeType string }
		KeySchema            []struct{ AttributeName, KeyType string }
		TimeToLive           struct{ AttributeName string } `json:"TimeToLiveSpecification"`
		Indexes              json.RawMessage                `json:"GlobalSecondaryIndexes"`
	}
	text, err := json.Marshal(resources(t)["Table"].Properties)
	if err == nil {
		err = json.Unmarshal(text, &table)
	}
	if err != nil {
		t.Fatal(err)
	}
	if table.BillingMode != string(definition.BillingMode) || table.Indexes != nil || table.TimeToLive.AttributeName != dynamo.KeyTTL {
		t.Errorf("the table is %+v", table)
	}
	for i, a := range definition.AttributeDefinitions {
		if *a.AttributeName != table.AttributeDefinitions[i].AttributeName || string(a.AttributeType) != table.AttributeDefinitions[i].AttributeType {
			t.Errorf("attribute %d is %+v", i, table.AttributeDefinitions[i])
		}
	}
	for i, k := range definition.KeySchema {
		if *k.AttributeName != table.KeySchema[i].AttributeName || k.KeyType != types.KeyType(table.KeySchema[i].KeyType) {
			t.Errorf("key %d is %+v", i, table.KeySchema[i])
		}
	}
}
