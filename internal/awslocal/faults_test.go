package awslocal_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"eureka/internal/awslocal"
)

// backend answers what DynamoDB does to a few operations, and keeps what it was asked.
type backend struct{ bodies []string }

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	b.bodies = append(b.bodies, string(body))
	switch {
	case strings.Contains(string(body), "refuse me"):
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}`)
	case strings.HasSuffix(r.Header.Get("X-Amz-Target"), "Query"):
		_, _ = io.WriteString(w, `{"Items":[],"ConsumedCapacity":{"TableName":"t","CapacityUnits":2.5}}`)
	case strings.HasSuffix(r.Header.Get("X-Amz-Target"), "BatchGetItem"):
		_, _ = io.WriteString(w, `{"Responses":{"t":[{"a":{"S":"`+strings.Repeat("x", 5000)+`"}}]}}`)
	case strings.HasSuffix(r.Header.Get("X-Amz-Target"), "PutItem"):
		_, _ = io.WriteString(w, `{"ConsumedCapacity":{"CapacityUnits":3}}`)
	default:
		_, _ = io.WriteString(w, `{}`)
	}
}

func startProxy(t *testing.T, seed uint64) (*awslocal.Proxy, *backend) {
	t.Helper()
	b := &backend{}
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	p, err := awslocal.StartProxy(t.Context(), server.URL, seed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p, b
}

// ask sends one request of an operation and returns its answer, "cut" when the connection ended without one.
func ask(t *testing.T, p *awslocal.Proxy, operation, body string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.Endpoint, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(operation, ".") {
		operation = "DynamoDB_20120810." + operation
	}
	r.Header.Set("X-Amz-Target", operation)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return "cut"
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

// TestProxyRepeats: the same seed does the same faults to the same requests.
func TestProxyRepeats(t *testing.T) {
	run := func(seed uint64) []string {
		p, _ := startProxy(t, seed)
		p.Set(awslocal.Faults{Throttle: 0.2, Cut: 0.2, Lose: 0.2, Jitter: time.Millisecond})
		var answers []string
		for range 60 {
			answers = append(answers, ask(t, p, "PutItem", "{}"))
		}
		u := p.Usage()
		if u.Throttled == 0 || u.Cut == 0 || u.Lost == 0 || u.Total() != 60-u.Throttled-u.Cut || u.WriteUnits != float64(3*u.Total()) {
			t.Errorf("%+v", u)
		}
		return answers
	}
	first := run(1)
	if !slices.Equal(first, run(1)) {
		t.Error("the same seed does other faults")
	}
	if slices.Equal(first, run(2)) {
		t.Error("another seed does the same faults")
	}
}

func TestProxyThrottles(t *testing.T) {
	p, b := startProxy(t, 1)
	p.Set(awslocal.Faults{Throttle: 1, Operations: []string{"Query", "SendMessage"}})
	for operation, want := range map[string]string{
		"Query": "#ProvisionedThroughputExceededException", "AmazonSQS.SendMessage": `"ThrottlingException"`, "PutItem": "CapacityUnits",
	} {
		if got := ask(t, p, operation, "{}"); !strings.Contains(got, want) {
			t.Errorf("%s: %s", operation, got)
		}
	}
	if len(b.bodies) != 1 {
		t.Errorf("throttled requests were carried out: %q", b.bodies)
	}
}

func TestProxyCrash(t *testing.T) {
	p, b := startProxy(t, 1)
	p.CrashAfter(2)
	var seen []string
	p.Hold(func(operation string, _ []byte) { seen = append(seen, operation) })
	for _, operation := range []string{"GetItem", "PutItem", "Query", "TransactWriteItems", "Query", "PutItem", "GetItem"} {
		ask(t, p, operation, "{}")
	}
	if want := []string{"GetItem", "PutItem", "Query", "TransactWriteItems"}; !slices.Equal(seen, want) || len(b.bodies) != 4 || p.Usage().Crashed != 3 {
		t.Errorf("carried out %q, %d reached the backend, %d were refused", seen, len(b.bodies), p.Usage().Crashed)
	}
	p.CrashAfter(-1)
	if got := ask(t, p, "PutItem", "{}"); !strings.Contains(got, "CapacityUnits") {
		t.Errorf("after the end of it: %s", got)
	}
}

// TestProxyUnprocessed: what is taken out of a batch comes back as unprocessed, the rest is carried out, and at least one item is.
func TestProxyUnprocessed(t *testing.T) {
	p, b := startProxy(t, 1)
	p.Set(awslocal.Faults{Unprocessed: 0.6})
	items := make([]string, 25)
	for i := range items {
		items[i] = fmt.Sprintf(`{"DeleteRequest":{"Key":{"pk":{"S":"%d"}}}}`, i)
	}
	batch := func(items []string) string { return `{"RequestItems":{"t":[` + strings.Join(items, ",") + `]}}` }
	count := func(body, field string) int {
		var fields map[string]json.RawMessage
		var tables map[string][]json.RawMessage
		if json.Unmarshal([]byte(body), &fields) != nil || json.Unmarshal(fields[field], &tables) != nil {
			return 0
		}
		return len(tables["t"])
	}
	left := count(ask(t, p, "BatchWriteItem", batch(items)), "UnprocessedItems")
	if done := count(b.bodies[0], "RequestItems"); left == 0 || left+done != 25 || p.Usage().Unprocessed != left || p.Usage().WriteUnits != float64(done) {
		t.Errorf("%d left, %d done, %+v", left, done, p.Usage())
	}
	p.Set(awslocal.Faults{Unprocessed: 1})
	ask(t, p, "BatchWriteItem", batch(items))
	if done := count(b.bodies[1], "RequestItems"); done != 1 {
		t.Errorf("%d are carried out although all should be left but one", done)
	}
	answer := ask(t, p, "BatchGetItem", `{"RequestItems":{"t":{"ConsistentRead":true,"Keys":[{"pk":{"S":"a"}},{"pk":{"S":"b"}},{"pk":{"S":"c"}}]}}}`)
	var got struct {
		UnprocessedKeys map[string]struct {
			ConsistentRead bool
			Keys           []json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(answer), &got); err != nil || len(got.UnprocessedKeys["t"].Keys) != 2 || !got.UnprocessedKeys["t"].ConsistentRead {
		t.Errorf("%s: %v", answer, err)
	}
}

// TestProxyUnits: units as AWS bills them, also where the stand-in says nothing or something else.
func TestProxyUnits(t *testing.T) {
	kilobytes := func(n int) string { return `{"pk":{"S":"` + strings.Repeat("x", n<<10-100) + `"}}` }
	for name, tt := range map[string]struct {
		operation, body string
		read, write     float64
	}{
		"query":            {"Query", "{}", 2.5, 0},
		"put":              {"PutItem", "{}", 0, 3},
		"refused":          {"PutItem", `"refuse me"`, 0, 1},
		"transaction":      {"TransactWriteItems", `{"TransactItems":[{"Put":{"Item":` + kilobytes(3) + `}},{"Delete":{}},{"Update":{}}]}`, 0, 10},
		"a refused one":    {"TransactWriteItems", `{"TransactItems":[{"Put":{"Item":` + kilobytes(3) + `}},{"Delete":{}}],"x":"refuse me"}`, 0, 4},
		"batch":            {"BatchWriteItem", `{"RequestItems":{"t":[{"PutRequest":{"Item":` + kilobytes(2) + `}},{"DeleteRequest":{}}]}}`, 0, 3},
		"batch of reads":   {"BatchGetItem", `{"RequestItems":{"t":{"Keys":[{},{},{}]}}}`, 2, 0}, // one of 5 KB, two that are not there
		"consistent ones":  {"BatchGetItem", `{"RequestItems":{"t":{"Keys":[{},{},{}],"ConsistentRead":true}}}`, 4, 0},
		"kinds of values":  {"BatchWriteItem", `{"RequestItems":{"t":[{"PutRequest":{"Item":{"a":{"L":[{"N":"12"},{"BOOL":true}]},"b":{"M":{"c":{"B":"eA=="}}},"d":{"NULL":true}}}}]}}`, 0, 1},
		"another service":  {"AmazonSQS.SendMessage", "{}", 0, 0},
		"not even request": {"Query", "nonsense", 2.5, 0},
	} {
		p, _ := startProxy(t, 1)
		ask(t, p, tt.operation, tt.body)
		if u := p.Usage(); u.ReadUnits != tt.read || u.WriteUnits != tt.write || u.Total() != 1 {
			t.Errorf("%s: %+v, want %v read and %v write units", name, u, tt.read, tt.write)
		}
		p.Reset()
		if u := p.Usage(); u.Total() != 0 || u.ReadUnits != 0 {
			t.Errorf("%s: after a reset %+v", name, u)
		}
	}
}
