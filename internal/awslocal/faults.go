package awslocal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"eureka/internal/pause"
)

// Faults is what a [Proxy] does to the requests that pass it. The zero Faults does nothing. A share is between 0 and 1.
type Faults struct {
	Throttle    float64 // share of requests refused as throttled
	Unprocessed float64 // share of the items of DynamoDB's batches that are left unprocessed
	Cut         float64 // share of requests whose connection is cut before they are carried out
	Lose        float64 // share of requests that are carried out and whose connection is cut before the answer
	Latency     time.Duration
	Jitter      time.Duration // on top of Latency, anything up to it
	// Operations are the only ones that this is done to, such as "PutItem"; empty for all.
	Operations []string
}

// Usage is what a [Proxy] has seen.
type Usage struct {
	Calls                 map[string]int // requests that were carried out, by operation
	Throttled, Cut, Lost  int            // requests that a fault hit
	Crashed               int            // requests refused since CrashAfter
	Unprocessed           int            // items of batches that a fault left
	ReadUnits, WriteUnits float64        // capacity units as AWS would bill them
}

// Total is the number of all calls.
func (u Usage) Total() int {
	n := 0
	for _, calls := range u.Calls {
		n += calls
	}
	return n
}

// Proxy stands between an AWS SDK and a stand-in that speaks AWS's JSON protocol, does faults, and counts. Its decisions come from a seed: requests
// that come one after the other meet the same faults every time. It is safe for concurrent use.
type Proxy struct {
	Endpoint string

	target *url.URL
	server *http.Server
	client *http.Client

	mu     sync.Mutex
	random *rand.Rand
	faults Faults
	usage  Usage
	writes int // that may still be carried out; -1 for no bound
	hold   func(operation string, body []byte)
}

// StartProxy listens on loopback and passes everything on to target, such as a Process's Endpoint.
func StartProxy(ctx context.Context, target string, seed uint64) (*Proxy, error) {
	at, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		Endpoint: "http://" + listener.Addr().String(), target: at, writes: -1,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}},
		random: rand.New(rand.NewPCG(seed, seed)), //nolint:gosec // faults that can be repeated, not secrets
		usage:  Usage{Calls: map[string]int{}},
	}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	go func() { _ = p.server.Serve(listener) }() // it ends with Stop
	return p, nil
}

// Stop ends the proxy and cuts what is under way.
func (p *Proxy) Stop() {
	_ = p.server.Close()
	p.client.CloseIdleConnections()
}

// Set replaces the faults.
func (p *Proxy) Set(f Faults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = f
}

// CrashAfter lets n more writes pass. After them every request is refused for good, reads as well, as if the caller had been killed then;
// a negative n ends that.
func (p *Proxy) CrashAfter(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes = n
}

// Hold calls f with each request before it is carried out, and waits for it; nil for nobody. A test uses it to put something between two
// steps of its subject.
func (p *Proxy) Hold(f func(operation string, body []byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold = f
}

// Usage returns what was seen since the last Reset.
func (p *Proxy) Usage() Usage {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.usage
	u.Calls = maps.Clone(u.Calls)
	return u
}

// Reset starts counting anew.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.usage = Usage{Calls: map[string]int{}}
}

// fate is what happens to one request.
type fate struct {
	crashed, throttled, cut, lost bool
	wait                          time.Duration
	hold                          func(operation string, body []byte)
}

