package dynamo

import (
	"testing"

	"eureka"
	"eureka/internal/porttest"
)

func TestChannels(t *testing.T) {
	at := endpoint(t)
	porttest.Channels(t, func(t *testing.T) porttest.ChannelsHarness {
		t.Parallel()
		name := newTestTable(t)
		return porttest.ChannelsHarness{Nodes: []eureka.Channels{
			testEngine(t, at, name, nil).Channels(), testEngine(t, at, name, nil).Channels(),
		}}
	})
}
