package mock

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"eureka"
)

// State is how a run is.
type State string

// The states of a run. Playing comes first, and each other one is an end.
const (
	Playing State = "playing"
	Done    State = "done"    // its events, or its time, came to their end
	Stopped State = "stopped" // somebody stopped it, or the process ended
	Failed  State = "failed"  // its events would not be accepted any more
)

// Request asks for a run.
type Request struct {
	Mock  string
	Rate  float64       // events per second; 0 means the mock's
	Count int           // events; 0 means as many as fit into the time
	Time  time.Duration // 0 means DefaultTime, with a Count MaxTime
}

// Run is one run of a mock. Times are epoch milliseconds.
type Run struct {
	ID        string  `json:"id"`
	Mock      string  `json:"mock" doc:"The mock's id."`
	Node      string  `json:"node" doc:"The node that plays it; others do not know of it."`
	State     State   `json:"state" enum:"playing,done,stopped,failed"`
	Rate      float64 `json:"rate" doc:"Events per second at the most."`
	Count     int     `json:"count,omitempty" doc:"Events after which it ends; absent when its time alone ends it."`
	StartedAt int64   `json:"startedAt" doc:"Epoch milliseconds."`
	EndsBy    int64   `json:"endsBy" doc:"When it ends at the latest."`
	EndedAt   int64   `json:"endedAt,omitempty"`
	Sent      int     `json:"sent" doc:"Events that were accepted."`
	Failed    int     `json:"failed" doc:"Events that were not."`
	Error     string  `json:"error,omitempty" doc:"Why the last one was not."`
}

func (r Request) filled(m eureka.Mock) (Request, error) {
	if r.Rate == 0 {
		r.Rate = m.Rate
	}
	if r.Time == 0 {
		r.Time = DefaultTime
		if r.Count > 0 {
			r.Time = MaxTime
		}
	}
	switch {
	case !(r.Rate >= eureka.MinMockRate && r.Rate <= eureka.MaxMockRate):
		return r, eureka.FieldError("rate", "must be %v to %d events per second", eureka.MinMockRate, eureka.MaxMockRate)
	case r.Count < 0 || r.Count > MaxCount:
		return r, eureka.FieldError("count", "must be 1 to %d events", MaxCount)
	case r.Time < time.Millisecond || r.Time > MaxTime:
		return r, eureka.FieldError("for", "must be a duration of up to %s", eureka.Duration(MaxTime))
	}
	return r, nil
}

// playing is a run of this process.
type playing struct {
	Run // mu guards what changes

	who      eureka.Identity
	template *Template
	player   *Player
	time     time.Duration
	cancel   context.CancelFunc
	ended    chan struct{}

	mu      sync.Mutex
	stopped bool
}

func (r *playing) stop() {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.cancel()
}

func (r *playing) now() Run {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Run
}

func (r *playing) active() bool { return r.now().State == Playing }

// play sends one event after the other until the run ends.
func (r *playing) play(ctx context.Context) {
	defer close(r.ended)
	defer r.cancel()
	// Events that a slow timer missed may follow at once, for up to a tenth of a second.
	burst := max(1, int(math.Ceil(r.Rate/10)))
	pace := rate.NewLimiter(rate.Limit(r.Rate), burst)
	pace.AllowN(time.Now(), burst-1)
	for n := 1; r.Count == 0 || n <= r.Count; n++ {
		if pace.Wait(ctx) != nil { // the time is over, or will be before the next one
			break
		}
		if !r.send(ctx, n) {
			return
		}
	}
	state := Done
	r.mu.Lock()
	if r.stopped || errors.Is(ctx.Err(), context.Canceled) {
		state = Stopped
	}
	r.mu.Unlock()
	r.finish(state)
}

// send makes and sends one event. False ends the run.
func (r *playing) send(ctx context.Context, n int) bool {
	ev, err := r.template.Make(n)
	if err == nil {
		_, err = r.player.options.Router.Route(ctx, r.who, ev)
	}
	if err != nil && ctx.Err() != nil {
		return true // it was cut off by the end
	}
	r.mu.Lock()
	if err == nil {
		r.Sent++
	} else {
		r.Failed++
		r.Error = eureka.MessageOf(err)
	}
	r.mu.Unlock()
	// What would fail again and again ends the run: a credential that expired, or a template that makes no event of the next number either.
	if err == nil || eureka.CodeOf(err).Outcome().Retry {
		return true
	}
	r.player.options.Log.Warn("a mock cannot be played on", slog.String("mock", r.Mock), slog.Any("error", err))
	r.finish(Failed)
	return false
}

func (r *playing) finish(state State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.State, r.EndedAt = state, r.player.options.Now().UnixMilli()
}
