package chaos

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	stored = "stored" // a channel with history
	loose  = "loose"  // one without
)

func at(offset uint64) Position { return Position{Epoch: "aaaaaaaa", Offset: offset} }

func said(publisher string, n int) Content {
	return Content{Publisher: publisher, N: n, Sum: uint64(n) * 7}
}

// scene builds a transcript. Each step happens a millisecond after the one before.
type scene struct {
	Transcript
	now time.Duration
}

func newScene() *scene {
	return &scene{Transcript: Transcript{Channels: []Channel{{Name: stored, Size: 3, TTL: time.Hour}, {Name: loose}}}}
}

func (s *scene) tick() time.Duration {
	s.now += time.Millisecond
	return s.now
}

// publish sends message n of p on the channel with history; offset 0 means that there was no answer.
func (s *scene) publish(p string, n int, offset uint64) *Publish {
	a := Attempt{Node: "a", Sent: s.tick(), Done: s.tick(), Acked: offset != 0}
	if a.Acked {
		a.ID = at(offset)
	}
	out := &Publish{Channel: stored, Content: said(p, n), Attempts: []Attempt{a}}
	s.Publishes = append(s.Publishes, out)
	return out
}

// publishLoose sends message n of p on the channel without history, through the node a.
func (s *scene) publishLoose(p string, n int) *Publish {
	out := &Publish{Channel: loose, Content: said(p, n), Attempts: []Attempt{{Node: "a", Sent: s.tick(), Done: s.tick(), Acked: true}}}
	s.Publishes = append(s.Publishes, out)
	return out
}

// again sends a message once more.
func (s *scene) again(p *Publish, id Position, answer string) {
	p.Attempts = append(p.Attempts, Attempt{Node: "a", Sent: s.tick(), Done: s.tick(), Acked: true, ID: id, Answer: answer})
}

// away makes an outage of a node, "" for NATS.
func (s *scene) away(node string) {
	s.Outages = append(s.Outages, Outage{Node: node, From: s.tick(), To: s.tick()})
}

// sees adds events to a client.
func (s *scene) sees(client string, events ...Event) {
	i := slices.IndexFunc(s.Clients, func(c Client) bool { return c.Name == client })
	if i < 0 {
		i = len(s.Clients)
		s.Clients = append(s.Clients, Client{Name: client})
	}
	for _, e := range events {
		e.At = s.tick()
		if e.Channel == "" && e.Note != nowhere {
			e.Channel = stored
		}
		s.Clients[i].Events = append(s.Clients[i].Events, e)
	}
}

func (s *scene) history(messages ...Stored) {
	s.Histories = append(s.Histories, History{Channel: stored, Began: s.tick(), Read: s.tick(), Messages: messages})
}

// read is an answer to a client; since 0 asks for the newest.
func (s *scene) read(since, cursor uint64, messages ...Stored) {
	r := Read{Client: "c", At: s.tick(), Channel: stored, Cursor: at(cursor), Messages: messages}
	if since > 0 {
		r.Since = at(since)
	}
	s.Reads = append(s.Reads, r)
}

func begin(offset uint64) Event { return Event{Kind: Subscribed, Position: at(offset)} }

func resume(since uint64) Event {
	return Event{Kind: Subscribed, Since: at(since), Position: at(since), Recovered: true}
}

func restart(since, position uint64) Event {
	return Event{Kind: Subscribed, Since: at(since), Position: at(position)}
}

func got(p string, n int, offset uint64) Event {
	return Event{Kind: Received, Content: said(p, n), Position: at(offset)}
}

func gotLoose(p string, n int) Event {
	return Event{Kind: Received, Channel: loose, Content: said(p, n)}
}

var (
	connected = Event{Kind: Connected}
	closed    = Event{Kind: Closed}
	gap       = Event{Kind: Gap}
	settled   = Event{Kind: Settled, Position: at(1000)}

	listens    = Event{Kind: Subscribed, Channel: loose}
	leaves     = Event{Kind: Unsubscribed, Channel: loose}
	looseGap   = Event{Kind: Gap, Channel: loose}
	settledAll = Event{Kind: Settled, Note: nowhere}
)

