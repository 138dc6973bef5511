package chaos

import "testing"

// many publishes n messages of p without history, from number first on, and lets a client receive them.
func (s *scene) many(client, p string, first, n int) {
	for i := range n {
		s.publishLoose(p, first+i)
		s.sees(client, gotLoose(p, first+i))
	}
}

func TestJudgeWithoutHistory(t *testing.T) {
	// four publishes 1 to 4 of p while a client listens.
	four := func(c string) *scene {
		s := newScene()
		s.sees(c, connected, listens)
		for n := range 4 {
			s.publishLoose("p", n+1)
		}
		return s
	}
	judged(t, map[string]verdict{
		"all is well": {scene: func() *scene {
			s := four("c")
			s.sees("c", gotLoose("p", 1), gotLoose("p", 2), closed, connected, listens, gotLoose("p", 2), gotLoose("p", 4), settledAll)
			return s
		}},
		"twice": {rule: Double, text: "p/1 came twice", scene: func() *scene {
			s := four("c")
			s.sees("c", gotLoose("p", 1), gotLoose("p", 1))
			return s
		}},
		"twice in two subscriptions of a socket": {rule: Double, text: "p/1 came twice", scene: func() *scene {
			s := four("c")
			s.sees("c", gotLoose("p", 1), leaves, listens, gotLoose("p", 1))
			return s
		}},
		"twice with a key": {rule: Double, text: "p/1 came twice", scene: func() *scene {
			s := four("c")
			s.Publishes[0].Key = "k"
			s.again(s.Publishes[0], Position{}, "")
			s.sees("c", gotLoose("p", 1), gotLoose("p", 1))
			return s
		}},
		"twice when it was sent twice": {scene: func() *scene {
			s := four("c")
			s.again(s.Publishes[0], Position{}, "")
			s.sees("c", gotLoose("p", 1), gotLoose("p", 1))
			return s
		}},
		"twice with a key whose first request failed": {scene: func() *scene {
			s := four("c")
			s.Publishes[0].Key, s.Publishes[0].Attempts[0].Acked = "k", false
			s.again(s.Publishes[0], Position{}, "")
			s.sees("c", gotLoose("p", 1), gotLoose("p", 1))
			return s
		}},
		"reordered": {rule: Order, text: "p/1, which a accepted", scene: func() *scene {
			s := four("c")
			s.sees("c", gotLoose("p", 2), gotLoose("p", 1))
			return s
		}},
		"reordered between publishers of a node": {rule: Order, text: "q/1, which a accepted", scene: func() *scene {
			s := newScene()
			s.sees("c", connected, listens)
			s.publishLoose("q", 1)
			s.publishLoose("p", 1)
			s.sees("c", gotLoose("p", 1), gotLoose("q", 1))
			return s
		}},
		"reordered between nodes": {scene: func() *scene {
			s := four("c")
			s.Publishes[1].Attempts[0].Node = "b"
			s.sees("c", gotLoose("p", 2), gotLoose("p", 1))
			return s
		}},
		"before the answer": {rule: Order, text: "before its subscription was answered", scene: func() *scene {
			s := four("c")
			s.sees("d", connected, gotLoose("p", 1), listens)
			return s
		}},
		"behind the end": {scene: func() *scene {
			s := four("c")
			s.sees("c", gotLoose("p", 1), leaves, gotLoose("p", 2))
			return s
		}},
		"hole": {rule: Hole, text: "p/2, which a accepted", scene: func() *scene {
			s := four("c")
			s.sees("c", gotLoose("p", 1), gotLoose("p", 3), gotLoose("p", 4))
			return s
		}},
		"hole at the beginning": {rule: Hole, text: "p/1, which a accepted", scene: func() *scene {
			s := four("c")
			s.sees("c", gotLoose("p", 2))
			return s
		}},
		"hole before the end of the run": {rule: Hole, text: "p/2, which a accepted", scene: func() *scene {
			s := four("c")
			s.sees("c", gotLoose("p", 1), gotLoose("p", 3), settledAll)
			return s
		}},
		"nothing shows a hole at the end": {scene: func() *scene {
			s := four("c")
			s.sees("c", gotLoose("p", 1), gotLoose("p", 2), settledAll)
			return s
		}},
		"a message that was not accepted is no hole": {scene: func() *scene {
			s := four("c")
			s.Publishes[1].Attempts[0].Acked = false
			s.sees("c", gotLoose("p", 1), gotLoose("p", 3), gotLoose("p", 4))
			return s
		}},
		"nor is one of another node": {scene: func() *scene {
			s := four("c")
			s.Publishes[1].Attempts[0].Node = "b"
			s.sees("c", gotLoose("p", 1), gotLoose("p", 3), gotLoose("p", 4))
			return s
		}},
		"nor one from before": {scene: func() *scene {
			s := newScene()
			s.publishLoose("p", 1)
			s.sees("c", connected, listens)
			s.publishLoose("p", 2)
			s.sees("c", gotLoose("p", 2))
			return s
		}},
		"a gap is no hole": {scene: func() *scene {
			s := four("c")
			s.sees("c", gotLoose("p", 1), looseGap, gotLoose("p", 4))
			return s
		}},
		"a hole behind a gap": {rule: Hole, text: "p/5, which a accepted", scene: func() *scene {
			s := four("c")
			s.sees("c", gotLoose("p", 1), looseGap)
			s.publishLoose("p", 5)
			s.publishLoose("p", 6)
			s.sees("c", gotLoose("p", 6))
			return s
		}},
		"a hole when the node is killed": {scene: func() *scene {
			s := four("c")
			s.away("a")
			s.publishLoose("p", 5)
			s.sees("c", gotLoose("p", 1), gotLoose("p", 5), settledAll)
			return s
		}},
		"a hole when another node is killed": {rule: Hole, text: "p/2, which a accepted", scene: func() *scene {
			s := four("c")
			s.away("b")
			s.publishLoose("p", 5)
			s.sees("c", gotLoose("p", 1), gotLoose("p", 5), settledAll)
			return s
		}},
		"a hole when NATS is away": {scene: func() *scene {
			s := four("c")
			s.away("")
			s.sees("c", gotLoose("p", 1), looseGap)
			s.publishLoose("p", 5)
			s.sees("c", gotLoose("p", 5), settledAll)
			return s
		}},
		"a hole before NATS is away, whose gap explains nothing": {rule: Hole, text: "p/2, which a accepted", scene: func() *scene {
			s := four("c")
			s.sees("c", gotLoose("p", 1), gotLoose("p", 4))
			s.away("")
			s.sees("c", looseGap, settledAll)
			return s
		}},
		"no gap when NATS is away": {rule: Hole, text: "no gap was told", scene: func() *scene {
			s := newScene()
			s.sees("c", connected, listens)
			s.many("c", "p", 1, 4)
			s.away("")
			s.many("c", "p", 5, 1)
			s.sees("c", settledAll)
			return s
		}},
		"nor long after": {rule: Hole, text: "no gap was told", scene: func() *scene {
			s := newScene()
			s.sees("c", connected, listens)
			s.away("")
			s.many("c", "p", 1, enough)
			s.sees("c", closed)
			return s
		}},
		"no gap when the node is cut off": {rule: Hole, text: "no gap was told", scene: func() *scene {
			s := newScene()
			s.sees("c", Event{Kind: Connected, Note: "b"}, listens)
			s.many("c", "p", 1, 4)
			s.away("b")
			s.many("c", "p", 5, 1)
			s.sees("c", settledAll)
			return s
		}},
		"no gap when another node is cut off": {scene: func() *scene {
			s := newScene()
			s.sees("c", Event{Kind: Connected, Note: "b"}, listens)
			s.many("c", "p", 1, 4)
			s.away("a")
			s.many("c", "p", 5, 1)
			s.sees("c", settledAll)
			return s
		}},
		"a hole when the node is cut off": {scene: func() *scene {
			s := newScene()
			s.sees("c", Event{Kind: Connected, Note: "b"}, listens)
			s.many("c", "p", 1, 4)
			s.publishLoose("p", 5)
			s.away("b")
			s.many("c", "p", 6, 1)
			s.sees("c", closed)
			return s
		}},
		"no gap since the socket ended": {scene: func() *scene {
			s := newScene()
			s.sees("c", connected, listens)
			s.away("")
			s.many("c", "p", 1, enough-1)
			s.sees("c", closed)
			return s
		}},
		"no gap for a subscription that is younger": {scene: func() *scene {
			s := newScene()
			s.away("")
			s.sees("c", connected, listens)
			s.many("c", "p", 1, enough)
			s.sees("c", settledAll)
			return s
		}},
	})
}
