package apigw

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"eureka"
	"eureka/internal/auth"
)

// Access decides who is behind an event.
type Access interface {
	// Handshake says who is behind a WebSocket handshake, and Request who is behind an HTTP request. CodeUnauthenticated when nobody is.
	Handshake(r *http.Request) (eureka.Identity, error)
	Request(r *http.Request) (eureka.Identity, error)
	// Holder says who is behind a live socket. CodeUnauthenticated when its credential has ended, CodeGone when there is no such socket.
	Holder(ctx context.Context, socketID string) (eureka.Identity, error)
	// Changed is told that a socket of this function has another credential from now on.
	Changed(socketID string, id eureka.Identity)
}

// Open is the access of a service without authentication: everybody may do everything, and is who they say.
type Open struct{}

// Handshake implements Access.
func (Open) Handshake(r *http.Request) (eureka.Identity, error) { return auth.OpenIdentity(r) }

// Request implements Access.
func (Open) Request(*http.Request) (eureka.Identity, error) { return eureka.Everyone(""), nil }

// Holder implements Access.
func (Open) Holder(context.Context, string) (eureka.Identity, error) { return eureka.Everyone(""), nil }

// Changed implements Access.
func (Open) Changed(string, eureka.Identity) {}

// IAM is the access of a service whose callers API Gateway has checked by SigV4: they may do everything. An event that does not name its caller comes
// from a route without that check, and is refused.
type IAM struct{}

// Request implements Access.
func (i IAM) Request(r *http.Request) (eureka.Identity, error) { return i.Handshake(r) }

// Handshake implements Access.
func (IAM) Handshake(r *http.Request) (eureka.Identity, error) {
	caller := callerOf(r.Context())
	if caller == "" {
		return eureka.Identity{}, eureka.Errorf(eureka.CodeUnauthenticated, "the request is not signed with AWS credentials")
	}
	return eureka.Everyone(shortARN(caller)), nil
}

// Holder implements Access: a socket exists only if its handshake was signed.
func (IAM) Holder(context.Context, string) (eureka.Identity, error) { return eureka.Everyone(""), nil }

// Changed implements Access.
func (IAM) Changed(string, eureka.Identity) {}

// shortARN is the part of a principal's ARN that tells it from others of the account, such as user/ann or assumed-role/name/session.
func shortARN(arn string) string {
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 && parts[0] == "arn" {
		arn = parts[5]
	}
	arn = eureka.CutAgent(arn)
	if len(arn) > eureka.MaxUserLength {
		arn = strings.ToValidUTF8(arn[len(arn)-eureka.MaxUserLength:], "") // its end names the session
	}
	return arn
}

type callerKey struct{}

// withCaller notes the AWS principal that API Gateway has checked.
func withCaller(ctx context.Context, arn string) context.Context {
	return context.WithValue(ctx, callerKey{}, arn)
}

func callerOf(ctx context.Context) string {
	arn, _ := ctx.Value(callerKey{}).(string)
	return arn
}

// How long a function goes by what it read about a socket's credential, so that not every frame costs a read, and for how many sockets.
const (
	holdersKept = 15 * time.Second
	maxHolders  = 10_000
)

// Checker says whether credentials hold; auth.Authenticator is one.
type Checker interface {
	Handshake(r *http.Request) (eureka.Identity, error)
	Request(r *http.Request) (eureka.Identity, error)
	// Check says whether an identity of before still holds. CodeUnauthenticated when it does not.
	Check(id eureka.Identity) error
}

// ServiceOptions configure a Service. All are required but Now.
type ServiceOptions struct {
	Checker Checker
	Refresh func(ctx context.Context) error // brings what Checker knows of keys and revocations up to date
	Kept    eureka.SocketIdentities
	Now     func() time.Time
}

// Service is the access of a service with tokens and API keys of its own. Who is behind a socket is kept with it in the table and checked at its
// frames, since no function outlives them.
type Service struct {
	options ServiceOptions
	mu      sync.Mutex
	holders map[string]holder
}

type holder struct {
	id    eureka.Identity
	until time.Time
}

// NewService returns a Service.
func NewService(o ServiceOptions) (*Service, error) {
	if o.Checker == nil || o.Refresh == nil || o.Kept == nil {
		return nil, errors.New("apigw: an option is missing")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Service{options: o, holders: map[string]holder{}}, nil
}

// Handshake implements Access.
func (s *Service) Handshake(r *http.Request) (eureka.Identity, error) {
	return s.identify(r, s.options.Checker.Handshake)
}

// Request implements Access.
func (s *Service) Request(r *http.Request) (eureka.Identity, error) {
	return s.identify(r, s.options.Checker.Request)
}

func (s *Service) identify(r *http.Request, by func(*http.Request) (eureka.Identity, error)) (eureka.Identity, error) {
	if auth.Bare(r) {
		return by(r) // which refuses it, whether or not the store answers
	}
	if err := s.options.Refresh(r.Context()); err != nil {
		return eureka.Identity{}, err
	}
	return by(r)
}

// Holder implements Access. Expiry and revocation are checked every time. A credential that another function has put in place of the socket's last
// one is known after holdersKept at the latest, and as soon as the last one ends.
func (s *Service) Holder(ctx context.Context, socketID string) (eureka.Identity, error) {
	if err := s.options.Refresh(ctx); err != nil {
		return eureka.Identity{}, err
	}
	s.mu.Lock()
	h, known := s.holders[socketID]
	s.mu.Unlock()
	if known && s.options.Now().Before(h.until) && s.options.Checker.Check(h.id) == nil {
		return h.id, nil
	}
	found, err := s.options.Kept.Identities(ctx, socketID)
	if err != nil {
		return eureka.Identity{}, err
	}
	id, lives := found[socketID]
	if !lives {
		return eureka.Identity{}, eureka.Errorf(eureka.CodeGone, "this socket has ended")
	}
	if err := s.options.Checker.Check(id); err != nil {
		return eureka.Identity{}, err
	}
	s.Changed(socketID, id)
	return id, nil
}

// Changed implements Access.
func (s *Service) Changed(socketID string, id eureka.Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.holders) >= maxHolders {
		clear(s.holders)
	}
	s.holders[socketID] = holder{id, s.options.Now().Add(holdersKept)}
}

// Ended returns those of the sockets whose credential has ended.
func (s *Service) Ended(ctx context.Context, socketIDs ...string) (map[string]error, error) {
	if err := s.options.Refresh(ctx); err != nil {
		return nil, err
	}
	found, err := s.options.Kept.Identities(ctx, socketIDs...)
	if err != nil {
		return nil, err
	}
	ended := map[string]error{}
	for socketID, id := range found {
		if err := s.options.Checker.Check(id); err != nil {
			ended[socketID] = err
		}
	}
	return ended, nil
}