// decide draws a request's fate and counts it.
func (p *Proxy) decide(operation string) fate {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := fate{hold: p.hold}
	if p.writes >= 0 && isWrite(operation) {
		d.crashed = p.writes == 0
		p.writes = max(p.writes-1, 0)
	} else {
		d.crashed = p.writes == 0
	}
	if d.crashed {
		p.usage.Crashed++
		return d
	}
	f := p.faults
	if len(f.Operations) > 0 && !slices.Contains(f.Operations, operation) {
		f = Faults{}
	}
	d.wait = f.Latency
	if f.Jitter > 0 {
		d.wait += time.Duration(p.random.Int64N(int64(f.Jitter)))
	}
	switch draw := p.random.Float64(); {
	case draw < f.Throttle:
		d.throttled = true
		p.usage.Throttled++
	case draw < f.Throttle+f.Cut:
		d.cut = true
		p.usage.Cut++
	case draw < f.Throttle+f.Cut+f.Lose:
		d.lost = true
		p.usage.Lost++
	}
	if !d.throttled && !d.cut {
		p.usage.Calls[operation]++
	}
	return d
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 32<<20))
	if err != nil {
		return
	}
	service, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	dynamo := strings.HasPrefix(service, "DynamoDB")
	d := p.decide(operation)
	if d.wait > 0 && pause.For(r.Context(), d.wait) != nil {
		return
	}
	switch {
	case d.crashed:
		refuse(w, "AccessDeniedException", "the caller has been killed")
		return
	case d.throttled && dynamo:
		refuse(w, "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException", "The level of configured provisioned throughput for the table was exceeded.")
		return
	case d.throttled:
		refuse(w, "ThrottlingException", "Rate exceeded")
		return
	case d.cut:
		panic(http.ErrAbortHandler)
	}
	if d.hold != nil {
		d.hold(operation, body)
	}
	status, header, answer := p.carryOut(r, operation, body, dynamo)
	if d.lost {
		panic(http.ErrAbortHandler)
	}
	for name, values := range header {
		w.Header()[name] = values
	}
	w.WriteHeader(status)
	_, _ = w.Write(answer) //nolint:gosec // JSON of a stand-in for an SDK; one that is gone needs no answer
}

// carryOut sends a request on, its batch cut where the faults say so.
func (p *Proxy) carryOut(r *http.Request, operation string, body []byte, dynamo bool) (status int, header http.Header, answer []byte) {
	var withheld map[string]json.RawMessage
	if dynamo {
		body, withheld = p.withhold(operation, withConsumption(operation, body))
	}
	status, header, answer = p.forward(r, body)
	if !dynamo {
		return status, header, answer
	}
	p.count(operation, body, answer, status != http.StatusOK)
	if status != http.StatusOK {
		return status, header, answer
	}
	if withheld != nil {
		answer = merge(operation, answer, withheld)
		header.Del("X-Amz-Crc32")
		header.Del("Content-Length")
	}
	return status, header, answer
}

func (p *Proxy) forward(r *http.Request, body []byte) (status int, header http.Header, answer []byte) {
	to := *r.URL
	to.Scheme, to.Host = p.target.Scheme, p.target.Host
	request, err := http.NewRequestWithContext(r.Context(), r.Method, to.String(), bytes.NewReader(body)) //nolint:gosec // to the stand-in on loopback alone
	if err != nil {
		return badGateway(err)
	}
	request.Header = r.Header.Clone()
	response, err := p.client.Do(request) //nolint:gosec // as above
	if err != nil {
		return badGateway(err)
	}
	defer func() { _ = response.Body.Close() }()
	if answer, err = io.ReadAll(response.Body); err != nil {
		return badGateway(err)
	}
	return response.StatusCode, response.Header, answer
}

func badGateway(err error) (status int, header http.Header, answer []byte) {
	return http.StatusBadGateway, http.Header{}, []byte(err.Error())
}

func refuse(w http.ResponseWriter, kind, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.WriteHeader(http.StatusBadRequest)
	_, _ = fmt.Fprintf(w, `{"__type":%q,"message":%q}`, kind, message) // a client that is gone needs no answer
}

// isWrite reports whether an operation changes something. Of other services than DynamoDB: sending and deleting.
func isWrite(operation string) bool {
	switch operation {
	case "PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems",
		"SendMessage", "SendMessageBatch", "DeleteMessage", "DeleteMessageBatch", "ChangeMessageVisibility", "Publish", "PublishBatch":
		return true
	default:
		return false
	}
}
