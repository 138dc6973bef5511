package app

import (
	"context"
	"errors"
	"net/http"

	"eureka/internal/config"
	"eureka/internal/httpapi"
	"eureka/internal/source"
	"eureka/internal/source/queue"
	"eureka/internal/source/subject"
	"eureka/internal/source/topic"
)

// sources are where events come from beside the HTTP API.
type sources struct {
	settings config.Settings
	options  Options
	intake   *source.Intake
	topics   http.Handler // nil without topics
	queues   *queue.Poller
	subjects *subject.Events
}

// newSources makes what the settings ask for; nothing is received yet.
func (a *App) newSources(ctx context.Context, p parts) (*sources, error) {
	s := &sources{settings: a.options.Settings, options: a.options}
	var err error
	if s.intake, err = source.New(source.Options{Router: p.core, Workers: s.settings.EventWorkers, Log: a.options.Log, Metrics: p.registry}); err != nil {
		return nil, err
	}
	if len(s.settings.SNSTopics) > 0 {
		if s.topics, err = topic.New(topic.Options{Topics: s.settings.SNSTopics, Intake: s.intake, Log: a.options.Log}); err != nil {
			return nil, err
		}
	}
	if len(s.settings.SQSQueues) > 0 {
		if s.queues, err = queue.New(ctx, queue.Options{
			Queues: s.settings.SQSQueues, Region: s.settings.SQSRegion, Endpoint: s.settings.SQSEndpoint, Receives: s.settings.SQSReceives,
			Intake: s.intake, Log: a.options.Log,
		}); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// reported counts the events of POST /events beside those of the other sources.
func (s *sources) reported(t httpapi.Tally) {
	s.intake.Metrics().Count("http", t.Accepted, t.Refused, t.Failed)
}

// start begins to receive.
func (s *sources) start(ctx context.Context) error {
	if s.settings.NATSEvents == config.NATSEventsCore || s.settings.NATSEvents == config.NATSEventsStream {
		url := s.settings.NATSEventsURL
		if url == "" {
			url = s.settings.NATS
		}
		var err error
		if s.subjects, err = subject.Start(ctx, subject.Options{
			URL: url, Subject: s.settings.EventsSubject(), Stream: s.settings.NATSEventsStream, Name: s.settings.Namespace + "-events",
			Intake: s.intake, Log: s.options.Log,
		}); err != nil {
			return err
		}
	}
	if s.queues != nil {
		s.queues.Start(ctx)
	}
	return nil
}

// stop receives nothing more, and waits until ctx ends for what is under way.
func (s *sources) stop(ctx context.Context) error {
	stops := []func(context.Context) error{}
	if s.subjects != nil {
		stops = append(stops, s.subjects.Stop)
	}
	if s.queues != nil {
		stops = append(stops, s.queues.Stop)
	}
	ended := make(chan error, len(stops))
	for _, stop := range stops {
		go func() { ended <- stop(ctx) }()
	}
	errs := make([]error, 0, len(stops))
	for range stops {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}
