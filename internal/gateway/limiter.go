package gateway

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"eureka"
)

// The limits as settings name them; errors do too, and so does Options.Limited.
const (
	limitSockets      = "max_sockets"
	limitUserSockets  = "max_sockets_per_user"
	limitConnects     = "connects_per_second"
	limitUserConnects = "connects_per_second_per_user"
	limitFrames       = "frames_per_second"
	limitPublishes    = "publishes_per_second"
)

// LimitSettings are the settings that Options.Limited may be told.
func LimitSettings() []string {
	return []string{limitSockets, limitUserSockets, limitConnects, limitUserConnects, limitFrames, limitPublishes}
}

// burstSeconds is how much of a rate may come at once.
const burstSeconds = 2

// floodFactor is how many times its frame rate a client may send within a second before its socket is closed.
const floodFactor = 10

// maxUserLimiters bounds the users whose connects are counted one by one; those that have been quiet are forgotten first.
const maxUserLimiters = 100_000

// newLimiter returns nil for no limit.
func newLimiter(perSecond int) *rate.Limiter {
	if perSecond <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(perSecond), perSecond*burstSeconds)
}

// admission counts handshakes, and the sockets of each user.
type admission struct {
	limits *Limits
	all    *rate.Limiter
	mu     sync.Mutex
	users  map[string]*rate.Limiter // of those that connected lately
	open   map[string]int           // sockets of each user, and handshakes of theirs under way
}

func newAdmission(l *Limits) *admission {
	return &admission{limits: l, all: newLimiter(l.ConnectsPerSecond), users: map[string]*rate.Limiter{}, open: map[string]int{}}
}

// handshake returns the name of the limit that a handshake breaks, "" for none. It comes before anything that costs.
func (a *admission) handshake(open int) string {
	switch {
	case a.limits.MaxSockets > 0 && open >= a.limits.MaxSockets:
		return limitSockets
	case a.all != nil && !a.all.Allow():
		return limitConnects
	default:
		return ""
	}
}

// enter is handshake for what a user may do. When it returns "" the user has one more socket, until leave. Those who have no name are not
// told apart and not counted.
func (a *admission) enter(user string) string {
	if user == "" {
		return ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.limits.MaxSocketsPerUser > 0 && a.open[user] >= a.limits.MaxSocketsPerUser {
		return limitUserSockets
	}
	if a.limits.UserConnectsPerSecond > 0 && !a.limiter(user).Allow() {
		return limitUserConnects
	}
	a.open[user]++
	return ""
}

// leave undoes enter.
func (a *admission) leave(user string) {
	if user == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open[user]--; a.open[user] <= 0 {
		delete(a.open, user)
	}
}

// tidy forgets those who have been quiet.
func (a *admission) tidy(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forget(now)
}

// limiter is the rate of a user's connects. The caller holds mu.
func (a *admission) limiter(user string) *rate.Limiter {
	l := a.users[user]
	if l == nil {
		if len(a.users) >= maxUserLimiters {
			a.forget(time.Now())
		}
		l = newLimiter(a.limits.UserConnectsPerSecond)
		a.users[user] = l
	}
	return l
}

// forget drops users whose allowance is full again, which is all that a new limiter would know of them. The caller holds mu.
func (a *admission) forget(now time.Time) {
	for user, l := range a.users {
		if l.TokensAt(now) >= float64(l.Burst()) {
			delete(a.users, user)
		}
	}
	if len(a.users) == 0 {
		a.users = map[string]*rate.Limiter{} // gives the memory of a crowd back
	}
	if len(a.users) >= maxUserLimiters {
		clear(a.users) // all of them are busy: counting starts afresh rather than take ever more memory
	}
}

// pace is the rates of one socket; nil fields are no limit.
type pace struct {
	frames    *rate.Limiter
	publishes *rate.Limiter
	floodAt   time.Time // when the present second of refusals began
	refused   int
}

func newPace(l *Limits) *pace {
	return &pace{frames: newLimiter(l.FramesPerSecond), publishes: newLimiter(l.PublishesPerSecond)}
}

// frame reports whether a frame may be handled, and whether its client floods the service.
func (p *pace) frame(l *Limits) (allowed, flood bool) {
	if p.frames == nil || p.frames.Allow() {
		return true, false
	}
	if now := time.Now(); now.Sub(p.floodAt) > time.Second {
		p.floodAt, p.refused = now, 0
	}
	p.refused++
	return false, p.refused > floodFactor*l.FramesPerSecond
}

// full reports whether the whole allowance is there, as it is in a new pace.
func (p *pace) full(now time.Time) bool {
	for _, l := range []*rate.Limiter{p.frames, p.publishes} {
		if l != nil && l.TokensAt(now) < float64(l.Burst()) {
			return false
		}
	}
	return now.Sub(p.floodAt) > time.Second
}

func limited(limit string) *eureka.Error {
	return eureka.Errorf(eureka.CodeRateLimited, "over the limit of the setting %s", limit)
}
