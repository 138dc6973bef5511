package main

import (
	"testing"

	"eureka/internal/config"
)

func TestEventSources(t *testing.T) {
	none := config.Settings{NATSEvents: config.NATSEventsOff, Namespace: "eureka"}
	all := none
	all.SNSTopics, all.SQSQueues, all.NATSEvents = []string{"t"}, []string{"https://sqs/q", "https://sqs/r"}, config.NATSEventsCore
	for want, settings := range map[string]config.Settings{
		"": none,
		"SNS at /events/sns; SQS, queues: 2; NATS eureka.events.> (core)": all,
	} {
		if got := eventSources(settings); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
