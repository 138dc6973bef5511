package chaos

import (
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

func (s *scene) publishLoose(p string, n int) {
	s.Publishes = append(s.Publishes, &Publish{
		Channel: loose, Content: said(p, n), Attempts: []Attempt{{Node: "a", Sent: s.tick(), Done: s.tick(), Acked: true}},
	})
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
		if e.Channel == "" {
			e.Channel = stored
		}
		s.Clients[i].Events = append(s.Clients[i].Events, e)
	}
}

func (s *scene) history(messages ...Stored) {
	s.Histories = append(s.Histories, History{Channel: stored, Read: s.tick(), Messages: messages})
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
	settled   = Event{Kind: Settled}
)

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
	tests := map[string]struct {
		scene func() *scene
		rule  string // "" for none
		text  string
	}{
		"all is well": {scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), got("p", 2, 11), closed, connected, resume(11), got("p", 3, 14), got("p", 3, 14), settled, closed)
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
			s.sees("c", got("p", 1, 10), closed, connected, restart(10, 11), got("p", 3, 14), settled)
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
		"reordered": {rule: Order, text: "aaaaaaaa.11 came behind aaaaaaaa.14", scene: func() *scene {
			s := three("c")
			s.sees("c", got("p", 1, 10), got("p", 3, 14), got("p", 2, 11))
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
		"without history all is well": {scene: func() *scene {
			s := newScene()
			s.sees("c", connected)
			for n := range 4 {
				s.publishLoose("p", n+1)
			}
			s.sees("c", gotLoose("p", 1), gotLoose("p", 3), closed, connected, gotLoose("p", 3), gotLoose("p", 4))
			return s
		}},
		"without history but twice": {rule: Double, text: "p/1 came twice", scene: func() *scene {
			s := newScene()
			s.publishLoose("p", 1)
			s.sees("c", connected, gotLoose("p", 1), gotLoose("p", 1))
			return s
		}},
		"without history but reordered": {rule: Order, text: "p at a/1 came behind 2", scene: func() *scene {
			s := newScene()
			s.publishLoose("p", 1)
			s.publishLoose("p", 2)
			s.sees("c", connected, gotLoose("p", 2), gotLoose("p", 1))
			return s
		}},
	}
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
	s.sees("c", got("p", 1, 10), closed, connected, resume(10), got("p", 2, 11), closed, connected, restart(11, 14), gap)
	r := Judge(s.Transcript)
	if r.Acked != 3 || r.Unknown != 1 || r.Received != 2 || r.Recovered != 1 || r.NotRecovered != 1 || r.Gaps != 1 || len(r.Avoidable) != 1 || len(r.Violations) != 0 {
		t.Errorf("got %+v", r)
	}
}
