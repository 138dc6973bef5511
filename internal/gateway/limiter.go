package gateway

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"eureka"
)

// The limits as settings name them; errors and the metric eureka_limited_total do too.
const (
	limitSockets      = "max_sockets"
	limitUserSockets  = "max_sockets_per_user"
	limitConnects     = "connects_per_second"
	limitUserConnects = "connects_per_second_per_user"
	limitFrames       = "frames_per_second"
	limitPublishes    = "publishes_per_second"
)

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

// admission counts handshakes.
type admission struct {
	limits *Limits
	all    *rate.Limiter
	mu     sync.Mutex
	users  map[string]*rate.Limiter
}

func newAdmission(l *Limits) *admission {
	return &admission{limits: l, all: newLimiter(l.ConnectsPerSecond), users: map[string]*rate.Limiter{}}
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

// user is handshake for what a user may do; open is how many sockets the user has on this node.
func (a *admission) user(user string, open int) string {
	if user == "" {
		return ""
	}
	if a.limits.MaxSocketsPerUser > 0 && open >= a.limits.MaxSocketsPerUser {
		return limitUserSockets
	}
	if a.limits.UserConnectsPerSecond <= 0 {
		return ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.users[user]
	if l == nil {
		if len(a.users) >= maxUserLimiters {
			a.forget(time.Now())
		}
		l = newLimiter(a.limits.UserConnectsPerSecond)
		a.users[user] = l
	}
	if !l.Allow() {
		return limitUserConnects
	}
	return ""
}

// forget drops users whose allowance is full again, which is all that a new limiter would know of them. The caller holds mu.
func (a *admission) forget(now time.Time) {
	for user, l := range a.users {
		if l.TokensAt(now) >= float64(l.Burst()) {
			delete(a.users, user)
		}
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

func newPace(l *Limits) pace {
	return pace{frames: newLimiter(l.FramesPerSecond), publishes: newLimiter(l.PublishesPerSecond)}
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

func limited(limit string) error {
	return eureka.Errorf(eureka.CodeRateLimited, "over the limit %s", limit)
}
