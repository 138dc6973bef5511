package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"eureka"
)

// requestTimeout is how long a publisher waits for an answer.
const requestTimeout = 12 * time.Second

// keyTime is how long messages are repeated with their key; the service knows it for five minutes.
const keyTime = 4 * time.Minute

// A burst makes clients slow that do not read.
const (
	burstSize  = 40
	burstBytes = 4000
	burstCount = 4
)

// body is what every message of the run carries.
type body struct {
	Publisher string `json:"p"`
	N         int    `json:"n"`
	Pad       string `json:"pad"`
}

func anySize(rng *rand.Rand) int {
	switch rng.IntN(50) {
	case 0, 1, 2, 3, 4:
		return rng.IntN(6000)
	case 5:
		return rng.IntN(40_000)
	default:
		return rng.IntN(200)
	}
}

func makeBody(size int, publisher string, n int) (data []byte, c Content) {
	data, err := json.Marshal(body{publisher, n, strings.Repeat(string(rune('a'+n%26)), size)})
	if err != nil {
		return nil, Content{}
	}
	return data, Content{publisher, n, sum(data)}
}

func sum(data []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(data)
	return h.Sum64()
}

// readBody is what a received message says. What is no message of the run has no publisher.
func readBody(data []byte) Content {
	var b body
	if json.Unmarshal(data, &b) != nil {
		return Content{Sum: sum(data)}
	}
	return Content{b.Publisher, b.N, sum(data)}
}

func readPosition(text string) (Position, error) {
	if text == "" {
		return Position{}, nil
	}
	c, err := eureka.ParseCursor("cursor", text)
	return Position{c.Epoch, c.Offset}, err
}

// message is one that may be sent again.
type message struct {
	*Publish

	data []byte
	at   time.Duration // when it was sent first
}

// publisher publishes over HTTP, one message after the other.
type publisher struct {
	world  *world
	name   string
	rng    *rand.Rand
	client *http.Client
	n      map[string]int
	node   *node         // where messages without history go
	keyed  []*message    // sent with a key
	took   time.Duration // what the last request took
}

func newPublisher(w *world, name string) *publisher {
	p := &publisher{
		world: w, name: name, rng: w.rng(), n: map[string]int{}, client: &http.Client{Timeout: requestTimeout, Transport: &http.Transport{}},
	}
	p.node = w.anyNode(p.rng)
	return p
}

// run publishes until the context ends, and then repeats what is open.
func (p *publisher) run(ctx context.Context) {
	defer p.client.CloseIdleConnections()
	burst := 0
	for ctx.Err() == nil {
		p.world.count(operations)
		select {
		case channel := <-p.world.bursts:
			for n := 0; n < burstSize && p.attempt(p.next(channel, burstBytes), p.world.anyNode(p.rng)); n++ {
				continue // until one fails
			}
		default:
		}
		if burst--; burst <= 0 {
			if p.rng.IntN(150) == 0 {
				burst = 100 + p.rng.IntN(300)
			}
			// Where requests take long the machine is busy: more of them would prove no more.
			if !pause(ctx, p.rng, p.took, p.took+150*time.Millisecond) {
				break
			}
		}
		if len(p.keyed) > 0 && p.rng.IntN(20) == 0 {
			p.again(ctx)
			continue
		}
		p.one(ctx)
	}
	for _, m := range p.open() {
		p.attempt(m, p.world.anyNode(p.rng))
	}
}

// next makes the next message for a channel, with a body of about so many bytes; 0 for any.
func (p *publisher) next(channel string, size int) *message {
	p.n[channel]++
	if size == 0 {
		size = anySize(p.rng)
	}
	data, content := makeBody(size, p.name, p.n[channel])
	return &message{Publish: p.world.published(&Publish{Channel: channel, Content: content}), data: data, at: p.world.now()}
}

func (p *publisher) one(ctx context.Context) {
	m := p.next(p.world.channels[p.rng.IntN(len(p.world.channels))].Name, 0)
	m.Blind = p.rng.IntN(7) == 0
	stored := p.world.hasHistory(m.Channel)
	choice := p.rng.IntN(10)
	if !stored && choice > 1 {
		// Through one node, so that there is an order to keep.
		if !p.attempt(m, p.node) {
			p.node = p.world.anyNode(p.rng)
		}
		return
	}
	until := p.world.now()
	switch {
	case choice < 3:
		m.Key = fmt.Sprintf("%s-%s-%d", p.name, m.Channel, m.Content.N)
		p.keyed = append(p.keyed, m)
		if len(p.keyed) > 200 {
			p.keyed = p.keyed[100:]
		}
		until += time.Duration(p.rng.IntN(6000)) * time.Millisecond
	case choice == 3:
		until += time.Second
	}
	for !p.attempt(m, p.world.anyNode(p.rng)) && p.world.now() < until {
		if !pause(ctx, p.rng, 0, 300*time.Millisecond) {
			return
		}
	}
	for m.Key != "" && p.rng.IntN(4) == 0 {
		p.attempt(m, p.world.anyNode(p.rng))
	}
}