// nowhere is the note of an event that belongs to no channel.
const nowhere = "nowhere"

// three publishes 1, 2 and 3 of p at 10, 11 and 14 behind a client's subscription at 5.
func three(client string) *scene {
	s := newScene()
	s.sees(client, connected, begin(5))
	s.publish("p", 1, 10)
	s.publish("p", 2, 11)
	s.publish("p", 3, 14)
	return s
}

func TestJudge(t *testing.T) {
	judged(t, map[string]verdict{
		"all is well": {scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), got("p", 2, 11), closed, connected, resume(11), got("p", 3, 14), settled, closed)
			s.history(Stored{at(10), said("p", 1)}, Stored{at(11), said("p", 2)}, Stored{at(14), said("p", 3)})
			return s
		}},
		"hole": {rule: Hole, text: "p/2 at 11", scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), got("p", 3, 14))
			return s
		}},
		"hole at the beginning": {rule: Hole, text: "p/1 at 10", scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 2, 11), got("p", 3, 14))
			return s
		}},
		"hole behind a resume": {rule: Hole, text: "p/2 at 11", scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), closed, connected, resume(10), got("p", 3, 14))
			return s
		}},
		"hole that another client's message shows": {rule: Hole, text: "p/4 at 20", scene: func() *scene {
			s := three("c")
			s.publish("p", 4, 0)
			s.publish("p", 5, 21)
			s.sees("d", connected, begin(14), got("p", 4, 20))
			s.sees("c", got("p", 1, 10), got("p", 2, 11), got("p", 3, 14), got("p", 5, 21))
			return s
		}},
		"a declared restart is no hole": {scene: func() *scene {
			s := three("c")
			s.Channels[0].Size = 1
			s.sees("c", got("p", 1, 10), closed, connected, restart(10, 14), settled)
			return s
		}},
		"a needless restart": {rule: Avoidable, text: "with 2 messages missed", scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), closed, connected, restart(10, 14), settled)
			return s
		}},
		"a restart for what nobody knows": {scene: func() *scene {
			s := three("c")
			s.Channels[0].TTL = time.Second
			s.sees("c", got("p", 1, 10), got("p", 2, 11), got("p", 3, 14), closed)
			s.publish("p", 4, 0)
			s.now += 2 * time.Second
			s.sees("c", connected, restart(14, 16), settled)
			return s
		}},
		"a needless restart although the outcome of something young is not known": {rule: Avoidable, text: "with 1 messages missed", scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), got("p", 2, 11), got("p", 3, 14), closed)
			s.publish("p", 4, 0)
			s.sees("c", connected, restart(14, 16), settled)
			return s
		}},
		"a restart of what is too old": {scene: func() *scene {
			s := three("c")
			s.Channels[0].TTL = 3 * time.Millisecond
			s.sees("c", got("p", 1, 10), closed, connected, restart(10, 14), settled)
			return s
		}},
		"a gap is no hole": {scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), gap, got("p", 3, 14), settled)
			return s
		}},
		"a hole behind a gap": {rule: Hole, text: "p/4 at 15", scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), gap)
			s.publish("p", 4, 15)
			s.publish("p", 5, 16)
			s.sees("c", got("p", 5, 16))
			return s
		}},
		"nothing behind a gap": {rule: Missing, text: "p/4 at 15", scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), gap)
			s.publish("p", 4, 15)
			s.sees("c", settled)
			return s
		}},
		"what comes while not subscribed is not missed": {scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), Event{Kind: Unsubscribed}, settled)
			return s
		}},
		"missing at the end": {rule: Missing, text: "p/3 at 14", scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), got("p", 2, 11), settled)
			return s
		}},
		"missing at the end with nothing received": {rule: Missing, text: "p/1 at 10", scene: func() *scene {
			s := three("c")
			s.sees("c", settled)
			return s
		}},
		"reordered": {rule: Double, text: "aaaaaaaa.11 came behind 14", scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), got("p", 3, 14), got("p", 2, 11))
			return s
		}},
		"twice without being asked for": {rule: Double, text: "aaaaaaaa.11 came behind 11", scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), got("p", 2, 11), got("p", 2, 11), got("p", 3, 14))
			return s
		}},
		"twice behind a resume on a new socket": {rule: Double, text: "aaaaaaaa.11 came behind 14", scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), closed, connected, resume(10), got("p", 2, 11), got("p", 3, 14), got("p", 2, 11))
			return s
		}},
		"further back than a resubscription asked": {rule: Double, text: "aaaaaaaa.10 came behind 14", scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), got("p", 2, 11), got("p", 3, 14), resume(10), got("p", 1, 10), got("p", 2, 11), got("p", 3, 14))
			return s
		}},
		"back twice for one resubscription": {rule: Double, text: "aaaaaaaa.11 came behind 14", scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), got("p", 2, 11), got("p", 3, 14), resume(10), got("p", 2, 11), got("p", 3, 14), got("p", 2, 11))
			return s
		}},
		"before the answer": {rule: Order, text: "before its subscription was answered", scene: func() *scene {
			s := three("c")
			s.sees("d", connected, got("p", 1, 10))
			return s
		}},
		"before the subscription's cursor": {rule: Order, text: "aaaaaaaa.10 came behind aaaaaaaa.11", scene: func() *scene {
			s := three("c")
			s.sees("d", connected, begin(11), got("p", 1, 10))
			return s
		}},
		"a resubscription on a live socket goes back": {scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), got("p", 2, 11), resume(10), got("p", 3, 14), got("p", 2, 11), got("p", 3, 14), settled)
			return s
		}},
		"a gap of the subscription before comes first": {scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), got("p", 2, 11), resume(10), gap, got("p", 3, 14), got("p", 2, 11), got("p", 3, 14), settled)
			return s
		}},
		"a hole in what was asked for, behind such a gap": {rule: Hole, text: "p/2 at 11", scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), resume(5), gap, got("p", 3, 14), got("p", 1, 10), got("p", 3, 14), settled)
			return s
		}},
		"back behind a gap without being asked for": {rule: Double, text: "aaaaaaaa.11 came behind 14", scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), gap, got("p", 3, 14), got("p", 2, 11))
			return s
		}},
		"a publisher's order": {rule: Order, text: "p/3 at 9 was sent", scene: func() *scene {
			s := newScene()
			s.publish("p", 1, 10)
			s.publish("p", 2, 0)
			s.publish("p", 3, 9)
			return s
		}},
		"a subscription from the future": {rule: Order, text: "a subscription of c", scene: func() *scene {
			s := newScene()
			s.sees("c", connected, begin(50))
			s.publish("p", 1, 10)
			return s
		}},
		"a double": {rule: Double, text: "p/1, sent 1 times", scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), got("p", 2, 11), got("p", 3, 14), got("p", 1, 15))
			return s
		}},
		"a double with a key": {rule: Double, text: "p/4", scene: func() *scene {
			s := newScene()
			p := s.publish("p", 4, 0)
			p.Key = "k"
			p.Attempts = append(p.Attempts, Attempt{Sent: s.tick(), Done: s.tick(), Acked: true, ID: at(20)})
			s.sees("c", connected, begin(5), got("p", 4, 19), got("p", 4, 20))
			return s
		}},
		"a retry without a key may come twice": {scene: func() *scene {
			s := newScene()
			s.sees("c", connected, begin(5))
			p := s.publish("p", 4, 0)
			p.Attempts = append(p.Attempts, Attempt{Sent: s.tick(), Done: s.tick(), Acked: true, ID: at(20)})
			s.sees("c", got("p", 4, 19), got("p", 4, 20), settled)
			return s
		}},
		"a key answered differently": {rule: Repeat, text: "p/4 with the key k", scene: func() *scene {
			s := newScene()
			p := s.publish("p", 4, 19)
			p.Key = "k"
			p.Attempts = append(p.Attempts, Attempt{Sent: s.tick(), Done: s.tick(), Acked: true, ID: at(20)})
			return s
		}},
		"a key answered differently although by the same cursor": {rule: Repeat, text: "2 listeners, and aaaaaaaa.19 3 listeners", scene: func() *scene {
			s := newScene()
			p := s.publish("p", 4, 19)
			p.Key, p.Attempts[0].Answer = "k", "2 listeners"
			s.again(p, at(19), "3 listeners")
			return s
		}},
		"which may be when NATS is away": {scene: func() *scene {
			s := newScene()
			s.External = true
			p := s.publish("p", 4, 19)
			p.Key, p.Attempts[0].Answer = "k", "2 listeners"
			s.again(p, at(19), "3 listeners")
			return s
		}},
		"accepted without a cursor": {rule: Missing, text: "without a cursor", scene: func() *scene {
			s := newScene()
			s.publish("p", 4, 19).Attempts[0].ID = Position{}
			return s
		}},
		"an accepted event is nowhere": {rule: Missing, text: "p/4 was accepted, but is nowhere", scene: func() *scene {
			s := newScene()
			p := s.publish("p", 4, 0)
			p.Blind, p.Attempts[0].Acked = true, true
			s.history()
			return s
		}},
		"one cursor given twice": {rule: Conflict, text: "was given before", scene: func() *scene {
			s := newScene()
			s.publish("p", 1, 10)
			s.publish("q", 1, 10)
			return s
		}},
		"one cursor with two messages": {rule: Conflict, text: "p/1 and also p/2", scene: func() *scene {
			s := three("c")
			s.sees("c", Event{Kind: Received, Content: said("p", 2), Position: at(10)})
			return s
		}},
		"another life": {rule: Conflict, text: "another life", scene: func() *scene {
			s := three("c")
			s.publish("p", 4, 0)
			s.sees("d", connected, begin(14), Event{Kind: Received, Content: said("p", 4), Position: Position{"bbbbbbbb", 15}})
			return s
		}},
		"a subscription to another life": {rule: Conflict, text: "bbbbbbbb.15 belongs to another life", scene: func() *scene {
			s := three("c")
			s.sees("d", connected, Event{Kind: Subscribed, Position: Position{"bbbbbbbb", 15}})
			return s
		}},
		"a resume that goes on elsewhere": {rule: Conflict, text: "the resume from aaaaaaaa.10 went on at aaaaaaaa.11", scene: func() *scene {
			s := three("c")
			e := resume(10)
			e.Position = at(11)
			s.sees("c", got("p", 1, 10), closed, connected, e)
			return s
		}},
		"invented": {rule: Invented, text: "nobody published p/9", scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), got("p", 2, 11), got("p", 3, 14), got("p", 9, 15))
			return s
		}},
		"changed": {rule: Invented, text: "p/1 was changed", scene: func() *scene {
			s := three("c")
			s.sees("d", connected, begin(5), Event{Kind: Received, Content: Content{"p", 1, 1}, Position: at(10)})
			return s
		}},
		"on another channel": {rule: Invented, text: "nobody published p/1", scene: func() *scene {
			s := three("c")
			s.sees("c", gotLoose("p", 1))
			return s
		}},
		"an acknowledged message is not in the history": {rule: Missing, text: "p/2 at 11", scene: func() *scene {
			s := three("c")
			s.history(Stored{at(10), said("p", 1)}, Stored{at(14), said("p", 3)})
			return s
		}},
		"the newest is not in the history": {rule: Missing, text: "p/3 at 14", scene: func() *scene {
			s := three("c")
			s.history(Stored{at(10), said("p", 1)}, Stored{at(11), said("p", 2)})
			return s
		}},
		"an expired message is in the history": {rule: Expired, text: "p/1 at 10", scene: func() *scene {
			s := three("c")
			s.Channels[0].TTL = time.Second
			s.now += 3 * time.Second
			s.history(Stored{at(10), said("p", 1)})
			return s
		}},
		"a read has all": {scene: func() *scene {
			s := three("c")
			s.read(5, 11, Stored{at(10), said("p", 1)}, Stored{at(11), said("p", 2)})
			s.read(11, 14, Stored{at(14), said("p", 3)})
			s.read(0, 14, Stored{at(11), said("p", 2)}, Stored{at(14), said("p", 3)})
			s.read(14, 15)
			s.read(0, 14)
			return s
		}},
		"a read with a hole": {rule: Hole, text: "does not have p/2 at 11", scene: func() *scene {
			s := three("c")
			s.read(5, 14, Stored{at(10), said("p", 1)}, Stored{at(14), said("p", 3)})
			return s
		}},
		"a read of the newest with a hole": {rule: Hole, text: "does not have p/2 at 11", scene: func() *scene {
			s := three("c")
			s.read(0, 14, Stored{at(10), said("p", 1)}, Stored{at(14), said("p", 3)})
			return s
		}},
		"a read whose cursor skips": {rule: Hole, text: "does not have p/3 at 14", scene: func() *scene {
			s := three("c")
			s.read(5, 14, Stored{at(10), said("p", 1)}, Stored{at(11), said("p", 2)})
			return s
		}},
		"a read behind its cursor": {rule: Order, text: "has aaaaaaaa.14 behind 11", scene: func() *scene {
			s := three("c")
			s.read(5, 11, Stored{at(10), said("p", 1)}, Stored{at(11), said("p", 2)}, Stored{at(14), said("p", 3)})
			return s
		}},
		"a read from before": {rule: Order, text: "has aaaaaaaa.10 behind 10", scene: func() *scene {
			s := three("c")
			s.read(10, 11, Stored{at(10), said("p", 1)}, Stored{at(11), said("p", 2)})
			return s
		}},
		"an acknowledged message may leave the history by its size": {scene: func() *scene {
			s := three("c")
			s.publish("p", 4, 15)
			s.history(Stored{at(11), said("p", 2)}, Stored{at(14), said("p", 3)}, Stored{at(15), said("p", 4)})
			return s
		}},
		"and by its age": {scene: func() *scene {
			s := three("c")
			s.Channels[0].TTL = 4 * time.Millisecond
			s.history(Stored{at(14), said("p", 3)})
			return s
		}},
	})
}

