package natsengine

import (
	"testing"

	"eureka/internal/porttest"
)

func TestChannelsCluster(t *testing.T) {
	servers := startCluster(t, 3)
	porttest.Channels(t, func(t *testing.T) porttest.ChannelsHarness {
		return harness(t, servers, 3)
	})
}