// again repeats an earlier message that has a key, rather one whose fate is open.
func (p *publisher) again(ctx context.Context) {
	m := p.keyed[p.rng.IntN(len(p.keyed))]
	if open := p.open(); len(open) > 0 && p.rng.IntN(4) > 0 {
		m = open[p.rng.IntN(len(open))]
	}
	if ctx.Err() == nil && p.world.now()-m.at < keyTime {
		p.attempt(m, p.world.anyNode(p.rng))
	}
}

// open are the messages with a key that were not accepted, and whose earlier requests nobody holds any more, so that repeating them brings an answer.
func (p *publisher) open() []*message {
	var open []*message
	for _, m := range p.keyed {
		if age := p.world.now() - m.at; !acked(m.Publish) && age > eureka.RequestLease+time.Second && age < keyTime {
			open = append(open, m)
		}
	}
	return open
}

func acked(p *Publish) bool {
	for _, a := range p.Attempts {
		if a.Acked {
			return true
		}
	}
	return false
}

// attempt sends a message once and notes what became of it.
func (p *publisher) attempt(m *message, to *node) bool {
	before := acked(m.Publish)
	if m.Key != "" {
		select {
		case p.world.keyed <- struct{}{}:
		default:
		}
	}
	a := Attempt{Node: to.name, Sent: p.world.now()}
	answer, err := p.post(to, m)
	a.Done = p.world.now()
	p.took = a.Done - a.Sent
	if err == nil {
		var out struct {
			ID string `json:"id"`
		}
		err = json.Unmarshal(answer, &out)
		if err == nil {
			a.ID, err = readPosition(out.ID)
		}
		if err != nil {
			p.world.wrong("%s answered %s: %v", to.name, answer, err)
		}
		a.Acked, a.Answer = err == nil, string(answer)
	}
	m.Attempts = append(m.Attempts, a)
	switch {
	case a.Acked && before && m.Key != "":
		p.world.count(repeats)
	case a.Acked && !before:
		p.world.count(acks)
		if a.Sent-m.at > eureka.RequestLease {
			p.world.count(takeovers)
		}
	}
	return a.Acked
}

// request is how a message is published: on its channel, or as an event that names the channel.
func (m *message) request(address string) (url string, body map[string]any) {
	body = map[string]any{"data": json.RawMessage(m.data), "event": "chaos"}
	if !m.Blind {
		return "http://" + address + "/channels/" + m.Channel + "/broadcast", body
	}
	body["channelId"] = m.Channel
	if m.Key != "" {
		body["id"] = m.Key
	}
	return "http://" + address + "/events", body
}

// post is deliberately not bound to the run's context: its answer is wanted even when the run ends.
func (p *publisher) post(to *node, m *message) (answer []byte, err error) {
	url, body := m.request(to.address)
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if m.Key != "" && !m.Blind {
		request.Header.Set("Idempotency-Key", m.Key)
	}
	response, err := p.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if answer, err = io.ReadAll(io.LimitReader(response.Body, 1<<20)); err != nil {
		return nil, err
	}
	switch response.StatusCode {
	case http.StatusOK:
		return answer, nil
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	case http.StatusConflict:
		// Only of a message that may have been stored and was pushed out since.
		if !p.mayBeUnknown(m) {
			p.world.wrong("%s answered %d: %s", url, response.StatusCode, answer)
		}
		p.world.count(unknowable)
	default:
		p.world.wrong("%s answered %d: %s", url, response.StatusCode, answer)
	}
	return nil, fmt.Errorf("%s answered %d", url, response.StatusCode)
}

// mayBeUnknown reports whether the service may say of a message with a key that it does not know what became of it: an earlier request failed, and the
// channel does not retain everything.
func (p *publisher) mayBeUnknown(m *message) bool {
	retains := slices.ContainsFunc(p.world.channels, func(ch Channel) bool { return ch.Name == m.Channel && ch.Size == eureka.MaxHistorySize })
	return m.Key != "" && !retains && len(m.Attempts) > 0 && !acked(m.Publish)
}

// marker publishes a last message of a channel, until it is accepted.
func (p *publisher) marker(ctx context.Context, channel string) (Position, error) {
	m := p.next(channel, 0)
	m.Key = fmt.Sprintf("%s-%s-%d", p.name, channel, m.Content.N)
	for !p.attempt(m, p.world.anyNode(p.rng)) {
		if !rest(ctx, 200*time.Millisecond) {
			return Position{}, fmt.Errorf("the marker of %s was not accepted", channel)
		}
	}
	return m.Attempts[len(m.Attempts)-1].ID, nil
}