// verdict is what Judge has to find in a scene.
type verdict struct {
	scene func() *scene
	rule  string // "" for nothing
	text  string
}

func judged(t *testing.T, tests map[string]verdict) {
	t.Helper()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			report := Judge(tt.scene().Transcript)
			if tt.rule == "" {
				for _, v := range report.Violations {
					t.Errorf("unexpected: %s", v)
				}
				return
			}
			if !slices.ContainsFunc(report.Violations, func(v Violation) bool { return v.Rule == tt.rule && strings.Contains(v.Text, tt.text) }) {
				t.Errorf("not reported: %s %q; reported: %v", tt.rule, tt.text, report.Violations)
			}
		})
	}
}

// TestJudgeCounts: what the summary tells.
func TestJudgeCounts(t *testing.T) {
	s := three("c")
	s.publish("p", 4, 0)
	s.again(s.publish("p", 5, 20), at(21), "")
	p := s.publish("p", 6, 22)
	p.Key = "k"
	s.again(p, at(22), "")
	s.sees("c", got("p", 1, 10), closed, connected, resume(10), got("p", 2, 11), gap, Event{Kind: Unsubscribed}, looseGap)
	s.sees("c", connected, restart(11, 22), listens)
	s.publishLoose("p", 1)
	s.publishLoose("p", 2)
	s.sees("c", gotLoose("p", 1), gotLoose("p", 2))
	s.read(11, 14, Stored{at(14), said("p", 3)})
	s.history(Stored{at(20), said("p", 5)}, Stored{at(21), said("p", 5)}, Stored{at(22), said("p", 6)})
	want := Report{
		Acked: 7, Unknown: 1, Repeated: 1, Received: 4, Compared: 2, Live: 1, Recovered: 1, NotRecovered: 1, Gaps: 1, LiveGaps: 1, Reads: 1, Retained: 3,
	}
	if r := Judge(s.Transcript); !reflect.DeepEqual(r, want) {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}
}
