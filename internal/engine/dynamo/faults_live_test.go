package dynamo

import (
	"flag"
	"math/rand/v2"
	"testing"

	"eureka/internal/awslocal"
	"eureka/internal/porttest"
)

var (
	allFaults  = flag.Bool("faults", false, "run all live suites with requests that are throttled, left, cut and answered in vain, which takes minutes")
	faultsSeed = flag.Uint64("faults.seed", 0, "seed of the faults; 0 for another one each time")
)

// faultyService is newService behind proxies with faults. Unlike killed functions they must not show: the suites hold as they are.
func faultyService(t *testing.T) *service {
	t.Helper()
	t.Parallel()
	seed := *faultsSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("repeat the faults with -faults.seed=%d", seed)
	proxy := proxied(t, seed)
	proxy.Set(awslocal.Faults{Throttle: 0.03, Unprocessed: 0.1, Cut: 0.01, Lose: 0.01})
	return newService(t, 2, func(o *Options) { o.Client = dial(proxy.Endpoint) })
}

func faultyHarness(t *testing.T) porttest.LiveHarness {
	t.Helper()
	h := faultyService(t).harness()
	h.Holes = true
	return h
}

func TestSocketsWithFaults(t *testing.T) {
	porttest.Sockets(t, func(t *testing.T) porttest.SocketsHarness { return faultyService(t).socketsHarness() })
}

func TestSenderWithFaults(t *testing.T) { porttest.Sender(t, faultyHarness) }

func TestFanoutWithFaults(t *testing.T) {
	if !*allFaults {
		t.Skip("without -faults")
	}
	porttest.Fanout(t, faultyHarness)
}

func TestHistoryWithFaults(t *testing.T) {
	if !*allFaults {
		t.Skip("without -faults")
	}
	porttest.History(t, faultyHarness)
}
