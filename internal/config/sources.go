package config

import (
	"net/url"
	"regexp"
	"strings"

	"eureka"
	"eureka/internal/source/topic"
)

// The values of Settings.NATSEvents.
const (
	NATSEventsOff    = "off"
	NATSEventsCore   = "core"
	NATSEventsStream = "stream"
)

var (
	streamPattern  = regexp.MustCompile(`^[^\s.*>/\\]{1,255}$`)
	subjectPattern = regexp.MustCompile(`^[^\s.>]+(\.[^\s.>]+)*(\.>)?$`)
)

// events checks where events come from.
func (s Settings) events() error {
	for _, arn := range s.SNSTopics {
		if err := topic.CheckTopic(arn); err != nil {
			return err
		}
	}
	for _, address := range s.SQSQueues {
		if u, err := url.Parse(address); err != nil || !web(u) || strings.Trim(u.Path, "/") == "" {
			return eureka.FieldError("sqs_queues", "%q is no queue's URL; it looks like https://sqs.eu-west-1.amazonaws.com/123456789012/events", address)
		}
	}
	if u, err := url.Parse(s.SQSEndpoint); s.SQSEndpoint != "" && (err != nil || !web(u)) {
		return eureka.FieldError("sqs_endpoint", "must be an address such as https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com")
	}
	if len(s.SQSQueues) == 0 && (s.SQSRegion != "" || s.SQSEndpoint != "") {
		return eureka.FieldError("sqs_queues", "is empty, though the region or endpoint of queues is set")
	}
	return s.subjects()
}

func web(u *url.URL) bool { return (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" }

// subjects checks what events of NATS need.
func (s Settings) subjects() error {
	if s.NATSEvents == NATSEventsOff || s.NATSEvents == "" {
		if s.NATSEventsURL != "" || s.NATSEventsSubject != "" || s.NATSEventsStream != "" {
			return eureka.FieldError("nats_events", "is off, though its URL, subject or stream is set; say core or stream")
		}
		return nil
	}
	switch {
	case s.NATSEventsURL == "" && s.NATS == "":
		return eureka.FieldError("nats_events_url", "is needed: the NATS server in this process takes no clients")
	case !subjectPattern.MatchString(s.EventsSubject()):
		return eureka.FieldError("nats_events_subject", "%q is no subject", s.NATSEventsSubject)
	case s.NATSEvents == NATSEventsStream && !streamPattern.MatchString(s.NATSEventsStream):
		return eureka.FieldError("nats_events_stream", "must name the stream")
	case s.NATSEvents == NATSEventsCore && s.NATSEventsStream != "":
		return eureka.FieldError("nats_events_stream", "belongs to nats_events stream; core takes no stream")
	}
	return nil
}

// EventsSubject is the subject of events on NATS.
func (s Settings) EventsSubject() string {
	if s.NATSEventsSubject != "" {
		return s.NATSEventsSubject
	}
	return s.Namespace + ".events.>"
}
