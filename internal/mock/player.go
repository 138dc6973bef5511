package mock

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"eureka"
	"eureka/internal/core"
)

// Limits of runs.
const (
	MaxRuns     = 10        // at the same time in one process
	MaxCount    = 1_000_000 // events of one run
	MaxTime     = time.Hour // of one run
	DefaultTime = time.Minute
	keptRuns    = 50 // ended ones that can still be looked at
)

// Router takes events; the core is one.
type Router interface {
	Route(ctx context.Context, who eureka.Identity, ev eureka.Event) (core.RouteResult, error)
}

// Options configure a Player. All but Now are required.
type Options struct {
	Store  eureka.Mocks
	Router Router
	Node   string           // shown in runs
	Now    func() time.Time // nil means time.Now
	Log    *slog.Logger
}

// Player keeps and plays mocks. Everything needs the scope manage. It is safe for concurrent use.
type Player struct {
	options Options
	context context.Context //nolint:containedctx // the life of the runs
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool
	runs   []*playing // the oldest first
}

// View is a mock with an event that it makes.
type View struct {
	eureka.Mock

	Sample *Sample `json:"sample,omitempty" doc:"What an event of it may look like."`
	Runs   int     `json:"runs" doc:"Runs of it that play on this node now."`
}

// Sample is an event as a mock makes it.
type Sample struct {
	ModelID string          `json:"modelId,omitempty"`
	Event   string          `json:"event,omitempty"`
	Data    json.RawMessage `json:"data"`
}

// NewPlayer returns a player without runs. Close it.
func NewPlayer(o Options) (*Player, error) {
	if o.Store == nil || o.Router == nil || o.Log == nil {
		return nil, errors.New("mock: an option is missing")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Player{options: o, context: ctx, cancel: cancel}, nil
}

// Close stops all runs and waits for their ends. Later runs are refused.
func (p *Player) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.running.Wait()
}

func (p *Player) may(who eureka.Identity) error {
	return who.Can(eureka.ScopeManage, p.options.Now().UnixMilli())
}

// Create keeps a new mock; one without an id gets one, and one without a rate plays an event a second.
func (p *Player) Create(ctx context.Context, who eureka.Identity, m eureka.Mock) (View, error) {
	if err := p.may(who); err != nil {
		return View{}, err
	}
	if m.ID == "" {
		m.ID = newID()
	}
	m.CreatedAt = p.options.Now().UnixMilli()
	m.UpdatedAt = m.CreatedAt
	v, err := p.view(filled(m))
	if err != nil {
		return View{}, err
	}
	return v, p.options.Store.CreateMock(ctx, v.Mock)
}

// Show returns a mock with a sample.
func (p *Player) Show(ctx context.Context, who eureka.Identity, id string) (View, error) {
	if err := p.may(who); err != nil {
		return View{}, err
	}
	m, err := p.options.Store.Mock(ctx, id)
	if err != nil {
		return View{}, err
	}
	return p.view(m)
}

// Replace puts a mock in the place of the one with its id. Runs go on with what they began with.
func (p *Player) Replace(ctx context.Context, who eureka.Identity, m eureka.Mock) (View, error) {
	if err := p.may(who); err != nil {
		return View{}, err
	}
	old, err := p.options.Store.Mock(ctx, m.ID)
	if err != nil {
		return View{}, err
	}
	m.CreatedAt, m.UpdatedAt = old.CreatedAt, p.options.Now().UnixMilli()
	v, err := p.view(filled(m))
	if err != nil {
		return View{}, err
	}
	return v, p.options.Store.UpdateMock(ctx, v.Mock)
}

// Delete forgets a mock and stops its runs on this node.
func (p *Player) Delete(ctx context.Context, who eureka.Identity, id string) error {
	if err := p.may(who); err != nil {
		return err
	}
	if err := p.options.Store.DeleteMock(ctx, id); err != nil {
		return err
	}
	for _, r := range p.of(id) {
		r.stop()
	}
	return nil
}

// List returns all mocks by their ids, without samples.
func (p *Player) List(ctx context.Context, who eureka.Identity) ([]View, error) {
	if err := p.may(who); err != nil {
		return nil, err
	}
	mocks, err := p.options.Store.Mocks(ctx)
	if err != nil {
		return nil, err
	}
	views := make([]View, 0, len(mocks))
	for _, m := range mocks {
		views = append(views, View{Mock: m, Runs: p.active(m.ID)})
	}
	return views, nil
}

