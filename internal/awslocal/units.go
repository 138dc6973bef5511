package awslocal

import (
	"encoding/base64"
	"encoding/json"
	"strings"
)

// DynamoDB Local's report of capacity units is wrong for transactions, for batches with items that are not there, nothing for queries that find
// nothing, and missing for conditions that failed. Those are computed here by the published rules: a write unit per KB of an item begun, two in a transaction; a consistent read unit per
// 4 KB begun, half of it otherwise; at least one each, also for nothing. What an item weighed that a transaction deletes or changes is not known
// here: it counts as up to 1 KB, as does an item whose condition failed.

type batch struct {
	TransactItems []struct {
		Put *struct{ Item attributes }
	}
	RequestItems map[string]json.RawMessage
}

type attributes map[string]map[string]json.RawMessage

// writeUnits computes the units of a write that the stand-in does not report right; ok is false for others.
func writeUnits(operation string, request, answer []byte, failed bool) (units float64, ok bool) {
	refused := failed && strings.Contains(string(answer), "ConditionalCheckFailed")
	if failed && !refused {
		return 0, true // throttled or invalid: not billed
	}
	switch operation {
	case "PutItem", "UpdateItem", "DeleteItem":
		return 1, refused
	case "TransactWriteItems":
		return transactUnits(request, refused)
	case "BatchWriteItem":
		return batchWriteUnits(request)
	default:
		return 0, false
	}
}

// leastUnits is what a query costs at least, also when it finds nothing.
func leastUnits(operation string, request []byte) float64 {
	var q struct{ ConsistentRead bool }
	if operation != "Query" || json.Unmarshal(request, &q) != nil {
		return 0
	}
	if q.ConsistentRead {
		return 1
	}
	return 0.5
}

func transactUnits(request []byte, refused bool) (units float64, ok bool) {
	var b batch
	if json.Unmarshal(request, &b) != nil {
		return 0, false
	}
	for _, item := range b.TransactItems {
		if item.Put != nil && !refused {
			units += 2 * float64(begun(size(item.Put.Item), 1<<10))
		} else {
			units += 2
		}
	}
	return units, true
}

func batchWriteUnits(request []byte) (units float64, ok bool) {
	var b batch
	if json.Unmarshal(request, &b) != nil {
		return 0, false
	}
	for _, raw := range b.RequestItems {
		var writes []struct{ PutRequest *struct{ Item attributes } }
		if json.Unmarshal(raw, &writes) != nil {
			return 0, false
		}
		for _, w := range writes {
			if w.PutRequest != nil {
				units += float64(begun(size(w.PutRequest.Item), 1<<10))
			} else {
				units++
			}
		}
	}
	return units, true
}

// batchReadUnits computes the units of a BatchGetItem.
func batchReadUnits(request, answer []byte) (units float64, ok bool) {
	var b batch
	var found struct{ Responses map[string][]attributes }
	if json.Unmarshal(request, &b) != nil || json.Unmarshal(answer, &found) != nil {
		return 0, false
	}
	for table, raw := range b.RequestItems {
		var get struct {
			Keys           []json.RawMessage
			ConsistentRead bool
		}
		if json.Unmarshal(raw, &get) != nil {
			return 0, false
		}
		each := len(get.Keys) - len(found.Responses[table]) // those that are not there
		for _, item := range found.Responses[table] {
			each += begun(size(item), 4<<10)
		}
		if get.ConsistentRead {
			units += float64(each)
		} else {
			units += float64(each) / 2
		}
	}
	return units, true
}

func begun(bytes, unit int) int { return max((bytes+unit-1)/unit, 1) }

// size is how many bytes an item has to DynamoDB.
func size(item attributes) int {
	n := 0
	for name, value := range item {
		n += len(name) + valueSize(value)
	}
	return n
}

func valueSize(value map[string]json.RawMessage) int {
	for kind, raw := range value {
		var s string
		switch kind {
		case "S", "N", "B":
			if json.Unmarshal(raw, &s) != nil {
				return 0
			}
			switch kind {
			case "N":
				return len(s)/2 + 1
			case "B":
				return base64.StdEncoding.DecodedLen(len(s))
			}
			return len(s)
		case "L":
			var list []map[string]json.RawMessage
			if json.Unmarshal(raw, &list) != nil {
				return 0
			}
			n := 3
			for _, v := range list {
				n += 1 + valueSize(v)
			}
			return n
		case "M":
			var m attributes
			if json.Unmarshal(raw, &m) != nil {
				return 0
			}
			return 3 + len(m) + size(m)
		case "BOOL", "NULL":
			return 1
		default: // sets
			return len(raw)
		}
	}
	return 0
}
