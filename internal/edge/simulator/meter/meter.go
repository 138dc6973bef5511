// Package meter counts what a simulated account is billed for, and what else tells how the service uses AWS, and says what a month of it would cost.
//
// It only counts what it is told. Prices are in prices.json and nowhere else.
package meter

import (
	"maps"
	"strings"
	"sync"
	"time"
)

// Counter names a number that only grows. The first word is the service; a name may end in what it is counted by, such as a status or a role.
type Counter string

// The counters.
const (
	Connects     Counter = "websocket.connects"    // sockets that were let in
	Refused      Counter = "websocket.refused"     // handshakes that failed
	Ends         Counter = "websocket.ends"        // sockets that ended
	MessagesIn   Counter = "websocket.messagesIn"  // from clients
	MessagesOut  Counter = "websocket.messagesOut" // to clients: posts, route responses and error messages
	Metered      Counter = "websocket.metered"     // both, a message for each 32 KB
	ConnectionMn Counter = "websocket.connectionMinutes"
	BytesOut     Counter = "transfer.gbOut" // to the internet, in GB of 10^9 bytes
	Posts        Counter = "connections.post"
	Gets         Counter = "connections.get"
	Deletes      Counter = "connections.delete"
	HTTPRequests Counter = "http.requests"
	HTTPMetered  Counter = "http.metered" // a request for each 512 KB
	Invocations  Counter = "lambda.invocations"
	Errors       Counter = "lambda.errors"
	Throttles    Counter = "lambda.throttles"
	ColdStarts   Counter = "lambda.coldStarts"
	BilledMs     Counter = "lambda.billedMs"
	GBSeconds    Counter = "lambda.gbSeconds"
	CPUMs        Counter = "lambda.cpuMs"
	LogGB        Counter = "logs.gb" // in GB of 10^9 bytes
	DynamoReads  Counter = "dynamodb.readUnits"
	DynamoWrites Counter = "dynamodb.writeUnits"
	DynamoCalls  Counter = "dynamodb.requests"

	DynamoThrottled Counter = "dynamodb.throttled" // by a fault, which is not billed

	SQSCalls  Counter = "sqs.requests"
	SNSCalls  Counter = "sns.requests"
	Scheduled Counter = "events.scheduled"
)

// Of is the counter's part for one status, role or operation; [Meter.Add] adds to the whole as well.
func (c Counter) Of(part string) Counter { return c + "/" + Counter(part) }

// Meter counts. The zero value does not work; New makes one. It is safe for concurrent use.
type Meter struct {
	began time.Time
	now   func() time.Time

	mu     sync.Mutex
	counts map[Counter]float64
	peaks  map[Counter]float64
	live   []func(add func(Counter, float64))
}

// New returns a Meter that counts from now on; nil stands for time.Now.
func New(now func() time.Time) *Meter {
	if now == nil {
		now = time.Now
	}
	return &Meter{began: now(), now: now, counts: map[Counter]float64{}, peaks: map[Counter]float64{}}
}

// Add raises a counter, and for a part of one the whole too.
func (m *Meter) Add(c Counter, n float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(c, n)
}

func (m *Meter) add(c Counter, n float64) {
	m.counts[c] += n
	if whole, _, ok := strings.Cut(string(c), "/"); ok {
		m.counts[Counter(whole)] += n
	}
}

// Peak keeps the highest value that it is told for a counter.
func (m *Meter) Peak(c Counter, value float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.peaks[c] = max(m.peaks[c], value)
}

// Live registers a function that adds to a reading what is under way, such as the minutes of open connections. It must not call the Meter.
func (m *Meter) Live(f func(add func(Counter, float64))) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.live = append(m.live, f)
}

// Reading is what was counted at one moment.
type Reading struct {
	Elapsed time.Duration
	Counts  map[Counter]float64
	Peaks   map[Counter]float64
}

// Read returns what was counted so far.
func (m *Meter) Read() Reading {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := Reading{Elapsed: m.now().Sub(m.began), Counts: maps.Clone(m.counts), Peaks: maps.Clone(m.peaks)}
	for _, f := range m.live {
		f(func(c Counter, n float64) { r.Counts[c] += n })
	}
	return r
}