func filled(m eureka.Mock) eureka.Mock {
	m.Rate = cmp.Or(m.Rate, 1)
	return m
}

// view makes a sample, which is also what shows that the templates can be used.
func (p *Player) view(m eureka.Mock) (View, error) {
	t, err := Compile(m, 0)
	if err != nil {
		return View{}, err
	}
	ev, err := t.Make(1)
	if err != nil {
		return View{}, err
	}
	return View{Mock: t.mock, Sample: &Sample{ModelID: ev.ModelID, Event: ev.Event, Data: ev.Data}, Runs: p.active(m.ID)}, nil
}

// Run begins to play a mock on this node. CodeConflict when too many runs play already.
func (p *Player) Run(ctx context.Context, who eureka.Identity, r Request) (Run, error) {
	if err := p.may(who); err != nil {
		return Run{}, err
	}
	m, err := p.options.Store.Mock(ctx, r.Mock)
	if err != nil {
		return Run{}, err
	}
	if r, err = r.filled(m); err != nil {
		return Run{}, err
	}
	t, err := Compile(m, 0)
	if err != nil {
		return Run{}, err
	}
	now := p.options.Now()
	playing := &playing{
		Run: Run{
			ID: newID(), Mock: m.ID, Node: p.options.Node, State: Playing, Rate: r.Rate, Count: r.Count,
			StartedAt: now.UnixMilli(), EndsBy: now.Add(r.Time).UnixMilli(),
		},
		who: who, template: t, player: p, ended: make(chan struct{}), time: r.Time,
	}
	if err := p.begin(playing); err != nil { //nolint:contextcheck // a run outlives the request that begins it
		return Run{}, err
	}
	return playing.now(), nil
}

func (p *Player) begin(r *playing) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return eureka.Errorf(eureka.CodeUnavailable, "the node is shutting down")
	}
	active := 0
	for _, other := range p.runs {
		if other.active() {
			active++
		}
	}
	if active >= MaxRuns {
		return eureka.Errorf(eureka.CodeConflict, "%d runs play already on this node; stop one, or wait for an end", active)
	}
	var ctx context.Context
	ctx, r.cancel = context.WithTimeout(p.context, r.time)
	if drop := len(p.runs) - active - keptRuns + 1; drop > 0 {
		p.runs = slices.DeleteFunc(p.runs, func(old *playing) bool {
			drop--
			return drop >= 0 && !old.active()
		})
	}
	p.runs = append(p.runs, r)
	p.running.Go(func() { r.play(ctx) })
	return nil
}

// Runs returns the runs of a mock on this node, those that play and the last ones that ended, the newest first.
func (p *Player) Runs(ctx context.Context, who eureka.Identity, id string) ([]Run, error) {
	if err := p.may(who); err != nil {
		return nil, err
	}
	if _, err := p.options.Store.Mock(ctx, id); err != nil {
		return nil, err
	}
	runs := []Run{}
	for _, r := range slices.Backward(p.of(id)) {
		runs = append(runs, r.now())
	}
	return runs, nil
}

// Stop ends a run of a mock and returns it as it ended. One that has ended already stays as it is. CodeNotFound when this node has no such run.
func (p *Player) Stop(ctx context.Context, who eureka.Identity, id, run string) (Run, error) {
	if err := p.may(who); err != nil {
		return Run{}, err
	}
	for _, r := range p.of(id) {
		if r.ID != run {
			continue
		}
		r.stop()
		select {
		case <-r.ended:
			return r.now(), nil
		case <-ctx.Done():
			return Run{}, ctx.Err()
		}
	}
	return Run{}, eureka.Errorf(eureka.CodeNotFound, "this node has no such run of the mock")
}

func (p *Player) of(id string) []*playing {
	p.mu.Lock()
	defer p.mu.Unlock()
	var runs []*playing
	for _, r := range p.runs {
		if r.Mock == id {
			runs = append(runs, r)
		}
	}
	return runs
}

func (p *Player) active(id string) int {
	n := 0
	for _, r := range p.of(id) {
		if r.active() {
			n++
		}
	}
	return n
}

// newID makes the id of a mock or run: 8 characters of a-z and 2-7.
func newID() string { return strings.ToLower(rand.Text()[:8]) }
