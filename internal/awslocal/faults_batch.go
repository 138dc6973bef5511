package awslocal

import (
	"encoding/json"
	"math/rand/v2"
)

// withConsumption asks for the capacity units of a request that does not ask for them itself.
func withConsumption(operation string, body []byte) []byte {
	switch operation {
	case "GetItem", "Query", "Scan", "BatchGetItem", "TransactGetItems",
		"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems":
	default:
		return body
	}
	var request map[string]json.RawMessage
	if json.Unmarshal(body, &request) != nil {
		return body // the stand-in says what is wrong with it
	}
	if asked := string(request["ReturnConsumedCapacity"]); asked == `"TOTAL"` || asked == `"INDEXES"` {
		return body
	}
	request["ReturnConsumedCapacity"] = json.RawMessage(`"TOTAL"`)
	return encode(request, body)
}

// count adds the capacity units of a request that was carried out, or refused by its condition.
func (p *Proxy) count(operation string, request, answer []byte, failed bool) {
	write := isWrite(operation)
	var units float64
	var ok bool
	switch {
	case write:
		units, ok = writeUnits(operation, request, answer, failed)
	case failed:
		return
	case operation == "BatchGetItem":
		units, ok = batchReadUnits(request, answer)
	}
	if !ok {
		units = max(reported(answer), leastUnits(operation, request))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if write {
		p.usage.WriteUnits += units
	} else {
		p.usage.ReadUnits += units
	}
}

// reported is the capacity units that an answer says it consumed.
func reported(answer []byte) (units float64) {
	type consumed struct{ CapacityUnits float64 }
	var one struct{ ConsumedCapacity json.RawMessage }
	if json.Unmarshal(answer, &one) != nil || one.ConsumedCapacity == nil {
		return 0
	}
	var list []consumed
	if json.Unmarshal(one.ConsumedCapacity, &list) != nil {
		list = make([]consumed, 1)
		if json.Unmarshal(one.ConsumedCapacity, &list[0]) != nil {
			return 0
		}
	}
	for _, c := range list {
		units += c.CapacityUnits
	}
	return units
}

// withhold takes a share of a batch's items out of the request and returns them by table. At least one item is left, as DynamoDB does it: a batch of
// which nothing could be done is throttled.
func (p *Proxy) withhold(operation string, body []byte) (rest []byte, withheld map[string]json.RawMessage) {
	if operation != "BatchWriteItem" && operation != "BatchGetItem" {
		return body, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.faults.Unprocessed <= 0 {
		return body, nil
	}
	var request map[string]json.RawMessage
	var tables map[string]json.RawMessage
	if json.Unmarshal(body, &request) != nil || json.Unmarshal(request["RequestItems"], &tables) != nil {
		return body, nil
	}
	withheld = map[string]json.RawMessage{}
	for table, raw := range tables {
		kept, left, n := split(operation, raw, p.random, p.faults.Unprocessed)
		tables[table] = kept
		if n > 0 {
			withheld[table] = left
			p.usage.Unprocessed += n
		}
	}
	if len(withheld) == 0 {
		return body, nil
	}
	request["RequestItems"] = encode(tables, nil)
	return encode(request, body), withheld
}

// split divides one table's part of a batch: a list of writes, or keys with how to read them.
func split(operation string, raw json.RawMessage, random *rand.Rand, share float64) (kept, left json.RawMessage, n int) {
	var items []json.RawMessage
	get := map[string]json.RawMessage{}
	if operation == "BatchWriteItem" {
		if json.Unmarshal(raw, &items) != nil {
			return raw, nil, 0
		}
	} else if json.Unmarshal(raw, &get) != nil || json.Unmarshal(get["Keys"], &items) != nil {
		return raw, nil, 0
	}
	var stay, leave []json.RawMessage
	for i, item := range items {
		if random.Float64() < share && (len(stay) > 0 || i < len(items)-1) {
			leave = append(leave, item)
		} else {
			stay = append(stay, item)
		}
	}
	if len(leave) == 0 {
		return raw, nil, 0
	}
	if operation == "BatchWriteItem" {
		return encode(stay, raw), encode(leave, nil), len(leave)
	}
	get["Keys"] = encode(stay, nil)
	kept = encode(get, raw)
	get["Keys"] = encode(leave, nil)
	return kept, encode(get, nil), len(leave)
}

// merge adds withheld items to an answer's unprocessed ones. The stand-in leaves none itself.
func merge(operation string, answer []byte, withheld map[string]json.RawMessage) []byte {
	var response map[string]json.RawMessage
	if json.Unmarshal(answer, &response) != nil {
		return answer
	}
	name := "UnprocessedItems"
	if operation == "BatchGetItem" {
		name = "UnprocessedKeys"
	}
	response[name] = encode(withheld, nil)
	return encode(response, answer)
}

// encode encodes what was decoded before, which cannot fail; otherwise is for the compiler's sake.
func encode(v any, otherwise []byte) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		return otherwise
	}
	return text
}
