package source

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"eureka/internal/edge/simulator/meter"
)

// ScheduleOptions configure a Schedule.
type ScheduleOptions struct {
	Rule     string // its name
	Account  string
	Region   string
	Every    time.Duration
	Function Invoker
	Meter    *meter.Meter
	Log      *slog.Logger
}

// Schedule invokes a function at a rate, without retries.
type Schedule struct {
	options ScheduleOptions
	cancel  context.CancelFunc
	work    sync.WaitGroup
}

// StartSchedule begins; the first invocation comes after Every.
func StartSchedule(o ScheduleOptions) *Schedule {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Schedule{options: o, cancel: cancel}
	s.work.Go(func() {
		ticker := time.NewTicker(o.Every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				// EventBridge does not wait for one to end before the next.
				s.work.Go(func() {
					if err := s.Run(ctx); err != nil && ctx.Err() == nil {
						o.Log.Warn("the schedule's function failed", slog.Any("error", err))
					}
				})
			case <-ctx.Done():
				return
			}
		}
	})
	return s
}

// Run invokes the function now and returns when it has ended.
func (s *Schedule) Run(ctx context.Context) error {
	event, err := s.event(time.Now())
	if err != nil {
		return err
	}
	s.options.Meter.Add(meter.Scheduled, 1)
	_, err = s.options.Function.Invoke(ctx, event)
	return err
}

// Stop ends the schedule and waits for what is under way.
func (s *Schedule) Stop() {
	s.cancel()
	s.work.Wait()
}
