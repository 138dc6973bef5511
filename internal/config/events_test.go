package config

import (
	"strings"
	"testing"

	"eureka"
)

// TestSourcesOfEvents: what the sources of events need is checked before the start, and named by its setting.
func TestSourcesOfEvents(t *testing.T) {
	const queue, topic = "https://sqs.eu-west-1.amazonaws.com/123456789012/events", "arn:aws:sns:eu-west-1:123456789012:events"
	for _, tt := range []struct {
		set  func(*Settings)
		want string // "" for what is right
	}{
		{func(s *Settings) {
			s.SNSTopics, s.SQSQueues, s.SQSRegion, s.SQSEndpoint = []string{topic, topic + "-*"}, []string{queue}, "eu-west-1", "http://127.0.0.1:4566"
		}, ""},
		{func(s *Settings) { s.SNSTopics = []string{topic, "events"} }, `sns_topics: "events" is no topic's ARN`},
		{func(s *Settings) { s.SNSTopics = []string{"*"} }, `sns_topics: "*" is no topic's ARN`},
		{func(s *Settings) { s.SQSQueues = []string{"events"} }, `sqs_queues: "events" is no queue's URL`},
		{func(s *Settings) { s.SQSQueues = []string{"ftp://h/q"} }, `sqs_queues: "ftp://h/q" is no queue's URL`},
		{func(s *Settings) { s.SQSQueues, s.SQSEndpoint = []string{queue}, "localhost" }, "sqs_endpoint: must be an address"},
		{func(s *Settings) { s.SQSRegion = "eu-west-1" }, "sqs_queues: is empty, though"},
		{func(s *Settings) { s.NATSEvents = NATSEventsCore }, "nats_events_url: is needed: the NATS server in this process takes no clients"},
		{func(s *Settings) { s.NATSEvents, s.NATS = NATSEventsCore, "nats://h" }, ""},
		{func(s *Settings) { s.NATSEvents, s.NATSEventsURL = NATSEventsCore, "nats://h" }, ""},
		{func(s *Settings) { s.NATSEvents, s.NATSEventsURL = NATSEventsStream, "nats://h" }, "nats_events_stream: must name the stream"},
		{func(s *Settings) {
			s.NATSEvents, s.NATSEventsURL, s.NATSEventsStream = NATSEventsStream, "nats://h", "a.b"
		}, "nats_events_stream: must name the stream"},
		{func(s *Settings) {
			s.NATSEvents, s.NATSEventsURL, s.NATSEventsStream = NATSEventsStream, "nats://h", "EVENTS"
		}, ""},
		{func(s *Settings) {
			s.NATSEvents, s.NATSEventsURL, s.NATSEventsStream = NATSEventsCore, "nats://h", "EVENTS"
		}, "nats_events_stream: belongs to nats_events stream"},
		{func(s *Settings) {
			s.NATSEvents, s.NATSEventsURL, s.NATSEventsSubject = NATSEventsCore, "nats://h", "a..b"
		}, `nats_events_subject: "a..b" is no subject`},
		{func(s *Settings) {
			s.NATSEvents, s.NATSEventsURL, s.NATSEventsSubject = NATSEventsCore, "nats://h", "a.*.b.>"
		}, ""},
		{func(s *Settings) { s.NATSEventsURL = "nats://h" }, "nats_events: is off, though"},
	} {
		s := good()
		tt.set(&s)
		err := s.Verify()
		if (tt.want == "") != (err == nil) || (err != nil && (eureka.CodeOf(err) != eureka.CodeInvalid || !strings.HasPrefix(eureka.MessageOf(err), tt.want))) {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
	s := good()
	if s.EventsSubject() != "eureka.events.>" {
		t.Error(s.EventsSubject())
	}
}
