package apigw

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	"eureka"
)

// checkedAtOnce is how many sockets' credentials are looked at in one step.
const checkedAtOnce = 100

// Sweeper finds what nobody reported; dynamo.Engine is one.
type Sweeper interface {
	// Sweep calls ended for each socket whose time is over and is still there, and alive for those that live, in groups of at most limit ids.
	Sweep(ctx context.Context, limit int, ended func(ctx context.Context, socketID string) error, alive func(ctx context.Context, socketIDs []string) error) error
}

// ScheduleOptions configure Schedule. All are required but Service.
type ScheduleOptions struct {
	Sweeper Sweeper
	Handler Handler
	Sender  eureka.Sender
	Service *Service // whose credentials are checked; nil where sockets need none
	Log     *slog.Logger
}

// Schedule is the role schedule: what is to be done though nobody asks.
type Schedule struct{ options ScheduleOptions }

// NewSchedule returns the handler of the role.
func NewSchedule(o ScheduleOptions) (*Schedule, error) {
	if o.Sweeper == nil || o.Handler == nil || o.Sender == nil || o.Log == nil {
		return nil, errors.New("apigw: an option is missing")
	}
	return &Schedule{o}, nil
}

// swept is what one run did, for the log and whoever calls the function by hand.
type swept struct {
	Ended  int `json:"ended"`  // sockets whose end was reported
	Closed int `json:"closed"` // sockets that were closed since their credential has ended
	Failed int `json:"failed"`
}

// Invoke implements lambda.Handler.
func (s *Schedule) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	return invoke(ctx, payload, func(ctx context.Context, _ json.RawMessage) (swept, error) { return s.sweep(ctx) })
}

func (s *Schedule) sweep(ctx context.Context) (swept, error) {
	var done swept
	err := s.options.Sweeper.Sweep(ctx, checkedAtOnce, func(ctx context.Context, id string) error {
		if err := s.options.Handler.Disconnect(ctx, id, eureka.CloseMaxAge, "the end was not reported"); err != nil {
			done.Failed++
			s.options.Log.WarnContext(ctx, "the end of a socket could not be reported", slog.String("socket", id), slog.Any("error", err))
			return ctx.Err()
		}
		done.Ended++
		return nil
	}, func(ctx context.Context, ids []string) error { return s.check(ctx, ids, &done) })
	s.options.Log.InfoContext(ctx, "swept", slog.Int("ended", done.Ended), slog.Int("closed", done.Closed), slog.Int("failed", done.Failed), slog.Any("error", err))
	return done, err
}

// check closes those of the sockets whose credential has ended; one that sends no frame would listen on until its age ends it.
func (s *Schedule) check(ctx context.Context, ids []string, done *swept) error {
	if s.options.Service == nil {
		return nil
	}
	ended, err := s.options.Service.Ended(ctx, ids...)
	if err != nil {
		return err
	}
	for id, why := range ended {
		err := s.options.Sender.Close(ctx, id, eureka.CloseUnauthenticated, eureka.MessageOf(why))
		switch eureka.CodeOf(err) {
		case "", eureka.CodeGone:
			done.Closed++
		default:
			done.Failed++
			s.options.Log.WarnContext(ctx, "a socket could not be closed", slog.String("socket", id), slog.Any("error", err))
		}
	}
	return ctx.Err()
}
